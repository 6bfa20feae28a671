"""Named regions of the head template by plain rules on its mean shape, its landmarks and its curves (model frame, mm).

The skin is parted into the aesthetic units of the face (Gonzalez-Ulloa 1956): a lid reaches from the eye to the brow, the
skin round the lips to nose, nasolabial fold and labiomental fold. What serves the fit (face, eyes, mouth, mouth_interior) and the
union `stable` overlap these.
"""

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.template.half_face import HalfFace
from geometry.template.skin_patch import labels_among

LID_MARGIN_MM = 1.6  # the inner face of the lids, which no scan sees
UNITS = (
    "scalp",
    "neck",
    "forehead",
    "cheeks",
    "jaw",
    "chin",
    "perioral",
    "lips",
    "lids",
    "brows",
    "nose",
    "ala",
    "nostrils",
    "ears",
)
_MOUTH_MM = 7.0  # round the outer and the inner contour of the lips
_BROW_MM = 5.0  # half the height of a brow
_LID_MM = 11.0  # from the rim to the lower end of the lower lid, where the cheek begins
_JAW_MM = 18.0  # height of the jaw above its line
_CHIN_SHARE = 0.8  # of half the mouth's width
_SMOOTHING_ROUNDS = 3  # votes of the neighbours that smooth the units' borders


