"""Whole machines broken from outside: `antenna up` with all of its processes, as a person has it."""
