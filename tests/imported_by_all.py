"""What `tests/forked.py` has imported and made before it forks: what commands that tests run in processes need."""

from antenna_orchestration import kernel
from antenna_orchestration.cli import main
from antenna_orchestration.gateway import main as gateway  # noqa: F401
from antenna_orchestration.push import main as push  # noqa: F401
from antenna_orchestration.serve import main as serve  # noqa: F401
from antenna_orchestration.worker import main as worker  # noqa: F401

# Made as they are asked for, one by one.
list(main.commands().commands.values())
kernel.keep_what_is_imported()
