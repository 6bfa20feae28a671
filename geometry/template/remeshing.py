"""A new triangulation of a disc-shaped surface: adaptive, near-equilateral, through given curves and points.

Vertices come from a restricted centroidal Voronoi tessellation under a density (Du, Faber & Gunzburger 1999; Lévy & Bonneel
2012, whose lift by the normal keeps sheets that touch, such as closed lips, apart). Their connectivity comes from a Delaunay
triangulation in an injective plane embedding (Tutte 1963), turned by edge flips into one that is Delaunay in space.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import Delaunay, cKDTree

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.template.constraints import Constraints

_NORMAL_LIFT = 1.5  # × the local edge length: opposite sheets are three edge lengths apart
_SAMPLES_PER_VERTEX = 60
_FACING_COSINE = 0.2  # between a triangle's normal and the surface's; below it the triangle counts as folded
_MOST_FLIPS = 200  # that one kept edge may take
_LEAST_AREA = 1e-15  # of a triangle in the unit circle, above rounding


def embed_in_circle(mesh: TriangleMesh, loop: np.ndarray, corners: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Plane coordinates (k, 2) of a disc and (c, 2) of its corners; no triangle flips.

    The boundary `loop` goes to a polygon inscribed in the unit circle, by arc length; its corners are the border points with
    weights `corners` (c, k). Tutte's theorem: each inner vertex is the weighted mean of its neighbours (weights 1 / edge
    length), the boundary is convex.
    """
    points, k = mesh.vertices, len(mesh.vertices)
    i, j = mesh.edges.T
    weight = 1 / np.maximum(np.linalg.norm(points[i] - points[j], axis=1), 1e-3)
    graph = sparse.coo_matrix((np.append(weight, weight), (np.append(i, j), np.append(j, i))), shape=(k, k)).tocsr()
    laplacian = (sparse.diags(np.asarray(graph.sum(axis=1)).ravel()) - graph).tocsc()
    step = np.linalg.norm(points[np.roll(loop, -1)] - points[loop], axis=1)
    angle = 2 * np.pi * np.append(0, np.cumsum(step)[:-1]) / step.sum()
    plane = np.zeros((k, 2))
    plane[loop] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    at_corner = corners @ plane
    at_corner /= np.linalg.norm(at_corner, axis=1, keepdims=True)
    # the sides of the new triangulation, not of the old one: every other point then lies inside the hull of the corners
    corner_angle = np.arctan2(at_corner[:, 1], at_corner[:, 0])
    plane[loop] = np.stack([np.interp(angle, corner_angle, at_corner[:, axis], period=2 * np.pi) for axis in range(2)], axis=1)
    inner = np.setdiff1d(np.arange(k), loop)
    plane[inner] = splu(laplacian[inner][:, inner]).solve(-(laplacian[inner][:, loop] @ plane[loop]))
    return plane, at_corner


@dataclass(frozen=True)
class Cloud:
    """Points of a surface: weights (N, k) csr over its vertices, positions (N, 3), unit normals (N, 3), wanted size (N,)."""

    weights: sparse.csr_matrix
    positions: np.ndarray
    normals: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, mesh: TriangleMesh, size: np.ndarray, weights: sparse.csr_matrix) -> "Cloud":
        normals = weights @ mesh.vertex_normals
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        return cls(weights, weights @ mesh.vertices, normals, weights @ size)

    @property
    def lifted(self) -> np.ndarray:
        """(N, 6) positions and scaled normals: distances along one sheet of the surface, never across a gap."""
        return np.hstack([self.positions, _NORMAL_LIFT * self.size[:, None] * self.normals])

    def joined(self, other: "Cloud", index: np.ndarray) -> "Cloud":
        """This cloud, then the points `index` of the other."""
        return Cloud(
            sparse.vstack([self.weights, other.weights[index]]).tocsr(),
            np.vstack([self.positions, other.positions[index]]),
            np.vstack([self.normals, other.normals[index]]),
            np.append(self.size, other.size[index]),
        )


