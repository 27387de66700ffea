"""What exports of pictures have in common: several photographs at a time, those that cannot be read, and a list of all.

The list is a CSV file beside the pictures, with a row for each, so that nothing has to be read from their names.
"""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from antenna_orchestration import errors
from antenna_orchestration.domain import csv_cells
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.exports.formats import MOST_FAULTS, Checked

T = TypeVar("T")
R = TypeVar("R")

AT_A_TIME: Final = 16
"""Photographs that are loaded, decoded or written at the same time; how many are decoded, `Pictures` decides."""

FIRST_TRIED: Final = 20
"""If so many photographs cannot be read and none can, the others are not tried."""


def each(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """The results in order, several computed at a time; no more items are taken than that needs."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="pictures") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > AT_A_TIME:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


class Unread:
    """Photographs that cannot be read, by why."""

    def __init__(self) -> None:
        self._read = 0
        self._paths: dict[str, list[str]] = {}

    def one_was_read(self) -> None:
        """Count one that can."""
        self._read += 1

    def add(self, path: str, error: errors.ImageError) -> None:
        """Count one that cannot. Raises `InvalidSource` when there have been many, and none that can."""
        paths = self._paths.setdefault(str(error), [])
        paths.append(path)
        if not self._read and sum(map(len, self._paths.values())) >= FIRST_TRIED:
            self.require_some()

    def require_some(self) -> None:
        """Raise `InvalidSource` if none can be read, and some cannot."""
        if self._paths and not self._read:
            why, paths = max(self._paths.items(), key=lambda one: len(one[1]))
            tried = sum(map(len, self._paths.values()))
            raise errors.InvalidSource(
                f"no photograph can be read of {tried} that were tried; {paths[0]}, for example: {why}"
            )

    @property
    def lines(self) -> list[str]:
        """For `Written.left_out`."""
        return [
            f"{counted(len(paths), 'photograph')} that cannot be read, such as {paths[0]}: {why}"
            for why, paths in self._paths.items()
        ]


def write_list(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the list, as its rows come."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow(csv_cells.cell(one) if isinstance(one, str) else one for one in map(row.get, columns))


Rule = Callable[[Mapping[str, str], Path], str]
"""What is wrong with a row of the list, or nothing; with the folder."""


def check(path: Path, list_name: str, columns: Sequence[str], *, file: str, key: Sequence[str], rule: Rule) -> Checked:
    """Check a folder: its list, the pictures that the list names in the column `file`, and that it has no others."""
    by = ["own rules", "Pillow"]
    if not (path / list_name).is_file():
        return Checked(faults=[f"{path / list_name} is missing"], by=by)
    found = list(_faults(path, list_name, columns, file=file, key=key, rule=rule))
    return Checked(faults=found, by=by)


def _faults(
    path: Path, list_name: str, columns: Sequence[str], *, file: str, key: Sequence[str], rule: Rule
) -> Iterator[str]:
    every = _all_faults(path, list_name, columns, file=file, key=key, rule=rule)
    yield from itertools.islice(every, MOST_FAULTS)


def _all_faults(
    path: Path, list_name: str, columns: Sequence[str], *, file: str, key: Sequence[str], rule: Rule
) -> Iterator[str]:
    seen: set[tuple[str, ...]] = set()
    files: set[str] = set()
    try:
        with (path / list_name).open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            if reader.fieldnames is None or list(reader.fieldnames) != list(columns):
                yield f"{list_name} must have the columns {', '.join(columns)}"
                return
            for number, row in enumerate(reader, 1):
                where = f"{list_name}, row {number}"
                if None in row or None in row.values():
                    yield f"{where}: it has another number of cells than the header"
                    continue
                own = tuple(row[name] for name in key)
                if own in seen:
                    yield f"{where}: {', '.join(key)} as in an earlier row"
                seen.add(own)
                if row[file]:
                    files.add(row[file])
                    if wrong := _of_picture(path, row[file]):
                        yield f"{where}: {row[file]} {wrong}"
                        continue
                if wrong := rule(row, path):
                    yield f"{where}: {wrong}"
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        yield f"{list_name} cannot be read: {error}"
        return
    for picture in sorted(path.rglob("*")):
        name = picture.relative_to(path).as_posix()
        if picture.is_file() and picture.suffix.lower() in (".jpg", ".jpeg") and name not in files:
            yield f"{name} is not in {list_name}"


def _of_picture(path: Path, name: str) -> str:
    """What is wrong with a picture."""
    from PIL import Image

    picture = path / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        return "lies outside of the folder"
    if not picture.is_file():
        return "is missing"
    try:
        with Image.open(picture, formats=["JPEG"]) as image:
            image.load()
    except Exception as error:
        # Broken files raise many kinds of errors.
        return f"is not a whole JPEG: {error}"
    return ""
