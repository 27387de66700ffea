"""What Dagster's definitions are handed: the stores, and a way to run long work that can be interrupted."""
