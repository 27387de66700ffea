"""Hostile clients beside normal ones; run by `make hostile`, part of `make slow`."""
