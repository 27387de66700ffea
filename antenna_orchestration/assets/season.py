"""The asset `season`: how a project's season goes, a partition per project and night, with what is wrong as checks.

Belongs here: what Dagster shows of a season. What a season is, `answers/season.py` knows.
"""

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from typing import Any, Final, NamedTuple

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.answers import season as verb
from antenna_orchestration.assets.descriptions import of_season
from antenna_orchestration.assets.partitions import NIGHT, PROJECT, has_partition, season_key, season_nights
from antenna_orchestration.domain import markdown, terminal
from antenna_orchestration.domain.nights import night_of_local
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology.season import KINDS, Finding
from antenna_orchestration.lake import paths
from antenna_orchestration.resources.interruptible import Reports, run_interruptible
from antenna_orchestration.resources.stores import Stores

ASSET: Final = "season"

_SHOWN: Final = 50
"""Findings that a check shows, the newest ones."""

_FIRST: Final = 3
"""Findings that its description has."""

UNDER_WAY: Final = timedelta(days=14)
"""After its last photograph, for which a season has a partition for each night that passes."""

_COLUMNS: Final = ("deployment", "pipeline", "found", "expected", "done", "failed", "empty", "detections", "taxa")

with warnings.catch_warnings():
    # Of backfill policies, which Dagster calls beta.
    warnings.simplefilter("ignore", dg.BetaWarning)
    _ONE_RUN: Final = dg.BackfillPolicy.single_run()

_OF_NO_PARTITION: Final = dg.SpecificPartitionsPartitionMapping([])
"""A night takes jobs of any time. Were it of all of them, each job that ends would make all nights unsynced. Which ones
changed, `season_nights` knows."""


@dg.asset(
    name=ASSET,
    partitions_def=season_nights,
    group_name="derived",
    owners=["team:antenna"],
    deps=[dg.AssetDep(name, partition_mapping=_OF_NO_PARTITION) for name in ("nights", "counts")],
    backfill_policy=_ONE_RUN,
    check_specs=[dg.AssetCheckSpec(name, asset=ASSET, description=text) for name, text in KINDS.items()],
    **of_season(),
)
def season(context: dg.AssetExecutionContext, stores: Stores) -> Iterator[Any]:
    """Make nights anew, whether they changed or not."""
    wanted: dict[str, set[date]] = defaultdict(set)
    for key in context.partition_keys:
        of = season_nights.get_partition_key_from_str(key).keys_by_dimension
        wanted[of[PROJECT]].add(date.fromisoformat(of[NIGHT]))
    made = run_interruptible(context, partial(update, stores, wanted))
    made.raise_if_failed()
    for project, nights in wanted.items():
        for night in nights:
            context.add_asset_metadata(made.shown(project, night), partition_key=season_key(project, night))
    yield dg.MaterializeResult()
    for check in made.checks():
        yield dg.AssetCheckResult(
            check_name=check.name,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=check.description or None,
            metadata=check.metadata,
        )


class Shown(NamedTuple):
    """What a partition shows."""

    project: str
    night: date
    # Another one where it shows something else.
    version: str


