"""Texts for people: counts, and texts made fit to be stored."""

import os

import pytest

from antenna_orchestration.domain import texts


def test_a_count_and_its_word_agree() -> None:
    """Point 6: `1 images`, `1 workers listen`."""
    assert [texts.counted(count, "image") for count in (0, 1, 2, 1204)] == [
        "0 images", "1 image", "2 images", "1,204 images",
    ]  # fmt: skip
    assert texts.counted(1, "delivery", "deliveries") == "1 delivery"
    assert texts.counted(2, "delivery", "deliveries") == "2 deliveries"


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        ("Käfer 🦋", "Käfer 🦋"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\xe9.jpg"),
        ("a\0b", "a\\x00b"),
        ("\ud83d", "\\ud83d"),
    ],
)
def test_what_cannot_be_stored_is_written_out(text: str, fit: str) -> None:
    """A11: PostgreSQL refuses zero bytes and halves of surrogate pairs."""
    assert texts.storable(text) == fit
    fit.encode()
