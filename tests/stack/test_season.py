"""A season through a whole stack, as it goes in the field: nobody submits, and Dagster shows what went wrong."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.alerting.receivers import Post, web_receiver
from tests.answers.seasons import PER_NIGHT, put, stamps
from tests.processing.watched import photograph
from tests.stack.antenna_up import RunningStack
from tests.waiting import wait_until

NIGHTS = 30
LAST = datetime.now(UTC).date() - timedelta(days=2)
DIED, CUT, OFF = (LAST - timedelta(days=NIGHTS - 1 - NIGHTS * share // 10) for share in (6, 4, 5))

GAP = ("meadow", "trap_silent", str(OFF))
EXPECTED = {
    ("meadow", "clock_off", str(OFF - timedelta(days=365))),
    GAP,
    ("meadow", "card_half_copied", str(CUT)),
    ("wood", "trap_silent", str(DIED)),
}

SETTLE = 120
"""Seconds for which the files of the pond are at rest: its last card is copied slowly."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_season_runs_itself(own_stack_process: RunningStack, tmp_path: Path) -> None:
    running = own_stack_process
    with web_receiver() as alerted:
        running.environment["ANTENNA_ALERTS"] = str(_told_to(alerted.url, tmp_path))
        running.up()
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
        # A card comes a second time.
        for path in sorted((traps / "wood").glob("*.jpg"))[:PER_NIGHT]:
            photograph(traps / "wood" / "again" / path.name, path.read_text())
        # A card is still being copied: half of each file is there.
        card = sorted((traps / "pond").glob(f"{LAST:%Y%m%d}*.jpg"))
        whole = {path: path.read_text() for path in card}
        for path, content in whole.items():
            photograph(path, content[: len(content) // 2], changed=time.time())
        # Of another night, half of the photographs come later.
        late = sorted((traps / "meadow").glob(f"{LAST + timedelta(days=1):%Y%m%d}*.jpg"))
        later = {path: path.read_text() for path in late}
        for path in late:
            path.unlink()
        for name in found:
            running.antenna(
                "sources", "add", "--deployment", name, "--uri", str(traps / name), "--pipeline", "null", "--settle",
                f"{SETTLE}s" if name == "pond" else "0", "--every", "1m",
            )  # fmt: skip

        def moving() -> int:
            [pond] = [
                one for one in json.loads(running.antenna("sources", "list", "--json").stdout)
                if one["deployment"] == "pond"
            ]  # fmt: skip
            return int(pond["not_at_rest"])

        wait_until(lambda: moving() >= len(card), description="the card is seen", timeout=300, poll=1)
        for path, content in whole.items():
            photograph(path, content, changed=time.time())

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

        before = found | {"meadow": found["meadow"] - len(later)}
        wait_until(lambda: counted() == before, description="all nights are in the season", timeout=3600, poll=20)
        for path, content in later.items():
            photograph(path, content, changed=time.time())
        wait_until(lambda: counted() == found, description="the late ones are in the season", timeout=900, poll=20)
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
        # People are told of two weeks: a gap that ended before is no news.
        alerts = {f"{kind.replace('_', ' ')}: {name}, night {night}" for name, kind, night in EXPECTED - {GAP}}
        wait_until(lambda: _open(alerted.posts) == alerts, description="the alerts say it", timeout=1800, poll=5)


def _told_to(url: str, folder: Path) -> Path:
    """A file of alerts whose one target is told of the season, one by one."""
    address = folder / "webhook"
    address.write_text(url)
    file = folder / "alerts.yaml"
    target = {"kind": "webhook", "url": f"file:{address}", "events": ["season"]}
    file.write_text(json.dumps({"most_at_once": 1000, "targets": {"here": target}}))
    return file


def _open(posts: list[Post]) -> set[str]:
    """What is wrong by the messages that came, workers left out."""
    wrong: set[str] = set()
    for post in list(posts):
        message = post.json
        if message["says"] == "ends":
            wrong.discard(message["subject"].removeprefix("well again: "))
        else:
            wrong.add(message["subject"].removeprefix("still: "))
    return {one for one in wrong if not one.startswith("worker slow")}
