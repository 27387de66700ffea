"""Photographs to try a pipeline on: a person's own, drawn ones where there are none, and odd ones as cameras write."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from antenna_orchestration import errors
from antenna_orchestration.pipelines import images
from antenna_orchestration.submission import kinds
from antenna_orchestration.synthetic import captures


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph as a worker loads it."""

    # For people.
    name: str
    # The file's bytes.
    data: bytes
    # Width and height as stored; None for what is not a photograph.
    size: tuple[int, int] | None


def read(photographs: Iterable[Photograph | Path | str | bytes] | None) -> list[Photograph]:
    """The photographs: files, all of a folder, bytes, or drawn ones for None.

    Raises `InvalidInput` if there are none, and for a file that cannot be read or is not a photograph.
    """
    if photographs is None:
        return [*drawn()]
    found = [_read(one, number) for number, one in enumerate(each for some in photographs for each in _files(some))]
    if not found:
        raise errors.InvalidInput(
            "no photographs to check the pipeline on: name one, or leave them out to have some drawn"
        )
    return found


def drawn() -> Iterator[Photograph]:
    """Three small drawn photographs of lit sheets with insects, of two sizes."""
    for seed, (width, height) in enumerate([(480, 320), (480, 320), (360, 400)], start=1):
        data, _ = captures.draw_capture(seed, width, height, insects=6, trap=0)
        yield Photograph(f"drawn {seed} ({width} x {height})", data, (width, height))


def odd() -> Iterator[Photograph]:
    """Photographs as few people have them, and every card does sometimes; each can be decoded."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(90, 200, (48, 64, 3), np.uint8)
    colour = Image.fromarray(pixels)
    yield _saved("1 x 1 pixel", Image.new("RGB", (1, 1), (120, 130, 140)), "PNG")
    yield _saved("one row of 300 pixels", Image.fromarray(rng.integers(0, 255, (1, 300, 3), np.uint8)), "PNG")
    yield _saved("grey, without colours", colour.convert("L"), "JPEG")
    yield _saved("16 bits of grey", Image.fromarray(rng.integers(0, 65535, (48, 64), np.uint16)), "PNG")
    yield _saved("half transparent", colour.convert("RGBA"), "PNG")
    yield _saved("of one colour", Image.new("RGB", (64, 48), (200, 200, 200)), "JPEG")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    yield _saved("turned by its EXIF data", colour, "JPEG", exif=turned)


def unusable() -> Iterator[Photograph]:
    """What no pipeline can decode."""
    whole = _saved("", Image.fromarray(np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)), "JPEG").data
    yield Photograph("a truncated JPEG", whole[: len(whole) // 2], None)
    yield Photograph("a text that is called .jpg", b"this is called .jpg and is none", None)
    yield Photograph("an empty file", b"", None)


def _files(one: Photograph | Path | str | bytes) -> Iterable[Photograph | Path | str | bytes]:
    if isinstance(one, (str, Path)) and Path(one).is_dir():
        return sorted(file for file in Path(one).rglob("*") if file.is_file() and kinds.is_image(file.name))
    return [one]


def _read(one: Photograph | Path | str | bytes, number: int) -> Photograph:
    if isinstance(one, Photograph):
        return one
    if isinstance(one, bytes):
        name, data = f"photograph {number + 1}", one
    else:
        path = Path(one)
        try:
            name, data = path.name, path.read_bytes()
        except OSError as error:
            raise errors.InvalidInput(f"{path}: {error.strerror or error}") from None
    try:
        decoded = images.decode(data, shrink_to=1)
    except errors.ImageUnusable as error:
        raise errors.InvalidInput(f"{name}: {error}") from None
    return Photograph(name, data, (decoded.width, decoded.height))


def _saved(name: str, image: Image.Image, kind: str, exif: Image.Exif | None = None) -> Photograph:
    stream = io.BytesIO()
    image.save(stream, kind, **({"exif": exif} if exif else {}))
    return Photograph(name, stream.getvalue(), image.size)
