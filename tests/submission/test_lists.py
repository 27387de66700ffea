"""A10: lists as people have them, by the program that wrote them; each with the right images, times and deployments."""

import json
import re
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.domain import list_columns
from antenna_orchestration.submission import sources
from antenna_orchestration.submission.sources import Gathered
from tests.submission.pictures import empty

TIME = datetime(2025, 9, 14, 20, 53, 6, tzinfo=UTC)
A, B = ("pond/a.jpg", TIME, None), ("pond/b.jpg", None, None)


def gathered(folder: Path, name: str = "") -> Gathered:
    return sources.gather([str(folder / name)], settings=settings.load(home=Path("/nowhere")))


def rows(found: Gathered, folder: Path) -> list[tuple[str, datetime | None, str | None]]:
    start = f"{folder.as_uri()}/"
    return [(image.uri.removeprefix(start), image.captured_at, image.deployment) for image in found.images]


HERE = "{here}"
LISTS: dict[str, tuple[str, list[Any]]] = {
    "Timelapse": (
        "RootFolder,File,RelativePath,DateTime,DeleteFlag,Species\n"
        "Traps,a.jpg,pond,2025-09-14 20:53:06,false,\nTraps,b.jpg,pond,,false,moth\n", [A, B],
    ),
    "Timelapse, folders of Windows": (
        "File,RelativePath,DateTime\na.jpg,deep\\er,2025-09-14T20:53:06\nc.jpg,,\n",
        [("deep/er/a.jpg", TIME, None), ("c.jpg", None, None)],
    ),
    "Timelapse before 2.3": ("File,RelativePath,Folder,Date,Time\na.jpg,pond,x,14-Sep-2025,20:53:06\n", [A]),
    "AddaxAI": (
        "absolute_path,relative_path,data_type,n_detections,max_confidence,DateTimeOriginal,DateTime\n"
        "{here},pond/a.jpg,img,0,NA,14/09/25 20:53:06,01/01/26 00:00:00\n"
        "C:\\Users\\me\\traps,pond\\b.jpg,img,0,NA,NA,NA\n", [A, B],
    ),
    "MegaDetector's table": ("image_path,max_confidence,detections\npond/a.jpg,0.9,[]\n", [("pond/a.jpg", None, None)]),
    "exiftool -csv -r": (
        "SourceFile,FileName,Directory,DateTimeOriginal\n./pond/a.jpg,a.jpg,./pond,2025:09:14 20:53:06\n"
        "./pond/b.jpg,b.jpg,./pond,\n", [A, B],
    ),
    "exiftool, only names": ("FileName,Directory,CreateDate\na.jpg,pond,2025:09:14 20:53:06\n", [A]),
    "R write.csv": ('"","path","captured_at","deployment"\n"1","pond/a.jpg","2025-09-14 20:53:06",NA\n', [A]),
    "R write.table": ('"path","captured_at"\n"1","pond/a.jpg","2025-09-14 20:53:06"\n"2","pond/b.jpg",NA\n', [A, B]),
    "camtrapR": (
        "Station,Species,DateTimeOriginal,Date,Time,Directory,FileName\n"
        "north,NA,2025-09-14 20:53:06,2025-09-14,20:53:06,{here}/pond,a.jpg\n", [("pond/a.jpg", TIME, "north")],
    ),
    "camtrapDP": (
        "mediaID,deploymentID,timestamp,filePath,filePublic,fileName\n"
        "1,north,2025-09-14T20:53:06Z,pond/a.jpg,false,a.jpg\n", [("pond/a.jpg", TIME, "north")],
    ),
    "a German spreadsheet": ("sep=;\nfile_path;captured_at\npond/a.jpg;2025-09-14 20:53:06\n", [A]),
    "comments": ("# June\n#\nfilepath,captured_at\n#skip,this\npond/a.jpg,2025-09-14 20:53:06\n", [A]),
    "pandas": (
        ",filename,captured_at,deployment\n0,pond/a.jpg,2025-09-14 20:53:06,nan\n1,pond/b.jpg,NaT,NaN\n", [A, B],
    ),
    "no dates": ("path,captured_at\npond/b.jpg,0000-00-00 00:00:00\nc.jpg,NULL\n", [B, ("c.jpg", None, None)]),
    "cells behind the last column": ("path,captured_at\npond/a.jpg,2025-09-14 20:53:06,\npond/b.jpg,,,\n", [A, B]),
    "a home folder": ("path\n~/pond/a.jpg\n", [("pond/a.jpg", None, None)]),
    "other cases and accents": ("path\nPond/A.JPG\nka\u0308fer.jpg\n", [("pond/a.jpg", None, None),
                                                                   ("k%C3%A4fer.jpg", None, None)]),
}  # fmt: skip


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_the_programs_that_people_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A10: each row of the table is a header as that program writes it."""
    content, expected = LISTS[kind]
    empty(tmp_path, "pond/a.jpg", "pond/b.jpg", "deep/er/a.jpg", "c.jpg", "käfer.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "list.csv").write_text(content.replace(HERE, str(tmp_path)), encoding="utf-8")
    found = gathered(tmp_path, "list.csv")
    assert rows(found, tmp_path) == expected
    assert found.warnings == []


def test_a_list_in_utf16_as_spreadsheets_write_it(tmp_path: Path) -> None:
    empty(tmp_path, "pond/a.jpg")
    (tmp_path / "list.csv").write_text("path\tcaptured_at\npond/a.jpg\t2025-09-14 20:53:06\n", encoding="utf-16")
    assert rows(gathered(tmp_path, "list.csv"), tmp_path) == [A]


@pytest.mark.parametrize(
    "content",
    [
        {"images": [{"file": "pond/a.jpg", "datetime": "2025:09:14 20:53:06", "detections": []},
                    {"file": "pond/b.jpg", "failure": "Failure image access"}], "info": {"format_version": "1.4"}},
        [{"SourceFile": "pond/a.jpg", "DateTimeOriginal": "2025:09:14 20:53:06"}, {"SourceFile": "pond/b.jpg"}],
    ],
)  # fmt: skip
def test_json_of_megadetector_and_exiftool(tmp_path: Path, content: Any) -> None:
    """A10: MegaDetector's results and `exiftool -json`."""
    empty(tmp_path, "pond/a.jpg", "pond/b.jpg")
    (tmp_path / "list.json").write_text(json.dumps(content))
    assert rows(gathered(tmp_path, "list.json"), tmp_path) == [A, B]


