"""How photographs reach the device. Tests that need a GPU are skipped without one; the logic is tested anyway."""

from __future__ import annotations

import io
from collections import OrderedDict

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from antenna_orchestration import errors
from antenna_orchestration.pipelines import images, torch_device
from antenna_orchestration.pipelines.torch_device import MOST_REFUSALS, Photograph, TorchDevice, decodes_quickly
from antenna_orchestration.synthetic import captures
from tests.pipelines import checkpoints
from tests.waiting import PATIENCE

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU that torch can use")

DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    photograph = Image.open(io.BytesIO(captures.draw_capture(3, 320, 240, trap=0)[0])).convert(mode)
    stream = io.BytesIO()
    photograph.save(stream, kind, **options)
    return stream.getvalue()


ORDINARY = {
    "plain": encoded("JPEG", quality=92),
    "progressive": encoded("JPEG", progressive=True),
    "grey": encoded("JPEG", "L"),
    "full colour": encoded("JPEG", subsampling=0),
    "zeros behind": encoded("JPEG") + b"\0" * 100,
}
OTHERS = {
    "four colours": encoded("JPEG", "CMYK"),
    "png": encoded("PNG"),
    "transparent": encoded("PNG", "RGBA"),
    "webp": encoded("WEBP"),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_jpeg_is_known_by_its_header(name: str) -> None:
    assert images.size_of_plain_jpeg(ORDINARY[name]) == (320, 240)


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else_is_left_to_the_cpu(name: str) -> None:
    assert images.size_of_plain_jpeg(OTHERS[name]) is None


def test_a_truncated_jpeg_is_left_to_the_cpu_which_refuses_it() -> None:
    cut = ORDINARY["plain"][:-500]
    assert images.size_of_plain_jpeg(cut) is None
    with pytest.raises(errors.ImageUnusable, match="truncated JPEG"):
        TorchDevice("cpu", gpu_decode=True).begin(cut)


def test_limits_hold_before_anything_is_decoded() -> None:
    with pytest.raises(errors.ImageUnusable, match="over MAX_PIXELS"):
        images.size_of_plain_jpeg(ORDINARY["plain"], max_pixels=1000)
    with pytest.raises(errors.ImageUnusable, match="not an image"):
        TorchDevice("cpu", gpu_decode=True).begin(b"GIF8 not really")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gpu_decode", [False, True])
def test_a_mixed_batch_gives_each_photograph_its_own_pixels(device: str, gpu_decode: bool) -> None:
    files = {**ORDINARY, **OTHERS}
    place = TorchDevice(device, gpu_decode=gpu_decode)
    photographs = [place.begin(data) for data in files.values()]
    assert [one.jpeg is not None for one in photographs] == [gpu_decode and name in ORDINARY for name in files]
    for (name, data), photograph, pixels in zip(files.items(), photographs, place.pixels(photographs), strict=True):
        expected = images.decode(data).pixels.transpose(2, 0, 1)
        assert (photograph.width, photograph.height) == (320, 240)
        assert (pixels.dtype, pixels.device.type) == (torch.uint8, device)
        difference = np.abs(pixels.cpu().numpy().astype(int) - expected.astype(int))
        # nvJPEG rounds differently, and upsamples the chroma channels differently.
        assert difference.mean() < (2.0 if photograph.jpeg else 1e-9), name


def damaged(data: bytes) -> bytes:
    """A JPEG with a valid header and end, but an invalid Huffman table."""
    table = data.index(b"\xff\xc4") + 5
    return data[:table] + b"\xff" * 16 + data[table + 16 :]


@pytest.mark.parametrize("device", DEVICES)
def test_one_damaged_jpeg_does_not_cost_the_others_theirs(device: str) -> None:
    good = ORDINARY["plain"]
    assert images.size_of_plain_jpeg(damaged(good)) == (320, 240)
    place = TorchDevice(device, gpu_decode=True)
    batch = [place.begin(data) for data in (good, damaged(good), good)]
    # Pillow decides. The device process then infers each image alone, so that only the damaged one fails.
    with pytest.raises(errors.ImageUnusable, match="JPEG"):
        place.pixels(batch)
    first, last = place.pixels([batch[0], batch[2]])
    assert torch.equal(first, last)


def otherwise(data: bytes) -> Photograph:
    """A photograph that has another size than its header says."""
    return Photograph(width=1, height=1, jpeg=data)


def test_what_the_fast_decoder_cannot_do_is_decoded_on_the_cpu() -> None:
    place = TorchDevice("cpu", gpu_decode=True)
    good = ORDINARY["plain"]
    one, two = place.pixels([place.begin(good), otherwise(good)])
    assert np.array_equal(two.numpy(), images.decode(good).pixels.transpose(2, 0, 1))
    assert torch.equal(one, two)


def test_a_fast_decoder_that_takes_nothing_is_left_alone_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """H5: also after it accepted some, such as the example that every pipeline is loaded with."""
    good = ORDINARY["plain"]
    works, broken = TorchDevice("cpu", gpu_decode=True), TorchDevice("cpu", gpu_decode=True)
    broken.pixels([broken.begin(good)])
    broken.pixels([otherwise(good)] * MOST_REFUSALS)
    for _ in range(2):
        works.pixels([otherwise(good)] * (MOST_REFUSALS - 1))
        works.pixels([works.begin(good)])
    assert caplog.text.count("sound photographs in a row") == 1
    assert works.begin(good).jpeg is not None
    assert broken.begin(good).jpeg is None


@pytest.mark.parametrize("device", DEVICES)
def test_half_precision_stays_inside_its_module(device: str) -> None:
    place = TorchDevice(device, precision="bfloat16")
    layer = place.place(nn.Conv2d(3, 8, 3))
    inputs = torch.rand(2, 3, 16, 16, device=place.device)
    with torch.inference_mode():
        high = layer(inputs)
        for low in (place.under_autocast(layer)(inputs), place.lowered(layer)(inputs)):
            assert low.dtype == torch.float32
            assert 0 < (low - high).abs().max() < 0.05
    assert layer.weight.dtype == torch.bfloat16
    plain = TorchDevice(device, precision="float32")
    assert plain.lowered(layer) is plain.under_autocast(layer) is layer


def test_half_precision_keeps_the_structure_of_inputs_and_outputs() -> None:
    class Features(nn.Module):
        def forward(self, some: list[torch.Tensor]) -> OrderedDict[str, torch.Tensor]:
            assert {one.dtype for one in some} == {torch.float16}
            return OrderedDict(a=some[0] @ some[1], b=some[1])

    given = TorchDevice("cpu", precision="float16").lowered(Features())([torch.rand(4, 4), torch.rand(4, 4)])
    assert list(given) == ["a", "b"]
    assert isinstance(given, OrderedDict)
    assert {value.dtype for value in given.values()} == {torch.float32}


def test_jpegs_are_decoded_ahead_several_at_once() -> None:
    place = TorchDevice("cpu", gpu_decode=True)
    good = ORDINARY["plain"]
    photographs = [place.begin(data) for data in (good, good, damaged(good), good)]
    # Whether one can be decoded is told where it is wanted.
    assert all(photograph.ahead and photograph.ahead.is_through.wait(PATIENCE) for photograph in photographs)
    first, last = place.pixels([photographs[0], photographs[-1]])
    assert torch.equal(first, last)
    assert np.array_equal(first.numpy(), images.decode(good).pixels.transpose(2, 0, 1))
    # Nothing is kept once it was taken, and what is wanted again is decoded again.
    whole = place.begin(good)
    assert whole.ahead is not None
    [pixels], [again] = place.pixels([whole]), place.pixels([whole])
    assert whole.ahead.decoded is None
    assert torch.equal(pixels, again) and pixels is not again


def test_a_slow_decoder_is_left_to_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    """H6: a card without a JPEG engine is slower than a few threads."""
    caplog.set_level("INFO")
    assert decodes_quickly(torch.device("cpu"), limit=3600.0)
    assert not caplog.text
    assert not decodes_quickly(torch.device("cpu"), limit=0.0)
    assert "for a photograph here: the CPU decodes" in caplog.text


def test_where_the_decoder_does_not_work_the_cpu_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support")

    monkeypatch.setattr(torch_device, "_nvjpeg", refuse)
    assert not decodes_quickly(torch.device("cpu"), limit=7.0)


def test_a_cpu_keeps_to_float32_whatever_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    from antenna_orchestration import settings

    monkeypatch.setenv("ANTENNA_PRECISION", "float16")
    settings.get.cache_clear()
    try:
        layer = nn.Linear(2, 2)
        assert TorchDevice("cpu").lowered(layer) is layer
    finally:
        settings.get.cache_clear()


@GPU
def test_a_model_lies_channels_last_on_the_gpu() -> None:
    model, _ = checkpoints.plain_classifier("filter", 2)
    placed = TorchDevice("cuda").place(model)
    assert placed.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert placed.conv1.weight.device.type == "cuda"


@GPU
def test_copies_on_their_own_stream_are_whole_when_they_are_used() -> None:
    place = TorchDevice("cuda", gpu_decode=False)
    data = encoded("PNG")
    expected = torch.from_numpy(images.decode(data).pixels.transpose(2, 0, 1).copy()).long().sum().item()
    for _ in range(20):
        [pixels] = place.pixels([place.begin(data)])
        assert pixels.long().sum().item() == expected
