"""Texts made fit to be stored."""

import os

import pytest

from antenna_orchestration.domain import texts


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
