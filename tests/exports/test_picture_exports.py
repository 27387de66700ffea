"""`crops` and `pictures` of real files, one on its side, one faulty and one gone; their checks find what is broken."""

from __future__ import annotations

import asyncio
import csv
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, IptcImagePlugin

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.ecology.reviews import Review
from antenna_orchestration.exports import crops, file_names, formats, picture_folders, pictures
from antenna_orchestration.processing import photographs
from antenna_orchestration.settings import Settings
from tests.ecology.nights_by_hand import GAMMA, PRONUBA, capture, detection
from tests.exports.materials import DUSK, POND, NoPictures, material_of
from tests.pipelines.test_pictures import lying, opened, where_red

BAR = {"x1": 40.0, "y1": 30.0, "x2": 100.0, "y2": 50.0}
ODD = "=a/b: <蛾>"


def a_card(folder: Path) -> dict[str, Any]:
    """A bar on each of two photographs, one lying; nothing on a third; a faulty, a gone and a failed one."""
    for name, content in (("1.jpg", lying(1)), ("2.JPG", lying(6)), ("3.jpg", lying(1)), ("4.jpg", lying(1)[:700])):
        (folder / name).write_bytes(content)
    names = ["1.jpg", "2.JPG", "3.jpg", "4.jpg", "5.jpg", "6.jpg"]
    captures = [
        capture(number, DUSK.replace(minute=number), zone=POND.zone, url=f"file://{folder}/{name}")
        for number, name in enumerate(names, 1)
    ]
    captures[5] |= {"status": "failed", "reason": "truncated", "width": None, "height": None}
    detections = [
        detection(1, 0, GAMMA.name, 0.875, **BAR),
        detection(1, 1, PRONUBA.name, 0.5, **BAR),
        detection(1, 2, None, x1=-90.0, x2=-1.0),
        detection(2, 0, PRONUBA.name, 0.96875, **BAR),
        detection(2, 1, None, x1=200.0, y1=200.0, x2=260.0, y2=220.0),
        detection(4, 0, GAMMA.name, **BAR),
        detection(5, 0, GAMMA.name, **BAR),
    ]
    return {"captures": captures, "detections": detections}


def list_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


class Made(NamedTuple):
    """A folder with `crops` and `pictures`, and what is said of them."""

    folder: Path
    crops: formats.Written
    pictures: formats.Written


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    (card := folder / "card").mkdir()
    at = datetime(2026, 7, 1, tzinfo=UTC)
    said = [
        Review(JobId(1), "1-1", PRONUBA.name, "ada@example.org", at),
        Review(JobId(1), "2-0", ODD, "ada@example.org", at),
    ]

    async def write() -> Made:
        async with photographs.pictures(Settings(image_roots=(card,))) as real:
            material = material_of(folder, **a_card(card), pictures=real, reviews=said)
            return Made(
                folder,
                await asyncio.to_thread(crops.write, material, folder / "crops"),
                await asyncio.to_thread(pictures.write, material, folder / "pictures"),
            )

    return asyncio.run(write())


@pytest.mark.long
def test_crops_lie_in_folders_of_their_taxa(made: Made) -> None:
    out, written = made.folder / "crops", made.crops
    odd = file_names.parts_of([ODD])[ODD]
    files = sorted(one.relative_to(out).as_posix() for one in out.rglob("*.jpg"))
    assert files == sorted(
        [
            "Autographa gamma/0.875_1-1-0.jpg",
            "Noctua pronuba/human_1-1-1.jpg",
            f"{odd}/human_1-2-0.jpg",
            "unknown/none_1-2-1.jpg",
        ]
    )
    assert written.counts == {"crops": 4, "photographs": 2}
    assert written.left_out == [
        "1 photograph that cannot be read, such as 4.jpg: truncated JPEG",
        "1 photograph that cannot be read, such as 5.jpg: no such file",
        "1 box outside of their photographs",
    ]
    assert crops.check(out) == formats.Checked(faults=[], by=["own rules", "Pillow"])
    assert not any("ada@" in one.read_text(errors="ignore") for one in out.rglob("*") if one.is_file())

    upright, lies = out / files[0], out / f"{odd}/human_1-2-0.jpg"
    assert [where_red(opened(one.read_bytes())) for one in (upright, lies)] == [(0, 0, 60, 20), (0, 0, 20, 60)]
    with Image.open(upright) as image:
        xmp = image.info["xmp"].decode()
        iptc = IptcImagePlugin.getiptcinfo(image)
    assert "<rdf:li>Noctuidae|Autographa|Autographa gamma</rdf:li>" in xmp and "<rdf:li>Noctuidae</rdf:li>" in xmp
    assert "<dc:identifier>1-1-0</dc:identifier>" in xmp
    assert iptc is not None and iptc[2, 25] == [b"Noctuidae", b"Autographa", b"Autographa gamma"]
    with Image.open(lies) as image:
        assert "<rdf:li>=a/b: &lt;蛾&gt;</rdf:li>" in image.info["xmp"].decode()


