"""Scans, models and a scorer in a folder beside the checkout; the tests that need them are skipped where it is not there."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
ICT = SHARED / "models" / "ict_facekit_light.npz"


def needs(path: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason=f"../{path.relative_to(SHARED.parent)} is absent")
