"""The partitions of the assets: one a job, `job-<id>`, never one an image.

Keys are added when a job is submitted through Dagster or claimed by the sensor, and never deleted while the job may
still run: a run whose partition disappears fails at its end.
"""

import dagster as dg

processing_jobs = dg.DynamicPartitionsDefinition(name="processing_jobs")
