"""Anatomical landmarks of a head model's mean, found by their definitions on its geometry: the scheme `caple_stephan`.

The nomenclature is Caple & Stephan's (Int J Legal Med 130:863, 2016). Only points that a shape without colour, hair or bone
defines are measured; what each means stands in the scheme's file. Points of the left half are found; the right ones are their
mirror images. "Forward" and "up" are those of the Frankfurt horizontal, which runs through tragion and the lower rim of the
orbit; that rim is bone, and is put 17 mm below the front of the globe (an adult orbit is 34 to 35 mm high), a guess within 2°.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d, label

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.raycasting import first_hits, raycasting_scene
from geometry.surfaces.subdivision import refine_region
from geometry.template.skin_patch import MIDLINE_MM
from geometry.transforms import MIRROR

ORBIT_BELOW_GLOBE_MM = 17.0
REFINED_EDGE_MM = 1.2  # the skin is smoothed to such edges by butterfly subdivision before it is measured
PROFILE_STEP_MM = 0.05
PROFILE_SMOOTH_MM = 1.0  # standard deviation of the Gaussian under which turns and bends of the profile are sought
RASTER_MM = 0.2
STEEP = 5.0  # mm of depth a mm of raster (79°): there one part of the skin hides another
FOLD_REACH_MM = 12.0  # from the wing of the nose across its crease to cheek or lip


@dataclass(frozen=True)
class Axes:
    """Unit vectors (3,) in the model's midsagittal plane: forward along the Frankfurt horizontal, and up."""

    forward: np.ndarray
    up: np.ndarray


def anatomical_marks(model: MorphableModel) -> dict[str, np.ndarray]:
    """Name in `caple_stephan` → (3,) mm in the model frame, of every point of the scheme that is measured on the shape.

    model: a mirror-symmetric whole head with open eyes and mouth. Raises ModelError.
    """
    needed = {"cavities", "eyeballs", "nostrils", "ears"}
    if missing := sorted(needed - set(model.regions)):
        raise ModelError(f"model {model.name!r} lacks the regions {missing}; anatomical marks are set on a whole head")
    mean, inside = np.asarray(model.mean, float), model.regions["cavities"]
    skin = model.triangles[~inside[model.triangles].any(1)]
    refined = refine_region(mean, skin, ~inside, REFINED_EDGE_MM)
    surface = TriangleMesh(refined.apply(mean), refined.triangles)
    outer, tragus = _ear_margins(surface, mean[model.regions["ears"]])
    globe = _front_of_sphere(mean[model.regions["eyeballs"] & (mean[:, 0] > 0)])
    tragion = tragus[np.argmax(tragus[:, 1])]
    axes = frankfurt_axes(tragion, globe)
    upper, lower = _profiles(mean, skin)
    nostrils = model.regions["nostrils"]
    rims = mean[np.unique(skin[nostrils[skin].any(1)])]
    median = _upper_profile(upper, axes, rims, mean[model.landmarks["ibug68"]][51]) | _lower_profile(lower, axes)
    left = {"tragion": tragion} | _ear(outer, tragion, axes) | _eye(model) | _wing(surface, mean[nostrils])
    above = (surface.vertices - left["superaurale"]) @ axes.up > 0
    left["euryon"] = max(surface.vertices[above & ~refined.along(model.regions["ears"])], key=lambda point: point[0])
    marks = {name: point * (0, 1, 1) for name, point in median.items()}
    for name, point in left.items():
        marks |= {f"right_{name}": point * MIRROR, f"left_{name}": point}
    return marks


def frankfurt_axes(tragion: np.ndarray, globe: np.ndarray) -> Axes:
    """Of the left tragion (3,) and the front of the left globe (3,), model frame, mm."""
    y, z = (globe - (0, ORBIT_BELOW_GLOBE_MM, 0) - tragion)[1:]
    forward = np.array([0.0, y, z]) / np.hypot(y, z)
    return Axes(forward, np.array([0.0, forward[2], -forward[1]]))


def _front_of_sphere(points: np.ndarray) -> np.ndarray:
    """(3,) of the sphere nearest to points (n, 3) by least squares on |p|² = 2 c·p + (r² − |c|²)."""
    solution = np.linalg.lstsq(np.column_stack([2 * points, np.ones(len(points))]), (points**2).sum(1), rcond=None)[0]
    centre = solution[:3]
    return centre + (0, 0, np.sqrt(solution[3] + centre @ centre))


