"""Each kind of target against a real server: what arrives, what does not, and what is never shown."""

from __future__ import annotations

import json
import ssl
import stat
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.alerting import configuration, mail
from antenna_orchestration.alerting.configuration import AnyTarget, EmailTarget
from antenna_orchestration.alerting.send import send
from antenna_orchestration.domain.alerts import Alert, Event, Message, Telling
from antenna_orchestration.domain.alerts import message as message_of
from tests.alerting.receivers import Mailbox, Receiver, mail_receiver, web_receiver

HOSTILE = "moths <!channel> <http://evil.example|click> & *bold*\r\nBcc: all@example.org\n\x1b[2J\u202e`x`"
SINCE = datetime(2026, 6, 12, 22, tzinfo=UTC)


def message(name: str = "pond", telling: Telling = Telling.BEGINS) -> Message:
    alert = Alert(
        key="k",
        event=Event.JOB_FAILURE,
        project="moths",
        subject=f"job 7 failed: {name}",
        text=f"Job 7 ({name})\nDo it.",
    ).made()
    return message_of(12, telling, alert, since=SINCE, at=SINCE, link="http://ui.example/runs/1")


def target(tmp_path: Path, **said: object) -> AnyTarget:
    file = tmp_path / "alerts.yaml"
    file.write_text(json.dumps({"targets": {"it": said}}))
    return configuration.read(file).targets["it"]


@pytest.fixture
def web() -> Iterator[Receiver]:
    with web_receiver() as receiver:
        yield receiver


@pytest.fixture
def slack(web: Receiver, tmp_path: Path) -> AnyTarget:
    (tmp_path / "slack").write_text(f"{web.url}/services/T0/B0/s3cr3tXYZ\n")
    return target(tmp_path, kind="slack", url=f"file:{tmp_path / 'slack'}")


async def test_slack_shows_hostile_names_as_plain_text(web: Receiver, slack: AnyTarget) -> None:
    assert await send(slack, message(HOSTILE)) == "200 OK: ok"
    [post] = web.posts
    assert post.path == "/services/T0/B0/s3cr3tXYZ"
    text = post.json["text"]
    assert "&lt;!channel&gt; &lt;http://evil.example|click&gt; &amp;" in text
    # The only markup is our link.
    assert text.count("<") == text.count(">") == 1 and text.endswith("\n<http://ui.example/runs/1>")
    assert not {"\x1b", "\u202e", "\r"} & set(text)
    assert (post.json["mrkdwn"], post.json["parse"], post.json["unfurl_links"]) == (False, "none", False)


