"""What a run imports beyond its definitions, imported before it is forked; see `__main__`.

None of these may start a thread of Python's: a forked process has only the one that forked it.
"""

# ruff: noqa: F401

import dagster._core.instance.factory
import dagster._core.storage.local_compute_log_manager
import dagster._core.storage.root
import dagster._grpc.impl
import PIL.Image
import psycopg2.extras  # type: ignore[import-untyped]
import upath.core

import antenna_orchestration.embedded.pooled_storage
from antenna_orchestration import kernel, settings

PIL.Image.init()
# Definitions have read them; a run reads them anew.
settings.get.cache_clear()

# Copied with each fork.
kernel.keep_what_is_imported()
