"""Landmark schemes: which points a set of landmarks means, and where a model carries them.

"ibug68" is the Multi-PIE / iBUG 300-W mark-up (Sagonas et al. 2016), counted from 0; left and right are the subject's.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geometry.errors import ModelError
from geometry.morphable_model import MorphableModel

NOSE_TIP = 30  # in ibug68; the origin of the model frame


@dataclass(frozen=True)
class LandmarkScheme:
    """name; names (l,) of the points in order; groups: name → positions in the scheme; in_ibug68: position of each point there.

    mirror (l,): position of the point's image under left-right reflection (a point on the midline is its own).
    """

    name: str
    names: tuple[str, ...]
    groups: dict[str, tuple[int, ...]]
    in_ibug68: tuple[int, ...]
    mirror: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.names)


_GROUP_RANGES = {
    "jaw": range(0, 17), "right_brow": range(17, 22), "left_brow": range(22, 27), "nose_bridge": range(27, 31),
    "nose_base": range(31, 36), "right_eye": range(36, 42), "left_eye": range(42, 48), "outer_lips": range(48, 60),
    "inner_lips": range(60, 68),
}
_MIRRORED_68 = (
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
)


def _names_68() -> tuple[str, ...]:
    fixed = {8: "chin", 30: "nose_tip", 33: "subnasale", 36: "right_eye_outer", 39: "right_eye_inner", 42: "left_eye_inner",
             45: "left_eye_outer", 48: "mouth_right", 54: "mouth_left"}
    return tuple(fixed.get(index, f"{group}_{position}") for group, members in _GROUP_RANGES.items()
                 for position, index in enumerate(members))


def _subset(name: str, kept: tuple[int, ...]) -> LandmarkScheme:
    """The scheme of the ibug68 points `kept`, in that order (closed under reflection)."""
    position = {index: place for place, index in enumerate(kept)}
    names = _names_68()
    groups = {group: tuple(position[index] for index in members if index in position) for group, members in _GROUP_RANGES.items()}
    return LandmarkScheme(
        name, tuple(names[index] for index in kept), {group: places for group, places in groups.items() if places}, kept,
        tuple(position[_MIRRORED_68[index]] for index in kept),
    )


LANDMARK_SCHEMES: dict[str, LandmarkScheme] = {
    "ibug68": _subset("ibug68", tuple(range(68))),
    "ibug51": _subset("ibug51", tuple(range(17, 68))),  # the inner points: the jaw line slides with the view, these do not
}


def landmark_indices(model: MorphableModel, scheme: str = "ibug68") -> np.ndarray:
    """(l,) vertex indices of a scheme on a model: its own, or a subset of its ibug68. Raises ModelError."""
    if scheme in model.landmarks:
        return model.landmarks[scheme]
    if scheme in LANDMARK_SCHEMES:
        return model.landmarks["ibug68"][list(LANDMARK_SCHEMES[scheme].in_ibug68)]
    known = ", ".join(sorted(set(LANDMARK_SCHEMES) | set(model.landmarks)))
    raise ModelError(f"model {model.name!r}: unknown landmark scheme {scheme!r}; known schemes: {known}")


def landmarks_on(model: MorphableModel, vertices: np.ndarray, scheme: str = "ibug68") -> np.ndarray:
    """vertices (n, 3) in the model's topology, any frame → (l, 3) landmark positions in that frame. Raises ModelError."""
    if vertices.shape != model.mean.shape:
        raise ModelError(f"model {model.name!r}: vertices have shape {vertices.shape}, expected {model.mean.shape}; "
                         "pass vertices in the model's own topology")
    return vertices[landmark_indices(model, scheme)]
