"""Redis: live counters for people to look at. A fold of the catalog that can be rebuilt; nothing is decided by it."""