def _profiles(mean: np.ndarray, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k, 3) each, every 0.05 mm along cubic splines: from the upper lip over the crown to the nape; from the lower lip down."""
    edges = np.unique(np.sort(skin[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    edges = edges[(np.abs(mean[:, 0]) < MIDLINE_MM)[edges].all(1)]
    near: dict[int, list[int]] = {}
    for a, b in np.vstack([edges, edges[:, ::-1]]).tolist():
        near.setdefault(a, []).append(b)
    ends = sorted((vertex for vertex in near if len(near[vertex]) == 1), key=lambda vertex: -mean[vertex, 2])
    if len(ends) != 4 or max(map(len, near.values())) > 2:
        raise ModelError(f"the midline of the skin has the ends {ends}; expected two paths, which part at the open mouth")
    first, second = (_smooth_path(mean[_walk(near, end)]) for end in ends[:2])  # the lips lie before neck and nape
    return (first, second) if first[0, 1] > second[0, 1] else (second, first)


def _walk(near: dict[int, list[int]], start: int) -> list[int]:
    path = [start, near[start][0]]
    while len(near[path[-1]]) == 2:
        path.append(next(vertex for vertex in near[path[-1]] if vertex != path[-2]))
    return path


def _smooth_path(points: np.ndarray) -> np.ndarray:
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    return CubicSpline(along, points)(np.arange(0, along[-1], PROFILE_STEP_MM))


def _turns(height: np.ndarray, count: int) -> np.ndarray:
    """(count,) indices of the first local extrema of heights (k,) along a profile."""
    step = np.diff(gaussian_filter1d(height, PROFILE_SMOOTH_MM / PROFILE_STEP_MM, mode="nearest"))
    turns = np.flatnonzero(step[1:] * step[:-1] < 0) + 1
    if len(turns) < count:
        raise ModelError(f"the midline turns forward or back {len(turns)} times where a head's does {count} times at least")
    return turns[:count]


def _bend(profile: np.ndarray) -> np.ndarray:
    """(k,) signed curvature of a profile (k, 3) in its plane, 1/mm, smoothed."""
    first = np.gradient(profile[:, 1:], axis=0)
    second = np.gradient(first, axis=0)
    curvature = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / np.linalg.norm(first, axis=1) ** 3
    return gaussian_filter1d(curvature, PROFILE_SMOOTH_MM / PROFILE_STEP_MM, mode="nearest")


def _upper_profile(profile: np.ndarray, axes: Axes, nostrils: np.ndarray, upper_lip: np.ndarray) -> dict[str, np.ndarray]:
    forward, up = profile @ axes.forward, profile @ axes.up
    tip = int(np.argmax(forward))
    sellion, glabella = tip + _turns(forward[tip:], 2)
    columella = tip - int(np.argmax(forward[tip::-1] < (nostrils @ axes.forward).max()))
    lip = int(np.argmin(np.linalg.norm(profile - upper_lip, axis=1)))
    vertex = int(np.argmax(up))
    back = _turns(np.linalg.norm(profile[vertex:] - profile[glabella], axis=1), 1)
    found = {
        "glabella": glabella,
        "sellion": sellion,
        "pronasale": tip,
        "columella": columella,
        "subnasale": lip + int(np.argmax(np.abs(_bend(profile)[lip:columella]) * _hollow(profile[lip : columella + 1]))),
        "vertex": vertex,
        "opisthocranion": vertex + int(back[0]),
    }
    return {name: profile[place] for name, place in found.items()}


def _hollow(profile: np.ndarray) -> np.ndarray:
    """(k − 1,) bool: where a profile (k, 3) lies behind the line between its ends."""
    return _behind(profile, np.array([0.0, 0.0, 1.0]))[:-1] > 0


def _behind(points: np.ndarray, view: np.ndarray) -> np.ndarray:
    """(k,) mm by which points lie behind the line from the first to the last, seen along −view (3,)."""
    along = points[-1] - points[0]
    normal = view - along * (view @ along) / (along @ along)
    return (points[0] - points) @ normal / np.linalg.norm(normal)


def _lower_profile(profile: np.ndarray, axes: Axes) -> dict[str, np.ndarray]:
    sulcus, pogonion = _turns(profile @ axes.forward, 3)[1:]  # after the lip's most anterior point
    throat = profile[pogonion:]
    throat = throat[: np.argmax(_bend(throat) * np.sign(_bend(profile)[sulcus])) + 1]  # bent as the sulcus is: to the neck
    menton = int(np.argmin(_behind(throat, np.array([0.0, -1.0, 0.0]))))
    return {"supramentale": profile[sulcus], "pogonion": throat[0], "gnathion": throat[menton // 2], "menton": throat[menton]}


def _margins(surface: TriangleMesh, axes: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """Where the skin hides skin: points (k, 3) of each connected margin, nearer side, in a raster seen along −axes[2].

    axes (3, 3): rows right, up and towards the viewer, orthonormal; low, high (2,): the raster's bounds along right and up.
    """
    right, up = (np.arange(a, b, RASTER_MM) for a, b in zip(low, high))
    raster = np.stack(np.meshgrid(right, up), axis=-1)
    origins = raster.reshape(-1, 2) @ axes[:2] + 300 * axes[2]
    distance = first_hits(raycasting_scene(surface), origins, np.tile(-axes[2], (len(origins), 1)))[0]
    depth = np.pad(300 - distance.reshape(raster.shape[:2]), 1, mode="edge")
    around = np.min([depth[:-2, 1:-1], depth[2:, 1:-1], depth[1:-1, :-2], depth[1:-1, 2:]], axis=0)
    depth = depth[1:-1, 1:-1]
    piece, count = label(depth - around > STEEP * RASTER_MM, np.ones((3, 3)))
    points = raster @ axes[:2] + depth[..., None] * axes[2]
    return [points[piece == number] for number in range(1, count + 1)]


def _ear_margins(surface: TriangleMesh, ears: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k, 3) each, of the left ear seen from the side: the free margin from helix to lobe, and the edge of the tragus.

    ears (n, 3): vertices of both ears."""
    side = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
    margins = _margins(surface, side, (ears @ side[:2].T).min(0) - 5, (ears @ side[:2].T).max(0) + 5)
    margins = sorted((margin for margin in margins if np.ptp(margin[:, 1]) > 4), key=lambda margin: -np.ptp(margin[:, 1]))
    if len(margins) < 2:
        raise ModelError(f"the left ear shows {len(margins)} margins from the side; expected those of helix and tragus at least")
    return margins[0], max(margins[1:], key=lambda margin: margin[:, 2].mean())


