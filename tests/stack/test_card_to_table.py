"""From a card to a table and on to other programs, on real photographs: the tables have what a person works out.

The numbers below were worked out by hand, from the names of the files, their EXIF data and an almanac. The boxes are
those that the pipeline found, counted here one by one.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.dataset
import pyarrow.parquet
import pytest

from antenna_orchestration.answers import deployments, derive
from antenna_orchestration.exports.formats import FORMATS
from antenna_orchestration.processing import collect, finish, publish, submit
from antenna_orchestration.processing.services import Services
from benchmarks import detector_accuracy
from tests.processing.jobs_by_hand import claimed, hands
from tests.stack.antenna_up import DAGSTER, DEFINITIONS, RunningStack

PHOTOGRAPHS = detector_accuracy.photographs_folder()

pytestmark = pytest.mark.skipif(PHOTOGRAPHS is None, reason="no photographs: set ANTENNA_TRAP_IMAGES")

PAGE = Path(__file__).parents[2] / "docs/howto/card-to-table.md"

SITES = "\n".join(
    (
        "deployment,latitude,longitude,coordinateUncertainty,timezone,clock,deploymentStart,deploymentEnd,"
        "locationName,countryCode,pixels_per_mm,attractant",
        'panama,9.15,-79.85,1000,America/Panama,local,,,"Lowland forest, ridge",PA,,UV',
        "cyprus,35.05,33.22,1000,Asia/Nicosia,local,,,Dry orchard,CY,,UV",
        'denmark,55.39,10.39,1000,Europe/Copenhagen,local,2022-08-10 20:00,2022-08-11 06:00,"Hedge ""A""",DK,11.5,UV',
        "DSLR,45.50,-73.58,5000,-05:00,local,,,Balcony,CA,,UV",
        "",
    )
)

TAXA = """\
label,scientificName,taxonRank,kingdom,phylum,class,order
moth,Lepidoptera,order,Animalia,Arthropoda,Insecta,Lepidoptera
nonmoth,Insecta,class,Animalia,Arthropoda,Insecta,
"""

DATASET = """\
title: Four light traps
description: Twelve photographs of four traps, for tests.
contributors:
  - {given: Ada, family: Example, email: ada@example.org, organization: Example Lab, roles: [contact, rightsHolder]}
data_licence: CC0-1.0
media_licence: CC-BY-4.0
project: {title: Four light traps, sampling_design: targeted, capture_method: [timeLapse]}
"""

CHECKS = """{
  assetNodes(group: {groupName: "exports", repositoryName: "__repository__", repositoryLocationName: "antenna"}) {
    assetKey { path }
    assetChecksOrError { ... on AssetChecks { checks { executionForLatestMaterialization { status } } } }
  }
}"""

MEANS = {"moth": ("Lepidoptera", "order"), "nonmoth": ("Insecta", "class")}


class Taken(NamedTuple):
    """When a photograph was taken, by hand."""

    deployment: str
    # The digits in its name, or in its EXIF data where the name has none.
    stamp: str
    moment: str
    local: str
    night: str


BY_HAND = {
    # UTC-5 all year; the EXIF data say so, too.
    "01-20231110214539-snapshot.jpg": Taken(
        "panama", "2023-11-10 21:45:39", "2023-11-11 02:45:39", "2023-11-10 21:45:39", "2023-11-10"
    ),
    "01-20231110224529-snapshot.jpg": Taken(
        "panama", "2023-11-10 22:45:29", "2023-11-11 03:45:29", "2023-11-10 22:45:29", "2023-11-10"
    ),
    "01-20231111015309-snapshot.jpg": Taken(
        "panama", "2023-11-11 01:53:09", "2023-11-11 06:53:09", "2023-11-11 01:53:09", "2023-11-10"
    ),
    "01-20231111032659-snapshot.jpg": Taken(
        "panama", "2023-11-11 03:26:59", "2023-11-11 08:26:59", "2023-11-11 03:26:59", "2023-11-10"
    ),
    # Summer time, UTC+3. The EXIF data say that the trap's clock was at UTC+1, so it was two hours later there.
    "84-20220916202959-snapshot.jpg": Taken(
        "cyprus", "2022-09-16 20:29:59", "2022-09-16 19:29:59", "2022-09-16 22:29:59", "2022-09-16"
    ),
    "141-20220916221959-snapshot.jpg": Taken(
        "cyprus", "2022-09-16 22:19:59", "2022-09-16 21:19:59", "2022-09-17 00:19:59", "2022-09-16"
    ),
    "183-20220923220000-snapshot.jpg": Taken(
        "cyprus", "2022-09-23 22:00:00", "2022-09-23 21:00:00", "2022-09-24 00:00:00", "2022-09-23"
    ),
    # Summer time, UTC+2; the EXIF data say so, too.
    "20220810232637-00-16.jpg": Taken(
        "denmark", "2022-08-10 23:26:37", "2022-08-10 21:26:37", "2022-08-10 23:26:37", "2022-08-10"
    ),
    "20220810232855-00-20.jpg": Taken(
        "denmark", "2022-08-10 23:28:55", "2022-08-10 21:28:55", "2022-08-10 23:28:55", "2022-08-10"
    ),
    "20220811005907-00-78.jpg": Taken(
        "denmark", "2022-08-11 00:59:07", "2022-08-10 22:59:07", "2022-08-11 00:59:07", "2022-08-10"
    ),
    # UTC-5 as the sites file says, for a camera without summer time; by day, so the night that comes.
    "DSC_0390.JPG": Taken("DSLR", "2022-07-19 14:28:16", "2022-07-19 19:28:16", "2022-07-19 14:28:16", "2022-07-19"),
    "DSC_0391.JPG": Taken("DSLR", "2022-07-19 14:28:17", "2022-07-19 19:28:17", "2022-07-19 14:28:17", "2022-07-19"),
}

