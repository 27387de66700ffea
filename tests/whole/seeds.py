"""The seed of everything that is drawn by chance. Printed by what fails; given, the same is drawn again."""

from __future__ import annotations

import os
import secrets

# The same in all processes of one session, which have to collect the same tests.
_SESSION = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")[:8]

SEED = os.environ.get("CHAOS_SEED") or str(int(_SESSION, 16) if _SESSION else secrets.randbelow(10**6))
