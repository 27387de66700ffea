"""The insect network runs with an engine that finds what torch finds, and with torch where there is none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import resources

import pytest
import torch

from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.light_trap import engines, insect_network, network_detector
from antenna_orchestration.synthetic import captures


def network() -> insect_network.InsectNetwork:
    return network_detector.from_weights(
        resources.files(network_detector.__package__).joinpath(network_detector.WEIGHTS).read_bytes()
    )


@cache
def plain() -> insect_network.InsectNetwork:
    """As it was trained: with nothing folded."""
    return network()


@cache
def scene(seed: int, width: int, height: int) -> torch.Tensor:
    data, _ = captures.draw_capture(seed, width, height, insects=12)
    return insect_network.as_input(images.decode(data).pixels)[None]


@torch.inference_mode()
def found_by_torch(pictures: torch.Tensor) -> insect_network.Peaks:
    return insect_network.peaks(plain()(pictures.float() / 255), 0, engines.LEAST)


@pytest.mark.parametrize("size", [(640, 352), (384, 512)])
@pytest.mark.parametrize(
    "engine", [lambda: engines.Torch(network(), torch.device("cpu")), engines.shipped], ids=["folded", "onnxruntime"]
)
def test_each_engine_finds_what_the_plain_network_finds(
    engine: Callable[[], engines.Engine], size: tuple[int, int]
) -> None:
    expected = found_by_torch(scene(9_600, *size))
    assert len(expected.scores) >= 5
    assert not engines.differs(expected, insect_network.peaks(engine()(scene(9_600, *size)), 0, engines.LEAST))


def test_no_insect_of_the_scene_is_at_the_threshold() -> None:
    """Or else a machine that computes a little differently would refuse an engine that is right."""
    seed, width, height, _ = engines.SCENE
    pictures = scene(seed, width, height)
    with torch.inference_mode():
        scores = insect_network.peaks(plain()(pictures.float() / 255), 0, engines.LEAST / 2).scores
    assert float((scores - engines.LEAST).abs().min()) > 2e-4
    assert (scores >= engines.LEAST).sum() >= 5


class Wrong:
    """A network that says something else than the released one."""

    name = "wrong 1.0"

    def __init__(self, how: str) -> None:
        if how == "cannot be imported":
            raise ImportError("libomp.so.5: no such file")
        self._how = how

    def __call__(self, pictures: torch.Tensor) -> insect_network.Maps:
        if self._how == "raises":
            raise RuntimeError("no such instruction")
        with torch.inference_mode():
            maps: insect_network.Maps = plain()(pictures.float() / 255)
            match self._how:
                case "scores":
                    return replace(maps, middle=maps.middle + 0.02)
                case "boxes":
                    return replace(maps, reach=maps.reach * 1.01)
                case "moths":
                    return replace(maps, moth=maps.moth - 0.1)
                case "nothing":
                    return replace(maps, middle=maps.middle - 100)
                case _:
                    return replace(maps, reach=maps.reach * float("nan"))


@pytest.mark.parametrize("how", ["scores", "boxes", "moths", "nothing", "nan", "raises", "cannot be imported"])
def test_a_wrong_engine_is_refused_and_torch_is_used(how: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    engine = engines.chosen(network(), (lambda: Wrong(how),))
    assert engine.name.startswith("torch")
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    said = {"raises": "no such instruction", "cannot be imported": "libomp.so.5: no such file"}
    assert said.get(how, "wrong 1.0 is not used") in warning.message
    assert "the insect network runs with torch" in caplog.text


def test_an_engine_that_is_not_installed_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    def absent() -> engines.Engine:
        raise ModuleNotFoundError("no module named onnxruntime")

    caplog.set_level(logging.WARNING)
    assert engines.chosen(network(), (absent,)).name.startswith("torch")
    assert not caplog.records


def test_choosing_leaves_the_threads_of_torch_as_they_were() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        engines.chosen(network(), ())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
