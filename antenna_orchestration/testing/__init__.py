"""For repositories of own pipelines: `check_pipeline` runs one as a worker does, and finds what would go wrong there.

`antenna_orchestration.pytest_plugin` has the fixtures; see docs/howto/test-your-pipeline.md. Nothing of this project
but tests imports this package, and it imports no torch.
"""

from antenna_orchestration.testing.checks import PipelineFaults, check_pipeline
from antenna_orchestration.testing.photographs import Photograph
from antenna_orchestration.testing.runs import Report
from antenna_orchestration.testing.version_lock import write_lock

__all__ = ["Photograph", "PipelineFaults", "Report", "check_pipeline", "write_lock"]
