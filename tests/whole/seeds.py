"""The seed of everything that is drawn by chance. Printed by what fails; given, the same is drawn again."""

from __future__ import annotations

import os
import secrets

SEED = (
    os.environ.get("CHAOS_SEED")
    # The same in all processes of one session, which have to collect the same tests.
    or os.environ.get("PYTEST_XDIST_TESTRUNUID", "")[:8]
    or str(secrets.randbelow(10**6))
)
