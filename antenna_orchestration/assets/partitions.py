"""The partitions of the assets: one per job, `job-<id>`, never one per image.

A key is added when the job is submitted through Dagster or claimed by the sensor. It is not deleted while the job may
still run, because a run whose partition is gone fails at its end.
"""

import dagster as dg

processing_jobs = dg.DynamicPartitionsDefinition(name="processing_jobs")
