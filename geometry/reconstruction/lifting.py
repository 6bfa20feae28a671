"""Geometry image → triangle mesh in the model frame.

Depth and normals are fused (`fusion`), small holes inside the face are filled, depth jumps at the outer silhouette are cut, and
every cell between four pixel centres becomes two triangles. The vertices lie exactly on the chart's rays.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.ndimage import binary_dilation, binary_opening, label
from scipy.sparse.csgraph import connected_components

from geometry.charts.chart import Chart
from geometry.charts.curvature import normals_from_depth, positions
from geometry.charts.geometry_image import GeometryImage, channel_normals
from geometry.charts.screened_poisson import extended
from geometry.mesh import TriangleMesh
from geometry.reconstruction.depth_normal_fusion import FusionOptions, edge_residuals, fuse, normal_disagreement


@dataclass(frozen=True)
class LiftingOptions:
    """Where a geometry image is one surface, and where it is cut."""

    face_centre: tuple[float, float] = (0.0, 10.0)
    """(x, y) in mm, model frame, of the middle of the ellipse inside which the surface is one piece: there the underside of
    nose and lip is bridged up to `bridge_mm` of depth, and any hole is filled."""
    face_axes: tuple[float, float] = (55.0, 60.0)
    """Half axes in mm of that ellipse."""
    bridge_mm: float = 30.0
    """Neighbours whose depths differ by more than this, in mm, are cut apart everywhere."""
    jump_mm: float = 5.0
    """Outside the ellipse neighbours are cut apart where their depths differ by more than this, in mm, and the chord between
    them leaves the given normals' tangent planes by more than `off_tangent_mm`."""
    off_tangent_mm: float = 3.0
    """See `jump_mm`; mm."""
    peel_px: int = 3
    """How many pixels inwards steep cells are removed from such a cut, or from the border of the valid region."""
    hole_mm2: float = 60.0
    """Area in mm² of the largest enclosed hole that is filled outside the ellipse."""
    island_mm2: float = 400.0
    """Separate pieces with less area than this, in mm², are dropped."""
    fusion: FusionOptions = FusionOptions()
    """How depth and normals are fused before."""


@dataclass(frozen=True)
class LiftedSurface:
    """mesh: model frame, mm, outward, coloured where the scan is; observed (n,) uint8: 1 where the scan supports the vertex;
    confidence (n,) float32 in [0, 1]; normal_disagreement: median angle in degrees between given depth and given normals; pixels
    (n,) int: the image's pixel, row · width + column, that each vertex is the centre of."""

    mesh: TriangleMesh
    observed: np.ndarray
    confidence: np.ndarray
    normal_disagreement: float
    pixels: np.ndarray


def _inside_face(chart: Chart, depth: np.ndarray, options: LiftingOptions) -> np.ndarray:
    """(h, w) bool: the pixel's point lies in front of the face's ellipse."""
    points = positions(depth, chart)
    (x, y), (a, b) = options.face_centre, options.face_axes
    return ((points[..., 0] - x) / a) ** 2 + ((points[..., 1] - y) / b) ** 2 < 1


def _without_spikes(depth: np.ndarray, valid: np.ndarray, jump_mm: float, least_support: int = 4) -> np.ndarray:
    """valid less the pixels that stand alone: fewer than `least_support` of the 5 × 5 around them lie at about their depth."""
    steep = np.zeros(valid.shape, bool)
    for beside, across in ((steep, depth), (steep.T, depth.T)):
        jump = np.abs(np.diff(across, axis=0)) > jump_mm
        beside[:-1] |= jump
        beside[1:] |= jump
    rows, columns = np.nonzero(steep & valid)
    step_rows, step_columns = (offset.ravel() for offset in np.mgrid[-2:3, -2:3])
    at = rows[:, None] + step_rows + 2, columns[:, None] + step_columns + 2
    near_valid, near_depth = np.pad(valid, 2)[at], np.pad(depth, 2)[at]
    support = (near_valid & (np.abs(near_depth - depth[rows, columns][:, None]) <= jump_mm)).sum(1)
    kept = valid.copy()
    kept[rows, columns] = support >= least_support
    return kept


def _enclosed_holes(valid: np.ndarray, inside: np.ndarray, largest_px: float) -> np.ndarray:
    """(h, w) bool: invalid regions that do not reach the border and are small, or wholly inside the face."""
    labels, count = label(~valid)
    size = np.bincount(labels.ravel(), minlength=count + 1)
    within = np.bincount(labels.ravel(), inside.ravel().astype(float), count + 1) == size
    fill = (size <= largest_px) | within
    fill[np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))] = False
    fill[0] = False
    return fill[labels]


