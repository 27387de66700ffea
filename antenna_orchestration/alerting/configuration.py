"""The file that says which alerts go where: `ANTENNA_ALERTS`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from antenna_orchestration import errors
from antenna_orchestration.alerting import secret_values
from antenna_orchestration.domain.alerts import UNLESS_NAMED, Alert, Event
from antenna_orchestration.pipelines import yaml_files

MOST_TARGETS: Final = 50
PAGE: Final = "docs/howto/alerts.md"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_ADDRESS = re.compile(r"[^\s<>@,;:\"()\[\]\\]+@[^\s<>@,;:\"()\[\]\\]+")
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class TargetSettings(BaseModel):
    """What is common to all targets."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    events: tuple[Event, ...] = Field(
        default=tuple(event for event in Event if event in UNLESS_NAMED),
        description="What it is told of. Not given: of all but `job_success`.",
    )
    projects: tuple[str, ...] = Field(
        default=(),
        description="Slugs of projects whose alerts it gets. Not given: those of all, and of the installation itself, "
        "which are told to nobody else.",
    )
    timeout_seconds: float = Field(default=20, gt=0, le=60, description="How long one message may take.")

    def wants(self, alert: Alert) -> bool:
        """Whether the target is told of the alert."""
        return alert.event in self.events and (not self.projects or alert.project in self.projects)


class SlackTarget(TargetSettings):
    """An incoming webhook of Slack, or of another chat that takes the same, such as Mattermost."""

    kind: Literal["slack"]
    url: str = Field(
        description="The webhook's address, as `file:/…` or `env:NAME`: whoever has it can write to the channel."
    )

    @field_validator("url")
    @classmethod
    def _is_reference(cls, url: str) -> str:
        return secret_values.checked(url)


class WebhookTarget(TargetSettings):
    """Any address that takes JSON by POST."""

    kind: Literal["webhook"]
    url: str = Field(
        description="`https://…` without a login or a query; with a secret in it as `file:/…` or `env:NAME`."
    )
    token: str = Field(
        default="", description="Sent as `Authorization: Bearer …`; as `file:/…` or `env:NAME`. Not given: none."
    )

    @field_validator("url")
    @classmethod
    def _can_be_shown(cls, url: str) -> str:
        if secret_values.is_reference(url):
            return secret_values.checked(url)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it is not an http:// or https:// address, a file:/… or env:NAME")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("an address with a login or a query holds a secret: name it by file:/… or env:NAME")
        return url

    @field_validator("token")
    @classmethod
    def _is_reference(cls, token: str) -> str:
        return secret_values.checked(token) if token else token