def samples_on(
    mesh: TriangleMesh, size: np.ndarray, open_triangles: np.ndarray, n_border: float, rng: np.random.Generator
) -> tuple[Cloud, int]:
    """Random points on the triangles that may get vertices, as many per area as size⁻² asks; and how many vertices are wanted.

    size (k,) mm; open_triangles (m,) bool; n_border: vertices on the border, which count half.
    """
    area = np.linalg.norm(mesh.triangle_area_vectors, axis=1) / size[mesh.triangles].mean(axis=1) ** 2
    wanted = round(2 / np.sqrt(3) * area.sum() + n_border / 2)
    count = _SAMPLES_PER_VERTEX * wanted
    share = np.cumsum(area * open_triangles)
    triangle = np.searchsorted(share, (np.arange(count) + rng.random(count)) / count * share[-1]).clip(max=len(area) - 1)
    r, s = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - r, r * (1 - s), r * s], axis=1)
    rows = np.repeat(np.arange(count), 3)
    weights = sparse.csr_matrix((weights.ravel(), (rows, mesh.triangles[triangle].ravel())), shape=(count, len(mesh.vertices)))
    return Cloud.of(mesh, size, weights), wanted


def spread_vertices(samples: Cloud, constraints: Cloud, free: int, rng: np.random.Generator, rounds: int) -> np.ndarray:
    """Indices of about `free` samples, spread evenly among themselves and the anchors (Lloyd's iteration)."""
    cloud, fixed, mass = samples.lifted, constraints.lifted, samples.size**-2.0
    seeds = cloud[rng.choice(len(cloud), free, replace=False)]
    for _ in range(rounds):
        owner = cKDTree(np.vstack([fixed, seeds])).query(cloud)[1] - len(fixed)
        own = owner >= 0
        total = np.bincount(owner[own], mass[own], minlength=free)
        centroid = np.stack([np.bincount(owner[own], mass[own] * cloud[own, axis], minlength=free) for axis in range(6)], axis=1)
        seeds = np.where(total[:, None] > 0, centroid / np.maximum(total, 1e-300)[:, None], seeds)
    return np.unique(cKDTree(cloud).query(seeds)[1])


def relaxed(samples: Cloud, constraints: Cloud, chosen: np.ndarray, triangles: np.ndarray, below_deg: float) -> np.ndarray:
    """`chosen`, with the free vertices of triangles whose smallest angle is below the bound moved to where the worst angle
    of their triangles is largest, one after another, among the nearby samples of the same sheet."""
    positions, n_fixed = np.vstack([constraints.positions, samples.positions[chosen]]), len(constraints.positions)
    chosen, tree = chosen.copy(), cKDTree(samples.lifted)
    lifted = samples.lifted
    fans = _opposite_edges(triangles, len(positions))
    angle = smallest_angles(positions[triangles])
    worst = np.full(len(positions), 180.0)
    np.minimum.at(worst, triangles.ravel(), np.repeat(angle, 3))
    for vertex in np.argsort(worst, kind="stable"):
        if vertex < n_fixed or worst[vertex] > below_deg:
            continue
        candidates = tree.query(lifted[chosen[vertex - n_fixed]], k=_SAMPLES_PER_VERTEX * 2)[1]
        fan = np.array(fans[vertex])
        best = candidates[_scores(samples, candidates, positions[fan]).argmax()]
        chosen[vertex - n_fixed], positions[vertex] = best, samples.positions[best]
    return chosen


def _scores(samples: Cloud, candidates: np.ndarray, fan: np.ndarray) -> np.ndarray:
    """(c,) how good a vertex each candidate is amid the opposite edges fan (f, 2, 3): its worst angle, less if it folds."""
    corners = np.empty((len(candidates), len(fan), 3, 3))
    corners[:, :, 0], corners[:, :, 1:] = samples.positions[candidates][:, None], fan
    normal = np.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    facing = (normal * samples.normals[candidates][:, None]).sum(axis=2) / np.maximum(np.linalg.norm(normal, axis=2), 1e-12)
    worst = smallest_angles(corners.reshape(-1, 3, 3)).reshape(len(candidates), -1).min(axis=1)
    return worst + 20 * np.minimum(facing.min(axis=1), 0.5)  # degrees: a fold costs more than any angle gains


def _opposite_edges(triangles: np.ndarray, n: int) -> list[list[tuple[int, int]]]:
    """For each vertex the two other corners of its triangles, in order."""
    fans: list[list[tuple[int, int]]] = [[] for _ in range(n)]
    for a, b, c in triangles.tolist():
        fans[a].append((b, c))
        fans[b].append((c, a))
        fans[c].append((a, b))
    return fans


