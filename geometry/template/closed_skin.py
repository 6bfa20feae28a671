"""Half a source's head, as the template triangulates it: cut at neck, nostril and inner lips, then closed by patches.

The patches of eye and mouth only serve the triangulation, which is opened again."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.errors import ModelError
from geometry.model.morphable_model import MorphableModel
from geometry.template.feature_lines import with_concha, with_helix, with_lip_border
from geometry.template.marking import marked, targets
from geometry.template.skin_patch import (
    MIDLINE_MM,
    Skin,
    boundary_loops,
    clip,
    cut_along,
    edge_path,
    half_skin,
    one_part_below,
    path_and_side,
    ring_patch,
    smooth_step,
    strip,
)
from geometry.transforms import MIRROR

OPEN_CHAINS = ("upper_lip", "lower_lip", "lip_border", "helix")  # of `ClosedSkin.chains`; the others are closed
SKIN, EYE, NOSTRIL, MOUTH = range(4)  # parts of the closed skin
# Where the template ends at the neck, and where a nostril turns into a pit: normal in y, z and offset, model frame, mm.
NECK_PLANE = (0.94, 0.34, -148.0)
NOSTRIL_PLANE = (0.852, -0.523, 1.3)
_NOSTRIL_PIT_MM = 1.5
_RINGS = {EYE: 7, NOSTRIL: 5}
_BLEND_MM = 2.5  # how far from its rim a nostril's patch reaches its full depth
# Breadth of the lids' margins, of which the source has up to 2 mm: scans, which round them off, show little of it.
_LID_MARGIN_MM = 1.1
_CORNER_MARGIN_MM = 2.0  # more of it at the corners, where lids without it would end beside the eyeball
_CORNER_MM = 3.0  # from there it is so broad
SMOOTH_EDGE_MM = 1.2  # source edges longer than this are split along a smooth surface first


@dataclass(frozen=True)
class ClosedSkin:
    """skin: a disc, the half x ≥ 0 of the head; chains: vertices along "border", "lid", "eye", "nostril", "concha" (closed),
    "upper_lip", "lower_lip" (midline to corner), "lip_border" (midline below to midline above) and "helix" (root to lobe);
    landmark: ibug68 index → vertex, for this half;
    lids_end (e, 3) mm, on the mean: where the source's lids end on the eyeball."""

    skin: Skin
    chains: dict[str, np.ndarray]
    landmark: dict[int, int]
    lids_end: np.ndarray


def closed_half(source: MorphableModel) -> ClosedSkin:
    """Raises ModelError where the source's skin is no symmetric head with eyes, nostrils, a mouth and ears."""
    mean, skin = np.asarray(source.mean, np.float64), source.regions["head_skin"]
    half = half_skin(mean, source.triangles, skin, mirror_images(source, skin), SMOOTH_EDGE_MM)
    half = clip(half, half.points(mean)[:, 1:] @ NECK_PLANE[:2] - NECK_PLANE[2])
    points = half.points(mean)
    half = clip(half, one_part_below(half, points, NOSTRIL_PLANE[2] - points[:, 1:] @ NOSTRIL_PLANE[:2], rank=2))
    half, lids_end = _thin_lids(source, mean, half)
    half, upper, lower = _open_mouth(source, mean, half)
    points = half.points(mean)
    eye, nostril = _eye_and_nostril(source, half, points)
    half = half.with_patch(sparse.csr_matrix((0, len(mean))), np.zeros((0, 3)), strip(upper, lower, points[:, 0]), MOUTH)
    for rim, part in ((eye, EYE), (nostril, NOSTRIL)):
        weights, triangles = ring_patch(points, rim, _RINGS[part], len(half.lift))
        rows = sparse.csr_matrix(weights) @ half.weights[rim]
        pit = _NOSTRIL_PIT_MM * np.array([0.0, *NOSTRIL_PLANE[:2]]) * (part == NOSTRIL)
        lift = smooth_step(cKDTree(points[rim]).query(rows @ mean)[0], 0.0, _BLEND_MM)[:, None] * pit
        half = half.with_patch(rows, lift, triangles, part)
    marks = mean[source.landmarks["ibug68"]]
    own = np.flatnonzero(marks[:, 0] > -MIDLINE_MM)
    target = targets(dict(zip(own.tolist(), marks[own])))
    half, concha = with_concha(half, mean)
    half, helix = with_helix(half, mean)
    half, lip_border = with_lip_border(half, mean, target)
    points = half.points(mean)
    chains = {
        "border": boundary_loops(half.triangles)[0],
        "lid": _lid_edge(source, mean, half, points),
        "eye": eye,
        "nostril": nostril,
        "concha": concha,
        "helix": helix,
        "upper_lip": np.array(upper),
        "lower_lip": np.array(lower),
        "lip_border": lip_border,
    }
    return ClosedSkin(half, chains, marked(points, target, chains), lids_end)