def trusted_regions(
    points: np.ndarray, marks: np.ndarray, narrow_face: np.ndarray, patches: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """points (n, 3), marks (68, 3), narrow_face (n,) bool, patches "eye_patch", "mouth_interior", "nostrils" → regions (n,) bool.

    "face" is what a fit may trust: the narrow face without the patches and the rims of what is open; "eyes" the strip of the
    lids that no scan sees; "mouth" what lies within 7 mm of the lips.
    """
    to_patch = cKDTree(points[patches["eye_patch"]]).query(points)[0]
    to_lips = cKDTree(np.vstack([_dense(marks[48:60]), _dense(marks[60:68])])).query(points)[0]
    return {
        "face": narrow_face & ~patches["eye_patch"] & ~patches["mouth_interior"] & ~patches["nostrils"],
        "eyes": narrow_face & (to_patch < LID_MARGIN_MM),
        "mouth_interior": patches["mouth_interior"],
        "nostrils": patches["nostrils"],
        "mouth": narrow_face & (to_lips < _MOUTH_MM) | patches["mouth_interior"],
    }


def named_regions(half: HalfFace, curves: dict[str, np.ndarray], nostrils: np.ndarray) -> dict[str, np.ndarray]:
    """Name → (n,) bool for the head's outer skin, exactly mirror-symmetric; curves: `face_curves.named_curves`, nostrils (n,).

    `UNITS` part the skin: each vertex is in one of them, and each is in one piece, or one a side; but "nose" holds the "ala",
    too. "stable" is the union of forehead and nasal bridge, the skin that expressions move least.
    """
    unit = _painted(half, curves, nostrils)
    lines = np.concatenate([curves[name] for name in ("left_brow_line", "upper_lip_border", "lower_lip_border")])
    kept = nostrils[half.vertex] | np.isin(half.vertex, lines)  # neighbours would outvote them
    unit = _without_specks(half, _smoothed(half, unit, kept))
    masks = {name: unit == place for place, name in enumerate(UNITS)}
    masks["nose"] = masks["nose"] | masks["ala"]
    masks["stable"] = masks["forehead"] | masks["nose"] & (half.points[:, 1] > half.at(29)[0, 1])
    return {name: half.whole(mask) for name, mask in masks.items()}


def _painted(half: HalfFace, curves: dict[str, np.ndarray], nostrils: np.ndarray) -> np.ndarray:
    """(h,) each vertex's place in `UNITS`: the large ones first, the features over them."""
    on = {name: np.isin(half.vertex, curve) for name, curve in curves.items()}
    x, y, z = half.points.T
    alar_crease, outer_eye, helix_root = half.points[
        half.places([curves["left_nasolabial_fold"][0], half.vertex[half.mark[45]], curves["left_helix"][0]])
    ]
    hair, neck = _hair_and_neck(half, curves)
    nose = half.beside(on["left_nose_border"], half.mark[30]) | on["left_nose_border"]
    round_lips = on["left_nasolabial_fold"] | on["labiomental_fold"]
    red = on["upper_lip_border"] | on["lower_lip_border"]
    unit = np.full(len(x), UNITS.index("cheeks"))
    for name, mask in {
        "jaw": _distance(half, on["jaw_line"]) < _JAW_MM,
        "chin": (x < _CHIN_SHARE * half.at(54)[0, 0]) & (y < half.at(57)[0, 1]),
        "forehead": y > np.interp(z, [helix_root[2], outer_eye[2]], [helix_root[1], outer_eye[1]]),
        "neck": neck,
        "scalp": hair,
        "perioral": half.beside(round_lips | nose, half.mark[51]) | round_lips,
        "lips": red | half.beside(red, half.mark[62]) | half.beside(red, half.mark[66]),
        "lids": _lids(half, on["left_lid_rim"]),
        "brows": _distance(half, on["left_brow_line"]) < _BROW_MM,
        "nose": nose,
        "ala": nose & (x > alar_crease[0] / 2) & (y < half.at(30)[0, 1]),
        "nostrils": nostrils[half.vertex],
        "ears": half.ear,
    }.items():
        unit[mask] = UNITS.index(name)
    return unit


def _distance(half: HalfFace, curve: np.ndarray) -> np.ndarray:
    """(h,) mm to the nearest vertex under the mask curve (h,)."""
    return cKDTree(half.points[curve]).query(half.points)[0]


def _lids(half: HalfFace, rim: np.ndarray) -> np.ndarray:
    """(h,) bool: round the lids' rim (h,), and from there up to the brow's line."""
    x, y, _ = half.points.T
    brow, corners = half.at(22, 23, 24, 25, 26), half.at(42, 45)
    above_eye = y > np.interp(x, *corners[:, :2].T)
    under_brow = (x > brow[0, 0]) & (x < brow[-1, 0]) & (y < np.interp(x, *brow[:, :2].T))
    return (_distance(half, rim) < _LID_MM) | above_eye & under_brow


def _hair_and_neck(half: HalfFace, curves: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(h,) bool each. The hairline runs, seen from the side, straight from the trichion to the helix's root, and behind the ear
    at its lobe's height; the trichion lies as far over the brows as the chin lies below the nose (the canon of thirds, Farkas
    et al. 1985). The neck lies below the jaw line and the hair."""
    y, z = half.points[:, 1], half.points[:, 2]
    root, lobe = half.points[half.places(curves["left_helix"][[0, -1]])]
    glabella = np.array([0.0, half.at(22)[0, 1], half.at(27)[0, 2]])
    third = np.linalg.norm(np.subtract(*half.at(33, 8)))
    off = np.abs(np.linalg.norm(half.points - glabella, axis=1) - third)
    trichion = half.points[half.pick(half.on_midline & (y > glabella[1]), -off, "hairline")]
    above_line = (y - root[1]) * (trichion[2] - root[2]) > (z - root[2]) * (trichion[1] - root[1])
    behind = z < min(root[2], lobe[2])
    fence = np.isin(half.vertex, curves["jaw_line"]) | half.ear | behind
    neck = np.where(behind, y < lobe[1], half.beside(fence, int(y.argmin())))
    return np.where(behind, ~neck, above_line), neck


def _smoothed(half: HalfFace, unit: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(h,) each vertex with the unit that most of its neighbours and itself are in; kept (h,) bool: as they are."""
    closed = half.mesh.adjacency + sparse.identity(len(unit))
    for _ in range(_SMOOTHING_ROUNDS):
        unit = np.where(kept, unit, (closed @ np.eye(len(UNITS))[unit]).argmax(axis=1))
    return unit


def _without_specks(half: HalfFace, unit: np.ndarray) -> np.ndarray:
    """(h,) with all of a unit's pieces but its largest given to what lies round them."""
    unit = unit.copy()
    for place in range(len(UNITS)):
        mask = unit == place
        label = labels_among(half.mesh, mask)
        speck = mask & (label != np.bincount(label[mask], minlength=1).argmax())
        while speck.any():
            votes = half.mesh.adjacency @ (np.eye(len(UNITS))[unit] * ~mask[:, None])
            found = speck & votes.any(axis=1)
            unit[found] = votes[found].argmax(axis=1)
            mask, speck = mask & ~found, speck & ~found & found.any()
    return unit


def _dense(loop: np.ndarray) -> np.ndarray:
    """Points along a closed polygon, 8 a side."""
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    return (loop * (1 - t) + np.roll(loop, -1, axis=0) * t).reshape(-1, 3)
