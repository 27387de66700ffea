"""The weights are the released ones, and results do not depend on the batch."""

from __future__ import annotations

import hashlib
import io
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from antenna_orchestration import errors
from antenna_orchestration.pipelines import interface, registry
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, RawImage
from antenna_orchestration.pipelines.light_trap import insect_network, network_detector, specs
from antenna_orchestration.synthetic import captures, insects

MOST_BYTES = 15_000_000


def loaded() -> Pipeline:
    pipeline = interface.build(registry.get(specs.LIGHT_TRAP_NETWORK.slug, ()), {})
    pipeline.load("cpu")
    return pipeline


def run(pipeline: Pipeline, data: bytes) -> ImageResult:
    prepared = pipeline.prepare(RawImage(image=1, uri="file:///x.jpg", data=data))
    return pipeline.finish(prepared, pipeline.infer([prepared])[0])


def test_the_weights_are_those_that_were_released() -> None:
    data = resources.files(network_detector.__package__).joinpath(network_detector.WEIGHTS).read_bytes()
    assert hashlib.sha256(data).hexdigest() == network_detector.WEIGHTS_SHA256
    assert len(data) < MOST_BYTES


def test_other_weights_are_refused() -> None:
    stream = io.BytesIO()
    torch.save(insect_network.InsectNetwork().state_dict(), stream)
    with pytest.raises(errors.InternalError, match="reinstall"):
        network_detector.from_weights(stream.getvalue())


@pytest.mark.long
def test_the_same_photograph_gives_the_same_numbers_in_another_instance() -> None:
    data, _ = captures.draw_capture(9_500, 1600, 1200, insects=10)
    first, second = run(loaded(), data), run(loaded(), data)
    assert first == second
    assert first.detections


def test_threads_change_nothing_that_matters() -> None:
    data, _ = captures.draw_capture(9_501, 1600, 1200, insects=10)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(run(loaded(), data).detections)
    finally:
        torch.set_num_threads(before)
    one, two = results
    assert len(one) == len(two)
    assert np.allclose([d.score for d in one], [d.score for d in two], atol=1e-4)
    assert np.allclose([d.box for d in one], [d.box for d in two], atol=0.5)


@pytest.mark.long
def test_an_insect_between_the_two_looks_is_found_once() -> None:
    """Insects about as long as the sizes at which the coarse pass takes over from the fine one."""
    for length in (70, 85, 100, 115, 130):
        pixels = np.full((800, 1280, 3), 210, np.uint8)
        insect = insects.draw_insect(np.random.default_rng(5), length, (210, 210, 210))
        picture = Image.fromarray(pixels)
        picture.paste(insect.picture, (500, 300), insect.picture)
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        assert len(run(loaded(), stream.getvalue()).detections) == 1, length


def test_pictures_are_padded_to_what_the_network_takes() -> None:
    for height, width in ((1, 1), (31, 33), (64, 96)):
        tensor = insect_network.as_input(np.full((height, width, 3), 7, np.uint8))
        assert tensor.shape[1] % insect_network.MULTIPLE == tensor.shape[2] % insect_network.MULTIPLE == 0
        assert (tensor == 7).all()


def test_the_package_brings_the_weights() -> None:
    """They are listed as package data, so that a wheel contains them."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"**/*.pt"' in text
