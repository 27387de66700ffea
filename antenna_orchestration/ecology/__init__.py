"""From detections to ecology: places, nights, names, counts. Pure functions of tables.

Belongs here: what is computed of a job's results after inference. Nothing here reads or writes, and nothing needs
torch, Dagster or a queue; `answers/derive.py` feeds these functions, and `results` shows what came of them.
"""