class EmailTarget(TargetSettings):
    """Mail, by a server that takes it by SMTP."""

    kind: Literal["email"]
    host: str = Field(min_length=1, max_length=255, description="Server that takes the mail.")
    port: int | None = Field(
        default=None, ge=1, le=65535, description="Its port. Not given: 587 with `starttls`, 465 with `tls`, else 25."
    )
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection is encrypted. The server's certificate is checked."
    )
    user: str = Field(default="", description="Name to log in with. Not given: no login.")
    password: str = Field(default="", description="Its password, as `file:/…` or `env:NAME`.")
    sender: str = Field(alias="from", description="Address that the mail comes from.")
    to: tuple[str, ...] = Field(min_length=1, max_length=50, description="Addresses that it goes to.")

    @field_validator("password")
    @classmethod
    def _is_reference(cls, password: str) -> str:
        return secret_values.checked(password) if password else password

    @field_validator("sender", "to")
    @classmethod
    def _are_addresses(cls, given: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for address in (given,) if isinstance(given, str) else given:
            if not _ADDRESS.fullmatch(address) or not address.isprintable() or not _is_address(address):
                raise ValueError("an address is written as somebody@example.org, without a name")
        return given

    @model_validator(mode="after")
    def _keeps_its_password(self) -> EmailTarget:
        if bool(self.user) != bool(self.password):
            raise ValueError("`user` and `password` belong together")
        if self.password and self.security == "none" and self.host not in _LOCAL:
            raise ValueError("a password goes over an encrypted connection only: `security` is starttls or tls")
        return self


class CommandTarget(TargetSettings):
    """A command, which gets the alert as JSON on its standard input."""

    kind: Literal["command"]
    command: tuple[str, ...] = Field(min_length=1, description="Program and its arguments, each an entry; no shell.")
    environment: tuple[str, ...] = Field(
        default=(),
        description="Names of variables that it gets besides PATH, HOME, USER and the language.",
    )


AnyTarget = SlackTarget | WebhookTarget | EmailTarget | CommandTarget


class AlertSettings(BaseModel):
    """What the file says."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    ui_url: str = Field(
        default="",
        description="Address under which people reach the Dagster UI, for the links. Not given: ANTENNA_UI_URL.",
    )
    no_worker_minutes: float = Field(
        default=30, ge=0, le=10_080, description="For how long jobs wait without a worker."
    )
    check_minutes: float = Field(default=5, ge=0, le=10_080, description="For how long a health check fails.")
    source_minutes: float = Field(
        default=15, ge=0, le=10_080, description="For how long a watched source cannot be listed or submitted."
    )
    remind_after_hours: float = Field(
        default=24, ge=1, le=8_784, description="After how long an alert that lasts is told again."
    )
    most_at_once: int = Field(
        default=10, ge=1, le=1_000, description="More messages for a target at once become one that lists them."
    )
    targets: dict[str, Annotated[AnyTarget, Field(discriminator="kind")]] = Field(
        min_length=1, max_length=MOST_TARGETS, description="Where alerts go, by names of yours."
    )

    @field_validator("ui_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise ValueError("it is not an http:// or https:// address")
        return url.rstrip("/")

    @field_validator("targets")
    @classmethod
    def _have_names(cls, targets: dict[str, AnyTarget]) -> dict[str, AnyTarget]:
        for name in targets:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name[:40]!r} is not a valid name for a target: up to 32 of a-z, 0-9 and -")
        return targets

    @property
    def patience(self) -> Mapping[Event, float]:
        """Seconds that an alert must last before it is told."""
        return {
            Event.NO_WORKER: self.no_worker_minutes * 60,
            Event.CHECK: self.check_minutes * 60,
            Event.SOURCE: self.source_minutes * 60,
        }

    @property
    def events(self) -> frozenset[Event]:
        """What any target is told of."""
        return frozenset(event for target in self.targets.values() for event in target.events)


def read(path: Path) -> AlertSettings:
    """What the file says. Raises `InvalidSetting`."""
    said = yaml_files.of_setting("ANTENNA_ALERTS", path, holds="targets")
    if not isinstance(said, Mapping) or not said.get("targets"):
        raise errors.InvalidSetting(f"ANTENNA_ALERTS: {path} has no targets; see {PAGE}")
    try:
        return AlertSettings.model_validate(said)
    except ValidationError as error:
        raise errors.InvalidSetting(f"ANTENNA_ALERTS: {path}: {_first(error)}") from None


def _is_address(text: str) -> bool:
    # As it is made for a mail; the import takes a while.
    from email.errors import MessageError
    from email.headerregistry import Address

    try:
        Address(addr_spec=text)
    except (MessageError, ValueError):
        return False
    return True


def _first(error: ValidationError) -> str:
    fault: Any = error.errors(include_input=False, include_url=False)[0]
    place = [str(part) for part in fault["loc"]]
    if place[:1] == ["targets"] and len(place) > 2:
        # After the name pydantic tells the kind that it chose.
        place = [*place[:2], *place[3:]]
    named = ".".join(place)
    if fault["type"] == "extra_forbidden":
        return f"{named}: there is no such key; see {PAGE}"
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{named}: `kind` is slack, webhook, email or command"
    if fault["type"] == "tuple_type":
        return f"{named}: a list is wanted, each an entry: [one, two]"
    if fault["type"] == "enum" and "events" in place:
        return f"{named}: the events are {', '.join(Event)}"
    return f"{named}: {fault['msg'].removeprefix('Value error, ')}"