def _cuts(
    depth: np.ndarray, normals: np.ndarray, valid: np.ndarray, inside: np.ndarray, chart: Chart, options: LiftingOptions
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Edges between 4-neighbours that the surface must not cross, per axis; (h − 1, w − 1) bool each: steep cells outside the
    face, and cells inside it."""
    cuts, steep = [], np.zeros((depth.shape[0] - 1, depth.shape[1] - 1), bool)
    for axis, edge in enumerate(edge_residuals(depth, normals, valid, chart)):
        step = np.abs(np.diff(depth, axis=axis))
        both_inside = np.logical_and(*((inside[:-1], inside[1:]) if axis == 0 else (inside[:, :-1], inside[:, 1:])))
        off_tangent = (np.abs(edge.residual) > options.off_tangent_mm) | (edge.far == 0)
        jump = ~both_inside & (step > options.jump_mm)
        sure = (step > options.bridge_mm) | (jump & off_tangent)
        # a silhouette is a line: a jump that its normals happen to explain, between others that they do not, would leave a thread
        cuts.append(binary_dilation(sure, np.ones((3, 3), bool), mask=jump | sure, iterations=4))
        steep |= (jump[:, :-1] | jump[:, 1:]) if axis == 0 else (jump[:-1] | jump[1:])
    return cuts, steep, inside[:-1, :-1] & inside[1:, 1:]


def _trimmed(cells: np.ndarray, steep: np.ndarray, inside: np.ndarray, peel_px: int) -> np.ndarray:
    """Cells less what the raster makes needles of at a silhouette: steep cells near an empty one, then strips of 1–2 cells."""
    if peel_px > 0:
        cells = ~binary_dilation(~cells, mask=~cells | steep, iterations=peel_px)
    padded = np.pad(cells, 2, mode="edge")  # the image border is no silhouette
    return cells & (inside | binary_opening(padded, np.ones((3, 3), bool))[2:-2, 2:-2])


def _grid_triangles(
    points: np.ndarray,
    normals: np.ndarray,
    valid: np.ndarray,
    cuts: list[np.ndarray],
    trimmed: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """(m, 3) pixel indices, counter-clockwise from outside: a cell with four connected corners gives two triangles, with three
    one.

    trimmed: maps the cells that have triangles, (h − 1, w − 1) bool, to those that keep them. Of a cell's two diagonals the one
    whose chord turns less against its end normals is taken: it lies closer to the surface.
    """
    h, w = valid.shape
    index = np.arange(h * w).reshape(h, w)
    corner = lambda array: (array[:-1, :-1], array[:-1, 1:], array[1:, :-1], array[1:, 1:])  # a b / c d
    a, b, c, d = corner(index)
    (pa, pb, pc, pd), (na, nb, nc, nd) = corner(points), corner(normals)
    bend = lambda p, q, m, n: np.abs(np.einsum("hwk,hwk->hw", q - p, n - m))
    falling = bend(pa, pd, na, nd) < bend(pb, pc, nb, nc)  # the diagonal a–d
    va, vb, vc, vd = corner(valid)
    vertical, horizontal = ~cuts[0], ~cuts[1]
    ab, cd, ac, bd = horizontal[:-1], horizontal[1:], vertical[:, :-1], vertical[:, 1:]
    # a triangle needs both of its grid edges
    abc, bcd = va & vb & vc & ab & ac, vb & vc & vd & bd & cd
    acd, abd = va & vc & vd & ac & cd, va & vb & vd & ab & bd
    rising_count, falling_count = abc.astype(int) + bcd, acd.astype(int) + abd
    falling = np.where(rising_count == falling_count, falling, falling_count > rising_count)
    kept = trimmed(np.maximum(rising_count, falling_count) > 0)
    rising, falling = kept & ~falling, kept & falling
    pieces = ((a, c, b, abc & rising), (b, c, d, bcd & rising), (a, c, d, acd & falling), (a, d, b, abd & falling))
    return np.concatenate([np.stack([p[chosen], q[chosen], r[chosen]], 1) for p, q, r, chosen in pieces])


def _split_bow_ties(triangles: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (m, 3) over pixel indices with every vertex that joins several fans copied once per further fan.

    Returns the triangles and (k,) the pixels of the copies, which are numbered from h·w on. On a vertex with f open fans
    meet f more edges than triangles; a closed fan has as many of both.
    """
    h, w = shape
    ends = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    kind = np.searchsorted((1, w - 1, w, w + 1), ends[:, 1] - ends[:, 0])  # an edge is its first pixel and one of four directions
    edges = np.flatnonzero(np.bincount(ends[:, 0] * 4 + kind, minlength=h * w * 4))
    first = edges // 4
    second = first + np.array([1, w - 1, w, w + 1])[edges % 4]
    excess = (
        np.bincount(first, minlength=h * w)
        + np.bincount(second, minlength=h * w)
        - np.bincount(triangles.ravel(), minlength=h * w)
    )
    bow_ties = np.flatnonzero(excess >= 2)
    triangles, copies = triangles.copy(), []
    touching = np.flatnonzero(np.isin(triangles, bow_ties).any(1))
    for vertex in bow_ties.tolist():
        around = touching[(triangles[touching] == vertex).any(1)]
        fans = _fan_labels(triangles[around], vertex)
        for fan in range(1, fans.max() + 1):
            rows = around[fans == fan]
            triangles[rows] = np.where(triangles[rows] == vertex, h * w + len(copies), triangles[rows])
            copies.append(vertex)
    return triangles, np.array(copies, dtype=np.int64)


def _fan_labels(triangles: np.ndarray, vertex: int) -> np.ndarray:
    """(k,) label of the fan, from 0, that each of the triangles (k, 3) around `vertex` belongs to."""
    others = [set(row) - {vertex} for row in triangles.tolist()]
    linked = np.array([[bool(p & q) for q in others] for p in others])
    return connected_components(sparse.csr_matrix(linked), directed=False)[1]


def _without_islands(mesh: TriangleMesh, least_mm2: float) -> tuple[TriangleMesh, np.ndarray]:
    """The largest connected piece and every piece of at least least_mm2, without vertices outside of triangles; also the (k,) old
    index of each vertex."""
    area = np.bincount(mesh.component_labels, mesh.vertex_areas)
    kept = (area >= min(least_mm2, area.max())) & (area > 0)
    return mesh.submesh(kept[mesh.component_labels])


def _completed(
    image: GeometryImage, observed: np.ndarray, options: LiftingOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Despiked, hole-filled, fused: depth, normals, valid, observed, inside (each (h, w, …)), and the normals' disagreement."""
    chart, depth = image.chart, image["depth"].astype(float)
    valid = _without_spikes(depth, image.valid_mask, options.jump_mm)
    normals = channel_normals(image)
    missing = valid & (np.einsum("hwk,hwk->hw", normals, normals) < 0.5)
    if missing.any():
        normals[missing] = normals_from_depth(depth, valid, chart)[missing]
    disagreement = normal_disagreement(depth, normals, valid, chart)
    depth = fuse(depth, normals, valid, chart, options.fusion)
    holes = _enclosed_holes(valid, _inside_face(chart, depth, options), options.hole_mm2 / chart.pixel_mm**2)
    if holes.any():
        depth = extended(depth, valid, holes)
        valid = valid | holes
        normals[holes] = normals_from_depth(depth, valid, chart)[holes]
    return depth, normals, valid, np.asarray(observed, bool) & ~holes, _inside_face(chart, depth, options), disagreement


def lift(
    image: GeometryImage,
    observed: np.ndarray,
    confidence: np.ndarray | None = None,
    colors: np.ndarray | None = None,
    options: LiftingOptions = LiftingOptions(),
) -> LiftedSurface:
    """The surface of a geometry image as a mesh in the model frame.

    image: refined depth and normals, complete inside the face. observed (h, w) bool: pixels that the scan supports; confidence
    (h, w) in [0, 1], `observed` itself where not given; colors (h, w, 3) uint8. The mesh is manifold (no edge with three
    triangles, no vertex that joins two fans), outward, and one piece apart from pieces larger than options.island_mm2.
    """
    depth, normals, valid, observed, inside, disagreement = _completed(image, observed, options)
    points = positions(depth, image.chart)
    cuts, steep, core = _cuts(depth, normals, valid, inside, image.chart, options)
    triangles = _grid_triangles(points, normals, valid, cuts, lambda cells: _trimmed(cells, steep, core, options.peel_px))
    triangles, copies = _split_bow_ties(triangles, valid.shape)
    pixels = np.concatenate([np.arange(valid.size), copies])
    colors = None if colors is None else np.asarray(colors, np.uint8).reshape(-1, 3)[pixels]
    mesh, kept = _without_islands(TriangleMesh(points.reshape(-1, 3)[pixels], triangles, colors), options.island_mm2)
    pixels = pixels[kept]
    confidence = observed if confidence is None else np.where(valid, confidence, 0.0)
    return LiftedSurface(
        mesh, observed.ravel()[pixels].astype(np.uint8), confidence.ravel()[pixels].astype(np.float32), disagreement, pixels
    )