NIGHTS: dict[tuple[str, str], dict[str, Any]] = {
    # 3,590 s, 11,260 s and 5,630 s apart; 20,480 s are 3.6 of the median, so five photographs were to be expected.
    ("panama", "2023-11-10"): {
        "found": 4, "first": "2023-11-10 21:45:39", "last": "2023-11-11 03:26:59", "interval_seconds": 5630.0,
        "expected": 5, "gaps": 0, "longest_gap_seconds": 11260.0, "sunset": "2023-11-10 17:55",
        "sunrise": "2023-11-11 06:11", "zone": "America/Panama",
    },
    ("cyprus", "2022-09-16"): {
        "found": 2, "first": "2022-09-16 22:29:59", "last": "2022-09-17 00:19:59", "interval_seconds": None,
        "expected": None, "longest_gap_seconds": 6600.0, "sunset": "2022-09-16 18:53", "sunrise": "2022-09-17 06:31",
        "zone": "Asia/Nicosia",
    },
    ("cyprus", "2022-09-23"): {
        "found": 1, "first": "2022-09-24 00:00:00", "last": "2022-09-24 00:00:00", "interval_seconds": None,
        "expected": None, "longest_gap_seconds": None, "sunset": "2022-09-23 18:43", "sunrise": "2022-09-24 06:36",
        "zone": "Asia/Nicosia",
    },
    # 138 s and 5,412 s apart; their median is 2,775 s.
    ("denmark", "2022-08-10"): {
        "found": 3, "first": "2022-08-10 23:26:37", "last": "2022-08-11 00:59:07", "interval_seconds": 2775.0,
        "expected": 3, "gaps": 0, "longest_gap_seconds": 5412.0, "sunset": "2022-08-10 21:05",
        "sunrise": "2022-08-11 05:43", "zone": "Europe/Copenhagen",
    },
    ("DSLR", "2022-07-19"): {
        "found": 2, "first": "2022-07-19 14:28:16", "last": "2022-07-19 14:28:17", "interval_seconds": None,
        "expected": None, "longest_gap_seconds": 1.0, "sunset": "2022-07-19 19:37", "sunrise": "2022-07-20 04:25",
        "zone": "-05:00",
    },
}  # fmt: skip