def smallest_angles(corners: np.ndarray) -> np.ndarray:
    """corners (m, 3, 3) → (m,) degrees."""
    u, v = (np.roll(corners, -k, axis=1) - corners for k in (1, 2))
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v), axis=2), (u * v).sum(axis=2))).min(axis=1)


class _Flips:
    """A plane triangulation under edge flips: triangles as lists, and for each directed edge the triangle on its left."""

    def __init__(self, triangles: np.ndarray, plane: np.ndarray) -> None:
        self.plane = plane
        self.corner: dict[tuple[int, int], int] = {}  # directed edge (a, b) → the third corner of the triangle on its left
        for a, b, c in triangles.tolist():
            self.corner[a, b], self.corner[b, c], self.corner[c, a] = c, a, b

    def opposite(self, a: int, b: int) -> tuple[int, int] | None:
        """The third corners left and right of an inner edge, None at the border or where it is no edge."""
        c, d = self.corner.get((a, b)), self.corner.get((b, a))
        return None if c is None or d is None else (c, d)

    def side(self, a: int, b: int, c: int) -> float:
        (ax, ay), (bx, by), (cx, cy) = self.plane[a], self.plane[b], self.plane[c]
        return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)

    def can_flip(self, a: int, b: int) -> bool:
        """The quadrilateral is strictly convex in the plane and the new edge does not exist."""
        corners = self.opposite(a, b)
        if corners is None:
            return False
        c, d = corners
        is_new = (c, d) not in self.corner and (d, c) not in self.corner
        return is_new and self.side(d, b, c) > _LEAST_AREA and self.side(c, a, d) > _LEAST_AREA

    def flip(self, a: int, b: int) -> tuple[int, int]:
        c, d = self.corner.pop((a, b)), self.corner.pop((b, a))
        for x, y, z in ((c, d, b), (d, c, a)):
            self.corner[x, y], self.corner[y, z], self.corner[z, x] = z, x, y
        return c, d

    def triangles(self) -> np.ndarray:
        return np.array(sorted((a, b, c) for (a, b), c in self.corner.items() if a < b and a < c), np.int32)


