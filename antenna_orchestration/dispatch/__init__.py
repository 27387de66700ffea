"""Verbs for workers that are not on the queue: lease for them, keep their leases, take their results, register them."""
