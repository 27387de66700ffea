"""The worker engine: leases tasks fairly, loads images, infers in a device process, publishes results, settles.

One engine for the Dagster op `inference_worker` and for `antenna worker`; `main.run` is the way in. Nothing here
imports Dagster, a SQL driver or Redis, and only the device process imports torch.
"""
