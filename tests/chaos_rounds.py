"""Rounds of `make chaos`, kept from one machine and day to the next, and the table of docs/reference/faults.md.

python -m tests.chaos_rounds add NAME JUNIT.xml    # of a round that was green
python -m tests.chaos_rounds table
"""

from __future__ import annotations

import ast
import csv
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from dataclasses import asdict, fields
from pathlib import Path
from statistics import median

from tests.recoveries import Recovery

ROUNDS = Path(__file__).parent / "whole" / "rounds.csv"

WHOLE = 100
"""Tests of a round at least."""

COLUMNS = ("round", *(field.name for field in fields(Recovery)))


def add(name: str, junit: Path) -> None:
    """Keep what a round took. Refused for one in which something failed, or that was not whole."""
    suite = ElementTree.parse(junit).getroot()
    if suite.find(".//failure") is not None or suite.find(".//error") is not None:
        sys.exit(f"{junit}: a test of this round failed")
    if (tests := len(suite.findall(".//testcase"))) < WHOLE:
        sys.exit(f"{junit}: {tests} tests are not a whole round")
    kept = [row for row in rows() if row["round"] != name]
    for found in suite.iter("property"):
        if found.get("name") == "recovery":
            one = Recovery(*ast.literal_eval(found.get("value") or "()"))
            kept.append({"round": name, **{column: _shown(cell) for column, cell in asdict(one).items()}})
    with ROUNDS.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


def _shown(cell: str | float | None) -> str:
    return "" if cell is None else str(round(cell, 1) if isinstance(cell, float) else cell)


def rows() -> list[dict[str, str]]:
    """All rounds: a row per fault and round."""
    if not ROUNDS.exists():
        return []
    with ROUNDS.open(newline="") as file:
        return [dict(row) for row in csv.DictReader(file)]


def table() -> str:
    """A row per fault of a whole machine: how many rounds met it, the medians, and the longest wait for an image."""
    by_fault: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows():
        if row["clean"] != "":
            by_fault[row["fault"].partition(", seed ")[0]].append(row)
    lines = [
        "| fault | rounds | to the job's end | of these work | until ready | then to the next image, median and most |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for fault, met in sorted(by_fault.items()):
        waits = [float(row["going_on"]) for row in met if row["going_on"] != ""]
        next_image = f"{median(waits):.0f}, {max(waits):.0f}" if waits else ""
        cells = [fault, str(len(met)), *(_median(met, name) for name in ("seconds", "work", "ready")), next_image]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _median(met: list[dict[str, str]], name: str) -> str:
    values = [float(row[name]) for row in met if row[name] != ""]
    return f"{median(values):.0f}" if values else ""


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["add", name, junit]:
            add(name, Path(junit))
        case ["table"]:
            print(table())
        case _:
            sys.exit(__doc__)
