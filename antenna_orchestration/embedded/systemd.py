"""A stack as a service of systemd: the text of its unit, where unit and secrets lie, and what systemd says of them.

A unit belongs to the caller's own manager (`systemctl --user`) or to the machine's. Nothing here starts a stack: the
unit runs `antenna up`, which does.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from antenna_orchestration import errors

MARK: Final = "# Written by `antenna service install`"
"""First line of our units. A unit without it is somebody else's, and is neither replaced nor removed."""

_BOOTED: Final = Path("/run/systemd/system")
"""Exists where systemd is the machine's init; see sd_booted(3)."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

_ENV_TEXT: Final = """\
# Settings and secrets of the service, a NAME=value a line; systemd reads them when the service starts.
# ANTENNA_UI_PASSWORD=...
# AWS_ACCESS_KEY_ID=...
# AWS_SECRET_ACCESS_KEY=...
"""

_HARDENED: Final = """\
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""

# A user's manager can do these only in a user namespace, which many systems forbid. Neither has PrivateTmp, ProtectHome
# or PrivateDevices: photographs may lie in /tmp and in homes, and a worker needs the GPU.
_HARDENED_BY_ROOT: Final = """\
ProtectSystem=full
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
"""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service: its name without `.service`, and whose manager runs it."""

    name: str
    is_system: bool

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise errors.InvalidInput(f"{self.name!r} is not a name for a service: use letters, digits and . _ -")

    @property
    def unit(self) -> Path:
        """Where systemd looks for the unit."""
        folder = Path("/etc/systemd/system") if self.is_system else _config() / "systemd/user"
        return folder / f"{self.name}.service"

    @property
    def is_enabled(self) -> bool:
        """Whether the service starts at boot, as the files say: systemd need not answer."""
        return (self.unit.parent / f"{self._target}.wants" / self.unit.name).is_symlink()

    @property
    def _target(self) -> str:
        return "multi-user.target" if self.is_system else "default.target"

    @property
    def secrets(self) -> Path:
        """The file with settings and secrets, which only its owner may read."""
        return (Path("/etc") if self.is_system else _config()) / "antenna" / f"{self.name}.env"

    @property
    def command(self) -> list[str]:
        """`systemctl` for the right manager."""
        return ["systemctl", *([] if self.is_system else ["--user"])]

    @property
    def hint(self) -> str:
        """The same as people type it."""
        return " ".join(self.command)

    def text(self, *, home: Path, folder: Path, account: str) -> str:
        """The unit that runs `antenna up` for the stack in `home`, in the working directory `folder`.

        `account` is who runs it; a user's manager runs it as that user anyway.
        """
        # The second waits for the shares in /etc/fstab, which may hold the lake. The third only waits where something
        # that sets the clock says when it has, such as systemd-time-wait-sync; it is not ours to want, see
        # systemd.special(7). A user's manager knows none of them.
        first = "network-online.target remote-fs.target time-sync.target"
        after = f"After={first}\nWants=network-online.target\n" if self.is_system else ""
        return f"""\
{MARK}
# To change something, use: {self.hint} edit {self.name}