def triangulate(points: np.ndarray, plane: np.ndarray, keep: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """points (n, 3) with injective coordinates plane (n, 2) in a convex region, unit normals (n, 3) → triangles (m, 3).

    keep (c, 2): edges that the result contains. All other edges are flipped until they are Delaunay in space. Raises ModelError
    where flips do not lead to an edge of `keep`.
    """
    start = Delaunay(plane).simplices
    a, b, c = (plane[start[:, corner]] for corner in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    start[area < 0] = start[area < 0][:, ::-1]
    mesh = _Flips(start, plane)
    for a, b in keep.tolist():
        _force_edge(mesh, a, b)
    _flip_to_delaunay(mesh, points, {(min(edge), max(edge)) for edge in keep.tolist()}, normals)
    return mesh.triangles()


def _force_edge(mesh: _Flips, a: int, b: int) -> None:
    """Flip the edges that the plane segment ab crosses until it is an edge (Sloan 1993). Raises ModelError where none comes."""
    for _ in range(_MOST_FLIPS + 1):
        if (a, b) in mesh.corner or (b, a) in mesh.corner:
            return
        crossing = [edge for edge in _edges_round(mesh, a, b) if mesh.can_flip(*edge)]
        if not crossing:
            break
        mesh.flip(*crossing[0])
    raise ModelError(f"the edge between the points {a} and {b} must be kept and is missing; place more points along its curve")


def _edges_round(mesh: _Flips, a: int, b: int) -> list[tuple[int, int]]:
    """Directed edges that the segment from a to b crosses, in order."""
    found = [
        (x, y)
        for x, y in _link(mesh, a)
        if mesh.side(a, b, x) < 0 <= mesh.side(a, b, y) and mesh.side(x, y, a) * mesh.side(x, y, b) < 0
    ][:1]
    while 0 < len(found) < 500:
        x, y = found[-1]
        z = mesh.corner.get((y, x))
        if z is None or z == b:
            break
        found.append((z, y) if mesh.side(a, b, z) < 0 else (x, z))
    return found


def _link(mesh: _Flips, a: int) -> list[tuple[int, int]]:
    """Directed edges opposite to vertex a in its triangles."""
    return [(b, c) for (start, b), c in mesh.corner.items() if start == a]


def _flip_to_delaunay(mesh: _Flips, points: np.ndarray, kept: set[tuple[int, int]], normals: np.ndarray) -> None:
    """Lawson flips: an edge goes while its two opposite angles sum to more than π and the new triangles face outward. Raises
    ModelError where they do not end."""
    position, normal = points.tolist(), normals.tolist()
    stack = [edge for edge in mesh.corner if edge[0] < edge[1]]
    budget = 60 * len(stack)
    while stack and budget:
        budget -= 1
        a, b = stack.pop()
        if (min(a, b), max(a, b)) in kept or not mesh.can_flip(a, b):
            continue
        c, d = mesh.opposite(a, b)
        old = _angle(position, c, a, b) + _angle(position, d, a, b)
        # Delaunay in the plane; the second condition, so that a bent quadrilateral does not flip back and forth
        if old <= math.pi + 1e-9 or old <= _angle(position, a, c, d) + _angle(position, b, c, d):
            continue
        faced, facing = (
            min(_facing(position, normal, triangle) for triangle in pair)
            for pair in (((a, b, c), (b, a, d)), ((c, d, b), (d, c, a)))
        )
        if facing < _FACING_COSINE <= faced:
            continue
        mesh.flip(a, b)
        stack += [(a, c), (c, b), (b, d), (d, a)]
    if stack:
        raise ModelError(f"the triangulation's edges flip without end, {len(stack)} are left; make its edge lengths change less")


def _angle(position: list, apex: int, a: int, b: int) -> float:
    """The angle at `apex`, radians."""
    p, q, r = position[apex], position[a], position[b]
    u, v = [q[k] - p[k] for k in range(3)], [r[k] - p[k] for k in range(3)]
    dot, uu, vv = (sum(x * y for x, y in zip(s, t)) for s, t in ((u, v), (u, u), (v, v)))
    return math.acos(max(-1.0, min(1.0, dot / max((uu * vv) ** 0.5, 1e-30))))


def _facing(position: list, normals: list, triangle: tuple[int, int, int]) -> float:
    """Cosine between a triangle's normal and the sum of its vertices' surface normals."""
    p, q, r = (position[vertex] for vertex in triangle)
    u, v = [q[k] - p[k] for k in range(3)], [r[k] - p[k] for k in range(3)]
    normal = u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
    expected = [sum(normals[vertex][k] for vertex in triangle) for k in range(3)]
    dot, nn, ee = (sum(x * y for x, y in zip(s, t)) for s, t in ((normal, expected), (normal, normal), (expected, expected)))
    return dot / max((nn * ee) ** 0.5, 1e-30)


@dataclass(frozen=True)
class RemeshOptions:
    """How a surface is triangulated anew."""

    rounds: int = 40
    """Rounds of Lloyd's iteration, which spreads the vertices."""
    angle_deg: float = 30.0
    """Vertices of triangles with an angle below this, in degrees, are moved where that helps."""
    seed: int = 68
    """Seed of the random samples."""


def remesh(
    surface: TriangleMesh,
    size: np.ndarray,
    constraints: Constraints,
    loop: np.ndarray,
    open_triangles: np.ndarray,
    options: RemeshOptions,
) -> tuple[Cloud, np.ndarray]:
    """The vertices (anchors first) and triangles (m, 3) of a new triangulation of a disc with border `loop`.

    size (k,) mm: wanted edge lengths; open_triangles (m,) bool: those that may get vertices of their own.
    """
    rng = np.random.default_rng(options.seed)
    fixed = Cloud.of(surface, size, constraints.weights)
    border = constraints.weights @ surface.boundary_vertices.astype(float) > 1 - 1e-9
    samples, wanted = samples_on(surface, size, open_triangles, border.sum(), rng)
    chosen = spread_vertices(samples, fixed, wanted - len(border), rng, options.rounds)
    plane, corners = embed_in_circle(surface, loop, constraints.weights[border])
    for below_deg in (options.angle_deg, options.angle_deg, options.angle_deg, None):
        vertices = fixed.joined(samples, chosen)
        flat = vertices.weights @ plane
        flat[: len(border)][border] = corners
        triangles = triangulate(vertices.positions, flat, constraints.edges, vertices.normals)
        if below_deg is not None:
            chosen = relaxed(samples, fixed, chosen, triangles, below_deg)
    return vertices, triangles
