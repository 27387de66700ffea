"""The code location of a GPU host: the worker and nothing else, because sensors loaded twice run twice."""

import dagster as dg

from antenna_orchestration.jobs.inference import inference_worker
from antenna_orchestration.resources.run_executor import run_executor

defs = dg.Definitions(jobs=[inference_worker], executor=run_executor)
