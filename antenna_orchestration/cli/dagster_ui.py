"""What a command asks of Dagster, through its web server: importing Dagster itself takes two seconds."""

from __future__ import annotations

import http.client
import json
import logging
import urllib.request

from antenna_orchestration.domain import ids
from antenna_orchestration.ui import rules

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
    if not ui_url.startswith(("http://", "https://")):
        return False
    body = json.dumps({"query": _ADD, "variables": {"selector": _LOCATION, "key": ids.partition_key(job)}}).encode()
    headers = {"Content-Type": "application/json", **rules.authorization(password)}
    request = urllib.request.Request(f"{ui_url}/graphql", body, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=3) as answer:  # noqa: S310  the scheme was looked at above
            answered = json.load(answer)
    except (OSError, http.client.HTTPException, ValueError) as error:
        logger.debug("the partition of job %s was not added: %s", job, error)
        return False
    kind = ((answered.get("data") or {}).get("addDynamicPartition") or {}).get("__typename")
    return kind in ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError")
