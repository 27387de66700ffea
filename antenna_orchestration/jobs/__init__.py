"""Dagster jobs. Each runs from the launchpad and from `dagster job execute`."""
