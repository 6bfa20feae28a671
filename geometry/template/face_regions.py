"""Named regions of a face by plain rules on its mean shape and its ibug68 landmarks (model frame, mm)."""

import numpy as np
from scipy.spatial import cKDTree

LID_MARGIN_MM = 1.6  # the inner face of the lids, which no scan sees


def ear_box(points: np.ndarray) -> np.ndarray:
    """(n,) bool: within the box that holds an ear of the mean."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    return (x > 66) & (y > -38) & (y < 42) & (z < -88) & (z > -155)


def named_regions(
    points: np.ndarray, marks: np.ndarray, narrow_face: np.ndarray, patches: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """points (n, 3), marks (68, 3), narrow_face (n,) bool, patches "eye_patch", "mouth_interior", "nostrils" → regions (n,) bool.

    "face" is what a fit may trust: the narrow face without the patches. Its parts (forehead, nose, mouth, chin, cheeks) may
    overlap at their rims; ears, neck and scalp lie outside it.
    """
    x, y = np.abs(points[:, 0]), points[:, 1]
    face = narrow_face & ~patches["eye_patch"] & ~patches["mouth_interior"] & ~patches["nostrils"]
    to_patch = cKDTree(points[patches["eye_patch"]]).query(points)[0]
    brow, subnasale, lower_lip = marks[17:27, 1].max(), marks[33, 1], marks[57, 1]
    half_width = np.interp(y, [subnasale, marks[30, 1], marks[27, 1]], [marks[35, 0] + 8, marks[35, 0] + 6, 9.0])
    nose = face & (y > subnasale - 3) & (y < marks[27, 1] + 3) & (x < half_width)
    mouth = narrow_face & (cKDTree(_dense(marks[48:60])).query(points)[0] < 7) | patches["mouth_interior"]
    forehead = face & (y > brow + 2)
    chin = face & (y < lower_lip - 6) & (x < 32)
    ears = ear_box(points) & ~narrow_face
    return {
        "face": face,
        "eyes": narrow_face & (to_patch < LID_MARGIN_MM),
        "mouth_interior": patches["mouth_interior"],
        "nostrils": patches["nostrils"],
        "nose": nose,
        "mouth": mouth,
        "forehead": forehead,
        "chin": chin,
        "cheeks": face & ~nose & ~mouth & ~forehead & ~chin & (y < marks[[40, 41, 46, 47], 1].min()) & (x > 14),
        "ears": ears,
        "neck": ~narrow_face & ~ears & (y < -40),
    }


def _dense(loop: np.ndarray) -> np.ndarray:
    """Points along a closed polygon, 8 a side."""
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    return (loop * (1 - t) + np.roll(loop, -1, axis=0) * t).reshape(-1, 3)
