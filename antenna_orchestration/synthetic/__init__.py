"""Drawn captures and the insects on them, for the demo, the tests and the training."""