def _ear(margin: np.ndarray, tragion: np.ndarray, axes: Axes) -> dict[str, np.ndarray]:
    forward, up = margin @ axes.forward, margin @ axes.up
    above = up > tragion @ axes.up
    return {
        "superaurale": margin[np.argmax(up)],
        "subaurale": margin[np.argmin(up)],
        "postaurale": margin[np.argmin(forward)],
        "otobasion_superius": margin[above][np.argmax(forward[above])],
        "otobasion_inferius": margin[~above][np.argmax(forward[~above])],
    }


def _eye(model: MorphableModel) -> dict[str, np.ndarray]:
    """The rims of the left lids around what a viewer in front sees of the globe."""
    corners = np.asarray(model.mean, float)[model.landmarks["ibug68"]][[42, 45]]
    step = RASTER_MM / 2
    right, up = np.arange(corners[0, 0], corners[1, 0] + 4, step), np.arange(-10, 12, step) + corners[:, 1].mean()
    raster = np.stack(np.meshgrid(right, up), axis=-1)
    origins = np.column_stack([raster.reshape(-1, 2), np.full(raster[..., 0].size, 100.0)])
    mesh = TriangleMesh(model.mean, model.triangles)
    distance, triangle, _, _ = first_hits(raycasting_scene(mesh), origins, np.tile([0.0, 0, -1], (len(origins), 1)))
    seen = model.regions["eyeballs"][model.triangles[triangle]].all(1).reshape(raster.shape[:2])
    if not seen.any():
        raise ModelError(f"model {model.name!r}: no globe shows between the left lids; the mean's eyes must be open")
    points = np.append(raster, 100 - distance.reshape(seen.shape)[..., None], axis=2)
    row, column = np.nonzero(seen)
    top, bottom, lateral = np.argmax(row), np.argmin(row), np.argmax(column)
    return {  # the first skin beside the globe
        "palpebrale_superius": points[row[top] + 1, column[row == row[top]].mean().astype(int)],
        "palpebrale_inferius": points[row[bottom] - 1, column[row == row[bottom]].mean().astype(int)],
        "exocanthion": points[row[lateral], column[lateral] + 1],
    }


def _wing(surface: TriangleMesh, nostrils: np.ndarray) -> dict[str, np.ndarray]:
    """The left wing of the nose: its most lateral point, and its crease beside and below. nostrils (n, 3): of both."""
    own = nostrils[nostrils[:, 0] > 0]
    low, high = own[:, :2].min(0) - (0, 4), own[:, :2].max(0) + (14, 6)
    margins = _margins(surface, np.eye(3), low, high)
    if not margins:
        raise ModelError("no wing of the nose stands out from the cheek in front view")
    rim = max(margins, key=lambda margin: margin[:, 0].max())
    alare = rim[np.argmax(rim[:, 0])]
    under = np.array([(alare[0] + own[:, 0].max()) / 2, alare[1], alare[2]])
    diagonal = np.sqrt(0.5)
    return {
        "alare": alare,
        "alar_curvature": _fold(surface, alare, diagonal * np.array([1.0, 0, -1]), diagonal * np.array([1.0, 0, 1])),
        "subalare": _fold(surface, under, diagonal * np.array([0.0, -1, -1]), diagonal * np.array([0.0, -1, 1])),
    }


def _fold(surface: TriangleMesh, start: np.ndarray, across: np.ndarray, view: np.ndarray) -> np.ndarray:
    """(3,) the deepest point of the crease that a section from `start` crosses, going `across`, seen along −view."""
    section = start + np.arange(0, FOLD_REACH_MM, PROFILE_STEP_MM)[:, None] * across + 50 * view
    distance = first_hits(raycasting_scene(surface), section, np.tile(-view, (len(section), 1)))[0]
    points = section - distance[:, None] * view
    return points[np.argmax(_behind(points, view))]
