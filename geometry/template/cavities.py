"""What lies behind a template's skin: the mouth's lining and eyeballs behind open lips and lids, and the nostrils' linings.

The mouth's lining begins at the rim of the lips, vertex by vertex, and what is seen of an eyeball on the rim of the lids, so that
no view looks past them into the head; that of a nostril behind the pit that closes it, so that from outside the pit hides it.
All are linear in the source's vertices, so that they follow every identity and expression. Normals of linings point into the
cavity, as on the source.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.template.closed_skin import NOSTRIL_PLANE, SMOOTH_EDGE_MM, mirror_images, nearest_vertices
from geometry.template.constraints import AnchorGatherer
from geometry.template.remeshing import RemeshOptions, remesh
from geometry.template.skin_patch import MIDLINE_MM, Skin, boundary_loops, clip, edge_path, enclosed_by, half_skin, smooth_step
from geometry.transforms import MIRROR

_BEHIND_LIPS_MM = 2.0
_BEHIND_NOSTRIL_MM = 3.0  # the pit that closes a nostril is 1.5 mm deep
# The source's bag is 50 mm high from the lips to the throat, room for teeth and tongue. Of a closed mouth, and in the head scans
# that carry a mouth, the space behind the teeth is lower: its height shrinks to that share between these depths behind the lips.
_HEIGHT_SHARE = 0.35
_NARROWING_MM = (10.0, 20.0)
_RIM_MM = 7.5  # from the lips' contour: nearer to it the bag is the source's
_LEAST_HEIGHT_MM = 5.0
_EYE_RIM_EDGE_MM = 1.2  # of an eyeball where it begins at the lids' rim
_GROWTH = 0.16  # of the edge length away from the rim, in mm per mm
_LONGEST_EDGE_MM = 10.0
_PATH_STEPS = 10  # points along an edge of the lips' contour, for distances to it


@dataclass(frozen=True)
class Openings:
    """Of the half x ≥ 0 of a skin: rows over the source (r, n_source) of the vertices along the rim of its lids; on the
    mean, where the source's lids end on the eyeball (e, 3), and the vertices (k, 3) on the rim of its lips."""

    lid_rim: sparse.csr_matrix
    lids_end: np.ndarray
    lip_vertices: np.ndarray


@dataclass(frozen=True)
class BothHalves:
    """A surface made of its half x ≥ 0 and the mirror image: weights (n, n_source) csr, lift (n, 3) mm, triangles (m, 3).

    image (h,): the vertex that mirrors each vertex of the half, itself on the midline; aside: the half's vertices off it.
    """

    weights: sparse.csr_matrix
    lift: np.ndarray
    triangles: np.ndarray
    image: np.ndarray
    aside: np.ndarray

    @property
    def mirror_vertex(self) -> np.ndarray:
        """(n,) the mirror image of every vertex."""
        return np.append(self.image, self.aside)


def both_halves(
    left: sparse.csr_matrix, lift: np.ndarray, triangles: np.ndarray, mean: np.ndarray, source_twin: np.ndarray
) -> BothHalves:
    """left (h, n_source), lift (h, 3) and triangles: the half x ≥ 0; source_twin (n_source,): the mirror image of each source
    vertex."""
    h, n_source = left.shape
    swap = sparse.csr_matrix((np.ones(n_source), (np.arange(n_source), source_twin)), shape=(n_source, n_source))
    aside = np.flatnonzero(np.abs(left @ mean[:, 0] + lift[:, 0]) > MIDLINE_MM)
    image = np.arange(h)
    image[aside] = h + np.arange(len(aside))
    weights = sparse.vstack([left, left[aside] @ swap]).tocsr()
    both = np.vstack([triangles, image[triangles][:, ::-1]]).astype(np.int32)
    return BothHalves(weights, np.vstack([lift, (lift * MIRROR)[aside]]), both, image, aside)


def cavities(source: MorphableModel, rim_edge: float, options: RemeshOptions, openings: Openings) -> dict[str, BothHalves]:
    """ "mouth_cavity" (one piece), "nostril_cavities" and "eyeballs" (two each); rim_edge: edge length in mm at their rims.

    Raises ModelError where the source has none of that kind.
    """
    mean = np.asarray(source.mean, np.float64)
    source_twin = mirror_images(source, source.regions["skin"] | source.regions["mouth_interior"])
    balls = source.regions["eyeballs"]
    source_twin[balls] = mirror_images(source, balls)[balls]
    builders: dict[str, Callable[..., Skin]] = {
        "mouth_cavity": _mouth,
        "nostril_cavities": _nostril,
        "eyeballs": partial(_eyeball, openings=openings),
    }
    rims = {"mouth_cavity": openings.lip_vertices, "eyeballs": openings.lid_rim @ mean}
    edges = {"eyeballs": _EYE_RIM_EDGE_MM}
    halves = {
        name: _remeshed(build(source, mean, source_twin), mean, edges.get(name, rim_edge), options, rims.get(name))
        for name, build in builders.items()
    }
    halves["eyeballs"] = _begun_at(openings.lid_rim, halves["eyeballs"], mean)
    return {name: both_halves(*half, mean, source_twin) for name, half in halves.items()}


