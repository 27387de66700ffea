"""Benchmarks. `python -m benchmarks` runs the suite; some modules can also be run alone, with options of their own."""
