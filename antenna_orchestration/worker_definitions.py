"""The code location of a GPU host: the worker and nothing else, because sensors loaded twice run twice."""

import dagster as dg

from antenna_orchestration.jobs.inference import inference_worker

defs = dg.Definitions(jobs=[inference_worker], executor=dg.in_process_executor)