def _mouth(source: MorphableModel, mean: np.ndarray, source_twin: np.ndarray) -> Skin:
    """What lies inside the inner lip contour: the lips' inner faces and the bag."""
    lining = source.regions["skin"] | source.regions["mouth_interior"]
    half = half_skin(mean, source.triangles, lining, source_twin, SMOOTH_EDGE_MM)
    points = half.points(mean)
    path = edge_path(half, points, nearest_vertices(points, mean[source.landmarks["ibug68"][62:67]]).tolist())
    seed = int(np.argmax(half.weights @ source.regions["mouth_interior"].astype(float)))
    inside = enclosed_by(half, points, path, seed)
    t = np.linspace(0, 1, _PATH_STEPS)[:, None, None]
    contour = (points[path[:-1]] * (1 - t) + points[path[1:]] * t).reshape(-1, 3)
    to_contour = cKDTree(contour)
    points = inside.points(mean)
    behind = contour[:, 2].max() - points[:, 2]
    share = smooth_step(behind, *_NARROWING_MM) * smooth_step(to_contour.query(points)[0], _BEHIND_LIPS_MM, _RIM_MM)
    return _lowered(inside, points, 1 - (1 - _HEIGHT_SHARE) * share)


def _lowered(bag: Skin, points: np.ndarray, share: np.ndarray) -> Skin:
    """The bag with its height at every depth times share (k,).

    Every point moves by a part of the vector from the floor to the roof of the midline at its depth: vertical on the mean, and
    longer when the jaw opens.
    """
    border = boundary_loops(bag.triangles)[0]
    on = np.abs(points[border, 0]) < MIDLINE_MM
    first = int(np.flatnonzero(on & ~np.roll(on, 1))[0])
    midline = np.roll(border, -first)[: on.sum()]
    throat = int(points[midline, 2].argmin())
    walls = sorted((midline[: throat + 1], midline[throat:]), key=lambda wall: points[wall, 1].mean())
    floor, roof = (_at_depth(points, wall, points[:, 2]) for wall in walls)
    low, high = floor @ points[:, 1], roof @ points[:, 1]
    part = (1 - share) * (points[:, 1] - (low + high) / 2) / np.maximum(high - low, _LEAST_HEIGHT_MM)
    return replace(bag, weights=(bag.weights - sparse.diags(part) @ (roof - floor) @ bag.weights).tocsr())


def _at_depth(points: np.ndarray, wall: np.ndarray, z: np.ndarray) -> sparse.csr_matrix:
    """(k, k) rows that interpolate the chain `wall` of vertices at z (k,), its ends beyond them."""
    wall = wall[np.argsort(points[wall, 2])]
    position = np.interp(z, points[wall, 2], np.arange(len(wall)))
    piece = np.minimum(position.astype(int), len(wall) - 2)
    t, rows = position - piece, np.arange(len(z))
    entries = np.append(1 - t, t), (np.append(rows, rows), np.append(wall[piece], wall[piece + 1]))
    return sparse.coo_matrix(entries, shape=(len(z), len(points))).tocsr()


def _nostril(source: MorphableModel, mean: np.ndarray, source_twin: np.ndarray) -> Skin:
    """What the template cuts away behind a nostril's plane, from a little farther in."""
    half = half_skin(mean, source.triangles, source.regions["skin"], source_twin, np.inf)
    beyond = half.points(mean)[:, 1:] @ NOSTRIL_PLANE[:2] - NOSTRIL_PLANE[2] - _BEHIND_NOSTRIL_MM
    above = clip(half, beyond)  # the nostril and, largest, the upper face
    label = TriangleMesh(above.points(mean), above.triangles).component_labels
    if label.max() != 1:
        raise ModelError(f"model {source.name!r}: its nostrils' plane parts half its skin into {label.max() + 1} pieces, not 2")
    kept = (label == np.bincount(label).argmin())[above.triangles[:, 0]]
    return replace(above, triangles=above.triangles[kept], part=above.part[kept]).compacted()


def _eyeball(source: MorphableModel, mean: np.ndarray, source_twin: np.ndarray, openings: Openings) -> Skin:
    """What is seen of the left eyeball: the largest of the source's shells, made the sphere on which the source's lids end,
    within the lids' rim as its middle sees it."""
    half = half_skin(mean, source.triangles, source.regions["eyeballs"], source_twin, np.inf)
    points = half.points(mean)
    shell = TriangleMesh(points, half.triangles).component_labels
    largest = np.argmax([np.ptp(points[shell == label], axis=0).prod() for label in range(shell.max() + 1)])
    inside = (shell == largest)[half.triangles[:, 0]]
    ball = replace(half, triangles=half.triangles[inside], part=half.part[inside]).compacted()
    centre, radius = fitted_sphere(openings.lids_end)
    spokes, to_rim = ball.points(mean) - centre, openings.lid_rim @ mean - centre
    outward, rim = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (spokes, to_rim))
    ball = replace(ball, lift=radius * outward - spokes)
    return clip(ball, _within(_flattened(outward, rim), _flattened(rim, rim))).compacted()