def moment(text: str) -> datetime:
    """A time without zone."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S" if text.count(":") == 2 else "%Y-%m-%d %H:%M")


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


class Lake:
    """The tables of a lake as lists of rows."""

    def __init__(self, root: str, project: str) -> None:
        self._root = Path(root)
        self._project = project

    def derived(self, table: str) -> list[dict[str, Any]]:
        path = self._root / f"derived/projects/{table}/project={self._project}/{table}.parquet"
        return list(pyarrow.parquet.read_table(path, partitioning=None).to_pylist())

    def raw(self, table: str) -> list[dict[str, Any]]:
        rows = pyarrow.dataset.dataset(str(self._root / table), partitioning="hive").to_table()
        return [one for one in rows.to_pylist() if one["project"] == self._project]


@pytest.fixture(scope="module")
def card_of_each_site(running: RunningStack) -> Lake:
    """What the commands of the page make on a stack."""
    folder = running.home.parent
    (folder / "sites.csv").write_text(SITES)
    (folder / "taxa.csv").write_text(TAXA)
    running.antenna("deployments", "import", "sites.csv", "--project", "traps")
    lake = ""
    for site in ("panama", "cyprus", "denmark", "DSLR"):
        card = ["submit", f"{PHOTOGRAPHS}/{site}", "--deployment", site, "--project", "traps", "--wait", "--json"]
        shown = json.loads(running.antenna(*card, timeout=300).stdout)
        assert (shown["status"], shown["failed"]) == ("SUCCESS", 0)
        lake = shown["lake"]
    running.antenna("taxa", "import", "taxa.csv", "--project", "traps")
    running.antenna("tables", "--project", "traps")
    return Lake(lake, "traps")


def check_photographs(lake: Lake) -> None:
    """Every photograph is there once, with its stamp, its moment and its night."""
    captures = lake.raw("captures")
    assert sorted(name_of(one["url"]) for one in captures) == sorted(BY_HAND)
    for one in captures:
        taken = BY_HAND[name_of(one["url"])]
        assert one["deployment"] == taken.deployment
        assert one["captured_at"] == moment(taken.moment).replace(tzinfo=UTC), one["url"]
        assert one["stamp"].replace(microsecond=0) == moment(taken.stamp), one["url"]
        assert one["night"] == date.fromisoformat(taken.night), one["url"]


def check_observations(lake: Lake) -> None:
    """Every box is there once, with the time and the name that a person gives it."""
    labels = {(one["job_id"], one["detection_id"]): one["label"] for one in lake.raw("classifications")
              if one["terminal"]}  # fmt: skip
    boxes = {(one["job_id"], one["detection_id"]): one for one in lake.raw("detections")}
    observed = {(one["job_id"], one["detection_id"]): one for one in lake.derived("observations")}
    assert observed.keys() == boxes.keys()
    assert len(boxes) > 100
    for key, one in observed.items():
        taken = BY_HAND[name_of(one["url"])]
        assert (one["deployment"], str(one["night"])) == (taken.deployment, taken.night)
        assert one["captured_at"] == moment(taken.moment).replace(tzinfo=UTC)
        assert one["local_time"] == moment(taken.local)
        assert one["stamp"].replace(microsecond=0) == moment(taken.stamp)
        assert one["label"] == labels[key]
        assert (one["taxon"], one["rank"]) == MEANS[labels[key]]
        assert one["observation_id"] == f"{key[0]}-{key[1]}"
        if one["deployment"] == "denmark":
            longest = max(one["x2"] - one["x1"], one["y2"] - one["y1"])
            assert one["length_mm"] == pytest.approx(longest / 11.5, rel=1e-5)
        else:
            assert one["length_mm"] is None


def check_nights(lake: Lake) -> None:
    found = {(one["deployment"], str(one["night"])): one for one in lake.derived("nights")}
    assert found.keys() == NIGHTS.keys()
    empty: dict[tuple[str, str], int] = defaultdict(int)
    boxes: dict[tuple[str, str], int] = defaultdict(int)
    for one in lake.raw("captures"):
        taken = BY_HAND[name_of(one["url"])]
        empty[taken.deployment, taken.night] += one["detections"] == 0
        boxes[taken.deployment, taken.night] += one["detections"]
    for key, expected in NIGHTS.items():
        row = found[key]
        assert (row["found"], row["done"], row["failed"]) == (expected["found"], expected["found"], 0)
        assert (row["empty"], row["detections"]) == (empty[key], boxes[key])
        assert (row["first"], row["last"]) == (moment(expected["first"]), moment(expected["last"]))
        for name in ("interval_seconds", "expected", "longest_gap_seconds", "zone"):
            assert row[name] == expected[name], (key, name)
        assert row.get("gaps") in (0, None)
        for name in ("sunset", "sunrise"):
            # Almanacs differ by some seconds, and round to minutes.
            assert abs(row[name] - moment(expected[name])) <= timedelta(minutes=2), (key, name, row[name])
        assert row["same_time"] == 0


def check_counts(lake: Lake) -> None:
    """The boxes of each photograph, counted one by one."""
    labels = {(one["job_id"], one["detection_id"]): one for one in lake.raw("classifications") if one["terminal"]}
    urls = {one["image_id"]: name_of(one["url"]) for one in lake.raw("captures")}
    # Of each deployment, night and taxon: the photograph and the score of each box.
    seen: dict[tuple[str, str, str], list[tuple[str, float]]] = defaultdict(list)
    for box in lake.raw("detections"):
        name, label = urls[box["image_id"]], labels[box["job_id"], box["detection_id"]]
        taken = BY_HAND[name]
        seen[taken.deployment, taken.night, MEANS[label["label"]][0]].append((name, label["score"]))
    found = {(one["deployment"], str(one["night"]), one["taxon"]): one for one in lake.derived("counts")}
    assert found.keys() == seen.keys()
    for key, boxes in seen.items():
        row = found[key]
        on_each: dict[str, int] = defaultdict(int)
        for name, _ in boxes:
            on_each[name] += 1
        locals_ = sorted(moment(BY_HAND[name].local) for name, _ in boxes)
        noon = datetime.combine(date.fromisoformat(key[1]), time(12))
        middle = noon + timedelta(seconds=statistics.median((one - noon).total_seconds() for one in locals_))
        assert row["detections"] == len(boxes), key
        assert row["photographs"] == len(on_each)
        assert row["max_n"] == max(on_each.values())
        assert (row["first"], row["last"]) == (locals_[0], locals_[-1])
        assert row["median_time"] == middle.time()
        if not row["tracks"]:
            # Whatever else it is, it is an insect; in a track, the scores are those of the mean.
            best = 1.0 if key[2] == "Insecta" else max(score for _, score in boxes)
            assert row["best_score"] == pytest.approx(best, abs=1e-3), key


@pytest.mark.long
async def test_every_night_and_time_is_what_a_person_gets_by_hand(services: Services, project: str) -> None:
    """Issue 18, without inference: one box on each photograph."""
    await deployments.import_file(services, project, SITES.encode(), "sites.csv")
    for site in ("DSLR", "cyprus", "denmark", "panama"):
        card = submit.Submission(sources=[f"{PHOTOGRAPHS}/{site}"], deployment=site, project=project, pipeline="null")
        job = await services.catalog.jobs.get((await submit.submit(services, card)).job_id)
        job = await claimed(services, job)
        await publish.publish(services, job.job_id)
        job = await services.catalog.jobs.get(job.job_id)
        async with hands(services) as worker:
            await worker.report(await worker.lease(job, job.total))
        await collect.collect(services, job, observer=collect.Observer())
        await finish.write_final_tables(services, job)
        await finish.finish_job(services, job)
    await derive.derive(services, project=project)
    lake = Lake(services.lake.uri, project)
    check_photographs(lake)
    check_nights(lake)
    assert len(lake.derived("observations")) == len(BY_HAND)
    for one in lake.derived("observations"):
        assert one["local_time"] == moment(BY_HAND[name_of(one["url"])].local)


@pytest.mark.slow
def test_the_tables_are_what_a_person_gets_by_hand(card_of_each_site: Lake) -> None:
    """Issue 18: every night, count and time of night."""
    check_photographs(card_of_each_site)
    check_observations(card_of_each_site)
    check_nights(card_of_each_site)
    check_counts(card_of_each_site)


@pytest.mark.slow
def test_the_page_ends_in_counts_csv_and_a_plot(running: RunningStack, card_of_each_site: Lake) -> None:
    folder = running.home.parent
    [script] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "count.py").write_text(script)
    running.shell(sys.executable, "count.py")
    lines = (folder / "counts.csv").read_text().splitlines()
    assert len(lines) == 1 + len(card_of_each_site.derived("counts"))
    assert (folder / "moths.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_every_format_of_real_photographs_passes_its_check(running: RunningStack, card_of_each_site: Lake) -> None:
    """Issue 19: from the command line over the project, and as asset checks over a job."""
    folder = running.home.parent
    (folder / "dataset.yaml").write_text(DATASET)
    running.antenna("projects", "set", "traps", "--dataset", "dataset.yaml")
    for format in FORMATS.values():
        out = format.file or format.name
        done = running.antenna("export", format.name, "--project", "traps", "--out", out, "--check", "--json")
        told = json.loads(done.stdout)
        assert told["check"]["faults"] == [], format.name
        assert told["counts"] and told["complete"]

    partition = ("--select", "group:exports", "--partition", "job-1")
    running.shell(*DAGSTER, "asset", "materialize", "-m", DEFINITIONS, *partition, timeout=300)
    nodes = running.graphql(CHECKS)["assetNodes"]
    assert len(nodes) == len(FORMATS)
    for node in nodes:
        [check] = node["assetChecksOrError"]["checks"]
        assert check["executionForLatestMaterialization"]["status"] == "SUCCEEDED", node["assetKey"]
