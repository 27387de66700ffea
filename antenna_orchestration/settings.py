"""Every setting, typed, read once from `ANTENNA_*` environment variables.

Precedence: the process environment, then the file `env` in the stack's home (written by `antenna up`), then the
defaults below. The home is `ANTENNA_HOME` or the nearest `.antenna` folder upward from the working directory, so any
shell inside the project joins the running stack. `antenna settings` and `docs/reference/settings.md` are made from
this class; a field's description is its documentation.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from antenna_orchestration import errors, server_urls

_LOCATION = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}=[^\s=]+:\d{1,5}")

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})")
_SHORTEST_PASSWORD = 12

SECRETS = frozenset({"secret_key", "ui_password"})
"""Settings of which nothing is ever shown; of URLs only the password is hidden."""

HOME_FOLDER = ".antenna"
ENV_FILE = "env"
ENV_HEADER = "# Written whole by `antenna up`: these settings join the stack of this folder. Holds passwords.\n"
ENV_END = "# End.\n"
"""Last line of an env file that has our header: without it, only a part of the file is there."""


@dataclass(frozen=True, slots=True)
class SeparatedBy:
    """Marks a setting that holds several values: how they are split when read, and joined when shown."""

    separator: str

    def split(self, text: str) -> tuple[str, ...]:
        """The values in a text; blanks around them and empty ones are dropped."""
        return tuple(part.strip() for part in text.split(self.separator) if part.strip())

    def join(self, values: Sequence[object]) -> str:
        """The text that `split` takes apart again."""
        return self.separator.join(str(value) for value in values)


@dataclass(frozen=True, slots=True)
class FoundAtStart:
    """Marks a setting whose default depends on where the process runs: how it is found, for the settings page."""

    how: str


Paths = Annotated[tuple[Path, ...], NoDecode, SeparatedBy(":")]
Words = Annotated[tuple[str, ...], NoDecode, SeparatedBy(",")]


def find_home(start: Path | None = None) -> Path:
    """The stack's home: `ANTENNA_HOME`, else the nearest `.antenna`. It may not exist yet."""
    if configured := os.environ.get("ANTENNA_HOME"):
        return Path(configured).expanduser().absolute()
    return nearest_home(start)


def nearest_home(start: Path | None = None) -> Path:
    """The `.antenna` folder in the working directory or the nearest one above it; else `./.antenna`, not created."""
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / HOME_FOLDER).is_dir():
            return folder / HOME_FOLDER
    return here / HOME_FOLDER