def fitted_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (3,) and radius of the sphere through points (n, 3), least squares of |p|² = 2 c·p + r² − |c|²."""
    system = np.column_stack([2 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    centre = solution[:3]
    return centre, float(np.sqrt(solution[3] + centre @ centre))


def _flattened(directions: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """(k, 2) stereographic projection of unit directions (k, 3) about the mean of the rim's (r, 3)."""
    axis = rim.mean(axis=0) / np.linalg.norm(rim.mean(axis=0))
    across = np.linalg.svd(axis[None])[2][1:]
    return directions @ across.T / (1.0 + 1e-6 + directions @ axis)[:, None]


def _within(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(k,) distance of points (k, 2) from a closed polygon (r, 2), positive inside."""
    start, side = polygon[None], (np.roll(polygon, -1, axis=0) - polygon)[None]
    off = points[:, None] - start
    along = np.clip((off * side).sum(axis=2) / np.maximum((side**2).sum(axis=2), 1e-18), 0, 1)
    distance = np.linalg.norm(off - along[:, :, None] * side, axis=2).min(axis=1)
    rises = (off[:, :, 1] < 0) != (off[:, :, 1] < side[:, :, 1])  # the side crosses the point's height, and to its right
    level_side = np.where(side[:, :, 1] == 0, 1.0, side[:, :, 1])
    right = off[:, :, 0] < off[:, :, 1] * side[:, :, 0] / level_side
    return np.where((rises & right).sum(axis=1) % 2 == 1, distance, -distance)


def _begun_at(
    rim: sparse.csr_matrix, half: tuple[sparse.csr_matrix, np.ndarray, np.ndarray], mean: np.ndarray
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """The rows, lift and triangles of a half with the vertices of its border put on those round the rim (r, n_source), which they
    then move with. Raises ModelError where there are more or less of them."""
    rows, lift, triangles = half
    border, r = boundary_loops(triangles)[0], rim.shape[0]
    if len(border) != r:
        raise ModelError(f"an eyeball's border has {len(border)} vertices where the lids' rim has {r}; make their edges longer")
    turns = [np.roll(way, shift) for way in (np.arange(r), np.arange(r)[::-1]) for shift in range(r)]
    points, wanted = rim @ mean, (rows @ mean + lift)[border]
    best = min(turns, key=lambda turn: ((points[turn] - wanted) ** 2).sum())
    lift[border] = 0.0
    order = np.arange(len(lift))
    order[border] = len(lift) + best
    return sparse.vstack([rows, rim]).tocsr()[order], lift, triangles


def _remeshed(
    half: Skin,
    mean: np.ndarray,
    rim_edge: float,
    options: RemeshOptions,
    rim_vertices: np.ndarray | None,
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Rows over the source, lift and triangles of a clean triangulation of a half cavity. Raises ModelError where it is no disc.

    rim_vertices (r, 3): where the rim, closed or from midline to midline, has its vertices, in order; None: evenly spaced."""
    surface = TriangleMesh(half.points(mean), half.triangles)
    loops = boundary_loops(half.triangles)
    if len(loops) != 1 or len(surface.vertices) - len(surface.edges) + len(surface.triangles) != 1:
        raise ModelError(f"a half cavity of the source has {len(loops)} borders; it must be a disc, closed at the back")
    on = np.abs(surface.vertices[:, 0]) < MIDLINE_MM
    border = loops[0]
    rim = border[~on[border]]
    size = np.minimum(rim_edge + _GROWTH * cKDTree(surface.vertices[rim]).query(surface.vertices)[0], _LONGEST_EDGE_MM)
    ends = border[on[border] & ~(np.roll(on[border], 1) & np.roll(on[border], -1))]  # where the rim meets the midline
    gatherer = AnchorGatherer(surface.vertices, size)
    if rim_vertices is None:
        gatherer.add_chain(border, set(ends.tolist()) or {int(border[0])}, closed=True)
    elif not on[border].any():
        start = int(cKDTree(surface.vertices[border]).query(rim_vertices[0])[1])
        gatherer.add_leg_at(np.append(np.roll(border, -start), border[start]), rim_vertices[1:])
    else:
        first = int(np.flatnonzero(on[border] & ~np.roll(on[border], -1))[0])  # where the rim leaves the midline
        border_from_there = np.roll(border, -first)
        back = int(np.flatnonzero(on[border_from_there][1:])[0]) + 1
        gatherer.add_leg_at(border_from_there[: back + 1], rim_vertices)
        gatherer.add_chain(np.append(border_from_there[back:], border_from_there[0]), set(ends.tolist()), closed=False)
    vertices, triangles = remesh(surface, size, gatherer.constraints(), border, np.ones(len(surface.triangles), bool), options)
    return (vertices.weights @ half.weights).tocsr(), vertices.weights @ half.lift, triangles
