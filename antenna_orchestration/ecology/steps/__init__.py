"""The steps of post-processing recipes: one module each, and the table of all of them.

To add one: a module with its parameters and `apply`, a line below, its place in `ecology/default_recipe.yaml`, and a
section in docs/reference/recipes.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from antenna_orchestration.ecology.steps import (
    best_picture,
    consensus,
    fixtures,
    flags,
    masking,
    roll_up,
    tracking,
)
from antenna_orchestration.ecology.steps.step import Step

STEPS: Final[Mapping[str, Step]] = {
    "flags": Step(flags.FlagsParameters, flags.apply),
    "fixtures": Step(fixtures.FixturesParameters, fixtures.apply),
    "tracking": Step(tracking.TrackingParameters, tracking.apply),
    "consensus": Step(consensus.ConsensusParameters, consensus.apply),
    "masking": Step(masking.MaskingParameters, masking.apply),
    "roll_up": Step(roll_up.RollUpParameters, roll_up.apply),
    "best_picture": Step(best_picture.BestPictureParameters, best_picture.apply),
}
"""Every step by its name, in the order in which the built-in recipe has them."""
