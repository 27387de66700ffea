"""The insect network runs with an engine that finds what torch finds, and with torch where there is none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib import resources
from typing import get_args

import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.light_trap import engines, insect_network, network_detector
from antenna_orchestration.settings import Settings
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
def by_torch(pictures: torch.Tensor) -> insect_network.Maps:
    maps: insect_network.Maps = plain()(pictures.float() / 255)
    return maps


@pytest.mark.parametrize("size", [(640, 352), (384, 512)])
@pytest.mark.parametrize(
    "engine",
    [lambda: engines.Torch(network(), torch.device("cpu")), *network_detector.others_for_cpu("auto")],
    ids=["folded", "int8", "float32"],
)
def test_each_engine_finds_what_the_plain_network_finds(
    engine: Callable[[], engines.Engine], size: tuple[int, int]
) -> None:
    pictures, made = scene(9_600, *size), engine()
    expected = by_torch(pictures)
    assert len(insect_network.peaks(expected, 0, made.likeness.least).scores) >= 5
    assert not engines.differs(expected, made(pictures), made.likeness)


def test_the_scene_has_enough_insects_to_compare() -> None:
    seed, width, height, _ = engines.SCENE
    maps = by_torch(scene(seed, width, height))
    assert all(len(insect_network.peaks(maps, 0, each.least).scores) >= 10 for each in (engines.FLOAT32, engines.INT8))


def test_the_setting_says_which_engines_are_asked() -> None:
    names = {
        wanted: [make().name for make in network_detector.others_for_cpu(wanted)]
        for wanted in get_args(Settings.model_fields["cpu_engine"].annotation)
    }
    plain = f"onnxruntime {onnxruntime.__version__}"
    assert names == {"auto": [f"{plain} int8", plain], "float32": [plain], "torch": []}


@pytest.mark.parametrize("make", [engines.in_int8, engines.in_float32])
def test_a_program_of_other_weights_is_refused(
    make: Callable[[str], engines.Engine], caplog: pytest.LogCaptureFixture
) -> None:
    """New weights may find so nearly the same that the scene does not show it."""
    assert engines.chosen(network(), [partial(make, "0" * 64)]).name.startswith("torch")
    assert "was made from other weights" in caplog.text


@given(seconds=st.lists(st.floats(0.01, 10), min_size=1, max_size=4))
def test_the_first_engine_is_preferred_unless_it_is_slow(seconds: list[float]) -> None:
    """In a race that is close, a restart would decide what is found."""
    took = [(Wrong(str(place), engines.INT8), each) for place, each in enumerate(seconds)]
    best = engines.preferred(took)
    place = [engine for engine, _ in took].index(best)
    assert seconds[place] <= engines.CLOSE * min(seconds)
    assert all(each > engines.CLOSE * min(seconds) for each in seconds[:place])


def six_insects(order: Sequence[int], reach: float) -> insect_network.Maps:
    """Maps of six insects in a row whose scores are nearly equal, and the better the later they are in `order`."""
    middle = torch.full((1, 8, 60), -9.0)
    for place, insect in enumerate(order):
        middle[0, 4, 5 + 10 * insect] = 2 + place / 1000
    return insect_network.Maps(middle=middle, reach=torch.full((1, 4, 8, 60), reach), moth=torch.zeros(1, 8, 60))


@given(one=st.permutations(range(6)), other=st.permutations(range(6)), reach=st.floats(9.2, 10.8))
def test_insects_are_compared_whatever_their_order(one: list[int], other: list[int], reach: float) -> None:
    """Scores that are nearly equal come in another order."""
    assert not engines.differs(six_insects(one, 10), six_insects(other, reach), engines.INT8)


@given(insect=st.integers(0, 5))
def test_an_insect_elsewhere_is_another_one(insect: int) -> None:
    expected = six_insects(range(6), 10)
    middle = expected.middle.clone()
    middle[0, 4, 5 + 10 * insect], middle[0, 1, 5 + 10 * insect] = -9, 2
    found = replace(expected, middle=middle)
    assert engines.differs(expected, found, engines.INT8).startswith("boxes by 12")
    assert engines.differs(found, expected, engines.INT8).startswith("boxes by 12")


def test_an_insect_at_the_limit_may_be_on_either_side_of_it() -> None:
    """Or else a machine that computes a little differently would refuse an engine that is right."""
    at_the_limit = torch.tensor(engines.INT8.least).logit()
    above, below = (replace(maps := six_insects(range(6), 10), middle=maps.middle.clone()) for _ in range(2))
    above.middle[0, 4, 5], below.middle[0, 4, 5] = at_the_limit + 0.01, at_the_limit - 0.01
    assert not engines.differs(above, below, engines.INT8)
    assert not engines.differs(below, above, engines.INT8)


class Wrong:
    """A network that says something else than the released one."""

    name = "wrong 1.0"

    def __init__(self, how: str, likeness: engines.Likeness) -> None:
        self.likeness = likeness
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
                    return replace(maps, middle=maps.middle + 15 * self.likeness.scores)
                case "boxes":
                    return replace(maps, reach=maps.reach + 1.5 * self.likeness.boxes)
                case "moths":
                    return replace(maps, moth=maps.moth - 15 * self.likeness.scores)
                case "nothing":
                    return replace(maps, middle=maps.middle - 100)
                case _:
                    return replace(maps, reach=maps.reach * float("nan"))


@pytest.mark.parametrize("likeness", [engines.FLOAT32, engines.INT8], ids=["float32", "int8"])
@pytest.mark.parametrize("how", ["scores", "boxes", "moths", "nothing", "nan", "raises", "cannot be imported"])
def test_a_wrong_engine_is_refused_and_torch_is_used(
    how: str, likeness: engines.Likeness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    engine = engines.chosen(network(), (lambda: Wrong(how, likeness),))
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
