"""M3: ESC, OSC, controls of direction and line ends of users, workers and files never reach a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings

from antenna_orchestration.assets import metadata
from antenna_orchestration.cli import main, output, submission_view, workers
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.markdown import escape
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.samples import Sample
from antenna_orchestration.processing.services import opened
from antenna_orchestration.submission.kinds import Kind
from antenna_orchestration.submission.sources import LeftOut
from tests.cli.shells import Shell
from tests.domain.test_terminal import HOSTILE, hostile, is_harmless
from tests.processing.jobs_by_hand import make_job

NOW = datetime.now(UTC)
EVIL = "\x1b[2J\x1b]0;owned\x07 \x9b31m\u202egpj\u2066\nantenna: error: \r[red]x"


def heartbeat(text: str, **changes: object) -> messages.Heartbeat:
    values = {
        "worker": text, "host": text, "pid": 1, "device": text, "pipelines": (text,), "reaches": (), "started_at": NOW,
        "at": NOW, "service": text, "state": text, "kind": text, "failing": {text: text},
    }  # fmt: skip
    return messages.Heartbeat(**{**values, **changes})  # type: ignore[arg-type]


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    """All that is printed."""
    both = io.StringIO()
    with contextlib.redirect_stdout(both), contextlib.redirect_stderr(both):
        yield both


def assert_harmless(text: str, *, lines: int | None = None) -> None:
    shown = text.split("\n")
    assert [one for one in shown if not is_harmless(one.replace("\t", ""))] == []
    assert lines is None or len(shown) == lines + 1


@given(hostile)
@settings(max_examples=40)
def test_whatever_a_text_holds_a_command_prints_its_lines(text: str) -> None:
    with printed() as said:
        output.line(text)
        output.note(text)
        output.warn(text)
        submission_view.print_left_out([LeftOut(Kind.OTHER, text, text)])
        main._fail(text, ValueError(text), 1)
    assert_harmless(said.getvalue(), lines=5)
    with printed() as said:
        output.show_table(("A", "B"), [(text, [text, text])], wraps=("B",))
        output.show_pairs({text: text, "b": [text]})
        workers.show([heartbeat(text)], {text: Counter([text])})
        output.as_json({text: text})
    assert_harmless(said.getvalue())
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(output.LogLines("%(message)s"))
    handler.handle(logging.LogRecord("a", logging.INFO, "", 1, "%s", (text,), None))
    assert_harmless(stream.getvalue(), lines=1)


@given(hostile)
@settings(max_examples=40)
def test_asset_metadata_show_text_as_it_is(text: str) -> None:
    [row] = metadata.counts("label", Counter([text])).value.records  # type: ignore[attr-defined]
    assert is_harmless(str(row.data["label"]))
    shown = metadata.pictures([Sample(text, b"jpeg")]).value
    assert shown == f"**{escape(text)}**\n\n![{escape(text)}](data:image/jpeg;base64,anBlZw==)"
    assert metadata.pictures([Sample(text, None, text)]).value == f"**{escape(text)}**\n\nno picture: {escape(text)}"


@pytest.mark.long
def test_commands_show_a_hostile_job_and_worker(
    antenna: Shell, shared_stores: EmbeddedStores, project: str, tmp_path: Path
) -> None:
    worker = f"{EVIL} {project}"

    async def prepare() -> int:
        async with opened(shared_stores.settings) as services:
            job = await make_job(services, project, 1, name=EVIL, created_by=EVIL, config={"a": EVIL})
            await services.catalog.job_log.add(job.job_id, "reported", EVIL, level="WARNING", why=EVIL)
            await services.heartbeats.beat(heartbeat(worker))
            return job.job_id

    async def leave() -> None:
        async with opened(shared_stores.settings) as services:
            await services.heartbeats.leave(worker)

    number = asyncio.run(prepare())
    antenna("jobs", "cancel", number, "--reason", EVIL)
    try:
        for command in (
            ("jobs", "list", "--project", project), ("jobs", "show", number), ("jobs", "logs", number), ("workers",),
            ("jobs", "watch", number), ("jobs", "retry", number), ("health", "--dry-run"),
        ):  # fmt: skip
            for options in ((), ("--json",)):
                done = antenna(*command, *options)
                assert done.out or done.err
                assert_harmless(done.out)
                assert_harmless(done.err)
                if command == ("jobs", "retry", number):
                    antenna("jobs", "cancel", number, "--reason", EVIL)
    finally:
        asyncio.run(leave())
    logged = [json.loads(line) for line in antenna("jobs", "logs", number, "--json").out.splitlines()]
    assert EVIL in [one["message"] for one in logged], "JSON keeps the text as it is"
    assert len(antenna("jobs", "logs", number).out.splitlines()) == len(logged), "a text forged a line"


def test_errors_and_previews_show_hostile_names(lonely: Shell, tmp_path: Path) -> None:
    for text in filter(lambda one: "\udcff" not in one and "\ue000" not in one, HOSTILE):
        refused = lonely("submit", str(tmp_path / text.replace("/", "_")), "--dry-run")
        assert refused.code
        assert_harmless(refused.err, lines=1)
    folder = tmp_path / "card"
    folder.mkdir()
    for name in ("a\x1b[31m\n.jpg", "b\u202egpj.exe", "c\r.mp4"):
        (folder / name).write_bytes(b"x")
    shown = lonely("submit", str(folder), "--dry-run", "--list-left-out")
    assert_harmless(shown.out)
    assert_harmless(shown.err)
    assert "a?[31m .jpg" in shown.out
