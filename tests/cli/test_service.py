"""The stack as a service of systemd: its unit, its file of secrets, and what is said where there is no systemd.

`systemd-analyze` judges what is written. No test starts a service: what runs the tests is rarely run by systemd.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.shells import Ended, Shell

FILES = ("service", "install", "--files-only")


@pytest.fixture
def odd(lonely: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Commands in a folder, and with a configuration, whose names mean something in a unit."""
    folder = tmp_path / "100%h of $HOME"
    folder.mkdir()
    monkeypatch.chdir(folder)
    lonely.set(ANTENNA_HOME=str(folder / ".antenna"), XDG_CONFIG_HOME=str(tmp_path / "my config"))
    return lonely


def unit_of(tmp_path: Path, name: str = "antenna") -> Path:
    return tmp_path / "my config/systemd/user" / f"{name}.service"


def installed(antenna: Shell) -> Ended:
    answer = antenna(*FILES)
    assert answer.code == 0, answer
    return answer


def test_the_files_of_a_service_are_written(odd: Shell, tmp_path: Path) -> None:
    answer = installed(odd)
    unit, secrets = unit_of(tmp_path), tmp_path / "my config/antenna/antenna.env"
    assert str(unit) in answer.out
    assert "enable --now antenna" in answer.out
    assert unit.read_text() == odd("service", "install", "--print").out
    assert secrets.stat().st_mode & 0o777 == 0o600
    secrets.write_text("AWS_SECRET_ACCESS_KEY=mine\n")
    secrets.chmod(0o644)
    assert "unchanged" in installed(odd).out
    assert secrets.read_text() == "AWS_SECRET_ACCESS_KEY=mine\n"
    assert secrets.stat().st_mode & 0o777 == 0o600


def test_what_means_something_in_a_unit_is_escaped(odd: Shell, tmp_path: Path) -> None:
    shown = odd("service", "install", "--print").out
    folder = f"{tmp_path}/100%%h of $HOME"
    assert f"WorkingDirectory={folder}\n" in shown
    assert f'Environment="ANTENNA_HOME={folder}/.antenna"\n' in shown
    assert not unit_of(tmp_path).exists()
    odd.set(ANTENNA_HOME=f"{tmp_path}/a\nExecStart=b")
    odd("service", "install", "--print").refused(2, "rename the folder")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("is_system", [False, True])
def test_systemd_accepts_the_unit(odd: Shell, tmp_path: Path, is_system: bool) -> None:
    unit = tmp_path / "antenna.service"
    unit.write_text(odd("service", "install", "--print", *(["--system"] if is_system else [])).out)
    done = subprocess.run(
        ["systemd-analyze", "--system" if is_system else "--user", "verify", unit],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_service_of_the_machine_starts_after_shares_and_clock(odd: Shell) -> None:
    """It waits where somebody has enabled what waits for that, and asks nobody to: see systemd.special(7)."""
    shown = odd("service", "install", "--print", "--system").out
    assert "\nAfter=network-online.target remote-fs.target time-sync.target\n" in shown
    assert "\nWants=network-online.target\n" in shown
    assert "time-sync" not in odd("service", "install", "--print").out


def test_a_service_of_the_machine_runs_as_the_owner_of_the_folder(odd: Shell) -> None:
    shown = odd("service", "install", "--print", "--system", "--name", "moths").out
    assert f"\nUser={pwd.getpwuid(os.geteuid()).pw_name}\n" in shown
    assert "EnvironmentFile=-/etc/antenna/moths.env\n" in shown
    assert "WantedBy=multi-user.target\n" in shown
    assert "User=" not in odd("service", "install", "--print").out
    odd("service", "install", "--print", "--system", "--account", "nobody-here").refused(3, "no account")
    odd("service", "install", "--print", "--account", "root").refused(2, "--system")


def test_a_unit_with_other_contents_is_neither_replaced_nor_lost(odd: Shell, tmp_path: Path) -> None:
    installed(odd)
    unit = unit_of(tmp_path)
    changed = unit.read_text() + "\n# mine\n"
    unit.write_text(changed)
    odd(*FILES).refused(4, "antenna service uninstall` and install again")
    unit.write_text("[Unit]\nDescription=of somebody else\n")
    odd(*FILES).refused(4, "remove it yourself")
    odd("service", "uninstall").refused(4, "remove it yourself")
    assert "somebody else" in unit.read_text()
    assert odd(*FILES, "--name", "second").code == 0
    odd(*FILES, "--name", "../x").refused(2, "is not a name for a service")


def test_uninstall_removes_the_unit_and_keeps_secrets(odd: Shell, tmp_path: Path) -> None:
    odd("service", "uninstall").refused(3, "there is no service antenna")
    installed(odd)
    shown = odd("service", "status", "--json")
    assert shown.code == 1
    assert shown.json["unit"] == str(unit_of(tmp_path))
    answer = odd("service", "uninstall")
    assert answer.code == 0
    assert "kept" in answer.out
    assert not unit_of(tmp_path).exists()
    assert (tmp_path / "my config/antenna/antenna.env").exists()
    assert "not installed" in odd("service", "status").out


def test_variables_of_the_shell_are_not_forgotten(odd: Shell) -> None:
    odd.set(ANTENNA_IMAGE_ROOTS="/srv/photographs")
    answer = installed(odd)
    assert "ANTENNA_IMAGE_ROOTS" in answer.err
    assert "/srv/photographs" not in answer.err


@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd runs here: it would be asked")
def test_a_service_that_nobody_can_stop_is_not_removed(odd: Shell, tmp_path: Path) -> None:
    installed(odd)
    unit = unit_of(tmp_path)
    enabled = unit.parent / "default.target.wants" / unit.name
    enabled.parent.mkdir()
    enabled.symlink_to(unit)
    odd("service", "uninstall").refused(5, "systemd does not run on this machine")
    assert unit.exists()


@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd runs here: it would get a service")
def test_without_systemd_one_line_says_so_and_nothing_is_written(odd: Shell, tmp_path: Path) -> None:
    odd("service", "install").refused(5, "systemd does not run on this machine")
    assert not unit_of(tmp_path).exists()


@pytest.mark.long
def test_a_service_of_the_machine_needs_root() -> None:
    code = (
        "import os; from antenna_orchestration.cli import main, service; "
        "from antenna_orchestration.embedded import stack, systemd; "
        "os.geteuid() or os.setuid(65534); "
        "main.sys.exit(main.run(['service', 'install', '--system', '--files-only', '--name', 'antenna-of-a-test']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "ANTENNA_HOME": "/tmp/x"},
        check=False,
    )
    assert done.returncode == 1
    assert "/etc/systemd/system/antenna-of-a-test.service is root's: run this with sudo" in done.stderr
