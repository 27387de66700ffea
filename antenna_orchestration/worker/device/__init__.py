"""The device process, which runs pipelines, and what the worker needs to speak with it."""
