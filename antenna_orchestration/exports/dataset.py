"""The description of a data set, as people write it in `dataset.yaml`: who made it, under which licences, and how."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from antenna_orchestration import errors

MOST_BYTES: Final = 256 * 1024

LICENCES: Final = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-NC-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC-BY-NC-SA-4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
}
"""SPDX identifiers with the addresses of their texts. GBIF takes the first three."""

Text = Annotated[str, Field(min_length=1, max_length=10_000)]

Role = Literal["contact", "principalInvestigator", "rightsHolder", "publisher", "contributor"]

SamplingDesign = Literal[
    "simpleRandom", "systematicRandom", "clusteredRandom", "experimental", "targeted", "opportunistic"
]

CaptureMethod = Literal["activityDetection", "timeLapse"]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Contributor(_Said):
    """A person or an organization. Nothing here is published that does not stand here."""

    given: Text | None = None
    family: Text | None = None
    organization: Text | None = None
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)] | None = None
    orcid: Annotated[str, Field(pattern=r"^(https://orcid\.org/)?\d{4}-\d{4}-\d{4}-\d{3}[\dX]$")] | None = None
    roles: tuple[Role, ...] = ()

    @property
    def name(self) -> str:
        """As it is shown; the organization's, if it is not a person."""
        return " ".join(filter(None, (self.given, self.family))) or self.organization or ""


class Project(_Said):
    """The project in which the photographs were taken."""

    title: Text | None = None
    description: Text | None = None
    sampling_design: SamplingDesign | None = None
    capture_method: tuple[CaptureMethod, ...] = ()


class Dataset(_Said):
    """What people say of a data set; everything may be missing until a format demands it."""

    title: Text | None = None
    description: Text | None = None
    contributors: Annotated[tuple[Contributor, ...], Field(max_length=200)] = ()
    # SPDX identifiers.
    data_licence: Text | None = None
    media_licence: Text | None = None
    project: Project = Project()
    keywords: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    citation: Text | None = None
    sampling_protocol: Text | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{3}$")] = "eng"


def read(content: bytes, file: str) -> Dataset:
    """The description in a YAML file. Raises `InvalidTable`, which lists what is wrong."""
    if len(content) > MOST_BYTES:
        raise errors.InvalidTable(file, [f"more than {MOST_BYTES // 1024} kB"])
    try:
        said = yaml.safe_load(content)
    # So many brackets within each other are not a description.
    except RecursionError:
        raise errors.InvalidTable(file, ["not YAML of a data set: nested too deeply"]) from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise errors.InvalidTable(file, [f"not YAML: {' '.join(str(error).split())}"]) from None
    return of_data(said, file)


def of_data(said: Any, file: str) -> Dataset:
    """The description in data of YAML or JSON. Raises `InvalidTable`."""
    if not isinstance(said, dict):
        raise errors.InvalidTable(file, ["it must have lines such as `title: My traps`"])
    try:
        return Dataset.model_validate(said)
    except ValidationError as error:
        raise errors.InvalidTable(
            file, [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        ) from None
