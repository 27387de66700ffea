"""On real photographs, if they are available, each pipeline is at least as good as its model card says."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from antenna_orchestration.pipelines import registry
from antenna_orchestration.pipelines.light_trap import specs
from benchmarks import detector_accuracy

FOLDER = detector_accuracy.photographs_folder()

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(FOLDER is None, reason="no photographs: set ANTENNA_TRAP_IMAGES"),
]

FLOORS = {
    "light_trap_insects": {"recall": 0.85, "precision": 0.60, "kinds": 0.85},
    "light_trap_network": {"recall": 0.70, "precision": 0.50, "kinds": 0.80},
    "light_trap_blobs": {"recall": 0.75, "precision": 0.60, "kinds": 0.80},
}
"""The least recall and precision by site; the model card has the measured values."""


@cache
def measured(slug: str) -> dict[str, Counter[str]]:
    assert FOLDER is not None
    return detector_accuracy.measure(FOLDER, slug)


@pytest.mark.parametrize("slug", [pipeline.slug for pipeline in specs.PIPELINES])
def test_every_site_is_above_the_floor(slug: str) -> None:
    counts = measured(slug)
    for site in ("cyprus", "denmark", "panama"):
        rates = detector_accuracy.rates(counts[site])
        for name, floor in FLOORS[slug].items():
            assert rates[name] >= floor, (site, name)


def test_the_default_misses_least() -> None:
    recall = {
        pipeline.slug: min(
            detector_accuracy.rates(measured(pipeline.slug)[site])["recall"] for site in ("cyprus", "denmark", "panama")
        )
        for pipeline in specs.PIPELINES
    }
    assert max(recall, key=recall.__getitem__) == registry.DEFAULT_PIPELINE
