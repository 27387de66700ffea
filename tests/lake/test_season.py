"""A season in the lake, without any server: after every change its rows are those of the project's derived tables."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from antenna_orchestration.answers import season
from antenna_orchestration.answers.knowledge import Knowledge, SpeciesList
from antenna_orchestration.answers.results_of import Results
from antenna_orchestration.domain.ids import Generation
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology.model import Classes
from antenna_orchestration.lake import season as files
from antenna_orchestration.lake.derived import Source
from antenna_orchestration.lake.store import Lake
from tests.ecology.lakes_by_hand import FINISHED, derive_all, write_job
from tests.ecology.nights_by_hand import CLASSES, capture, detection

pytestmark = pytest.mark.long

DUSK = datetime(2026, 6, 1, 22)
NIGHT = DUSK.date()
GAMMA, PRONUBA = "Autographa gamma", "Noctua pronuba"
ORDERS = AlgorithmRef("orders", "1")
OF_ORDERS = Classes(algorithm=ORDERS, labels=("Diptera", "Coleoptera"), taxa=(None, None))


class Followed:
    """A season that is brought up to date, and compared each time."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self.season = files.Season()

    def made_anew(self, sources: Sequence[Source], known: Knowledge) -> set[tuple[str | None, date | None]]:
        """The deployments and nights that changed."""
        classes = {**CLASSES, ORDERS: OF_ORDERS}
        derived = derive_all(self._lake, sources, known, classes=classes)
        results = Results(project=known.project, sources=sources, lake=self._lake)
        made = season.made_from(results, known, before=self.season, nights=(), registered=lambda _: classes)
        files.write(self._lake, known.project, made.season)
        self.season = files.read(self._lake, known.project) or files.Season()
        order = [(name, "ascending") for name in ("pipeline", "deployment", "night")]
        nights = derived["nights"]
        assert self.season.nights.select(nights.schema.names).to_pylist() == nights.sort_by(order).to_pylist()
        counts = derived["counts"].sort_by([*order, ("taxon", "ascending")])
        assert self.season.counts.to_pylist() == counts.to_pylist()
        return {(one.deployment, one.night) for one in made.changed}


def on(images: Iterable[int], *, label: str = GAMMA, classifier: AlgorithmRef | None = None) -> list[dict[str, Any]]:
    """One animal on each of these photographs."""
    said = {"classifier": classifier.key, "classifier_version": classifier.version} if classifier else {}
    return [detection(image, 0, label, **said) for image in images]


def taken(images: Iterable[int], deployment: str = "pond", *, night: int = 0) -> list[dict[str, Any]]:
    """Photographs, a minute after each other."""
    return [capture(image, DUSK + timedelta(days=night, minutes=image), deployment=deployment) for image in images]


def test_two_deployments_get_each_others_names(lake: Lake) -> None:
    followed = Followed(lake)
    job = write_job(lake, 1, [*taken([0, 1], "left"), *taken([2, 3], "right")], on([0, 1, 2]))
    known = Knowledge(project="pond")
    assert followed.made_anew([job], known) == {("left", NIGHT), ("right", NIGHT)}
    swapped = replace(known, renamed=[(1, 0, "right"), (1, 2, "left")])
    assert followed.made_anew([job], swapped) == {("left", NIGHT), ("right", NIGHT)}
    assert followed.season.nights["detections"].to_pylist() == [1, 2]
    assert followed.made_anew([job], swapped) == set()


def test_one_photograph_takes_the_place_of_another(lake: Lake) -> None:
    followed = Followed(lake)
    known = Knowledge(project="pond")
    # Of the first job's two photographs, a later job has one at the place where it belongs.
    first = write_job(lake, 1, taken([0, 1, 2]), on([0]))
    second = write_job(lake, 2, taken([0], "wood"), on([0]), finished_at=FINISHED + timedelta(1))
    followed.made_anew([first, second], known)
    third = write_job(lake, 3, taken([1], "wood"), [], finished_at=FINISHED + timedelta(1))
    # Between two looks, that job goes, and another one comes that has the other.
    assert ("pond", NIGHT) in followed.made_anew([first, third], known)


def test_a_list_for_one_pipeline_is_not_refused_for_another(lake: Lake) -> None:
    followed = Followed(lake)
    known = Knowledge(
        project="pond", lists={"moths": SpeciesList(name="moths", species=frozenset([PRONUBA]))}, project_list="moths"
    )
    moths = write_job(lake, 1, taken([0]), on([0]))
    orders = write_job(lake, 2, taken([1]), on([1], label="Diptera", classifier=ORDERS))._replace(pipeline="orders")
    followed.made_anew([moths, orders], known)
    more = write_job(lake, 3, taken([2], night=1), on([2], label="Diptera", classifier=ORDERS))
    more = more._replace(pipeline="orders")
    assert followed.made_anew([moths, orders, more], known) == {("pond", NIGHT + timedelta(1))}


def test_a_classifier_that_the_list_is_for_changes_earlier_nights(lake: Lake) -> None:
    followed = Followed(lake)
    known = Knowledge(
        project="pond", lists={"moths": SpeciesList(name="moths", species=frozenset([PRONUBA]))}, project_list="moths"
    )
    elsewhere = write_job(lake, 1, taken([0], "wood"), on([0]))._replace(pipeline="other moths")
    before = write_job(lake, 2, taken([1]), on([1], label="Diptera", classifier=ORDERS))
    followed.made_anew([elsewhere, before], known)
    newer = write_job(lake, 3, taken([2], night=1), on([2]))
    assert followed.made_anew([elsewhere, before, newer], known) == {("pond", NIGHT), ("pond", NIGHT + timedelta(1))}


def test_nothing_is_left_and_comes_back(lake: Lake) -> None:
    followed = Followed(lake)
    known = Knowledge(project="pond")
    job = write_job(lake, 1, [*taken([0]), capture(1, None, deployment="pond"), capture(2, None)], on([0, 1, 2]))
    every = {("pond", NIGHT), ("pond", None), ("by the pond", None)}
    assert followed.made_anew([job], known) == every
    assert followed.made_anew([job._replace(images=0)], known) == every
    assert followed.made_anew([job], known) == every
    # Tried again, with the same results: nobody knows before they are read.
    assert followed.made_anew([job._replace(generation=Generation(2))], known) == every
