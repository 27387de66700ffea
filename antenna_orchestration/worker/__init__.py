"""The worker: leases tasks fairly, loads images, infers in a device process, publishes results, acknowledges tasks.

The Dagster op `inference_worker` and `antenna worker` both call `main.run`. Nothing here imports Dagster, a SQL driver
or Redis, and only the device process imports torch.
"""
