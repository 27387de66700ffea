"""On real photographs, where they are at hand, each pipeline is as good as its model card says it is at least."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from antenna_orchestration.pipelines import light_trap, registry
from benchmarks import detector_accuracy

FOLDER = detector_accuracy.photographs_folder()

pytestmark = pytest.mark.skipif(FOLDER is None, reason="no photographs: set ANTENNA_TRAP_IMAGES")

RECALL, PRECISION, KINDS = 0.75, 0.60, 0.80
"""Floors for each site."""


@cache
def measured(slug: str) -> dict[str, Counter[str]]:
    assert FOLDER is not None
    return detector_accuracy.measure(FOLDER, slug)


@pytest.mark.parametrize("slug", [pipeline.slug for pipeline in light_trap.PIPELINES])
def test_every_site_is_above_the_floor(slug: str) -> None:
    counts = measured(slug)
    for site in ("cyprus", "denmark", "panama"):
        rates = detector_accuracy.rates(counts[site])
        assert rates["recall"] >= RECALL, site
        assert rates["precision"] >= PRECISION, site
        assert rates["kinds"] >= KINDS, site


def test_the_default_is_the_better_one() -> None:
    f1 = {}
    for pipeline in light_trap.PIPELINES:
        rates = detector_accuracy.rates(measured(pipeline.slug)["traps"])
        f1[pipeline.slug] = 2 / (1 / rates["recall"] + 1 / rates["precision"])
    assert max(f1, key=f1.__getitem__) == registry.DEFAULT_PIPELINE
