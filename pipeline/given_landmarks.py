"""Landmarks that come with a scan, as NAME.landmarks.json beside NAME.ply: the schema of the program's own landmarks.json."""
from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from geometry.landmarks import LANDMARK_SCHEMES
from pipeline.errors import ReadError
from pipeline.sources import LANDMARK_SUFFIX

_REMEDY = 'expected {"scheme": "ibug68", "frame": "scan", "points": [[x, y, z] or null, …]}, as in a run\'s landmarks.json'


def given_landmarks(source: str, sidecars: Mapping[str, bytes]) -> np.ndarray | None:
    """(68, 3) in the scan's own unit, NaN where unknown; None where the scan has no such sidecar. Raises ReadError."""
    name = next((name for name in sidecars if name.endswith(LANDMARK_SUFFIX)), None)
    if name is None:
        return None
    try:
        content = json.loads(sidecars[name])
        scheme = LANDMARK_SCHEMES[content.get("scheme", "ibug68")]
        points = np.array([[np.nan] * 3 if point is None else point for point in content["points"]], float)
    except (ValueError, TypeError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise ReadError(source, f"its sidecar {name} cannot be used ({type(error).__name__}: {error})", _REMEDY) from error
    if points.shape != (len(scheme), 3):
        raise ReadError(source, f"its sidecar {name} holds points of shape {points.shape}, not {(len(scheme), 3)}", _REMEDY)
    landmarks = np.full((68, 3), np.nan)
    landmarks[list(scheme.in_ibug68)] = points
    return landmarks
