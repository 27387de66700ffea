"""The sensor that keeps seasons up to date: when jobs ended, when people said something new, and after each night."""

import json
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from antenna_orchestration import __version__, errors
from antenna_orchestration.domain.nights import night_of_local
from antenna_orchestration.jobs.season import update_season
from antenna_orchestration.resources import dagster_history
from antenna_orchestration.resources.stores import Stores

WAITS: Final = 900.0
"""Seconds for which a season that changed waits for jobs of its project that are under way."""


@dataclass
class _Memory:
    """What a tick leaves to the next one, as the sensor's cursor."""

    # Of each project, of which state a run was requested last.
    marks: dict[str, str] = field(default_factory=dict)
    # Since when each project has another state, in seconds since the epoch.
    changed: dict[str, float] = field(default_factory=dict)
    # The last night for which a run was requested because it was over.
    night: str = ""
    # Of the program that requested it: another one may make seasons otherwise.
    version: str = ""


@dg.sensor(
    job=update_season,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Each minute: asks the catalog whether the season of a project changed, because jobs ended or people "
    "said something new, or whether a night passed, and requests one run of update_season for all of them. A project "
    "whose jobs are under way is waited for, 15 minutes at most. ANTENNA_SEASON=0 switches it off.",
)
def season_nights(context: dg.SensorEvaluationContext, stores: Stores) -> dg.SensorResult | dg.SkipReason:
    """Request a run if there is a reason."""
    if not stores.settings.season:
        return dg.SkipReason("switched off by ANTENNA_SEASON")
    memory = _Memory(**json.loads(context.cursor or "{}"))
    try:
        marks = stores.in_tick_without_queue(lambda records: records.catalog.seasons.marks())
    except errors.Unavailable as error:
        return dg.SkipReason(f"a server does not answer: {error}")
    if not marks:
        return dg.SkipReason("no project has a finished job")
    now = time.time()
    passed = str(night_of_local(datetime.now(UTC).replace(tzinfo=None)) - timedelta(days=1))
    due, waiting = [], []
    for one in marks:
        if memory.marks.get(one.project) == one.mark:
            memory.changed.pop(one.project, None)
        # A clock that was set back makes the time lie in the future.
        elif one.under_way and abs(now - memory.changed.setdefault(one.project, now)) < WAITS:
            waiting.append(one.project)
        else:
            due.append(one.project)
    requests: list[dg.RunRequest] = []
    if (passed, __version__) != (memory.night, memory.version):
        due = [one.project for one in marks]
    if not due:
        said = f"jobs of {', '.join(waiting)} are under way" if waiting else "no season changed"
    elif context.instance.get_runs_count(
        dg.RunsFilter(job_name=update_season.name, statuses=dagster_history.UNFINISHED)
    ):
        said = "a run of update_season is under way"
    else:
        said = ""
        memory.night, memory.version = passed, __version__
        memory.marks |= {one.project: one.mark for one in marks if one.project in due}
        memory.changed = {project: since for project, since in memory.changed.items() if project not in due}
        requests = [dg.RunRequest(run_config={"ops": {"refresh": {"config": {"projects": due}}}})]
    return dg.SensorResult(
        run_requests=requests, cursor=json.dumps(asdict(memory)), skip_reason=None if requests else said
    )
