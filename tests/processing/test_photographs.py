"""Pictures of photographs, as threads of exports and reports ask for them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageStat

from antenna_orchestration import errors
from antenna_orchestration.domain import masks
from antenna_orchestration.domain.messages import RotatedBox
from antenna_orchestration.exports.material import Box, Pictures
from antenna_orchestration.processing import photographs
from antenna_orchestration.settings import Settings
from benchmarks import detector_accuracy
from tests.pipelines.test_pictures import lying, opened, where_red

FOLDER = detector_accuracy.photographs_folder()

BAR = Box(40, 30, 100, 50, "Noctua pronuba", 0.9)


def crop_sizes(pictures: Pictures, url: str, boxes: Sequence[Box]) -> list[tuple[int, int]] | str:
    """The sizes of the crops, or what is wrong."""
    try:
        return [opened(one).size for one in pictures.crops(url, boxes)]
    except errors.ImageError as error:
        return str(error)


@pytest.mark.long
async def test_threads_get_pictures_and_faults_are_those_of_one(tmp_path: Path) -> None:
    (tmp_path / "upright.jpg").write_bytes(lying(1))
    (tmp_path / "lying.jpg").write_bytes(lying(6))
    (tmp_path / "faulty.jpg").write_bytes(lying(1)[:700])
    names = ["upright", "lying", "faulty", "missing"]
    urls = [f"file://{tmp_path}/{name}.jpg" for name in names]
    settings = Settings(image_roots=(tmp_path,))
    async with photographs.pictures(settings) as pictures:
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(crop_sizes, pictures, url, [BAR, BAR]) for url in urls * 2]
            found = [await asyncio.wrap_future(one) for one in asked]
        whole = await asyncio.to_thread(pictures.drawn, urls[1], [BAR])
        small = await asyncio.to_thread(pictures.drawn, urls[1], [BAR], width=150)
        shaped = BAR._replace(mask=masks.of_array(np.ones((300, 400), bool)), rotated=RotatedBox(70, 40, 60, 20, 45))
        tinted = await asyncio.to_thread(pictures.drawn, urls[1], [shaped])
        with pytest.raises(errors.ImageForbidden, match="IMAGE_ROOTS"):
            await asyncio.to_thread(pictures.crops, "file:///etc/hostname", [BAR])
        with pytest.raises(errors.ImageForbidden, match="ANTENNA_PICTURES_OF_URLS"):
            await asyncio.to_thread(pictures.drawn, "https://example.org/1.jpg", [BAR])
    assert found[:4] == found[4:]
    assert found[:2] == [[(60, 20)] * 2, [(20, 60)] * 2]
    assert found[2:4] == ["truncated JPEG", "no such file"]
    # 400 x 300, held on its side: the bar is at the right.
    assert opened(whole).size == (300, 400) and where_red(opened(whole))[0] > 240
    assert opened(small).size == (150, 200)
    assert opened(tinted).size == (300, 400) and ImageStat.Stat(opened(tinted)).mean[2] < 100


async def test_who_asks_after_the_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(lying(1))
    async with photographs.pictures(Settings(image_roots=(tmp_path,))) as pictures:
        pass
    with pytest.raises(errors.Unavailable, match="ending"):
        await asyncio.to_thread(pictures.crops, f"file://{tmp_path}/1.jpg", [BAR])


@pytest.mark.skipif(FOLDER is None, reason="no photographs: set ANTENNA_TRAP_IMAGES")
async def test_crops_of_a_real_photograph_are_its_pixels() -> None:
    assert FOLDER is not None
    file = min((FOLDER / "denmark").glob("*.jpg"))
    with Image.open(file) as image:
        wanted = image.convert("RGB").crop((1000, 500, 1200, 600))
    async with photographs.pictures(Settings(image_roots=(FOLDER,))) as pictures:
        [crop] = await asyncio.to_thread(pictures.crops, file.as_uri(), [Box(1000, 500, 1200, 600)])
    found = Image.open(io.BytesIO(crop))
    assert found.size == wanted.size == (200, 100)
    # Encoded once more, each pixel changes a little, and the mean hardly.
    means = [ImageStat.Stat(one).mean for one in (found, wanted)]
    assert means[0] == pytest.approx(means[1], abs=2)