class Check(NamedTuple):
    """What one check says."""

    name: str
    passed: bool
    # The first few findings, which the page shows at once.
    description: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Made:
    """The seasons of projects as they were brought up to date, and what is wrong in all projects."""

    lake: str
    # By project.
    seasons: Mapping[str, verb.Refreshed]
    findings: Sequence[Finding]
    now: datetime
    # Why the seasons of other projects could not be.
    failed: Mapping[str, str]

    def raise_if_failed(self) -> None:
        """Let the run fail if the season of any project could not be brought up to date; the others are."""
        if self.failed:
            said = "; ".join(f"{project}: {why}" for project, why in self.failed.items())
            raise dg.Failure(description=terminal.line(f"not brought up to date: {said}"), allow_retries=False)

    def nights(self, shown: Mapping[str, str]) -> Iterator[Shown]:
        """The nights whose partitions show something else, or nothing: `shown` has the versions that they show.

        Whoever brought the season up to date, and whatever run ended before it had shown it. A season that goes on has
        a partition for the last night in any case.
        """
        passed = night_of_local(self.now.replace(tzinfo=None)) - timedelta(days=1)
        had: dict[str, set[date]] = defaultdict(set)
        for key in shown:
            of = season_nights.get_partition_key_from_str(key).keys_by_dimension
            had[of[PROJECT]].add(date.fromisoformat(of[NIGHT]))
        for project, one in self.seasons.items():
            made_of: dict[date, list[str]] = defaultdict(list)
            for row in one.season.rows(["night", "made_of"]):
                made_of[row["night"]].append(row["made_of"])
            is_under_way = any(timedelta() <= passed - night <= UNDER_WAY for night in made_of)
            for night in sorted({*made_of, *had[project], *([passed] if is_under_way else [])}):
                what = repr((sorted(made_of[night]), self._wrong.get((project, night), ())))
                version = hashlib.sha256(what.encode()).hexdigest()[:16]
                if has_partition(night) and shown.get(season_key(project, night)) != version:
                    yield Shown(project, night, version)

    @cached_property
    def _wrong(self) -> Mapping[tuple[str, date], Sequence[Finding]]:
        by_night = defaultdict(list)
        for one in self.findings:
            by_night[one.project, one.night].append(one)
        return by_night

    def shown(self, project: str, night: date) -> dict[str, Any]:
        """The metadata of a night."""
        wrong = self._wrong.get((project, night), ())
        uri = f"{self.lake}/{paths.season('nights', project)}"
        shown: dict[str, Any] = {"wrong": len(wrong), "dagster/uri": uri, "dagster/row_count": 0}
        if wrong:
            shown["what_is_wrong"] = dg.MetadataValue.md("\n".join(f"- {markdown.escape(_line(one))}" for one in wrong))
        one = self._by_night.get((project, night))
        if one is None:
            return {**shown, "photographs_found": 0, "deployments": 0}
        cells = [{name: _cell(row[name]) for name in _COLUMNS} for row in one.rows]
        return {
            **shown,
            **one.numbers,
            "pipeline": terminal.line(one.pipeline),
            "dagster/row_count": len(one.rows),
            "nights": dg.MetadataValue.table([dg.TableRecord(row) for row in cells]),
        }

    @cached_property
    def _by_night(self) -> dict[tuple[str, date], verb.NightOfSeason]:
        return {
            (project, one.night): one for project, made in self.seasons.items() for one in verb.nights_of(made.season)
        }

    def checks(self) -> Iterator[Check]:
        """Every check, over all projects: it fails for what is new."""
        for name in KINDS:
            every = [one for one in self.findings if one.kind == name]
            new = [one for one in every if one.is_new(self.now)]
            text = "\n".join(f"- {markdown.escape(_line(one))}" for one in new[:_SHOWN]) or "nothing"
            metadata = {"new": len(new), "in_all": len(every), "what_is_wrong": dg.MetadataValue.md(text)}
            more = f"; and {counted(len(new) - _FIRST, 'other')}" if len(new) > _FIRST else ""
            yield Check(name, not new, "; ".join(map(_line, new[:_FIRST])) + more, metadata)


async def update(stores: Stores, wanted: Mapping[str, Collection[date]], reports: Reports) -> Made:
    """Bring the seasons of these projects up to date, and make these nights of them anew in any case."""
    now = datetime.now(UTC)
    seasons, failed = {}, {}
    async with stores.opened() as services:
        for project, nights in wanted.items():
            try:
                seasons[project] = await verb.refresh(services, project, nights=nights)
                reports.log(f"{project}: {counted(len(seasons[project].nights), 'night')} made anew")
            except errors.AntennaError as error:
                failed[project] = str(error)
        found = await verb.findings_of_all(services, now=now)
        return Made(lake=services.lake.uri, seasons=seasons, findings=found, now=now, failed=failed)


def _line(one: Finding) -> str:
    where = f"{one.project}, {one.deployment}" if one.deployment else one.project
    return terminal.line(f"{one.night}, {where}: {one.text}")


def _cell(value: Any) -> str | int | float:
    return value if isinstance(value, int | float) else "" if value is None else terminal.line(value)
