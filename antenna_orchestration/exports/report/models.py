"""What is known of models that come with the package: what they find and miss. `docs/model-card.md` has it in full."""

from __future__ import annotations

from typing import Final, NamedTuple


class Card(NamedTuple):
    """What people should know of a model before they believe its numbers."""

    what: str
    # Measured where, and with which result; empty: not measured.
    measured: str
    misses: str


_SHEET: Final = (
    "Missed: insects that lie on others, insects in deep shadow or in the dark beside the sheet, and the thinnest "
    "midges. Mistaken for insects: heaps of crumbs, scratches, stains of an insect's size. Not made for daylight, "
    "plants, or photographs without a lit sheet."
)
_KINDS: Final = (
    "Dark beetles, flies and bugs of under 80 pixels are called moths too often. Narrow moths and caddisflies look "
    "alike to it. Spiders and butterflies count as nonmoth."
)
_WHERE: Final = "Measured on 230 insects of 40 pixels and more, on ten photographs of three traps:"

CARDS: Final = {
    "light_trap_detector": Card(
        "Finds insects on a lit sheet; a score over 0.5 means that its network and its image processing both found it.",
        f"{_WHERE} it found 90 % of the insects, and 94 % of its boxes were insects.",
        _SHEET,
    ),
    "insect_network": Card(
        "Finds insects on a lit sheet with a small network, trained on drawings.",
        f"{_WHERE} it found 84 % of the insects, and 94 % of its boxes were insects.",
        _SHEET,
    ),
    "light_trap_blobs": Card(
        "Finds what departs from a smooth sheet, with classical image processing.",
        f"{_WHERE} it found 89 % of the insects, and 96 % of its boxes were insects.",
        _SHEET,
    ),
    "light_trap_moths": Card(
        "Tells moths from other insects; it knows no species.",
        "Of the insects found on the same photographs, 92 % got the correct kind; calling everything a moth would be "
        "correct for 83 %.",
        _KINDS,
    ),
    "insect_network_moths": Card(
        "Tells moths from other insects; it knows no species.",
        "Of the insects found on the same photographs, 90 % got the correct kind; calling everything a moth would be "
        "correct for 83 %.",
        _KINDS,
    ),
    "insect_shape": Card(
        "Tells moths from other insects by their shape; it knows no species.",
        "Of the insects found on the same photographs, 92 % got the correct kind; calling everything a moth would be "
        "correct for 83 %.",
        _KINDS,
    ),
    "fasterrcnn_for_ami_moth_traps_2023": Card(
        "Finds insects on the sheet of a light trap, of one class.",
        "",
        "Boxes with a score of 0.80 and less are left out unless the job said otherwise, and real insects among them.",
    ),
    "moth_nonmoth_classifier": Card(
        "Tells moths from all other insects.",
        "",
        "A moth that it takes for something else gets no species.",
    ),
    "null": Card("Invents insects without opening the photograph, for tests.", "", "Nothing that it says is true."),
}
"""By the key of the detector or classifier; the figures are those of the model card."""

UNKNOWN: Final = Card(
    "",
    "",
    "A classifier chooses among the classes that it was trained on: whatever else is on the photograph gets the name "
    "of the most similar class.",
)
"""Of a classifier that is not in the list."""

UNKNOWN_DETECTOR: Final = Card("", "", "What a detector does not find is in no number of this report.")