class Settings(BaseSettings):
    """All settings. Times are seconds, sizes are bytes unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="ANTENNA_", extra="ignore", frozen=True, env_ignore_empty=True)

    home: Annotated[Path, FoundAtStart("the nearest `.antenna`, in the working directory or above it")] = Field(
        default_factory=nearest_home, description="Folder of the embedded stack: its data, its logs, its `env` file."
    )

    nats_url: str = Field(
        default="",
        repr=False,
        description="NATS server, `nats://user:password@host:port`, or several of a cluster, separated by `,`. "
        "Empty: the embedded one.",
    )
    worker_nats_url: str = Field(
        default="", repr=False, description="NATS URL with the worker role's rights. Empty: `NATS_URL`."
    )
    redis_url: str = Field(default="", repr=False, description="Redis, `redis://:password@host:port/0`.")
    database_url: str = Field(
        default="", repr=False, description="PostgreSQL of the catalog, `postgresql://user:password@host:port/name`."
    )
    dagster_pg_url: str = Field(
        default="",
        repr=False,
        description="PostgreSQL of Dagster, `postgresql+psycopg2://…`; its own database and role.",
    )
    dagster_unchanged: bool = Field(
        default=False,
        description="Leave out what changes Dagster's own behaviour: ids of partitions that stay when a job is added, "
        "tables and partitions that are looked up once, the output of runs in files only, an index of checks, sensors "
        "that look at once when a job was submitted, and that go on when the clock was set back. Of use if a page of "
        "Dagster shows something wrong.",
    )
    lake_uri: str = Field(
        default="", description="Where Parquet goes: a folder or `s3://bucket/prefix`. Empty: `HOME/lake`."
    )
    export_schemas: Path | None = Field(
        default=None,
        description="Folder of the schemas that `antenna check-export` and the checks of exports use: those of Camtrap "
        "DP, EML, Darwin Core and GBIF. Without it, our own rules check, and other programs as far as they need none.",
    )
    secret_key: str = Field(default="", repr=False, description="Signs lease tokens; generated once by `antenna up`.")

    image_roots: Paths = Field(
        default=(),
        description="Folders that local images may lie in, separated by `:`. Symbolic links are followed first.",
    )
    time_zone: str = Field(
        default="UTC",
        description="Time zone at whose noon the nights of new jobs are cut, such as `Europe/Berlin`. Capture times "
        "stay as they are.",
    )
    bucket_roots: Words = Field(
        default=(),
        description="`s3://bucket/prefix` locations, separated by `,`: whoever submits over HTTP may name images in "
        "the folder there that is named like the project. Not needed with `S3_ANONYMOUS`.",
    )
    allow_private_hosts: bool = Field(
        default=False,
        description="Whether to accept http(s) images and lists on loopback, link-local and private addresses.",
    )
    pictures_of_urls: bool = Field(
        default=False,
        description="Whether the orchestrator loads photographs at http(s) URLs for the pictures of the UI, of "
        "reports and of exports; its network may reach what workers' does not.",
    )
    s3_endpoint_url: str = Field(default="", description="Endpoint of an S3 store that is not AWS.")
    s3_anonymous: bool = Field(default=False, description="Whether to read public buckets without credentials.")
    s3_requester_pays: bool = Field(
        default=False, description="Whether to pay for what is read from buckets whose owners ask for that."
    )

    host_id: Annotated[str, FoundAtStart("the host's name")] = Field(
        default_factory=socket.gethostname, description="Names this host in source kinds (`file:…`) and worker names."
    )

    task_ack_wait: float = Field(
        default=30.0, gt=0.5, description="How long a lease lasts unless its worker extends it."
    )
    task_timeout: float = Field(
        default=600.0,
        gt=0,
        description="How long a task may stay in one stage of a worker before the worker gives it up.",
    )
    max_attempts: int = Field(
        default=5,
        ge=1,
        description="From this delivery of a task on, a worker that fails on the image reports the failure as final.",
    )
    failure_threshold: float = Field(
        default=0.5, ge=0, le=1, description="A job with more than this share of failed images is a FAILURE."
    )

    tasks_max_bytes: int = Field(default=8 * 2**30, gt=0, description="Byte limit of the TASKS stream.")
    results_max_bytes: int = Field(default=32 * 2**30, gt=0, description="Byte limit of the RESULTS stream.")
    http_lease: float = Field(
        default=300.0,
        gt=0.5,
        description="How long the gateway keeps an HTTP worker's lease alive while it hears from that worker.",
    )
    gateway: bool = Field(default=True, description="Whether `antenna up` starts the HTTP gateway.")
    gateway_host: str = Field(default="127.0.0.1", description="Address that the HTTP gateway listens on.")
    gateway_port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        description="Port of the HTTP gateway; with `antenna up` the next free one if taken.",
    )
    gateway_processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes of a gateway, which share its port and so use several cores.",
    )
    gateway_url: str = Field(default="", description="Address of this stack's gateway; written by `antenna up`.")
    gateway_public_url: str = Field(
        default="",
        description="Address of the gateway in image URLs, for workers that reach it through a proxy. "
        "Empty: the address that the worker's own request names.",
    )
    gateway_max_body: int = Field(
        default=768 * 2**20, gt=0, description="Largest request body, after unpacking; larger ones get 413."
    )
    gateway_downloads: int = Field(
        default=4 * 2**30,
        ge=0,
        description="Bytes in the lake for files that were made for downloads, such as CSV; beyond them the oldest go, "
        "and are made again when somebody asks.",
    )
    gateway_patience: float = Field(
        default=60.0,
        ge=1,
        description="How long the gateway waits for a request to begin and for its head, and over which it measures "
        "whether a body, or the reading of an answer, still moves.",
    )
    gateway_proxies: Words = Field(
        default=(),
        description="Addresses or networks, separated by `,`, of the reverse proxies before the gateway. Only from "
        "them is `X-Forwarded-For` believed.",
    )
    gateway_rate: float = Field(
        default=100.0, gt=0, description="Requests per second from one token; a burst may be ten times as many."
    )

    nats_replicas: int = Field(default=1, ge=1, le=5, description="Copies of each JetStream stream; 3 on a cluster.")

    max_image_bytes: int = Field(
        default=256 * 2**20, gt=0, description="Largest image file; an image in a larger one fails, with that reason."
    )
    max_pixels: int = Field(
        default=200_000_000, gt=0, description="Most pixels of an image; one with more fails, with that reason."
    )
    allow_truncated: bool = Field(
        default=False,
        description="Whether to decode truncated or damaged images as far as they go, instead of failing them.",
    )
    load_timeout: float = Field(default=60.0, gt=0, description="How long reading one image may take.")
    load_concurrency: int = Field(
        default=128,
        ge=1,
        description="Most images that a worker reads at the same time. It begins with 16 from each source, and tries "
        "more while the device waits for images.",
    )
    worker_memory_mb: int = Field(
        default=512, ge=16, description="Memory for images that a worker has read and not yet decoded, in MB."
    )
    batch_size: int = Field(default=0, ge=0, description="Images per inference batch; 0: the pipeline's own choice.")
    worker_models_mb: int = Field(
        default=0,
        ge=0,
        description="Memory for the models that a worker keeps loaded, in MB; 0: half of the device's memory.",
    )
    worker_threads: int = Field(
        default=0, ge=0, description="CPU threads of each of a worker's device processes; 0: as many as it may use."
    )
    worker_processes: int = Field(
        default=4,
        ge=1,
        description="Most device processes that a worker keeps for own pipelines, of which each has one; the one that "
        "was used least recently makes room for another. On a GPU each takes some hundred MB more.",
    )
    worker_process_mb: int = Field(
        default=0,
        ge=0,
        description="Memory from which on a device process that grows is replaced between two batches, in MB; 0: half "
        "of the machine's.",
    )
    pipeline_load_timeout: float = Field(
        default=120.0,
        gt=0,
        description="How long loading an own pipeline may take, without downloads of weights and imports of libraries "
        "such as PyTorch; its process is ended then, and it is tried again later.",
    )
    worker_reaches: Words = Field(
        default=(),
        description="More kinds of store that a worker can load from, separated by `,`: `file:*` for a shared mount.",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="What a worker computes on: `auto`, `cpu`, `cuda` or `cuda:1`.",
    )
    top_k: int = Field(default=10, ge=1, le=1000, description="Classes kept per classification, best first.")
    pipeline_paths: Paths = Field(default=(), description="Files or folders with custom pipelines, separated by `:`.")
    weights_dir: Path | None = Field(
        default=None, description="Cache of downloaded weights. Empty: `~/.cache/antenna`."
    )
    weights_mirror: str = Field(
        default="",
        description="Folder, `s3://bucket/prefix` or `https://…` that holds weights under their file names; taken "
        "instead of the published addresses.",
    )
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32",
        description="Arithmetic of the published models on a GPU; the halved ones are faster and differ a little.",
    )
    cpu_engine: Literal["auto", "float32", "torch"] = Field(
        default="auto",
        description="What runs the network of `light_trap_insects` on a CPU: `auto` is onnxruntime in int8, else in "
        "float32, else torch: the first that is there, finds what torch finds and is not slower. `float32` leaves out "
        "int8.",
    )
    gpu_decode: bool = Field(
        default=True,
        description="Whether to decode JPEGs on the GPU (nvJPEG); its pixels differ a little, at coloured edges by up "
        "to some 40 of 255.",
    )

    export_each_job: Words = Field(
        default=(),
        description="Formats of `antenna export` in which each job is exported when it is over, separated by `,`, such "
        "as `tables,megadetector`; the files are in the lake's folder `exports`.",
    )
    health_check_cron: str = Field(default="*/15 * * * *", description="When `jobs_health_check` runs.")
    history_days: int = Field(
        default=90,
        ge=0,
        le=36_500,
        description="Days for which Dagster keeps what it knows of a job that is over (runs, events, checks, logs, "
        "partition), and the catalog the lines of its log; `prune_history` deletes it each night. Tables and the "
        "catalog's rows stay. 0: for ever.",
    )
    health_history_days: int = Field(
        default=7,
        ge=0,
        le=36_500,
        description="The same for runs of `jobs_health_check`; never more than HISTORY_DAYS.",
    )
    season: bool = Field(
        default=True,
        description="Whether the season of each project is kept up to date by itself: the asset `season` and its "
        "checks. `antenna season` works either way.",
    )
    season_start: date | None = Field(
        default=None,
        description="The first night that the asset `season` has a partition for, such as `2026-04-01`; not set: the "
        "1 January of this year, and until March of the year before. Its tables have all nights.",
    )
    autoscale: bool = Field(
        default=True,
        description="Whether to start a local `inference_worker` run when jobs wait and no worker listens.",
    )
    autoscale_max_workers: int = Field(
        default=1,
        ge=0,
        description="Most worker runs on this machine that the autoscaler keeps; from 2 on also as much waits, and not "
        "only for jobs that no worker serves. Not read with `WORKER_POOLS`.",
    )
    worker_pools: Path | None = Field(
        default=None,
        description="YAML file of the pools in which workers are started for a backlog: on this machine, on GPU hosts, "
        "on a Slurm cluster, by a command.",
    )
    alerts: Path | None = Field(
        default=None,
        description="YAML file that says which alerts go where: to Slack, a webhook, by e-mail, to a command. Without "
        "it nobody is told.",
    )
    worker_idle_exit: float = Field(
        default=60.0,
        gt=0,
        description="How long an autoscaled worker waits for work before it leaves. It stays while a job waits for "
        "images or models that it could not load.",
    )
    worker_locations: Words = Field(
        default=(),
        description="Code locations of GPU hosts that `antenna up` shows beside its own: `name=host:port`, separated "
        "by `,`.",
    )
    slurm_options: str = Field(
        default="",
        description="Options of sbatch, as in a shell, such as `--partition=gpu --gres=gpu:1`: the "
        "runs of `inference_worker` in `antenna up` are jobs of a Slurm cluster then. Empty: they run on this machine.",
    )
    ui_url: str = Field(
        default="", description="Address of the Dagster UI, where commands make new jobs known at once."
    )
    ui_port: int = Field(
        default=3000, ge=0, le=65535, description="Port of the Dagster UI; the next free one if taken."
    )
    ui_hosts: Words = Field(
        default=(),
        description="Host names, separated by `,`, under which people reach the Dagster UI beside `localhost` and "
        "`127.0.0.1`: behind a reverse proxy, or in a composition. It answers under no other.",
    )
    ui_password: str = Field(
        default="",
        repr=False,
        description="Password that the Dagster UI asks for, with any user name (HTTP basic authentication: put TLS "
        "before it). At least 12 characters; empty for none.",
    )
    ui_mode: Literal["full", "read-only"] = Field(
        default="full", description="`read-only`: nothing can be launched, ended or deleted in the Dagster UI."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Level of our own logs."
    )

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _split(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        separated = _mark(info.field_name or "", SeparatedBy)
        return separated.split(value) if separated and isinstance(value, str) else value

    @pydantic.field_validator("nats_url", "worker_nats_url", "redis_url", "database_url", "dagster_pg_url")
    @classmethod
    def _encode_login(cls, value: str) -> str:
        return server_urls.with_encoded_login(value)

    @pydantic.field_validator("image_roots", "pipeline_paths")
    @classmethod
    def _expand(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(path.expanduser() for path in value)

    @pydantic.field_validator("bucket_roots")
    @classmethod
    def _check_buckets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        roots = tuple(root.rstrip("/") for root in value)
        if wrong := [root for root in roots if not root.startswith("s3://") or root == "s3:/"]:
            raise ValueError(f"{wrong[0]} is not of the form s3://bucket/prefix")
        return roots

    @pydantic.field_validator("gateway_proxies")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ValueError(f"{proxy!r} is not an address or network, such as 10.0.0.7 or 10.0.0.0/24") from None
        return value

    @pydantic.field_validator("ui_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is not the name of a host alone, such as ui.example.org")
        return value

    @pydantic.field_validator("ui_password")
    @classmethod
    def _check_password(cls, value: str) -> str:
        if value and len(value) < _SHORTEST_PASSWORD:
            raise ValueError(f"a password has at least {_SHORTEST_PASSWORD} characters")
        return value

    @pydantic.field_validator("slurm_options")
    @classmethod
    def _check_slurm_options(cls, value: str) -> str:
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is not written as in a shell: {error}") from None
        if strange := [word for word in words if not word.startswith("-")]:
            raise ValueError(f"{strange[0]!r} is not an option; write options as --name=value")
        return value

    @pydantic.field_validator("worker_locations")
    @classmethod
    def _check_locations(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for location in value:
            if not _LOCATION.fullmatch(location):
                raise ValueError(f"{location!r} is not of the form name=host:port")
        names = [location.partition("=")[0] for location in value]
        if "antenna" in names or len(set(names)) < len(names):
            raise ValueError("each location needs a name of its own, and `antenna` is taken")
        return value

    @property
    def lake(self) -> str:
        """The lake's root as an fsspec URI or an absolute path."""
        return self.lake_uri or str(self.home / "lake")

    @property
    def lake_is_in_home(self) -> bool:
        """Whether the lake lies in the home, links followed, and so is there if the home is. Looks at the disk."""
        return "://" not in self.lake and Path(self.lake).expanduser().resolve().is_relative_to(self.home.resolve())

    @property
    def worker_queue_url(self) -> str:
        """The NATS URL that a worker connects with."""
        return self.worker_nats_url or self.nats_url

    @property
    def loadable_sources(self) -> tuple[str, ...]:
        """Source kinds that a worker with these settings can load from; a `*` at the end stands for any ending."""
        return tuple(dict.fromkeys(("http", "s3:*", f"file:{self.host_id}", *self.worker_reaches)))

    def require(self, *names: str) -> None:
        """Raise `InvalidSetting` naming the first of the given settings that is empty."""
        for name in names:
            if not getattr(self, name):
                why = fault_of_env_file(self.home) or f"no stack was found in {self.home}"
                raise errors.InvalidSetting(
                    f"ANTENNA_{name.upper()} is not set and {why}: "
                    "run `antenna up`, or point the ANTENNA_*_URL settings at your servers"
                )


