"""A folder on each kind of store."""

import pytest

from antenna_orchestration.lake.folder import Folder, Missing
from tests.lake.conftest import files


@pytest.fixture
def folder(root: str) -> Folder:
    return Folder(root)


def write(folder: Folder, path: str, content: bytes) -> None:
    folder.write(path, lambda sink: sink.write(content))


def test_a_file_is_written_listed_and_read(folder: Folder) -> None:
    assert folder.names("a") == []
    for path in ("a/2", "a/1", "a/b/3"):
        write(folder, path, path.encode())
    assert folder.names("a") == ["1", "2", "b"]
    assert folder.files() == {"a/1": 3, "a/2": 3, "a/b/3": 5}
    assert folder.read("a/b/3") == b"a/b/3"


def test_a_file_is_replaced_whole_or_not_at_all(folder: Folder, root: str) -> None:
    def half(sink: object) -> None:
        sink.write(b"half")  # type: ignore[attr-defined]
        raise RuntimeError

    for path in ("a/old", "a/new"):
        write(folder, "a/old", b"whole")
        with pytest.raises(RuntimeError):
            folder.write(path, half)
    assert files(root) == ["a/old"]
    assert folder.read("a/old") == b"whole"


def test_what_is_not_there_is_missing(folder: Folder) -> None:
    with pytest.raises(Missing):
        folder.read("a")
    with pytest.raises(Missing), folder.reading("a", fresh=True):
        pass
    with pytest.raises(Missing):
        folder.remove_folder("a")


def test_removing_is_idempotent(folder: Folder, root: str) -> None:
    write(folder, "a/1", b"")
    for _ in range(2):
        folder.remove(["a/1", "a/2"])
    assert files(root) == []


def test_a_folder_is_removed_without_its_neighbours(folder: Folder, root: str) -> None:
    for path in ("a/1", "a/b/2", "ab/3"):
        write(folder, path, b"")
    folder.remove_folder("a")
    assert files(root) == ["ab/3"]


def test_an_open_version_of_a_file_stays_what_it_was(folder: Folder) -> None:
    write(folder, "a/x", b"old")
    with folder.reading_version("a/x") as before:
        write(folder, "a/x", b"new")
        with folder.reading_version("a/x") as after:
            assert (before.size, before.file.read(), after.file.read()) == (3, b"old", b"new")
    assert before.tag != after.tag
    with folder.reading_version("a/x") as again:
        assert again.tag == after.tag
    with pytest.raises(Missing), folder.reading_version("a/y"):
        pass