@pytest.mark.parametrize("content", ["{", "3", '{"a": 1}', '["a.jpg"]', '[{"size": 1}]'])
def test_json_that_is_no_list(tmp_path: Path, content: str) -> None:
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(errors.InvalidSource, match=r"list\.json"):
        gathered(tmp_path, "list.json")


TROUBLE = [
    ("path,captured_at\npond/a.jpg,2025-09-14 20:53:06\npond/b.jpg,tonight\n", [A, B],
     "1 of 2 times .* line 3: captured_at 'tonight' is not an ISO 8601 time"),
    ("path,captured_at\npond/a.jpg,2025-09-14 20:53:06\npond/b.jpg,9999-12-31T23:59:59-10:00\n", [A, B],
     "1 of 2 times"),
    ("path,captured_at\npond/a.jpg,2025-09-14 20:53:06\npond/b.jpg,30000-01-01\n", [A, B], "1 of 2 times"),
    ("path,captured_at\npond/a.jpg,2025-09-14 20:53:06\npond/b.jpg,2025-09-14\n", [A, B], "1 of 2 times"),
    ("path,DateTime\npond/b.jpg,09/10/2025 8 pm\n", [B], "1 of 1 time in .* line 2: datetime"),
    ("path,captured_at\npond/a.jpg,2025-09-14 20:53:06\nNA,\n", [A], "1 row of .* without a location.* line 3"),
    ("path,path,captured_at\npond/a.jpg,x.jpg,2025-09-14 20:53:06\n", [A], "several columns called 'path'"),
    ("path,captured_at\npond/a.jpg,2025-09-14 20:53:06,north\npond/b.jpg,\n", [A, B],
     "1 row has more cells than the header .* line 2"),
    ("path,captured_at,deployment\npond/a.jpg,2025-09-14 20:53:06,\npond/b.jpg,,n\npond/b.jpg,,s\n",
     [A, ("pond/b.jpg", None, "n")], "1 image named more than once: .* with different .*b.jpg .deployment 'n' and 's'"),
    (f"path,captured_at\npond/a.jpg,2025-09-14 20:53:06\npond/{'蛾' * 800}.jpg,\n", [A], None),
    ("path,captured_at\npond/a.jpg,2025-09-14 20:53:06\n~a\0b.jpg,\n", [A], None),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected", "warning"), TROUBLE)
def test_one_bad_row_does_not_refuse_a_list(tmp_path: Path, content: str, expected: Any, warning: str | None) -> None:
    """A5, A10: it is said, with its line, and the rest is taken."""
    empty(tmp_path, "pond/a.jpg", "pond/b.jpg")
    (tmp_path / "list.csv").write_text(content)
    found = gathered(tmp_path, "list.csv")
    assert rows(found, tmp_path) == expected
    if warning is None:
        assert [one.kind for one in found.left_out] == ["unreadable"]
    else:
        # What several rows say of one image is one warning with their number, not two.
        (said,) = found.warnings or [sources.about_duplicates(found.duplicates, found.conflicts)]
        assert re.search(warning, said), said


def test_parquet_with_far_times_and_two_columns_of_one_name(tmp_path: Path) -> None:
    """A10: both ended in a traceback."""
    empty(tmp_path, "pond/a.jpg", "pond/b.jpg")
    times = pa.array([int(TIME.timestamp()), 10**12], pa.timestamp("s"))
    table = pa.table([["pond/a.jpg", "pond/b.jpg"], ["x", "y"], times], names=["path", "path", "captured_at"])
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    found = gathered(tmp_path, "list.parquet")
    assert rows(found, tmp_path) == [A, B]
    assert len(found.warnings) == 2


def test_notes_beside_photographs_are_no_list(tmp_path: Path) -> None:
    """A10: `night/*` takes the photographs; lists are taken where the pattern asks for them."""
    empty(tmp_path, "night/a.jpg", "lists/b.jpg")
    (tmp_path / "night" / "notes.txt").write_text("it rained\n")
    (tmp_path / "lists" / "one.txt").write_text("b.jpg\n")
    found = gathered(tmp_path, "night/*")
    assert rows(found, tmp_path) == [("night/a.jpg", None, None)]
    assert [(one.kind, Path(one.path).name) for one in found.left_out] == [("other", "notes.txt")]
    assert rows(gathered(tmp_path, "lists/*.txt"), tmp_path) == [("lists/b.jpg", None, None)]


def test_videos_of_a_list_are_left_out(tmp_path: Path) -> None:
    """A14: tables of MegaDetector and AddaxAI name videos, too."""
    empty(tmp_path, "pond/a.jpg", "v.mp4")
    (tmp_path / "list.csv").write_text("file\npond/a.jpg\nv.mp4\n")
    found = gathered(tmp_path, "list.csv")
    assert ([image.uri[-5:] for image in found.images], [one.kind for one in found.left_out]) == (["a.jpg"], ["video"])
    (tmp_path / "list.csv").write_text("file\nv.mp4\n")
    with pytest.raises(errors.InvalidSource, match=r"names no images; left out: 1 video; `ffmpeg"):
        gathered(tmp_path, "list.csv")
    with pytest.raises(errors.InvalidSource, match=r"v\.mp4 is neither an image .*; `ffmpeg"):
        gathered(tmp_path, "v.mp4")


def test_a_name_that_two_files_share_is_not_guessed(tmp_path: Path) -> None:
    empty(tmp_path, "A.jpg", "a.JPG", "b.jpg")
    (tmp_path / "list.txt").write_text("a.jpg\nb.jpg\n")
    assert "a.jpg, " in gathered(tmp_path, "list.txt").warnings[0]


def test_a_folder_in_the_form_of_macos(tmp_path: Path) -> None:
    """Point 5: names in NFC and NFD."""
    apart = unicodedata.normalize("NFD", "Käfer")
    empty(tmp_path, f"{apart}/a.jpg")
    (tmp_path / "list.txt").write_text("Käfer/a.jpg\n", encoding="utf-8")
    found = gathered(tmp_path, "list.txt")
    assert (len(found.images), found.warnings) == (1, [])


@pytest.mark.parametrize("location", ["..\\..\\etc\\hostname", "..\\OUT\\b.jpg", "~root/x.jpg"])
def test_other_spellings_lead_nowhere_beyond_the_roots(tmp_path: Path, location: str) -> None:
    inside, _ = empty(tmp_path / "in", "a.jpg"), empty(tmp_path / "out", "b.jpg")
    (inside / "list.txt").write_text(f"a.jpg\n{location}\n")
    with pytest.raises(errors.InvalidSource, match="outside ANTENNA_IMAGE_ROOTS"):
        sources.gather([str(inside / "list.txt")], settings=settings.load(home=tmp_path), allowed_roots=[inside])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-09-14T20:53:06+02:00", "2025-09-14T20:53:06+02:00"), ("2025:09:14 20:53:06", "2025-09-14T20:53:06"),
        ("20250914205306", "2025-09-14T20:53:06"), ("2025-09-14 08:53:06 PM", "2025-09-14T20:53:06"),
        ("14-Sep-2025 20:53:06", "2025-09-14T20:53:06"), ("2025-09-14", "2025-09-14T00:00:00"),
    ],
)  # fmt: skip
def test_times_in_lists(text: str, expected: str) -> None:
    assert list_columns.parse_time(text).isoformat() == expected