_Mark = TypeVar("_Mark", SeparatedBy, FoundAtStart)


def _mark(name: str, kind: type[_Mark]) -> _Mark | None:
    return next((mark for mark in Settings.model_fields[name].metadata if isinstance(mark, kind)), None)


def as_text(name: str, value: object) -> str:
    """A setting's value as its environment variable would say it; empty for None and for no values."""
    if isinstance(value, tuple):
        separated = _mark(name, SeparatedBy)
        assert separated is not None
        return separated.join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Default:
    """What a setting is when nobody sets it."""

    # As the environment variable would say it, unless it is found at the start.
    text: str
    # How it is found, where it depends on the host or the working directory; else empty.
    found: str = ""


def default_of(name: str) -> Default:
    """The default of a setting, for people: the one place that renders it."""
    if found := _mark(name, FoundAtStart):
        return Default(text="", found=found.how)
    return Default(text=as_text(name, Settings.model_fields[name].default))


def load(**overrides: Any) -> Settings:
    """Read the settings afresh; keyword arguments win over environment and file. Raises `InvalidSetting`."""
    home = Path(overrides.pop("home", None) or find_home())
    file: Path | None = home / ENV_FILE
    if fault_of_env_file(home):
        file, overrides = None, _kept_after_a_move(home) | overrides
    try:
        return Settings(_env_file=file, home=home, **overrides)  # type: ignore[call-arg]
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper().removeprefix("ANTENNA_")
        field = Settings.model_fields.get(name.lower())
        got = f" (got {first['input']!r})" if field is None or field.repr else ""
        raise errors.InvalidSetting(f"ANTENNA_{name}: {first['msg']}{got}") from None