async def test_a_webhook_gets_json_and_its_token(
    web: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_TOKEN", "t0k3n-of-ops")
    hook = target(tmp_path, kind="webhook", url=f"{web.url}/hook", token="env:OPS_TOKEN")
    await send(hook, message())
    [post] = web.posts
    assert post.headers["Authorization"] == "Bearer t0k3n-of-ops"
    assert post.json == {
        "version": 1, "id": "12", "says": "begins", "event": "job_failure", "project": "moths",
        "subject": "job 7 failed: pond", "text": "Job 7 (pond)\nDo it.", "link": "http://ui.example/runs/1",
        "since": "2026-06-12T22:00:00+00:00",
    }  # fmt: skip


async def test_a_redirect_is_not_followed_and_says_so(web: Receiver, slack: AnyTarget) -> None:
    web.status, web.headers = 307, {"Location": f"{web.url}/elsewhere"}
    with pytest.raises(errors.Unavailable, match=r"it answered 307.*redirects are not followed"):
        await send(slack, message())
    assert not web.posts


async def test_no_error_shows_the_address_that_is_a_secret(
    web: Receiver, slack: AnyTarget, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    # A server that repeats what it was called by.
    web.status, web.answer = 404, f"no {web.url}/services/T0/B0/s3cr3tXYZ\n\x1b[2J here"
    told = []
    for address in (None, "http://127.0.0.1:9/s3cr3tXYZ", "http://s3cr3tXYZ:bad port/", "s3cr3tXYZ"):
        if address:
            (tmp_path / "slack").write_text(address)
        with pytest.raises(errors.Unavailable) as failed:
            await send(slack, message())
        told.append(str(failed.value))
    assert told[0].startswith("it answered 404 Not Found: no …") and "\x1b" not in told[0]
    assert "s3cr3t" not in "".join(told) + caplog.text


@pytest.mark.parametrize("repeated", ["/services/T0/B0/s3cr3tXYZ", r"\/services\/T0\/B0\/s3cr3tXYZ", "s3cr3tXYZ"])
async def test_no_part_of_an_address_is_repeated(web: Receiver, slack: AnyTarget, repeated: str) -> None:
    web.status, web.answer = 404, f"no route for POST {repeated}"
    with pytest.raises(errors.Unavailable, match="it answered 404 Not Found: no route for POST") as failed:
        await send(slack, message())
    assert "s3cr3t" not in str(failed.value)


async def test_a_chat_that_reads_markdown_shows_hostile_names_as_text(web: Receiver, slack: AnyTarget) -> None:
    await send(slack, message("@channel ![x](http://evil.example/x.png) [a][b] [b]: http://evil.example"))
    text = web.posts[0].json["text"]
    assert "@channel" not in text and not {"](", "][", "]:"} & {text[at : at + 2] for at in range(len(text))}
    assert "channel" in text and "http://evil.example/x.png" in text


async def test_an_answer_is_not_unpacked(web: Receiver, tmp_path: Path) -> None:
    web.status, web.answer, web.headers = 500, "no gzip at all", {"Content-Encoding": "gzip"}
    with pytest.raises(errors.Unavailable, match="it answered 500 Internal Server Error: no gzip at all"):
        await send(target(tmp_path, kind="webhook", url=web.url), message())


async def test_a_target_that_hangs_is_left_after_its_time(web: Receiver, tmp_path: Path) -> None:
    web.hangs = True
    hook = target(tmp_path, kind="webhook", url=web.url, timeout_seconds=0.2)
    with pytest.raises(errors.Unavailable, match=r"no answer within 0\.2 s"):
        await send(hook, message())


async def test_a_secret_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    hook = target(tmp_path, kind="slack", url=f"file:{tmp_path / 'none'}")
    with pytest.raises(errors.InvalidSetting, match="none cannot be read: No such file"):
        await send(hook, message())
    with pytest.raises(errors.InvalidSetting, match="the environment has no ANTENNA_NOT_THERE"):
        await send(target(tmp_path, kind="slack", url="env:ANTENNA_NOT_THERE"), message())


# Mail.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", file, "-out", f"{file}.crt",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return file


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{certificate}.crt", certificate)
    return context


def mail_target(tmp_path: Path, mailbox: Mailbox, **changes: object) -> AnyTarget:
    (tmp_path / "password").write_text("a good password\n")
    said = {
        "kind": "email", "host": "127.0.0.1", "port": mailbox.port, "user": "antenna", "from": "antenna@example.org",
        "password": f"file:{tmp_path / 'password'}", "to": ["ana@example.org", "ben@example.org"],
    }  # fmt: skip
    return target(tmp_path, **{**said, **changes})


async def test_mail_with_starttls_and_login_arrives(
    server_tls: ssl.SSLContext, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_receiver(starttls=server_tls) as mailbox:
        it = mail_target(tmp_path, mailbox)
        # Whose certificate nobody vouches for gets no password.
        with pytest.raises(errors.Unavailable, match="certificate verify failed"):
            await send(it, message())
        assert not mailbox.logins
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
        assert "taken" in await send(it, message(HOSTILE))
        assert mailbox.logins == [("antenna", "a good password")]
        assert mailbox.recipients == [["ana@example.org", "ben@example.org"]]
        [mail] = mailbox.mails
        assert mail["Bcc"] is None and "Bcc: all@example.org" in mail["Subject"]
        assert mail["Auto-Submitted"] == "auto-generated"
        body = mail.get_content().replace("\r\n", "\n")
        assert body.endswith("http://ui.example/runs/1\n") and not {"\x1b", "\u202e"} & set(body)
        # The same message again can be known by its id.
        await send(it, message(HOSTILE))
        assert mailbox.mails[1]["Message-ID"] == mail["Message-ID"]


async def test_a_mail_server_that_refuses_is_quoted_without_the_password(
    server_tls: ssl.SSLContext, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    with mail_receiver(starttls=server_tls) as mailbox:
        as_sent = b64encode(b"\0antenna\0a good password").decode()
        for said in ("a good password", as_sent):
            mailbox.answer = f"554 the password was {said}"
            with pytest.raises(errors.Unavailable, match="it answered 554 the password was …"):
                await send(mail_target(tmp_path, mailbox), message())
        mailbox.password = "another"
        with pytest.raises(errors.Unavailable, match="it answered 535"):
            await send(mail_target(tmp_path, mailbox), message())


async def test_mail_over_tls_from_the_start_arrives(
    server_tls: ssl.SSLContext, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    with mail_receiver(tls=server_tls) as mailbox:
        await send(mail_target(tmp_path, mailbox, security="tls", user="", password=""), message())
        assert mailbox.mails[0]["Subject"] == "[antenna] job 7 failed: pond"


def test_no_line_end_of_a_subject_begins_a_header(tmp_path: Path) -> None:
    it = mail_target(tmp_path, Mailbox(port=25))
    assert isinstance(it, EmailTarget)
    made = Message(
        message_id="1", telling=Telling.BEGINS, event="check", project="", subject="a\r\nBcc: b@example.org\u2028c",
        text="t", link="", since=SINCE,
    )  # fmt: skip
    written = mail.mail_of(it, made).as_bytes()
    assert b"\nBcc:" not in written and b"\nSubject:" not in written


# Commands.


def script(tmp_path: Path, body: str) -> str:
    file = tmp_path / "page"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


async def test_a_command_gets_json_and_a_plain_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTENNA_DATABASE_URL", "postgresql://u:s3cr3t@h/d")
    monkeypatch.setenv("PAGER_KEY", "k3y")
    page = script(tmp_path, f'cat > {tmp_path}/got; env > {tmp_path}/env; echo told; echo "$1"')
    it = target(tmp_path, kind="command", command=[page, "$(touch no)"], environment=["PAGER_KEY"])
    assert await send(it, message(HOSTILE)) == "told $(touch no)"
    got = json.loads((tmp_path / "got").read_text())
    assert got["id"] == "12" and "\x1b" not in got["subject"]
    environment = (tmp_path / "env").read_text()
    assert "PAGER_KEY=k3y" in environment and "ANTENNA_" not in environment


async def test_a_command_that_repeats_its_key_is_quoted_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER_KEY", "k3y")
    for status in (0, 1):
        page = script(tmp_path, f'echo "sent by $PAGER_KEY" | tee /dev/stderr; exit {status}')
        it = target(tmp_path, kind="command", command=[page], environment=["PAGER_KEY"])
        try:
            said = await send(it, message())
        except errors.Unavailable as error:
            said = str(error)
        assert "sent by …" in said and "k3y" not in said


async def test_a_command_that_fails_or_hangs_is_told(tmp_path: Path) -> None:
    failing = target(tmp_path, kind="command", command=[script(tmp_path, "echo no network >&2; exit 3")])
    with pytest.raises(errors.Unavailable, match="page: no network"):
        await send(failing, message())
    hanging = target(tmp_path, kind="command", command=[script(tmp_path, "exec sleep 600")], timeout_seconds=0.3)
    with pytest.raises(errors.Unavailable, match=r"longer than 0\.3 s|within 0\.3 s"):
        await send(hanging, message())
