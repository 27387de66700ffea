"""`antenna alerts`: what is wrong, who was told, and whether alerts arrive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from antenna_orchestration.alerting import configuration
from antenna_orchestration.cli import output
from antenna_orchestration.domain.alerts import Alert, Event, Seen
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Records, opened_records
from antenna_orchestration.upkeep import alerts
from antenna_orchestration.upkeep.alert_sources import Looking
from tests.alerting.receivers import Receiver, web_receiver
from tests.cli.shells import Shell


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 80)


@pytest.fixture
def web() -> Iterator[Receiver]:
    with web_receiver() as receiver:
        yield receiver


@pytest.fixture
def file(web: Receiver, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "alerts.yaml"
    (tmp_path / "slack").write_text(f"{web.url}/s3cr3t")
    slack = {"kind": "slack", "url": f"file:{tmp_path / 'slack'}", "projects": [project]}
    bad = {"kind": "webhook", "url": "http://127.0.0.1:9/", "projects": [project]}
    path.write_text(json.dumps({"targets": {f"chat-{project[:8]}": slack, f"bad-{project[:8]}": bad}}))
    monkeypatch.setenv("ANTENNA_ALERTS", str(path))
    return path


def test_a_test_says_what_each_target_answered(lonely: Shell, file: Path, web: Receiver, project: str) -> None:
    chat, bad = f"chat-{project[:8]}", f"bad-{project[:8]}"
    done = lonely("alerts", "test")
    assert done.code == 1 and max(map(len, done.out.splitlines())) <= 80
    assert f"{chat}  slack    yes   200 OK: ok" in done.out and f"{bad}   webhook  no" in done.out
    assert lonely("alerts", "test", chat).code == 0
    [told] = lonely("alerts", "test", bad, "--json").json
    assert (told["target"], told["sent"]) == (bad, False) and "Cannot connect" in told["answer"]
    assert [post.json["text"].splitlines()[0] for post in web.posts] == ["a test of alerts"] * 2
    lonely("alerts", "test", "none").refused(3, f"there is no target 'none'; the file has {chat}, {bad}")


def test_without_a_file_a_test_says_what_to_do(lonely: Shell) -> None:
    lonely("alerts", "test").refused(2, "ANTENNA_ALERTS names no file; docs/howto/alerts.md")


def test_the_list_shows_what_is_wrong_and_who_was_told(
    antenna: Shell, shared_stores: EmbeddedStores, file: Path, project: str
) -> None:
    own = ("--project", project)
    assert "nothing is wrong" in antenna("alerts", "list", *own).err

    async def wrong(_records: Records, _looking: Looking) -> Seen:
        alert = Alert(key=project, event=Event.SEASON, project=project, subject="trap pond is silent", text="t")
        return Seen(of=(project,), alerts=[alert])

    async def round_() -> None:
        said = configuration.read(file)
        async with opened_records(shared_stores.settings) as records:
            await alerts.look(records, said, sources=[wrong])
            await alerts.send_waiting(records, said)

    asyncio.run(round_())
    shown = antenna("alerts", "list", *own).out
    # What a target said stands on a line of its own, whole.
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    assert f"bad-{project[:8]} does not answer since" in shown
    found = antenna("alerts", "list", *own, "--json").json
    [alert] = found["alerts"]
    assert {message["target"][:4]: bool(message["sent_at"]) for message in alert["messages"]} == {
        "chat": True, "bad-": False,
    }  # fmt: skip
    assert [one["failures"] for one in found["targets"]] == [0, 1]
    assert "s3cr3t" not in json.dumps(found) + shown
