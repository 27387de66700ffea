"""`python -m benchmarks`. The suite is a module of its own, because spawned processes cannot import this one."""

import sys

from benchmarks.suite import main

if __name__ == "__main__":
    sys.exit(main())
