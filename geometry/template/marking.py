"""The iBUG-68 mark-up on the template's mean: where the source's own marks do not lie where the definition says, they move.

The definition is Sagonas et al. 2016 (300 faces in-the-wild challenge, figure 1) with the anatomical points that it names
(Farkas 1994). Each point was looked at on enlarged pictures of the mean beside three sources: that definition, what MediaPipe's
landmarker marks on shaded views (benchmarks/mediapipe_marks.py), and real scans, those with marks set by hand and those whose
brows and lips show in colour or relief. docs/experiments/landmarks.md has the table. Points that are not named here stay.
"""

import numpy as np
from scipy.spatial import cKDTree

from geometry.template.skin_patch import MIDLINE_MM

# iBUG point of the left half or the midline → from the source's mark to the definition's, mm, model frame, and why
OFFSETS_MM = {
    22: (1.8, -5.6, -0.5),  # the brow begins above the inner corner of the eye; the five points follow its upper edge, at most
    23: (1.5, -5.2, -0.6),  # 25 mm above the pupil (McKinney et al. 1991); the source's marks follow the forehead above it
    24: (0.4, -5.2, 0.4),
    25: (0.0, -4.8, 1.4),
    26: (-0.6, -3.0, 1.8),
    27: (0.0, 2.1, -0.6),  # nasion, the root of the nose: between its point farthest back and the one deepest below a chord
    30: (0.0, -1.6, 0.1),  # pronasale, the most protruding point of the tip, which is flat over 3 mm
    33: (0.0, 0.6, 0.3),  # subnasale, where the columella meets the lip
    34: (1.4, 0.6, -0.9),  # halfway between its neighbours
    35: (2.3, 1.2, -1.4),  # subalare, where the wing of the nose ends in the lip; the source's mark is below the nostril's middle
    42: (-0.7, 0.3, 0.5),  # endocanthion, the inner commissure
    45: (0.85, 0.0, 0.6),  # exocanthion, the outer commissure, whose fold of skin reaches beyond the visible eye
    46: (-1.8, -0.2, 0.8),  # the lid's outer third
    51: (0.0, -1.5, 0.2),  # the upper lip's outer points: on the border of the vermilion, not on the skin above it
    52: (0.1, -1.1, 0.0),
    53: (0.9, -2.1, -1.5),
    55: (0.4, 0.3, -0.4),
    56: (-0.9, -0.4, 0.3),
    63: (1.1, 0.0, -0.5),  # inner lips: halfway between their middle and their corner
    65: (0.5, 0.0, -0.2),
}
_CURVE_OF = {
    **dict.fromkeys((43, 44, 46, 47), "lid"),
    **dict.fromkeys((62, 63, 64), "upper_lip"),
    **dict.fromkeys((65, 66), "lower_lip"),
    **dict.fromkeys(range(51, 58), "lip_border"),
}


def targets(source_marks: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """iBUG index → (3,) mm where the definition has the mark, for marks of the source on the left half or the midline."""
    return {index: mark + OFFSETS_MM.get(index, (0.0, 0.0, 0.0)) for index, mark in source_marks.items()}


def marked(points: np.ndarray, target: dict[int, np.ndarray], chains: dict[str, np.ndarray]) -> dict[int, int]:
    """iBUG index → vertex, for each target (3,) on half a skin with the vertices points (k, 3), mm.

    chains: name → vertices (c,). The points of lids and lips stay on "lid", "upper_lip", "lower_lip" and "lip_border", those of
    the midline on the midline.
    """
    on_midline = np.abs(points[:, 0]) < MIDLINE_MM
    vertices = {}
    for index, place in target.items():
        allowed = chains[_CURVE_OF[index]] if index in _CURVE_OF else np.arange(len(points))
        allowed = allowed[on_midline[allowed]] if abs(place[0]) < MIDLINE_MM else allowed
        vertices[index] = int(allowed[cKDTree(points[allowed]).query(place)[1]])
    return vertices
