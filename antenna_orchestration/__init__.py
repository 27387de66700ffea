"""Machine learning over camera-trap photographs, pulled from a durable queue and materialized by Dagster."""

__version__ = "0.1.0"
