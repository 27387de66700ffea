"""What Dagster's definitions get: the stores, and a way to run long work that can be interrupted."""
