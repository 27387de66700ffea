"""The executor of all our jobs: Dagster's in-process executor, with the run's heartbeat around it.

One process per run: if the parent of a multiprocess run is killed, its child stays behind for ever.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from antenna_orchestration import kernel, settings
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.processing.run_heartbeat import beating


class _Heard(dg.Executor):
    """Executes as another executor does, while the run's heartbeat is sent."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    @property
    def retries(self) -> Any:
        return self._executor.retries

    @property
    def step_dependency_config(self) -> Any:
        return self._executor.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[Any]:
        run_id = plan_context.run_id
        plan_context.instance.add_run_tags(run_id, {tags.PROCESS: kernel.this_process()})
        database_url = settings.get().database_url
        if not database_url:
            # A worker's host that does not know the catalog: the worker's own heartbeat speaks for the run.
            yield from self._executor.execute(plan_context, execution_plan)
            return
        with beating(database_url, run_id):
            yield from self._executor.execute(plan_context, execution_plan)


def _create(init_context: dg.InitExecutorContext) -> dg.Executor:
    create: Any = dg.in_process_executor.executor_creation_fn
    return _Heard(create(init_context))


_SCHEMA: Any = dg.in_process_executor.config_schema

run_executor = dg.ExecutorDefinition(
    name="in_process",
    config_schema=_SCHEMA,
    executor_creation_fn=_create,
    description="All steps in the run's process, whose heartbeat is sent from the run's start to its end.",
)
