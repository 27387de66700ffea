"""What keeps an installation well, whatever its jobs do; verbs that are handed the stores as `Services`.

- what is looked at, and mended where it can be: `health`, `lake_leftovers`, `disk_space`;
- who is told: `alerts`, of what `alert_sources` finds;
- what an operator does: `backup`, `delete`, `tokens`, `usage`.
"""
