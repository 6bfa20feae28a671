"""Named curves of the head template: chains of vertices along its rims and creases, by rules on the left half of its mean.

Every curve follows mesh edges. A rim is the boundary loop of its opening; the triangulation is made along helix, concha and
the border of the lips (`feature_lines`); another curve is a shortest path through landmarks, or one that keeps to a crease
(`HalfFace.path`). Right curves are the mirror images of left ones, vertex by vertex.
"""

import numpy as np

from geometry.errors import ModelError
from geometry.template.half_face import HalfFace
from geometry.template.skin_patch import boundary_loops

_OFF_MIDLINE = -1.0  # 1/mm: no path leaves the midline for it
_TURNED_UNDER = -0.5  # the normal's y on the jaw line: the skin looks down by 30°
_TURN_COST = 0.1  # 1/mm per unit of the normal's y
_CHIN_REACH_MM = 15.0  # from ibug 8
_ALA_REACH_MM = 13.0  # from the nostril's outer landmark
_BESIDE_MOUTH = 0.2  # of the mouth's width: from its corner to the end of the nasolabial fold


def named_curves(
    half: HalfFace, triangles: np.ndarray, nostrils: np.ndarray, lines: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Name → (k,) vertex indices of the whole, in order; consecutive ones are joined by an edge.

    triangles (m, 3) of the whole outer skin, open at neck, eyes and mouth; nostrils (n,) bool: the patches that close them;
    lines: vertices of the whole along "concha", "helix" and "lip_border" of the left half, in the order of `feature_lines`.
    "left_…" and "right_…", from the midline outward or from above: "lid_rim" and "nostril_rim" (closed: the last vertex is
    joined with the first; from the inner corner over the upper lid), "upper_lid_edge" and "lower_lid_edge" (what is seen of the
    lids in front of that rim, ibug 42–47), "brow_line" (ibug 22–26), "nose_border" (subnasale, alar crease, side of the nose,
    nasion), "nasolabial_fold" (from the alar crease, where a smile makes the skin most concave, to beside the mouth's corner),
    "helix" (front root to lobe), "concha" (closed: its rim, from the frontmost point over the antitragus).
    From the subject's right to the left: "upper_lip_rim", "lower_lip_rim" (the mouth's opening), "upper_lip_border",
    "lower_lip_border" (the vermilion's, ibug 48–59), "labiomental_fold" (between the ends of the nasolabial folds), "jaw_line"
    (lobe to lobe, where the skin has turned 30° downward).
    "midline": from the neck's rim over chin and lower lip, then (no edge crosses the mouth) from the upper lip over nose,
    forehead and crown to the neck's rim at the back. Raises ModelError where a curve cannot be found.
    """
    lobe = int(half.places(lines["helix"][-1:])[0])
    left, across = _left_curves(half), _across(half, lobe) | _lip_border(half, lines["lip_border"])
    rims = _rims(half, triangles, nostrils)
    left |= {name: found[name] for found, name in ((rims, "lid_rim"), (rims, "nostril_rim"), (lines, "helix"), (lines, "concha"))}
    curves = {f"left_{name}": path for name, path in left.items()}
    curves |= {f"right_{name}": half.mirror_vertex[path] for name, path in left.items()}
    curves |= {name: _both_ways(half, path) for name, path in across.items()}
    return curves | _lip_rims(half, rims["mouth"]) | {"midline": _midline(half, rims["neck"], rims["mouth"])}


def _both_ways(half: HalfFace, path: np.ndarray) -> np.ndarray:
    """A left path (k,) from where it leaves the midline on, and before it its mirror image, backward."""
    path = path[np.flatnonzero(half.mirror_vertex[path] == path)[-1] :]
    return np.append(half.mirror_vertex[path[:0:-1]], path)


def _left_curves(half: HalfFace) -> dict[str, np.ndarray]:
    """Those of the left side that are no rims."""
    crease, beside_mouth = _alar_crease(half), _beside_mouth(half)
    beside_eye = half.nearest(half.at(27, 42).mean(axis=0))
    mark = half.mark
    paths = {
        "upper_lid_edge": half.path([mark[index] for index in (42, 43, 44, 45)]),
        "lower_lid_edge": half.path([mark[index] for index in (42, 47, 46, 45)]),
        "brow_line": half.path([mark[index] for index in range(22, 27)]),
        "nose_border": half.path([mark[33], crease, beside_eye, mark[27]], -half.bend / 2),
        "nasolabial_fold": half.path([crease, beside_mouth], -half.smile_bend),
    }
    return {name: half.vertex[path] for name, path in paths.items()}


def _across(half: HalfFace, lobe: int) -> dict[str, np.ndarray]:
    """The left halves, from the midline on, of curves that cross it. lobe: the half's vertex where the helix ends."""
    mark, y = half.mark, half.points[:, 1]
    below_lip = half.on_midline & (y < y[mark[57]]) & (y > y[mark[8]])
    sulcus = half.pick(below_lip, -half.bend, "labiomental fold")
    level = -np.abs(half.mesh.vertex_normals[:, 1] - _TURNED_UNDER)
    under_chin = half.pick(half.on_midline & (np.linalg.norm(half.points - half.at(8), axis=1) < _CHIN_REACH_MM), level, "chin")
    paths = {
        "labiomental_fold": half.path([sulcus, _beside_mouth(half)], -half.bend / 2),
        "jaw_line": half.path([under_chin, lobe], _TURN_COST * level),
    }
    return {name: half.vertex[path] for name, path in paths.items()}


def _lip_border(half: HalfFace, line: np.ndarray) -> dict[str, np.ndarray]:
    """The left halves of both, of the line (k,) from below to above, parted at the corner of the mouth."""
    corner = int(np.flatnonzero(line == half.vertex[half.mark[54]])[0])
    return {"upper_lip_border": line[corner:][::-1], "lower_lip_border": line[: corner + 1]}


def _alar_crease(half: HalfFace) -> int:
    """Where the skin beside the ala is most concave: above and outside of the nostril's outer landmark (ibug 35)."""
    base = half.at(35)[0]
    away = half.points - base
    near = (np.linalg.norm(away, axis=1) < _ALA_REACH_MM) & (away[:, 0] > 0) & (away[:, 1] > 0)
    return half.pick(near, -half.bend, "alar crease")


def _beside_mouth(half: HalfFace) -> int:
    """Where the nasolabial fold ends: a fifth of the mouth's width beside its corner (ibug 54)."""
    corner = half.at(54)[0]
    return half.nearest(corner + [2 * _BESIDE_MOUTH * corner[0], 0.0, 0.0])


def _rims(half: HalfFace, triangles: np.ndarray, nostrils: np.ndarray) -> dict[str, np.ndarray]:
    """Closed loops of vertices of the whole: "neck" and "mouth", and of the left side "lid_rim" and "nostril_rim"."""
    loops = boundary_loops(triangles[~nostrils[triangles].all(axis=1)])
    middle = [loop for loop in loops if (half.mirror_vertex[loop] == loop).any()]
    left = [loop for loop in loops if np.isin(loop, half.vertex).all()]
    if (len(loops), len(middle), len(left)) != (6, 2, 2):
        raise ModelError(f"the skin has {len(loops)} rims, {len(middle)} of them across the midline; a head has 6 and 2")
    height = lambda loop: half.points[np.isin(half.vertex, loop), 1].mean()
    neck, mouth = sorted(middle, key=height)
    innermost = lambda loop: loop[half.points[half.places(loop), 0].argmin()]
    nostril, lid = (_from(loop, innermost(loop)) for loop in sorted(left, key=height))
    return {"neck": neck, "mouth": mouth, "lid_rim": lid, "nostril_rim": nostril}


def _from(loop: np.ndarray, start: int) -> np.ndarray:
    """The closed loop (k,) from its vertex start on."""
    return np.roll(loop, -int(np.flatnonzero(loop == start)[0]))


def _lip_rims(half: HalfFace, mouth: np.ndarray) -> dict[str, np.ndarray]:
    """The mouth's rim parted at its corners, right to left; with the skin on its left it goes over the top first."""
    own = half.places(mouth[np.isin(mouth, half.vertex)])
    left = half.vertex[own[half.points[own, 0].argmax()]]
    loop = _from(mouth, half.mirror_vertex[left])
    corner = int(np.flatnonzero(loop == left)[0])
    return {"upper_lip_rim": loop[: corner + 1], "lower_lip_rim": np.append(loop[corner:], loop[0])[::-1]}


def _midline(half: HalfFace, neck: np.ndarray, mouth: np.ndarray) -> np.ndarray:
    """(k,) the vertices that are their own mirror images, in order."""
    y, z = half.points[:, 1], half.points[:, 2]
    front, back = (half.pick(half.on_midline & np.isin(half.vertex, neck), side * z, "neck") for side in (1, -1))
    upper, lower = (half.pick(half.on_midline & np.isin(half.vertex, mouth), side * y, "mouth") for side in (1, -1))
    along = np.where(half.on_midline, 0.0, _OFF_MIDLINE)
    return half.vertex[np.append(half.path([front, lower], along), half.path([upper, back], along))]