def _eye_and_nostril(source: MorphableModel, half: Skin, points: np.ndarray) -> list[np.ndarray]:
    """The rims of the two openings off the midline."""
    rims = [loop for loop in boundary_loops(half.triangles) if points[loop, 0].min() > MIDLINE_MM]
    if len(rims) != 2:
        raise ModelError(f"model {source.name!r}: half its skin has {len(rims)} closed openings, expected an eye and a nostril")
    return sorted(rims, key=lambda loop: -points[loop, 1].mean())


def _lid_edge(source: MorphableModel, mean: np.ndarray, half: Skin, points: np.ndarray) -> np.ndarray:
    """The closed curve of the lids' front edges, through the source's marks."""
    marks = nearest_vertices(points, mean[source.landmarks["ibug68"][[42, 43, 44, 45, 46, 47, 42]]])
    return np.array(edge_path(half, points, marks.tolist())[:-1])


def _thin_lids(source: MorphableModel, mean: np.ndarray, half: Skin) -> tuple[Skin, np.ndarray]:
    """Without the inner part of the lids' margins, the strip from their front edges to the rim of the eye's opening; that rim's
    points (r, 3)."""
    points = half.points(mean)
    eye, edge = _eye_and_nostril(source, half, points)[0], _lid_edge(source, mean, half, points)
    margin = path_and_side(half, points, edge.tolist(), int(eye[0]))[1]
    x, ends = points[:, 0], (points[edge, 0].min(), points[edge, 0].max())
    broad = _LID_MARGIN_MM + _CORNER_MARGIN_MM * smooth_step(-np.minimum(x - ends[0], ends[1] - x), -_CORNER_MM, 0.0)
    return clip(half, np.where(margin, broad - cKDTree(points[edge]).query(points)[0], _LID_MARGIN_MM)), points[eye]


def _open_mouth(source: MorphableModel, mean: np.ndarray, half: Skin) -> tuple[Skin, list[int], list[int]]:
    """Cut away what lies inside the inner lip contour; the upper and lower contour, midline to corner."""
    points = half.points(mean)
    inner = nearest_vertices(points, mean[source.landmarks["ibug68"][62:67]]).tolist()
    path = edge_path(half, points, inner)
    corner = path.index(inner[2])
    near = np.flatnonzero((np.abs(points[:, 0]) < MIDLINE_MM) & (points[:, 2] < points[inner[0], 2] - 1.0))
    behind = near[np.argmin(np.linalg.norm(points[near] - points[[inner[0], inner[4]]].mean(axis=0), axis=1))]
    half, path = cut_along(half, points, path, int(behind))
    return half, path[: corner + 1], path[corner:][::-1]


def nearest_vertices(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(t,) the vertex at each target. Raises ModelError where there is none."""
    distance, index = cKDTree(points).query(targets)
    if distance.max() > MIDLINE_MM:
        raise ModelError(f"a landmark lies {distance.max():.2f} mm off the source's outer skin; landmarks must be skin vertices")
    return index


def mirror_images(source: MorphableModel, part: np.ndarray | None = None) -> np.ndarray:
    """(n_source,) the vertex of the part (n_source,) bool, by default the skin, that is the mirror image of each vertex of the
    part; other vertices are their own."""
    mean = np.asarray(source.mean, np.float64)
    skin = np.flatnonzero(source.regions["skin"] if part is None else part)
    gap, partner = cKDTree(mean[skin]).query(mean[skin] * MIRROR)
    if gap.max() > 0.1:
        raise ModelError(f"model {source.name!r}: a vertex has no mirror image within 0.1 mm ({gap.max():.2f} mm)")
    image = np.arange(len(mean))
    image[skin] = skin[partner]
    return image