def read_env_file(home: Path) -> dict[str, str]:
    """The variables in a home's env file; none when there is no file. Raises `InvalidSetting` for a damaged one."""
    path = home / ENV_FILE
    try:
        text = path.read_text()
        words = shlex.split(text, comments=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise errors.InvalidSetting(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        # No text, or a quotation without its end.
        text, words = "", []
    # Files without our header were written by people or by earlier versions.
    is_ours = text.startswith(ENV_HEADER) or ENV_HEADER.startswith(text)
    if (is_ours and not text.endswith(ENV_END)) or "\0" in text:
        raise errors.InvalidSetting(f"{path} is damaged")
    return dict(word.split("=", 1) for word in words if "=" in word)


def place_of_env_file(home: Path) -> Path | None:
    """The home that the env file was written for, where that is another folder than the one it lies in."""
    written_for = read_env_file(home).get("ANTENNA_HOME")
    return Path(written_for) if written_for and not is_same_place(Path(written_for), home) else None


def fault_of_env_file(home: Path) -> str:
    """Why a home's env file must not be followed: it is damaged, or of a home elsewhere. Empty if it may be."""
    try:
        place = place_of_env_file(home)
    except errors.InvalidSetting as error:
        return str(error)
    return f"{home} was moved or copied from {place}" if place else ""


def is_same_place(one: Path, other: Path) -> bool:
    """Whether two paths lead to one folder or file; where none is, whether the paths are the same."""
    try:
        return one.samefile(other)
    except OSError:
        return one.absolute() == other.absolute()


def _kept_after_a_move(home: Path) -> dict[str, str]:
    """What the env file of a home that was moved still says: nothing about servers, and the lake where it is now."""
    try:
        values, place = read_env_file(home), place_of_env_file(home)
    except errors.InvalidSetting:
        return {}
    kept = {name: values.get(f"ANTENNA_{name.upper()}", "") for name in ("lake_uri", "secret_key")}
    if place and Path(kept["lake_uri"]).is_relative_to(place):
        kept["lake_uri"] = str(home.absolute() / Path(kept["lake_uri"]).relative_to(place))
    return {name: value for name, value in kept.items() if value and not os.environ.get(f"ANTENNA_{name.upper()}")}


_given: Settings | None = None


@lru_cache(maxsize=1)
def get() -> Settings:
    """The process's settings, read at first use."""
    return _given or load()


def give(settings: Settings) -> None:
    """Make these the process's settings, for a child process that is handed its parent's."""
    global _given  # noqa: PLW0603  set once, before anything reads it
    _given = settings
    get.cache_clear()
