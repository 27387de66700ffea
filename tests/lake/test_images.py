"""Images for pictures, read from where their URIs point."""

from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.lake import images


@pytest.mark.parametrize("name", ["plain.jpg", "50% [a] ü *?#::b.jpg", "%20.jpg"])
def test_a_file_uri_is_decoded(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"image")
    assert images.read(file.as_uri(), 5) == b"image"


def test_too_large_and_gone(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"image")
    with pytest.raises(errors.ImageUnusable):
        images.read(file.as_uri(), 4)
    with pytest.raises(errors.ImageUnreachable):
        images.read((tmp_path / "b.jpg").as_uri(), 4)
