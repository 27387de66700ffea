"""Verbs for workers that are not on the queue: lease tasks, keep leases, accept results, register."""
