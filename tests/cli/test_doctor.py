"""`antenna doctor`: a line for each thing that is wrong, no password, and an end whatever hangs."""

import gc
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from antenna_orchestration import settings
from antenna_orchestration.catalog import migrations
from antenna_orchestration.embedded import doctor, environment
from antenna_orchestration.embedded.doctor import Finding, Level
from antenna_orchestration.embedded.home import Home
from tests.cli.shells import Ended, Shell


def found(ended: Ended, what: str, level: Level) -> list[str]:
    """The texts of a kind."""
    return [one["text"] for one in ended.json["findings"] if (one["what"], one["level"]) == (what, level)]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are taken, and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_all_servers_answer_and_no_password_is_told(antenna: Shell) -> None:
    told = antenna("doctor", "--json")
    for server in ("PostgreSQL", "Dagster's database", "NATS", "Redis"):
        assert [
            text for level in (Level.OK, Level.WARNING) for text in found(told, server, level) if "answers in" in text
        ]
        assert not found(told, server, Level.WRONG)
    assert found(told, "catalog", Level.OK) == [f"its tables are of version {migrations.newest()}, as this code needs"]
    assert found(told, "clocks", Level.OK)
    passwords = [urlsplit(value).password for value in antenna.variables.values() if "://" in value]
    secrets = [*filter(None, passwords), antenna.variables["ANTENNA_SECRET_KEY"]]
    assert len(secrets) >= 5
    assert not [secret for secret in secrets if secret in told.out + told.err]


def test_it_works_without_a_stack_and_says_what_is_misspelt(lonely: Shell, tmp_path: Path) -> None:
    lonely.set(ANTENNA_GATEWAY_PROT="1", ANTENNA_IMAGE_ROOTS=str(tmp_path / "nowhere"))
    told = lonely("doctor", "--json")
    assert found(told, "settings", Level.WARNING) == [
        "ANTENNA_GATEWAY_PROT is not a setting: is ANTENNA_GATEWAY_PORT meant?"
    ]
    assert found(told, "image root", Level.WRONG)[0].startswith(f"{tmp_path / 'nowhere'} is not a folder here")
    assert (told.code, told.json["well"]) == (1, False)
    lonely.set(ANTENNA_IMAGE_ROOTS=str(tmp_path))
    well = lonely("doctor")
    assert "0 things are wrong, 1 warning" in well.err
    assert well.code == 0


def test_a_setting_that_does_not_parse_is_one_line(lonely: Shell) -> None:
    lonely.set(ANTENNA_UI_PORT="many")
    told = lonely("doctor", "--json")
    [line] = found(told, "settings", Level.WRONG)
    assert line.startswith("ANTENNA_UI_PORT: ")
    assert told.code == 1


# The NATS client leaves a connection behind that is given up while it is made.
@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_servers_that_hang_or_are_away_hold_nothing_up(
    lonely: Shell, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_ANSWER", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        away = server.getsockname()[1]
    lonely.set(
        ANTENNA_DATABASE_URL=f"postgresql://someone:verysecret@127.0.0.1:{silent}/x",
        ANTENNA_NATS_URL=f"nats://someone:verysecret@127.0.0.1:{silent}",
        ANTENNA_REDIS_URL=f"redis://:verysecret@127.0.0.1:{away}/0",
    )
    told = lonely("doctor", "--json")
    for server in ("PostgreSQL", "NATS", "Redis"):
        assert found(told, server, Level.WRONG), server
    assert found(told, "work", Level.WARNING) == ["not looked at: a server does not answer"]
    assert found(told, "disk", Level.OK), "what needs no server was looked at"
    assert "verysecret" not in told.out + told.err
    gc.collect()


def test_a_check_that_hangs_or_fails_is_a_finding() -> None:
    ends = threading.Event()

    def hangs(_: settings.Settings) -> Iterator[Finding]:
        ends.wait(60)
        yield Finding.ok("share", "it came back")

    def fails(_: settings.Settings) -> Iterator[Finding]:
        yield Finding.ok("fails", "so far")
        raise OSError("postgresql://someone:verysecret@host/x is broken")

    examined = doctor.examine({"share": hangs, "fails": fails}, deadline=1.0)
    ends.set()
    assert examined.hangs
    assert not examined.is_well
    texts = {one.what: one.text for one in examined.findings}
    assert texts["share"].startswith("no answer within")
    assert texts["fails"].startswith("this could not be looked at: OSError")
    assert "verysecret" not in texts["fails"]


@pytest.mark.long
def test_rights_of_secrets_and_another_stack_of_the_shell(lonely: Shell, tmp_path: Path) -> None:
    home = Home(tmp_path / ".antenna")
    home.create()
    environment.write(home, {"ANTENNA_NATS_URL": "nats://one:secret@127.0.0.1:1", "ANTENNA_HOME": str(home.path)})
    home.env_file.chmod(0o644)
    lonely.set(ANTENNA_NATS_URL="nats://other:secret@127.0.0.1:2")
    told = lonely("doctor", "--json")
    assert [text for text in found(told, "permissions", Level.WRONG) if "env (mode 644): chmod 600" in text]
    assert [
        text for text in found(told, "settings", Level.WARNING) if text.startswith("ANTENNA_NATS_URL of this shell")
    ]
    assert found(told, "stack", Level.WARNING) == [f"none runs in {home.path}: start it with `antenna up`"]


NOW = datetime(2026, 6, 12, tzinfo=UTC)

FACTS = {
    "version": "18", "most": 200, "reserved": 3, "used": 5, "fsync": True, "level": "", "now": NOW,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"level": "0001"}, "catalog"),
        ({"level": "9999"}, "catalog"),
        ({"most": 20}, "PostgreSQL"),
        ({"used": 190}, "PostgreSQL"),
        ({"fsync": False}, "PostgreSQL"),
        ({"now": NOW + timedelta(minutes=5)}, "clocks"),
    ],
)
def test_what_postgresql_says_is_judged(changed: dict[str, object], what: str) -> None:
    facts = {**FACTS, "level": migrations.newest()}
    judge = doctor._catalog_findings
    assert {one.level for one in judge(facts, NOW)} == {Level.OK}
    assert what in {one.what for one in judge({**facts, **changed}, NOW) if one.level is not Level.OK}


SMI = "| NVIDIA-SMI 550.54  Driver Version: {driver}  CUDA Version: {cuda} |"


@pytest.mark.parametrize(
    ("said", "level"),
    [(SMI.format(driver="1.2", cuda="99.0"), Level.OK), (SMI.format(driver="1.2", cuda="9.0"), Level.WRONG)],
)
def test_the_driver_must_fit_the_build_of_torch(
    said: str, level: Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    assert subprocess.run([program], check=True, capture_output=True).stdout
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(doctor, "_cuda_of_torch", lambda: 12)
    [finding] = doctor._gpu(settings.Settings())
    assert (finding.what, finding.level) == ("GPU", level), finding
