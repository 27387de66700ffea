"""The HTTP contract of existing workers and services: its words and shapes, and how they map to the domain's."""
