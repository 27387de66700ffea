"""Make an empty deployment ready, or bring one up to date: the lake's bucket, the tables, the streams.

The one-shot service `prepare` of the composition. Idempotent.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import fsspec

from antenna_orchestration import errors
from antenna_orchestration import settings as settings_module
from antenna_orchestration.embedded import prepare


def make_bucket(lake: str) -> None:
    """Make the bucket of an `s3://bucket/prefix` lake, if it is missing. Raises `Unavailable`."""
    store, path = fsspec.core.url_to_fs(lake)
    if "s3" not in store.protocol:
        return
    bucket = path.partition("/")[0]
    try:
        if not store.exists(bucket):
            store.mkdir(bucket)
    except Exception as error:
        # botocore has its own tree of errors for connections, credentials and regions, and we do not depend on it.
        raise errors.Unavailable(f"the bucket of {lake} cannot be made: {error}") from error


def main() -> int:
    """Entry point of the process; an error is its last line on stderr."""
    try:
        settings = settings_module.load()
        make_bucket(settings.lake)
        prepare.run_hook(prepare.DEFAULT_HOOK, settings)
        # In a volume, so that the next `up` need not look again.
        prepare.upgrade_dagster(Path(os.environ["DAGSTER_HOME"], "storage"), settings.dagster_pg_url)
    except errors.AntennaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
