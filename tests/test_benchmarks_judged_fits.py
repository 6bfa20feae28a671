"""The regressions that say how likely a fit is right: what the calibration makes of fits of which the shares are known."""

import importlib.util
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from geometry.recognition.evidence import Evidence


@pytest.fixture(scope="module")
def judged_fits():
    file = Path(__file__).resolve().parents[1] / "benchmarks" / "judged_fits.py"
    found = importlib.util.spec_from_file_location("judged_fits", file)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_fits_without_landmarks_are_called_right_as_often_as_they_are(judged_fits):
    """Of fits alike in all that is measured 98 % are right with landmarks, 70 % without, 30 % begun badly besides. What beginning
    badly costs is no fit of a run's, and is dropped; that nobody looked for landmarks is told by a term, and is not."""
    rng, rows = np.random.default_rng(0), []
    for start, share in ((judged_fits.RUN, 0.98), (judged_fits.UNMARKED, 0.7), (judged_fits.NUDGED, 0.3)):
        for number in range(300):
            measured = {field.name: rng.uniform(0.4, 0.6) for field in fields(Evidence)}
            wrong = float(number >= share * 300)
            rows.append(measured | {"start": start, "number": number, "face_mm": 0.5 + 2 * wrong, "lips_mm": 2.0})
    face = judged_fits.regressions(rows)["face"]
    told = lambda start: np.mean([face.probability(judged_fits.evidence(row)) for row in rows if row["start"] == start])
    assert told(judged_fits.RUN) == pytest.approx(0.98, abs=0.02)
    assert told(judged_fits.UNMARKED) == pytest.approx(0.7, abs=0.04)
