"""Measurements, each a module to be run with `python -m`; every one prints a table and can write JSON."""
