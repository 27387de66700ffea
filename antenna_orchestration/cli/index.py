"""Every `antenna` command by its name: where its function or group is, and what `antenna --help` says of it.

A command starts quickly, because no other one's module is imported for it, and `--help` imports none.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperGroup


class Place(NamedTuple):
    """Where a command is."""

    # `module:function` of this folder, or `module:app` for a group of commands.
    code: str
    # The first line of its help.
    help: str


COMMANDS: Final = {
    "up": Place("up:up", "Run the servers and Dagster here until Ctrl-C."),
    "service": Place("service:app", "Run the stack of this folder as a service of systemd."),
    "env": Place("env:env", "Print the variables that join a shell to this stack."),
    "demo": Place("demo:demo", "Try everything out on drawn photographs; needs no data."),
    "submit": Place("submit:submit", "Queue images for processing."),
    "sources": Place("sources:app", "Watch folders, buckets and lists, and submit what is new."),
    "sets": Place("sets:app", "Keep lists of photographs, to submit and export."),
    "jobs": Place("jobs:app", "List, show, watch, cancel, retry and delete jobs."),
    "worker": Place("worker:worker", "Process the images of waiting jobs on this machine."),
    "workers": Place("workers:workers", "List running workers."),
    "scale": Place("scale:scale", "Start workers where work waits."),
    "gateway": Place("gateway:gateway", "Run the HTTP gateway for workers and scripts."),
    "push": Place("push:push", "Send images to an HTTP service and store its results."),
    "serve": Place("serve:serve", "Process images that others post over HTTP."),
    "token": Place("tokens:app", "Create, list and revoke tokens for the gateway."),
    "projects": Place("projects:app", "List projects, and set their defaults."),
    "deployments": Place("deployments:app", "Say where and in which time zone cameras stood."),
    "taxa": Place("taxa:app", "Say what labels stand for, and which species may be there."),
    "recipes": Place("recipes:app", "Choose what is made of results: flags, names, tracks."),
    "pipelines": Place("pipelines:app", "List, try and show pipelines, download their weights."),
    "reviews": Place("reviews:app", "Import what people say detections are, and compare it."),
    "derive": Place("derive:derive", "Derive tables of a job or a project without inference."),
    "tables": Place("derive:tables", "Derive a project's tables, and show its nights and counts."),
    "season": Place("season:season", "Show how a season goes, and what is wrong."),
    "export": Place("export:export", "Write results in a format of other programs."),
    "check-export": Place("export:check_export", "Check a file or folder of a format."),
    "report": Place("report:report", "Write a page about results: plots, pictures, how sure."),
    "health": Place("health:health", "Check jobs, queue and workers, and repair what is broken."),
    "doctor": Place("doctor:doctor", "Say what is wrong with this installation, and what to do."),
    "alerts": Place("alerts:app", "What is wrong, who was told, and whether alerts arrive."),
    "rebuild": Place("rebuild:rebuild", "Restore from the catalog what NATS and Redis lost of a job."),
    "backup": Place("backup:backup", "Copy catalog and lake to DIR; jobs continue meanwhile."),
    "restore": Place("backup:restore", "Fill an empty stack from a backup."),
    "usage": Place("usage:usage", "Show what takes how much room."),
    "clean": Place("clean:clean", "Delete this stack's data: all jobs and their results."),
    "settings": Place("settings:settings", "List every setting, without passwords."),
}
"""In the order in which people need them."""


class Commands(Mapping[str, Any]):
    """Typer's commands by name, each made when it is asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Raises `KeyError` for a name that no command has."""
        if name not in self._made:
            self._made[name] = _made(name, COMMANDS[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Root(TyperGroup):
    """The group of all of them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Commands()  # type: ignore[assignment]  # nothing adds a command

    def list_commands(self, ctx: Any) -> list[str]:
        """All names."""
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the names with their help, without importing what they stand for."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in COMMANDS.items()])


def _made(name: str, place: Place) -> Any:
    module, _, attribute = place.code.partition(":")
    found = getattr(importlib.import_module(f"{__package__}.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_group(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name)(found)
    return typer.main.get_command(alone)
