"""A season through a whole stack, as it goes in the field: nobody submits, and Dagster shows what went wrong."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.processing.seasons import PER_NIGHT, put, stamps
from tests.stack.antenna_up import RunningStack
from tests.waiting import wait_until

NIGHTS = 30
LAST = datetime.now(UTC).date() - timedelta(days=2)
DIED, CUT, OFF = (LAST - timedelta(days=NIGHTS - 1 - NIGHTS * share // 10) for share in (6, 4, 5))

EXPECTED = {
    ("meadow", "clock_off", str(OFF - timedelta(days=365))),
    ("meadow", "trap_silent", str(OFF)),
    ("meadow", "card_half_copied", str(CUT)),
    ("wood", "trap_silent", str(DIED)),
}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_season_runs_itself(running: RunningStack, tmp_path: Path) -> None:
    traps = tmp_path / "traps"
    found = {"pond": 0, "meadow": 0, "wood": 0}
    for number in range(NIGHTS):
        night = LAST - timedelta(days=NIGHTS - 1 - number)
        year = timedelta(days=365 if night == OFF else 0)
        taken = {
            "pond": stamps(night),
            "meadow": [one - year for one in (stamps(night, 4) if night == CUT else stamps(night))],
            "wood": stamps(night) if night < DIED else [],
        }
        for name, moments in taken.items():
            put(traps / name, moments)
            found[name] += len(moments)
    for name in found:
        running.antenna(
            "sources", "add", "--deployment", name, "--uri", str(traps / name), "--pipeline", "null", "--settle", "0",
            "--every", "1m",
        )  # fmt: skip
    # A card comes a second time.
    for path in sorted((traps / "wood").glob("*.jpg"))[:PER_NIGHT]:
        again = traps / "wood" / "again" / path.name
        again.parent.mkdir(exist_ok=True)
        again.write_bytes(path.read_bytes())

    def season() -> dict[str, Any]:
        done = running.antenna("season", "--json", check=False)
        shown: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"nights": [], "findings": []}
        return shown

    def counted() -> dict[str, int]:
        total = dict.fromkeys(found, 0)
        for night in season()["nights"]:
            for row in night["rows"]:
                total[row["deployment"]] += row["found"]
        print(datetime.now(), total, found, flush=True)
        return total

    wait_until(lambda: counted() == found, description="all nights are in the season", timeout=3600, poll=20)
    told = {(one["deployment"], one["kind"], one["night"]) for one in season()["findings"]}
    assert {one for one in told if one[1] != "worker_slow"} == EXPECTED

    # By itself: a run that the sensor requested, with a check that fails for what is wrong.
    url = running.joined()["ANTENNA_DAGSTER_PG_URL"].replace("postgresql+psycopg2", "postgresql")

    def failing() -> set[str]:
        with psycopg.connect(url) as connection:
            rows = connection.execute(
                "SELECT DISTINCT ON (check_name) check_name, execution_status FROM asset_check_executions "
                "WHERE asset_key = '[\"season\"]' ORDER BY check_name, id DESC"
            ).fetchall()
        return {name for name, status in rows if status == "FAILED"}

    wanted = {kind for _, kind, _ in EXPECTED}
    wait_until(lambda: failing() >= wanted, description="the checks fail", timeout=1800, poll=5)
