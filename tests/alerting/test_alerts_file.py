"""What the file of alerts may say, and the one line that tells what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.alerting import configuration
from antenna_orchestration.domain.alerts import Alert, Event

GOOD = "targets:\n  chat:\n    kind: slack\n    url: env:SLACK\n"


def read(tmp_path: Path, text: str) -> configuration.AlertSettings:
    file = tmp_path / "alerts.yaml"
    file.write_text(text)
    return configuration.read(file)


def alert(event: Event, project: str = "") -> Alert:
    return Alert(key="k", event=event, project=project, subject="s", text="t")


def test_a_target_gets_all_but_successes_unless_it_says_more(tmp_path: Path) -> None:
    chat = read(tmp_path, GOOD).targets["chat"]
    assert [event for event in Event if not chat.wants(alert(event))] == [Event.JOB_SUCCESS]
    said = read(tmp_path, GOOD + "    events: [job_success]\n    projects: [moths]\n")
    assert said.targets["chat"].wants(alert(Event.JOB_SUCCESS, "moths"))
    assert not said.targets["chat"].wants(alert(Event.JOB_SUCCESS, "bees"))
    assert not said.targets["chat"].wants(alert(Event.JOB_FAILURE, "moths"))
    assert said.events == {Event.JOB_SUCCESS}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no targets; see docs/howto/alerts.md"),
        ("targets: {}", "has no targets"),
        ("- a", "has no targets"),
        ("targets:\n\tchat: 1", "there is a tab"),
        (GOOD + "extra: 1\n", "extra: there is no such key"),
        (GOOD + "    colour: red\n", "targets.chat.colour: there is no such key"),
        (GOOD.replace("slack", "pigeon"), "targets.chat: `kind` is slack, webhook, email or command"),
        (GOOD.replace("chat:", "Our Chat:"), "'Our Chat' is not a valid name for a target"),
        (GOOD.replace("env:SLACK", "https://hooks.example/s3cr3t"), "chat.url: a secret does not stand in this"),
        (GOOD + "    events: [jobs]\n", "targets.chat.events.0: the events are job_failure, job_success"),
        (GOOD + "    events: job_failure\n", "targets.chat.events: a list is wanted"),
        (GOOD + "remind_after_hours: 0\n", "remind_after_hours: Input should be greater than or equal to 1"),
        ("targets: {w: {kind: webhook, url: 'http://u:s3cr3t@h/'}}", "holds a secret: name it by file:/… or env:NAME"),
        ("targets: {w: {kind: webhook, url: 'http://h/?key=s3cr3t'}}", "holds a secret"),
        ("targets: {w: {kind: webhook, url: 'ftp://h/'}}", "it is not an http:// or https:// address"),
        ("targets: {w: {kind: webhook, url: 'http://h/', token: s3cr3t}}", "targets.w.token: a secret does not stand"),
        ("targets: {m: {kind: email, host: h, from: a@b, to: [], user: u, password: 'env:P'}}", "targets.m.to:"),
        ("targets: {m: {kind: email, host: h, from: a@b, to: ['x@y, z@y']}}", "targets.m.to: an address is written as"),
        ("targets: {m: {kind: email, host: h, from: 'a@b\\n', to: [c@d]}}", "targets.m.from: an address is written as"),
        ("targets: {m: {kind: email, host: h, from: a@b, to: [c@d..e]}}", "targets.m.to: an address is written as"),
        ("targets: {m: {kind: email, host: h, from: .a@b, to: [c@d]}}", "targets.m.from: an address is written as"),
        ("targets: {m: {kind: email, host: h, from: a@b, to: [c@d], user: u}}", "`user` and `password` belong"),
        (
            "targets: {m: {kind: email, host: h, from: a@b, to: [c@d], user: u, password: 'env:P', security: none}}",
            "a password goes over an encrypted connection only",
        ),
        ("targets: {c: {kind: command, command: page --now}}", "targets.c.command: a list is wanted"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_without_a_secret(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(errors.InvalidSetting) as refused:
        read(tmp_path, text)
    line = str(refused.value)
    assert told in line and line.startswith("ANTENNA_ALERTS: ") and "\n" not in line and "s3cr3t" not in line


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidSetting, match=r"none\.yaml cannot be read: No such file"):
        configuration.read(tmp_path / "none.yaml")
