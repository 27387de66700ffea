"""The pipelines for insects on the lit sheet of a light trap, with nothing to download."""