def test_pictures_have_the_boxes_and_the_list_has_all_photographs(made: Made) -> None:
    out, written = made.folder / "pictures", made.pictures
    assert written.counts == {"pictures": 2, "boxes": 5}
    assert len(written.left_out) == 2
    rows = [
        (row["file"], row["photograph"], row["status"], row["reason"], row["boxes"])
        for row in list_of(out / "pictures.csv")
    ]
    assert rows == [
        ("1.jpg", "1.jpg", "done", "", "3"),
        ("2.JPG", "2.JPG", "done", "", "2"),
        ("", "3.jpg", "done", "", "0"),
        ("", "4.jpg", "unread", "truncated JPEG", ""),
        ("", "5.jpg", "unread", "no such file", ""),
        ("", "6.jpg", "failed", "truncated", ""),
    ]
    assert opened((out / "2.JPG").read_bytes()).size == (300, 400)
    assert pictures.check(out).faults == []


@pytest.mark.parametrize("module", [crops, pictures])
def test_photographs_that_nobody_can_read_are_an_error(module: Any, tmp_path: Path) -> None:
    material = material_of(tmp_path, pictures=NoPictures())
    with pytest.raises(
        errors.InvalidSource, match=r"no photograph can be read of 2 .* 001\.jpg, for example: file:///card"
    ):
        module.write(material, tmp_path / "out")


def with_row(list_name: str, row: int, **values: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        rows = list_of(folder / list_name)
        rows[row - 1] |= values
        picture_folders.write_list(folder / list_name, list(rows[0]), rows)

    return change


def twice(file: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        rows = list_of(folder / file)
        picture_folders.write_list(folder / file, list(rows[0]), [*rows, rows[0]])

    return change


def without_keywords(folder: Path) -> None:
    file = folder / "Autographa gamma/0.875_1-1-0.jpg"
    file.write_bytes(lying(1))


CROP = "Autographa gamma/0.875_1-1-0.jpg"


@pytest.mark.parametrize(
    ("which", "break_", "fault"),
    [
        ("crops", lambda folder: (folder / "crops.csv").unlink(), "crops.csv is missing"),
        ("crops", lambda folder: (folder / "crops.csv").write_text("file\n"), "must have the columns file, pipeline"),
        ("crops", lambda folder: (folder / "crops.csv").write_bytes(b"\xff"), "crops.csv cannot be read"),
        ("crops", lambda folder: (folder / CROP).unlink(), f"{CROP} is missing"),
        ("crops", lambda folder: (folder / CROP).write_bytes(lying(1)[:500]), f"{CROP} is not a whole JPEG"),
        ("crops", lambda folder: (folder / "more.jpg").touch(), "more.jpg is not in crops.csv"),
        ("crops", with_row("crops.csv", 1, file="../a.jpg"), "row 1: ../a.jpg lies outside of the folder"),
        ("crops", with_row("crops.csv", 1, file=""), "row 1: it names no file"),
        ("crops", with_row("crops.csv", 1, observation_id="9-9-9"), "is not named for its observation"),
        ("crops", with_row("crops.csv", 1, score="0.9"), "is not named for its score"),
        ("crops", twice("crops.csv"), "row 5: observation_id as in an earlier row"),
        ("crops", without_keywords, "does not have Autographa gamma among its keywords"),
        ("pictures", with_row("pictures.csv", 1, boxes="0"), "1.jpg has a picture exactly if it has boxes"),
        ("pictures", with_row("pictures.csv", 1, boxes="x"), "'x' is not a number of boxes"),
        ("pictures", with_row("pictures.csv", 3, boxes="2"), "3.jpg has a picture exactly if it has boxes"),
        ("pictures", with_row("pictures.csv", 6, boxes="2"), "6.jpg is failed, and has no picture and no boxes"),
        ("pictures", with_row("pictures.csv", 6, reason=""), "6.jpg is failed, without a reason"),
        ("pictures", with_row("pictures.csv", 2, status="fine"), "'fine' is not a status"),
        ("pictures", twice("pictures.csv"), "row 7: pipeline, image_id as in an earlier row"),
        ("pictures", lambda folder: (folder / "2.JPG").unlink(), "2.JPG is missing"),
    ],
)  # fmt: skip
def test_each_broken_rule_is_found(
    made: Made, tmp_path: Path, which: str, break_: Callable[[Path], object], fault: str
) -> None:
    folder = shutil.copytree(made.folder / which, tmp_path / which)
    format_ = formats.named(which)
    assert format_.check(folder).faults == []
    break_(folder)
    assert fault in format_.check(folder).faults[0]


def test_names_of_one_path_are_told_apart(tmp_path: Path) -> None:
    captures = [
        capture(number, DUSK.replace(minute=number), zone=POND.zone, url=f"https://x.org/a:b/img?id={number}")
        for number in (1, 2)
    ]
    material = material_of(tmp_path, captures, [])
    assert [job.file for job in pictures._jobs(material)] == ["img.jpg", "img~2.jpg"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Noctua pronuba", "Noctua pronuba"),
        ("蛾", "蛾"),
        ("a/b", "a_b"),
        ("con", "_con"),
        ("COM1.jpg", "_COM1.jpg"),
        (" x. ", "x"),
        ("", "_"),
        ("...", "_"),
        ("-rf", "_-rf"),
        ("=1", "_=1"),
        ("é" * 100, "é" * 60),
    ],
)
def test_names_of_files_work_on_every_system(text: str, name: str) -> None:
    assert file_names.part(text) == name


@given(st.sets(st.text(min_size=1), max_size=8))
def test_folders_of_different_taxa_are_different(taxa: set[str]) -> None:
    names = file_names.parts_of(taxa)
    assert len({one.casefold() for one in names.values()}) == len(taxa)
    assert all(one and "/" not in one and not one.startswith(".") for one in names.values())
