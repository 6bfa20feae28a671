"""Expressions that go as far as skin meets skin.

Blendshapes add up: a blink, a squint and a look down each lower the upper lid on their own, and by as many millimetres on a low
eye as on a high one. Together, or on some identities, they would pull one lid or lip through the other, or press skin through
itself.
"""

from functools import cache

import numpy as np

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.self_intersection import intersecting_triangles

_BACK = 0.95  # what a step back leaves of a weight
_STEPS = 100
_TAKES_PART = 0.1  # a blendshape does so in a crossing whose sides it moves against each other by this share of the most motion


def until_skin_meets(
    model: MorphableModel, identity: np.ndarray, expression: np.ndarray, held: np.ndarray | bool = False
) -> np.ndarray:
    """(E,) expression in which the blendshapes that move skin of the face through itself, on a face of the (K,) identity, go back
    together, step by step, until it no longer does; held (E,) bool: those that stay. What crosses without an expression does not
    count."""
    expression = np.array(expression, np.float64)
    triangles = _skin(model)
    at_rest: set[tuple[int, int]] | None = None
    for _ in range(_STEPS if expression.any() else 0):
        crossing = _crossing(model.instance(identity, expression), triangles)
        if crossing and at_rest is None:
            at_rest = _crossing(model.instance(identity), triangles)
        if not crossing or not (crossing := crossing - at_rest):
            break
        sides = model.expression_basis[:, triangles[np.array(sorted(crossing))]].mean(axis=3)  # (E, pairs, 2, 3)
        motion = np.where(held, 0.0, expression * np.linalg.norm(sides[:, :, 1] - sides[:, :, 0], axis=2).mean(axis=1))
        expression[(motion > _TAKES_PART * motion.max()) & (motion > 0)] *= _BACK
    return expression


@cache
def _skin(model: MorphableModel) -> np.ndarray:
    """(m, 3) triangles of the face's skin, without the linings of mouth and nostrils and the eyeballs."""
    none = np.zeros(model.n_vertices, bool)
    near, inner = (
        np.any([model.regions.get(name, none) for name in names], axis=0)
        for names in (("face", "lids", "mouth"), ("cavities", "nostrils"))
    )
    return model.triangles[near[model.triangles].any(axis=1) & ~inner[model.triangles].any(axis=1)]


def _crossing(vertices: np.ndarray, triangles: np.ndarray) -> set[tuple[int, int]]:
    return set(map(tuple, intersecting_triangles(TriangleMesh(vertices, triangles))))