[Unit]
Description=antenna stack in {_verbatim(home)}
{after}
[Service]
Type=exec
{f"User={account}" + chr(10) if self.is_system else ""}WorkingDirectory={_verbatim(folder)}
Environment={_quoted(f"ANTENNA_HOME={home}")}
EnvironmentFile=-{_verbatim(self.secrets)}
ExecStart={_quoted(str(program()))} up
# SIGTERM to `antenna up` alone, which stops its servers in order.
KillMode=mixed
TimeoutStopSec=120
# A worker that runs out of memory is started again by the stack, which goes on.
OOMPolicy=continue
Restart=on-failure
# A setting is wrong: a person has to correct it.
RestartPreventExitStatus=2
RestartSec=10
StandardOutput=journal
StandardError=journal
{_HARDENED}{_HARDENED_BY_ROOT if self.is_system else ""}
[Install]
WantedBy={self._target}
"""

    def write(self, text: str) -> bool:
        """Write the unit, and a file for secrets if there is none; returns whether the unit is new.

        Raises `Conflict` if the unit exists with other contents, and then writes nothing.
        """
        existing = self._read()
        if existing is not None and existing != text:
            whose = (
                "of another version or folder" if self._is_ours(existing) else "that was not written by this command"
            )
            raise errors.Conflict(
                f"{self.unit} exists with other contents, {whose}: compare it with `antenna service install --print`, "
                f"then {self._way_out(existing)}, or give this one another name with --name"
            )
        try:
            self._write_secrets()
            if existing is None:
                self.unit.parent.mkdir(parents=True, exist_ok=True)
                self.unit.write_text(text)
        except OSError as error:
            raise _not_allowed(error, "written") from None
        return existing is None

    def remove(self) -> None:
        """Remove the unit; the file with secrets stays.

        Raises `NotFound` if there is none, and `Conflict` if it is not ours.
        """
        self.check_ours()
        try:
            self.unit.unlink()
        except OSError as error:
            raise _not_allowed(error, "removed") from None

    def check_ours(self) -> None:
        """Raises `NotFound` if there is no unit, and `Conflict` if it is not ours."""
        existing = self._read()
        if existing is None:
            raise errors.NotFound(f"there is no service {self.name}: no file {self.unit}")
        if not self._is_ours(existing):
            raise errors.Conflict(f"{self.unit} was not written by `antenna service install`: remove it yourself")

    def asks(self, *words: str) -> str:
        """What systemctl answers to a question, such as `is-active`; empty where it does not answer."""
        try:
            done = subprocess.run([*self.command, *words, self.name], capture_output=True, text=True, check=False)
        except OSError:
            return ""
        return done.stdout.strip()

    def tells(self, *words: str) -> None:
        """Have systemctl do something. Raises `Unavailable` with what it said if it failed."""
        done = subprocess.run([*self.command, *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
            raise errors.Unavailable(f"`{self.hint} {' '.join(words)}` failed: {said}")

    def _read(self) -> str | None:
        try:
            return self.unit.read_text(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _not_allowed(error, "read") from None

    def _is_ours(self, text: str) -> bool:
        return text.startswith(MARK)

    def _way_out(self, existing: str) -> str:
        if not self._is_ours(existing):
            return "remove it yourself"
        system = " --system" if self.is_system else ""
        name = "" if self.name == "antenna" else f" --name {self.name}"
        return f"replace it: `antenna service uninstall{system}{name}` and install again"

    def _write_secrets(self) -> None:
        self.secrets.parent.mkdir(parents=True, exist_ok=True)
        try:
            number = os.open(self.secrets, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            # One that others can read was made by hand.
            self.secrets.chmod(0o600)
            return
        with os.fdopen(number, "w") as file:
            file.write(_ENV_TEXT)


def check_manager(service: Service) -> None:
    """Raises `Unavailable` where systemd does not run, and `Forbidden` where only root may do this."""
    if shutil.which("systemctl") is None or not _BOOTED.is_dir():
        raise errors.Unavailable(
            "systemd does not run on this machine, so it can run no service: start `antenna up` in another way (with "
            "--print this shows the unit, with --files-only it writes it)"
        )
    if not service.is_system:
        # As root, or in a shell of su, there is often no manager to speak to.
        service.tells("show-environment")


def check_rights(service: Service) -> None:
    """Raises `Forbidden` for a service of the machine where the caller is not root."""
    if service.is_system and os.geteuid() != 0:
        raise errors.Forbidden(f"{service.unit} is root's: run this with sudo, or leave out --system")


def account_of(folder: Path) -> str:
    """The name of the account that owns a folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    owner = folder.stat().st_uid
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)


def check_account(name: str) -> None:
    """Raises `NotFound` if this machine has no account of that name."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        raise errors.NotFound(f"there is no account {name!r} on this machine") from None


def lingers() -> bool:
    """Whether the caller's services run while the caller is not logged in."""
    return (Path("/var/lib/systemd/linger") / pwd.getpwuid(os.geteuid()).pw_name).exists()


def program() -> Path:
    """The `antenna` command of this installation. Raises `InternalError` if it is not where it was installed."""
    found = Path(sys.executable).with_name("antenna")
    if not found.is_file():
        raise errors.InternalError(f"there is no {found}: install antenna into the environment of {sys.executable}")
    return found


def _config() -> Path:
    given = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(given) if given.startswith("/") else Path.home() / ".config"


def _verbatim(path: Path) -> str:
    """A path in a unit where systemd takes the rest of the line. Raises `InvalidInput` for a line break."""
    text = str(path)
    if not text.isprintable():
        raise errors.InvalidInput(f"{text!r} cannot be named in a unit of systemd: rename the folder")
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """A word in a unit where systemd splits the line into words."""
    escaped = _verbatim(Path(text)).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _not_allowed(error: OSError, done: str) -> errors.AntennaError:
    return errors.InternalError(f"{error.filename} cannot be {done}: {error.strerror}")
