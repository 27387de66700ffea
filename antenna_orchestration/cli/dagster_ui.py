"""What a command asks of Dagster, through its web server: importing Dagster itself takes two seconds."""

from __future__ import annotations

import logging

from antenna_orchestration import errors
from antenna_orchestration.domain import ids
from antenna_orchestration.ui import graphql

logger = logging.getLogger(__name__)

_ADD = """
mutation ($selector: RepositorySelector!, $key: String!) {
  addDynamicPartition(repositorySelector: $selector, partitionsDefName: "processing_jobs", partitionKey: $key) {
    __typename
  }
}
"""
_LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "antenna"}


def add_partition(ui_url: str, job: ids.JobId, *, password: str = "") -> bool:
    """Make the job's partition known at once, so that `dagster job execute -j process_job` finds it.

    Without a web server, or when it is slow or read-only, the sensor adds it seconds later: False then, and no error.
    """
    variables = {"selector": _LOCATION, "key": ids.partition_key(job)}
    try:
        answered = graphql.ask(ui_url, _ADD, variables, password=password, timeout=3)
    except errors.Unavailable as error:
        logger.debug("the partition of job %s was not added: %s", job, error)
        return False
    kind = (answered.get("addDynamicPartition") or {}).get("__typename")
    return kind in ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError")
