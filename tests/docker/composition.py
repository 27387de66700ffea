"""docker/compose.yaml as Compose understands it, as far as these tests need: values filled in, files found."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[2]
DOCKER = REPOSITORY / "docker"
MAIN = DOCKER / "compose.yaml"
OUTSIDE = DOCKER / "compose.outside.yaml"

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\})")


def names(text: str) -> set[str]:
    """The variables that a text takes from Compose's environment."""
    return {match["name"] for match in _REFERENCE.finditer(text) if match["name"]}


def filled(value: Any, variables: Mapping[str, str]) -> Any:
    """A value of the file with its `${…}` replaced, as Compose does it; `$$` is a dollar sign."""
    if isinstance(value, dict):
        return {key: filled(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        given = variables.get(match["name"], "")
        if not given and match["kind"] == "?":
            raise KeyError(f"{match['name']}: {match['rest']}")
        return given or (match["rest"] or "" if match["kind"] == "-" else "")

    return _REFERENCE.sub(replace, value)


def read_env(path: Path) -> dict[str, str]:
    """The assignments of an env file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def image_environment() -> dict[str, str]:
    """What the Dockerfile's stage `runtime` sets for all of our own services."""
    stage = (DOCKER / "Dockerfile").read_text().split(" AS runtime\n")[1].split("\nFROM ")[0]
    [block] = re.findall(r"^ENV ((?:.*\\\n)*.*)", stage, re.MULTILINE)
    return dict(word.split("=", 1) for word in block.replace("\\\n", " ").split())


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service, its values filled in."""

    name: str
    raw: dict[str, Any]
    # Path in the container, and what is in the file there.
    configs: dict[str, str]

    @property
    def command(self) -> list[str]:
        """What it runs."""
        return [str(word) for word in self.raw["command"]]

    @property
    def environment(self) -> dict[str, str]:
        """What the file adds to the image's environment."""
        return {name: str(value) for name, value in self.raw.get("environment", {}).items()}

    @property
    def healthcheck(self) -> list[str]:
        """The command that says whether it is healthy, behind `CMD` or `CMD-SHELL`."""
        return [str(word) for word in self.raw["healthcheck"]["test"]]

    @property
    def after(self) -> dict[str, str]:
        """Services that it waits for, and for what."""
        return {name: each["condition"] for name, each in self.raw.get("depends_on", {}).items()}


class Composition:
    """The services of one or more files. Of an added file's service, whole keys and configs are merged in."""

    def __init__(self, variables: Mapping[str, str], *files: Path) -> None:
        self.raw: dict[str, Any] = {}
        for file in files or (MAIN,):
            self._add(filled(yaml.safe_load(file.read_text()), variables))
        self.services = {
            name: Service(name=name, raw=raw, configs=dict(map(self._config, raw.get("configs", []))))
            for name, raw in self.raw["services"].items()
        }

    def _add(self, more: dict[str, Any]) -> None:
        for section, values in more.items():
            if section == "services":
                for name, service in values.items():
                    known = self.raw.setdefault("services", {}).setdefault(name, {})
                    added = {"configs": [*known.get("configs", []), *service.get("configs", [])]}
                    known |= service | added
            elif isinstance(values, dict):
                self.raw[section] = self.raw.get(section, {}) | values
            else:
                self.raw[section] = values

    def _config(self, mount: dict[str, str]) -> tuple[str, str]:
        source = self.raw["configs"][mount["source"]]
        content = source["content"] if "content" in source else (DOCKER / source["file"]).read_text()
        return mount["target"], content


def read_excluded() -> list[str]:
    """Packages that only workers have."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [Requirement(line).name for line in project["optional-dependencies"]["worker"]]
