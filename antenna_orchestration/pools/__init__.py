"""Worker pools: where workers can be started for a backlog, and how the engine there is told to."""
