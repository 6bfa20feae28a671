"""Lines on half a source's skin along which its triangles are split, so that the new triangulation can have its edges there.

A line is where a field that is linear on the triangles is zero: it is as smooth as the field, whatever the source's edges.
"""

import numpy as np
from scipy.interpolate import CubicSpline

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.template.half_face import ear_box
from geometry.template.skin_patch import Skin, boundary_loops, one_part_below, split

# Through the rim of the left concha, along tragus, antitragus, antihelix and its lower crus and across the crus of the helix, as
# near to their crests as its section stays closed: unit normal and offset, model frame, mm.
CONCHA_PLANE = (0.8086, 0.116, 0.5768, -11.1)
_BEFORE_EAR = (1.0, 0.0, 0.5)  # direction to a viewer to whom the margin of the helix hides the back of the auricle
_UPPER_LIP, _LOWER_LIP = (51, 52, 53, 54), (57, 56, 55, 54)  # ibug68, from the midline to the corner
_EAR_MARGIN_MM = 4.0
_BEHIND_CORNER_MM = 10.0  # skin farther behind the mouth's corner than this is not of the lips


def with_concha(half: Skin, mean: np.ndarray) -> tuple[Skin, np.ndarray]:
    """Half a skin with vertices along the rim of its concha, and these (k,): closed, from the frontmost over the antitragus.

    mean (n_source, 3) mm. Raises ModelError where the plane of the rim cuts no bowl out of the ear.
    """
    points = half.points(mean)
    level = points @ CONCHA_PLANE[:3] - CONCHA_PLANE[3]
    half, rim = _with_line(half, one_part_below(half, points, level, rank=2), "rim of a concha")  # the largest part is the head
    return half, np.roll(rim, -half.points(mean)[rim, 2].argmax())


def with_helix(half: Skin, mean: np.ndarray) -> tuple[Skin, np.ndarray]:
    """Half a skin with vertices along the free margin of its ear, and these (k,): from the helix's root in front to the lobe.

    mean (n_source, 3) mm. The margin is where the back of the auricle turns out of sight, seen from the side and from before.
    Raises ModelError where no skin of the ear faces away.
    """
    points = half.points(mean)
    level = TriangleMesh(points, half.triangles).vertex_normals @ _BEFORE_EAR
    level = np.where(ear_box(points, _EAR_MARGIN_MM), level, np.abs(level))
    half, loop = _with_line(half, one_part_below(half, points, level, rank=1), "margin of an ear")
    loop = np.roll(loop, -(half.points(mean)[loop] @ [0, 1, 1]).argmax())  # its other half runs up the fold behind the ear
    return half, loop[: half.points(mean)[loop, 1].argmin() + 1]


def with_lip_border(half: Skin, mean: np.ndarray, marks: dict[int, np.ndarray]) -> tuple[Skin, np.ndarray]:
    """Half a skin with vertices along the border of the vermilion, and these (k,): from the midline below to the midline above.

    mean (n_source, 3) mm; marks: ibug68 index → (3,) mm. Seen from the front the border follows a cubic spline y(x) through the
    marks of the upper lip, and one through those of the lower. Raises ModelError where there is no skin between these.
    """
    x, y, z = half.points(mean).T
    corner = marks[_UPPER_LIP[-1]]
    over, under = (_height(np.array([marks[i] for i in lip]), np.minimum(x, corner[0])) for lip in (_UPPER_LIP, _LOWER_LIP))
    level = np.maximum(y - over, under - y) + np.maximum(x - corner[0], 0)
    return _with_line(half, np.where(z > corner[2] - _BEHIND_CORNER_MM, level, np.abs(level)), "border of the lips")


def _height(marks: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(k,) y at x ≥ 0 of the natural cubic spline through marks (m, 3), the first on the midline, and their mirror images."""
    both = np.vstack([marks[:0:-1] * (-1, 1, 1), marks])
    return CubicSpline(both[:, 0], both[:, 1], bc_type="natural")(x)


def _with_line(half: Skin, level: np.ndarray, name: str) -> tuple[Skin, np.ndarray]:
    """Split where level (k,) is zero; the vertices there in order, what is below zero on their left."""
    both, above = split(half, level)
    if above.all():
        raise ModelError(f"no {name} was found on the source's skin; its shape or its landmarks are not a head's in its frame")
    loop = boundary_loops(both.triangles[~above])[0]
    new = loop >= len(level)
    first = int((new & ~np.roll(new, 1)).argmax())  # where the line begins; 0 where it is closed
    return both, np.roll(loop, -first)[: new.sum()]
