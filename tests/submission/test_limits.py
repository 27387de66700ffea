"""S7, M6: what a client names costs its own submission an error, and nobody else time or memory."""

from __future__ import annotations

import glob
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.domain import capture_time, list_columns
from antenna_orchestration.submission import limits, patterns, sources
from tests.submission.pictures import empty

SETTINGS = settings.Settings(home=Path("/nowhere"))


def refused(source: Path | str, **options: limits.Deadline) -> str:
    with pytest.raises(errors.InvalidSource) as refusal:
        sources.gather([str(source)], settings=SETTINGS, **options)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("pattern", ["**/" * 90 + "*.jpg", "**/*/" * 8 + "*.jpg", "**/" * 12 + "x.jpg", "*/**/" * 9])
def test_repeated_folders_of_a_pattern_read_each_folder_a_few_times(tmp_path: Path, pattern: str) -> None:
    """S7: twelve `**/` took 19 s for one file eight folders deep, and each further one twice as long."""
    folder = tmp_path / "/".join("abcdefghij")
    folder.mkdir(parents=True)
    (folder / "x.jpg").write_bytes(b"x")
    looks: list[None] = []
    paths = patterns.local_paths(str(tmp_path), pattern, unreadable=lambda *_: None, check=lambda: looks.append(None))
    found = {path for path, is_folder in itertools.islice(paths, 100) if not is_folder}
    assert len(looks) < 50
    assert found in (set(), {str(folder / "x.jpg")})


@pytest.mark.parametrize(
    "pattern",
    ["*", "**", "**/*.jpg", "*/*.jpg", "n1/**", "n?/a.jpg", "**/deep/*", "[n]1/*", "**/n1/**/*.jpg", "*/", ".*/*",
     "**/.*",
     "n1/*/c.jpg", "*.jpg", "link/*", "**/b.jpg", "n[!1]/**/*", "./*", "n1//*.jpg"],
)  # fmt: skip
def test_patterns_match_what_shells_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    names = ["a.jpg", "n1/a.jpg", "n1/deep/c.jpg", "n1/.hidden/d.jpg", "n2/b.jpg", "n2/deep/n1/e.jpg", ".f/g.jpg"]
    empty(tmp_path, *names)
    (tmp_path / "link").symlink_to("n2/deep")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    paths = patterns.local_paths("", pattern, unreadable=lambda *_: pytest.fail(), check=lambda: None)
    found = {os.path.normpath(path) for path, is_folder in paths if is_folder or not pattern.endswith("/")}
    expected = {os.path.normpath(path) for path in glob.iglob(pattern, recursive=True)} - {"."}
    # A folder that a link leads to is read once, by the first name that it is found under.
    assert {os.path.realpath(path) for path in found} == {os.path.realpath(path) for path in expected}


def test_looking_for_images_has_a_deadline_and_names_a_bound(tmp_path: Path) -> None:
    """S7: a client's patterns held the gateway's threads for as long as they took."""
    empty(tmp_path, "a.jpg")
    for source in (tmp_path, tmp_path / "*.jpg", "https://example.org/a.jpg"):
        assert "took longer than -0 s" in refused(source, deadline=limits.Deadline(-0.1))
    assert "101 parts" in refused("/" + "*/" * 101)
    assert "longer than 2000 characters" in refused("/a" * 1500 + "/*")


@pytest.mark.parametrize("text", [" " * 100_000, "2026:06:01 20:00" + " " * 100_000 + "x", "UTC" + " " * 100_000])
def test_a_long_cell_is_no_time(text: str) -> None:
    """S7: the sibling among regular expressions: 2026:06:01 20:00:00 and 100,000 spaces took ten minutes."""
    assert capture_time.from_text(text) is capture_time.parse_offset(text) is None
    assert capture_time.from_exif({0x9003: text, 0x9011: text}) is None or text.startswith("2026")
    with pytest.raises(ValueError, match=r".*"):
        list_columns.parse_time(f"{text}x")


def test_a_list_that_stands_for_more_than_it_says_is_refused(tmp_path: Path) -> None:
    """M6: 531 bytes of Parquet took 2.9 GB, and 100 MB of text 140 s."""
    rows = limits.MOST_ROWS + 1
    for name, value in (("rows", "a.jpg"), ("long", "x" * 200_000)):
        count = rows if name == "rows" else 10_000
        column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([value]))
        path = tmp_path / f"{name}.parquet"
        pa.parquet.write_table(pa.table({"url": column}), path, compression="zstd", store_schema=False)
        assert path.stat().st_size < 500_000
    assert "rows.parquet has more than 2,000,000 rows" in refused(tmp_path / "rows.parquet")
    assert "long.parquet has a cell of more than 100,000 characters" in refused(tmp_path / "long.parquet")
    # As a file without blocks: its size is looked at first.
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(limits.MOST_LIST_BYTES + 1)
    assert "large.txt has more than 512 MB" in refused(large)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.txt", "a.jpg\n" * 4, "a.txt has more than 3 rows"),
        ("a.csv", "url\n" + "a.jpg\n" * 4, "a.csv has more than 3 rows"),
        ("a.json", json.dumps([{"file": "a.jpg"}] * 4), "a.json has more than 3 rows"),
        ("b.txt", "a" * 1_000_001, "b.txt, line 1 is longer than 1,000,000 characters"),
        ("b.csv", "a" * 1_000_001, "b.csv, line 1 is longer than 1,000,000 characters"),
        ("c.csv", "url," * 6000, "c.csv has more than 5,000 columns"),
        ("c.json", json.dumps([{f"c{n}": 1 for n in range(5001)}]), "c.json has more than 5,000 columns"),
        ("d.json", "[" * 50, "more than 10 objects and lists"),
    ],
)
def test_rows_lines_and_columns_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, why: str
) -> None:
    """M6"""
    monkeypatch.setattr(limits, "MOST_ROWS", 3)
    monkeypatch.setattr(limits, "MOST_CONTAINERS", 10)
    path = tmp_path / name
    path.write_text(text)
    assert why in refused(path)


def test_columns_that_nobody_reads_cost_nothing(tmp_path: Path) -> None:
    """M6: each row of a JSON list had a cell for each name that any row has."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"file": f"https://x.org/{n}.jpg", f"other{n}": 1} for n in range(3000)]))
    assert len(sources.gather([str(path)], settings=SETTINGS).images) == 3000


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["txt", "csv", "parquet"])
def test_a_list_of_a_million_images_is_taken(tmp_path: Path, ending: str) -> None:
    """M6: bounds must leave room for what people have."""
    urls = [f"https://images.example.org/trap/{n % 50}/IMG_{n:07}.jpg" for n in range(1_000_000)]
    path = tmp_path / f"list.{ending}"
    if ending == "parquet":
        pa.parquet.write_table(pa.table({"url": urls, "deployment": ["pond"] * len(urls)}), path)
    else:
        path.write_text("\n".join(["url", *urls] if ending == "csv" else urls))
    assert len(sources.gather([str(path)], settings=SETTINGS).images) == 1_000_000


def test_what_nobody_waits_for_any_more_ends(tmp_path: Path) -> None:
    """Ctrl-C did not end a submission that looked through a slow share: Python waits for the thread that looks."""
    empty(tmp_path, "a.jpg", "b.jpg")
    deadline = limits.Deadline()
    with pytest.raises(errors.InvalidSource, match="given up"):
        sources.gather([str(tmp_path)], settings=SETTINGS, deadline=deadline, progress=lambda count: deadline.give_up())
