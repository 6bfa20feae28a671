"""Variety beyond the source: local warps of eyes, brows, nose, mouth, jaw and ears, each with a stated amplitude.

A source model is one studio's faces. Its modes give the distances between landmarks as much variance as anthropometry does
(`spread`), but few of them freely: a lid or the tip of a nose comes with a cheek. Each warp moves a few handles of one feature by
a stated standard deviation while its pins stay, and fades to nothing within a stated reach:

    d(v) = Σ_j φ(|v − h_j| / reach) w_j,  φ(t) = (1 − t)⁴₊ (4t + 1),

with the w_j that move handles and pins h_j as told: interpolation by Wendland's compactly supported function (Wendland 1995,
ψ₃,₁; Fornefett, Rohr & Stiehl 2001 for landmarks). It depends on a vertex's place alone, so that what touches, as the rims of a
lip and of the cavity behind it do, stays in touch. Round an eyeball only motion along its sphere remains: lids slide on it.

Amplitudes. `published` is the standard deviation in mm, in one group of adults, of the distance that a warp changes; the warp has
about half of it, the author's choice, because the source has that variance already and lacks only what no other part of a face
foretells. Warps without `published` are the author's choice altogether. Where the figures are from: Virdi et al. 2019 (table 9,
mean of its two columns): width of nose 3.75 and mouth 3.65, nasal height 2.5, philtrum 1.45, vermilions 1.1 and 0.95, chin height
3.15, bigonial width 4.4; BioMed Res. Int. 2013, 821428 (mean of sexes and sides): eye fissure length 1.67; PMC9029890 (pooled,
white adults): between the inner canthi 2.5; Read et al. 2006: palpebral aperture 1.2; Cartwright et al. 1994: lid crease 1.2,
eyebrow 1.8; Sci. Rep. 2015, 5:8526: protrusion of the eyes 2.0; PMC4556782 (children): ear height 5.0, ear projection 2.1. Left
and right are correlated by 0.9: Cartwright et al. found 0.87 to 0.96 between both eyes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.template.cavities import fitted_sphere
from geometry.transforms import MIRROR

SIDES_CORRELATION = 0.9
_LID_MM = 3.0  # within about this distance of an eyeball's sphere skin slides on it
_CLOSEST_MM = 0.5  # handles closer than this to each other cannot be told apart


@dataclass(frozen=True)
class Warp:
    """moves: anchor → direction (x to the subject's left, y up, z out), of the left side or the middle; pins: anchors at rest;
    sigma: standard deviation of the warp, in multiples of `moves`; reach in mm.

    sides: "pair", the right side has a warp of its own; "even" and "odd", the right side's handles move as the mirror image of
    the left's, or against it. measure: the ibug68 landmarks of the distance with the standard deviation `published`, in mm.
    carries_eye: the eyeball goes along, by the mean of the moves.
    """

    name: str
    moves: Mapping[str, tuple[float, float, float]]
    pins: str
    sigma: float
    reach: float
    sides: Literal["pair", "even", "odd"] = "pair"
    measure: tuple[int, int] | None = None
    published: float | None = None
    carries_eye: bool = False


_IN, _OUT, _UP, _DOWN, _LEFT = (0, 0, -1), (0, 0, 1), (0, 1, 0), (0, -1, 0), (1, 0, 0)
_HALF_UP, _HALF_DOWN, _HALF_OUT = (0, 0.5, 0), (0, -0.5, 0), (0, 0, 0.5)
_MOST_UP, _MOST_DOWN, _MOST_OUT = (0, 0.8, 0), (0, -0.8, 0), (0, 0, 0.8)
_LIPS = "rim rim_side rim_corner lower_rim lower_rim_side corner "
WARPS = (
    Warp("outer canthus sideways", {"outer": _LEFT}, "inner upper lower", 1.2, 17, "pair", (42, 45), 1.67),
    Warp("inner canthus sideways", {"inner": _LEFT}, "outer upper lower nasion", 0.7, 17, "pair", (39, 42), 2.5),
    Warp("outer canthus height", {"outer": _UP}, "inner upper lower", 0.9, 17),
    Warp("inner canthus height", {"inner": _UP}, "outer upper lower nasion", 0.6, 17),
    Warp(
        "upper lid height",
        {"upper": _UP, "upper_in": _MOST_UP, "upper_out": _MOST_UP},
        "inner outer lower brow",
        0.6,
        16,
        "pair",
        (43, 47),
        1.2,
    ),
    Warp("lower lid height", {"lower": _DOWN, "lower_in": _MOST_DOWN, "lower_out": _MOST_DOWN}, "inner outer upper", 0.6, 16),
    Warp(
        "lid crease height",
        {"crease": _UP, "crease_in": _MOST_UP, "crease_out": _MOST_UP},
        "inner outer upper brow",
        0.7,
        16,
        published=1.2,
    ),
    Warp("upper lid fullness", {"sulcus": _OUT, "sulcus_out": _MOST_OUT}, "upper brow inner outer", 0.8, 20),
    Warp("outer hood", {"hood": (0, -0.6, 0.8)}, "upper brow outer inner", 0.8, 20),
    Warp("lower lid fullness", {"bag": _OUT, "bag_in": _MOST_OUT, "bag_out": _MOST_OUT}, "lower inner outer", 0.8, 20),
    Warp(
        "eye protrusion",
        {"inner": _HALF_OUT, "outer": _OUT, "upper": _OUT, "lower": _OUT},
        "brow nasion bag_below temple",
        1.0,
        26,
        published=2.0,
        carries_eye=True,
    ),
    Warp(
        "brow height",
        {"brow_in": _UP, "brow_mid": _UP, "brow": _UP, "brow_out": _UP},
        "upper nasion temple",
        0.9,
        24,
        "pair",
        (24, 43),
        1.8,
    ),
    Warp("brow slant", {"brow_in": _DOWN, "brow_out": _UP}, "brow upper nasion", 0.8, 22),
    Warp(
        "brow ridge",
        {"brow_in": _MOST_OUT, "brow_mid": _OUT, "brow": _OUT, "brow_far": _MOST_OUT},
        "upper nasion temple",
        1.0,
        30,
    ),
    Warp("glabella", {"glabella": _OUT}, "nasion brow", 0.8, 24, "even"),
    Warp("ala sideways", {"ala": _LEFT, "ala_base": _LEFT}, "tip subnasale cheek", 1.0, 18, "pair", (31, 35), 3.75),
    Warp("ala height", {"ala": _UP, "ala_base": _UP}, "tip subnasale dorsum", 0.7, 17),
    Warp("ala depth", {"ala": _OUT, "ala_base": _OUT}, "tip subnasale dorsum", 0.8, 17),
    Warp("tip width", {"tip_side": _LEFT}, "tip ala dorsum subnasale", 0.6, 14),
    Warp("tip projection", {"tip": _OUT, "tip_side": _OUT}, "subnasale dorsum ala", 1.0, 22, "even"),
    Warp("tip height", {"tip": _UP, "tip_side": _UP}, "subnasale dorsum ala", 1.0, 20, "even"),
    Warp(
        "nose length",
        {"tip": _DOWN, "subnasale": _DOWN, "ala": _DOWN, "ala_base": _DOWN},
        "nasion dorsum rim",
        0.8,
        24,
        "even",
        (27, 33),
        2.5,
    ),
    Warp("columella", {"subnasale": (0, -0.8, 0.6)}, "tip ala_base upper_lip", 0.6, 15, "even"),
    Warp("dorsum hump", {"dorsum": _OUT, "dorsum_high": _OUT}, "tip nasion bridge_side", 0.9, 20, "even"),
    Warp("bridge width", {"bridge_side": _LEFT}, "dorsum_high inner nasion", 0.8, 16),
    Warp("nasion depth", {"nasion": _OUT, "bridge_side": _HALF_OUT}, "glabella dorsum inner", 1.2, 24, "even"),
    Warp("nasion height", {"nasion": _UP}, "glabella dorsum inner", 1.0, 20, "even"),
    Warp("nose bent", {"tip": _LEFT, "tip_side": _LEFT, "dorsum": (0.5, 0, 0)}, "nasion subnasale", 0.7, 24, "odd"),
    Warp("mouth width", {"corner": _LEFT, "rim_corner": _LEFT}, "upper_lip lower_lip", 0.9, 24, "pair", (48, 54), 3.65),
    Warp("corner height", {"corner": _UP, "rim_corner": _UP}, "upper_lip lower_lip", 0.8, 20),
    Warp("corner depth", {"corner": _OUT, "rim_corner": _OUT}, "upper_lip lower_lip", 1.0, 22),
    Warp(
        "upper vermilion",
        {"upper_lip": _UP, "cupid": _UP, "upper_lip_side": _UP},
        _LIPS + "subnasale",
        0.6,
        15,
        "even",
        (51, 62),
        1.1,
    ),
    Warp("upper vermilion, one side", {"upper_lip_side": _UP, "cupid": _HALF_UP}, _LIPS + "subnasale", 0.4, 15),
    Warp(
        "lower vermilion",
        {"lower_lip": _DOWN, "lower_lip_side": _DOWN, "lower_lip_far": _DOWN},
        _LIPS + "chin_fold",
        0.6,
        16,
        "even",
        (57, 66),
        0.95,
    ),
    Warp("lower vermilion, one side", {"lower_lip_far": _DOWN, "lower_lip_side": _HALF_DOWN}, _LIPS + "chin_fold", 0.4, 16),
    Warp(
        "upper lip fullness",
        {"upper_red": _OUT, "upper_red_side": _MOST_OUT, "upper_lip": _HALF_OUT},
        "corner subnasale lower_red",
        0.8,
        20,
        "even",
    ),
    Warp(
        "lower lip fullness",
        {"lower_red": _OUT, "lower_red_side": _MOST_OUT, "lower_lip": _HALF_OUT},
        "corner chin_fold upper_red",
        0.8,
        20,
        "even",
    ),
    Warp(
        "philtrum length",
        {name: _DOWN for name in ("upper_lip", "cupid", "rim", "rim_side", "lower_rim", "lower_rim_side", "lower_lip")},
        "subnasale ala_base chin_fold",
        0.4,
        22,
        "even",
        (33, 51),
        1.45,
    ),
    Warp("philtrum depth", {"philtrum": _IN}, "philtrum_side subnasale upper_lip", 0.4, 12, "even"),
    Warp("chin fold", {"chin_fold": _IN}, "lower_lip chin", 0.9, 20, "even"),
    Warp("chin height", {"chin": _DOWN, "menton": _DOWN, "chin_side": _DOWN}, "lower_lip", 1.6, 34, "even", (57, 8), 3.15),
    Warp("chin projection", {"chin": _OUT, "menton": _OUT, "chin_side": _HALF_OUT}, "lower_lip", 1.6, 34, "even"),
    Warp("chin width", {"chin_side": _LEFT}, "lower_lip menton", 1.5, 30),
    Warp("chin sideways", {"chin": _LEFT, "menton": _LEFT, "chin_side": _LEFT}, "lower_lip", 1.0, 40, "odd"),
    Warp("gonion sideways", {"gonion": _LEFT}, "chin_side ear_lobe corner", 1.4, 42, "pair", (4, 12), 4.4),
    Warp("gonion height", {"gonion": _DOWN}, "chin_side ear_lobe corner", 1.5, 42),
    Warp("ear projection", {"ear_rim": _LEFT, "ear_top": _LEFT, "ear_back": _LEFT}, "ear_front mastoid", 1.2, 34, published=2.1),
    Warp("ear length", {"ear_top": _UP, "ear_lobe": _DOWN}, "ear_front", 1.3, 45, published=5.0),
    Warp("ear width", {"ear_back": _IN, "ear_rim": (0, 0, -0.7)}, "ear_front", 1.3, 40),
    Warp("ear lobe", {"ear_lobe": _DOWN}, "ear_front ear_back", 1.2, 25),
    Warp("ear height", {"ear_top": _UP, "ear_lobe": _UP, "ear_back": _UP, "ear_front": _UP, "ear_rim": _UP}, "outer", 1.5, 50),
    Warp("ear depth", {"ear_top": _IN, "ear_lobe": _IN, "ear_back": _IN, "ear_front": _IN, "ear_rim": _IN}, "outer", 1.5, 50),
)
# anchor → (shares of ibug68 landmarks of the left or middle, offset in mm), put on the nearest vertex of the skin
_LANDMARKS = {
    "inner": 42, "upper_in": 43, "upper_out": 44, "outer": 45, "lower_out": 46, "lower_in": 47, "brow_in": 22, "brow_mid": 23,
    "brow": 24, "brow_far": 25, "brow_out": 26, "nasion": 27, "dorsum_high": 28, "dorsum": 29, "tip": 30, "subnasale": 33,
    "ala_base": 35, "upper_lip": 51, "cupid": 52, "upper_lip_side": 53, "corner": 54, "lower_lip_far": 55, "lower_lip_side": 56,
    "lower_lip": 57, "rim": 62, "rim_side": 63, "rim_corner": 64, "lower_rim_side": 65, "lower_rim": 66, "menton": 8,
    "gonion": 12,
}  # fmt: skip
_ANCHORS: dict[str, tuple[dict[int, float], tuple[float, float, float]]] = {
    name: ({index: 1.0}, (0, 0, 0)) for name, index in _LANDMARKS.items()
}
_ANCHORS |= {
    "upper": ({43: 0.5, 44: 0.5}, (0, 0, 0)),
    "lower": ({46: 0.5, 47: 0.5}, (0, 0, 0)),
    "crease": ({43: 0.36, 44: 0.36, 24: 0.28}, (0, 0, 0)),
    "crease_in": ({43: 0.72, 23: 0.28}, (0, 0, 0)),
    "crease_out": ({44: 0.72, 25: 0.28}, (0, 0, 0)),
    "sulcus": ({43: 0.3, 22: 0.35, 24: 0.35}, (0, 0, 0)),
    "sulcus_out": ({43: 0.25, 44: 0.25, 24: 0.5}, (0, 0, 0)),
    "hood": ({44: 0.25, 45: 0.35, 25: 0.4}, (0, 0, 0)),
    "bag": ({46: 0.5, 47: 0.5}, (0, -9, 0)),
    "bag_in": ({47: 1.0}, (-3, -9, 0)),
    "bag_out": ({46: 1.0}, (3, -7, 0)),
    "bag_below": ({46: 0.5, 47: 0.5}, (0, -22, 0)),
    "temple": ({45: 0.5, 26: 0.5}, (14, 0, -12)),
    "glabella": ({22: 0.5, 21: 0.5}, (0, 2, 4)),
    "ala": ({35: 1.0}, (4, 5, -1)),
    "cheek": ({35: 1.0}, (16, 6, -6)),
    "tip_side": ({30: 1.0}, (7, -1, -6)),
    "bridge_side": ({28: 1.0}, (8, 2, -8)),
    "upper_red": ({51: 0.5, 62: 0.5}, (0, 0, 3)),
    "upper_red_side": ({52: 0.4, 63: 0.6}, (0, 1, 2)),
    "lower_red_side": ({56: 0.5, 65: 0.5}, (0, 0, 2)),
    "lower_red": ({57: 0.5, 66: 0.5}, (0, 0, 3)),
    "philtrum": ({33: 0.5, 51: 0.5}, (0, 0, 0)),
    "philtrum_side": ({33: 0.45, 52: 0.55}, (2, 0, 0)),
    "chin_fold": ({57: 0.68, 8: 0.32}, (0, 0, 0)),
    "chin": ({57: 0.32, 8: 0.68}, (0, 0, 4)),
    "chin_side": ({9: 0.5, 10: 0.5}, (0, 0, 0)),
    "ear_front": ({15: 1.0}, (2, -4, -22)),
}
# the vertex of the left ear's region farthest in a direction
_EAR_ANCHORS = {"ear_rim": (1, 0, 0), "ear_top": (1, 2, 0), "ear_lobe": (1, -2, 0), "ear_back": (1, 0, -2)}


def feature_factors(
    mesh: TriangleMesh, landmarks: np.ndarray, regions: dict[str, np.ndarray], mirror_vertex: np.ndarray
) -> np.ndarray:
    """(F, n, 3) mm per standard deviation: the warps on a mean shape, its landmarks (68,) ibug68, regions name → (n,) bool.

    Independent of each other; a pair gives one that is its own mirror image and one that is the opposite of it. Raises
    ModelError.
    """
    factors = []
    for warp, field in zip(WARPS, warp_fields(mesh, landmarks, regions)):
        mirrored = field[mirror_vertex] * MIRROR
        if warp.sides == "pair":
            rho = SIDES_CORRELATION
            factors += [np.sqrt((1 + rho) / 2) * (field + mirrored), np.sqrt((1 - rho) / 2) * (field - mirrored)]
        else:
            factors.append((field + (mirrored if warp.sides == "even" else -mirrored)) / 2)
    return np.array(factors)


def warp_fields(mesh: TriangleMesh, landmarks: np.ndarray, regions: dict[str, np.ndarray]) -> np.ndarray:
    """(W, n, 3) mm per standard deviation: each of WARPS once, pairs on the left side. Raises ModelError where handles of a warp
    coincide."""
    places = anchors(mesh, landmarks, regions)
    balls = [regions["eyeballs"] & (side * mesh.vertices[:, 0] > 0) for side in (1, -1)] if "eyeballs" in regions else []
    spheres = [fitted_sphere(mesh.vertices[ball]) for ball in balls]
    fields = []
    for warp in WARPS:
        handles, motions = _handles(warp, places)
        field = interpolated(mesh.vertices, handles, motions, warp.reach)
        whole = np.mean(list(warp.moves.values()), axis=0) * warp.carries_eye
        for side, (ball, (centre, radius)) in enumerate(zip(balls, spheres)):
            shift = whole if side == 0 else np.zeros(3)  # a warp that carries an eye is a pair, on the left side
            spoke = mesh.vertices - centre
            away = np.linalg.norm(spoke, axis=1, keepdims=True)
            near = np.exp(-((np.maximum(away - radius, 0) / _LID_MM) ** 2)) * (away > radius / 2)
            spoke /= np.maximum(away, 1e-12)
            field -= near * ((field - shift) * spoke).sum(axis=1, keepdims=True) * spoke
            field[ball] = shift
        fields.append(warp.sigma * field)
    return np.array(fields)


def _handles(warp: Warp, places: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(h, 3) places and (h, 3) motions of a warp's handles and pins; those of "even" and "odd" warps on both sides."""
    motion = {name: np.zeros(3) for name in warp.pins.split()} | {
        name: np.array(move, float) for name, move in warp.moves.items()
    }
    handles, motions = np.array([places[name] for name in motion]), np.array(list(motion.values()))
    if warp.sides != "pair":
        aside = handles[:, 0] > _CLOSEST_MM
        sign = 1.0 if warp.sides == "even" else -1.0
        handles, motions = np.vstack([handles, handles[aside] * MIRROR]), np.vstack([motions, sign * motions[aside] * MIRROR])
    apart = cdist(handles, handles) + np.eye(len(handles)) * 1e3
    if apart.min() < _CLOSEST_MM:
        pair = [[*motion][i % len(motion)] for i in np.unravel_index(apart.argmin(), apart.shape)]
        raise ModelError(f"warp {warp.name!r}: its handles {pair} lie {apart.min():.2f} mm apart on this mean shape")
    return handles, motions


def anchors(mesh: TriangleMesh, landmarks: np.ndarray, regions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name → (3,) mm: vertices of the skin, on the left or the middle."""
    skin = np.flatnonzero(~regions["cavities"] & (mesh.vertices[:, 0] > -1e-6))
    marks, tree = mesh.vertices[landmarks], cKDTree(mesh.vertices[skin])
    places = {}
    for name, (shares, offset) in _ANCHORS.items():
        aim = sum(share * marks[index] for index, share in shares.items()) + np.array(offset, float)
        places[name] = mesh.vertices[skin[tree.query(aim)[1]]]
    ear = mesh.vertices[skin[regions["ears"][skin]]]
    places |= {name: ear[(ear @ np.array(direction)).argmax()] for name, direction in _EAR_ANCHORS.items()}
    beside = mesh.vertices[skin[~regions["ears"][skin]]]
    return places | {"mastoid": beside[cKDTree(beside).query(places["ear_back"])[1]]}


def interpolated(points: np.ndarray, handles: np.ndarray, motions: np.ndarray, reach: float) -> np.ndarray:
    """(n, 3) displacements at points (n, 3): motions (h, 3) at handles (h, 3), none beyond reach mm of them all."""

    def basis(a: np.ndarray) -> np.ndarray:
        t = np.minimum(cdist(a, handles) / reach, 1.0)
        return (1 - t) ** 4 * (4 * t + 1)

    return basis(points) @ np.linalg.solve(basis(handles), motions)


def spread(mean: np.ndarray, modes: np.ndarray, landmarks: np.ndarray) -> dict[str, tuple[float, float]]:
    """Warp → (published, given by modes (k, n, 3) of mean (n, 3) to first order): standard deviations in mm of the distance that
    it changes, where both are known."""
    table = {}
    for warp in WARPS:
        if warp.measure and warp.published:
            first, second = landmarks[list(warp.measure)]
            along = (mean[first] - mean[second]) / np.linalg.norm(mean[first] - mean[second])
            change = (modes[:, first] - modes[:, second]) @ along
            table[warp.name] = warp.published, float(np.linalg.norm(change))
    return table
