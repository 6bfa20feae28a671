"""Depth and normals of one surface fused into one depth (Nehab, Rusinkiewicz, Davis & Ramamoorthi 2005).

Unknown is the correction δ (h, w) of the depth along the chart's rays. With P = A + (d + δ)·D it minimises
    Σ_pixels δ²  +  Σ_edges λ (n̄ · (P_q − P_p))²
over the edges (p, q) between valid 4-neighbours, n̄ being the mean of both given normals: a chord lies in the surface where
it is perpendicular to the mean normal (exact for quadratics). Both terms are linear in δ. Nehab et al. fix λ; here it is the
ratio of variances, so that what agrees stays as it is: λ = σ_depth²/σ_normal², σ_depth from the local median of the residuals.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.ndimage import map_coordinates, median_filter
from scipy.sparse.linalg import cg

from geometry.charts.chart import Chart
from geometry.charts.curvature import normals_from_depth, ray_frame
from geometry.surfaces.robust_loss import geman_mcclure_weights


@dataclass(frozen=True)
class FusionOptions:
    """How strongly normals correct depth."""

    floor_degrees: float = 0.5
    """Angle in degrees between chord and tangent plane that facets and the sampling itself explain."""
    normal_degrees: float = 1.0
    """The given normals' own error, in degrees."""
    largest_weight: float = 16.0
    """Bound of λ. Its square root is the scale in pixels below which normals rule and above which depth rules."""
    jump_mm: float = 3.0
    """Residuals of this size, in mm, are silhouettes, which no normal explains."""
    tile_px: int = 8
    """Side in pixels of the tiles in which the median of the residuals is taken."""
    tolerance_mm: float = 1e-4
    """The solver stops where no pixel can be off its solution by more than this, in mm."""
    iterations: int = 60
    """Most steps of the solver."""


@dataclass(frozen=True)
class _Edges:
    """One axis' edges: n̄·(P_q − P_p) = residual + far·δ_q + near·δ_p, all 0 where no edge exists, and the chord's length in mm;
    each (h, w − 1) or (h − 1, w)."""

    residual: np.ndarray
    near: np.ndarray
    far: np.ndarray
    length: np.ndarray


def _pair(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """(near, far) views of neighbours along an axis."""
    return (array[:-1], array[1:]) if axis == 0 else (array[:, :-1], array[:, 1:])


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("hwk,hwk->hw", a, b)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(_dot(vectors, vectors))


def edge_residuals(depth: np.ndarray, normals: np.ndarray, valid: np.ndarray, chart: Chart) -> list[_Edges]:
    """n̄ · (P_q − P_p) in mm of the vertical (axis 0) and horizontal (axis 1) edges, with its derivative by the depths.

    depth, valid (h, w); normals (h, w, 3) outward, model frame.
    """
    frame, edges = ray_frame(chart), []
    points = frame.origin + depth[..., None] * frame.direction
    for axis in (0, 1):
        (near_normal, far_normal), (near_ray, far_ray) = _pair(normals, axis), _pair(frame.direction, axis)
        normal, chord = near_normal + far_normal, np.diff(points, axis=axis)
        length = _length(normal)
        exists = np.logical_and(*_pair(valid, axis)) & (length > 0.2)  # opposite normals have no mean
        normal *= np.where(exists, 1 / np.maximum(length, 0.2), 0.0)[..., None]
        edges.append(_Edges(_dot(normal, chord), -_dot(normal, near_ray), _dot(normal, far_ray), _length(chord)))
    return edges


def _tile_medians(edge: _Edges, shape: tuple[int, int], tile: int) -> np.ndarray:
    """Median of |residual|/length over one axis' edges in each tile, then of each tile and its neighbours, (h, w); 0 where empty.

    Medians, because creases and silhouettes disagree with any normal in clean data too, and are never the majority.
    """
    (h, w), (rows, columns) = edge.residual.shape, (-(-n // tile) for n in shape)
    ratio = np.full((rows * tile, columns * tile), np.nan)
    np.divide(np.abs(edge.residual), edge.length, out=ratio[:h, :w], where=edge.far != 0)
    tiles = ratio.reshape(rows, tile, columns, tile).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    count = np.isfinite(tiles).sum(2)
    lower_middle = np.maximum(count - 1, 0)[..., None] // 2  # nan sorts last
    middle = np.take_along_axis(np.sort(tiles, axis=2), lower_middle, axis=2)[..., 0]
    medians = median_filter(np.where(count > 0, middle, 0.0), 3)
    row_at, column_at = np.meshgrid(*((np.arange(n) - (tile - 1) / 2) / tile for n in shape), indexing="ij")
    return map_coordinates(medians, [row_at, column_at], order=1, mode="nearest")


def _weights(edges: list[_Edges], shape: tuple[int, int], options: FusionOptions, pixel_mm: float) -> list[np.ndarray]:
    """λ of every edge: zero where depth and normals agree to within the floor."""
    # the worse axis counts: wrinkles run along one; 0.6745 is the median of |N(0, 1)|
    spread = np.maximum(*(_tile_medians(edge, shape, options.tile_px) for edge in edges)) / 0.6745
    floor, normal_error = np.tan(np.radians([options.floor_degrees, options.normal_degrees]))
    weight = np.minimum(np.maximum(spread**2 - floor**2, 0) / (2 * normal_error**2), options.largest_weight)
    weights = []
    for axis, edge in enumerate(edges):
        near, far = _pair(weight, axis)
        # a normal's error tilts a long chord further; a silhouette's residual loses its weight
        steepness = (pixel_mm / np.maximum(edge.length, pixel_mm)) ** 2
        weights.append(np.minimum(near, far) * steepness * geman_mcclure_weights(edge.residual, options.jump_mm))
    return weights


def _solve(edges: list[_Edges], weights: list[np.ndarray], shape: tuple[int, int], options: FusionOptions) -> np.ndarray:
    """(h, w) δ by conjugate gradients on (I + JᵀΛJ) δ = −JᵀΛ r with the diagonal as preconditioner.

    No eigenvalue of the matrix is below 1, so that no pixel's error exceeds the length of the residual.
    """
    diagonal, right, couplings = np.ones(shape), np.zeros(shape), []
    for axis, (edge, weight) in enumerate(zip(edges, weights)):
        for slope, into_diagonal, into_right in zip((edge.near, edge.far), _pair(diagonal, axis), _pair(right, axis)):
            into_diagonal += weight * slope**2
            into_right -= weight * slope * edge.residual
        coupling = np.zeros(shape)
        _pair(coupling, axis)[0][...] = weight * edge.near * edge.far
        couplings.append(coupling.ravel())
    width = shape[1]
    down, across = couplings[0][:-width], couplings[1][:-1]
    system = sparse.diags([diagonal.ravel(), down, down, across, across], [0, width, -width, 1, -1])
    preconditioner = sparse.diags(1 / diagonal.ravel())
    solution, _ = cg(system, right.ravel(), rtol=0.0, atol=options.tolerance_mm, maxiter=options.iterations, M=preconditioner)
    return solution.reshape(shape)


def fuse(
    depth: np.ndarray, normals: np.ndarray, valid: np.ndarray, chart: Chart, options: FusionOptions = FusionOptions()
) -> np.ndarray:
    """The depth (h, w) in mm that suits both the given depth and the given normals.

    depth, valid (h, w); normals (h, w, 3) outward unit vectors, model frame. Depth that agrees with its normals up to facets and
    sampling is returned unchanged; noise that the normals contradict is pulled towards the surface they describe, over
    √largest_weight pixels. Invalid pixels keep their value.
    """
    depth, valid = np.asarray(depth, float), np.asarray(valid, bool)
    edges = edge_residuals(depth, normals, valid, chart)
    weights = _weights(edges, depth.shape, options, chart.pixel_mm)
    if max(float(w.max(initial=0)) for w in weights) < 1e-2:
        return depth
    return np.where(valid, depth + _solve(edges, weights, depth.shape, options), depth)


def normal_disagreement(depth: np.ndarray, normals: np.ndarray, valid: np.ndarray, chart: Chart) -> float:
    """Median angle in degrees between the depth's own normals and the given ones over valid pixels; nan where there are none."""
    valid = np.asarray(valid, bool)
    cosine = np.einsum("nk,nk->n", normals_from_depth(depth, valid, chart)[valid], normals[valid])
    return float(np.degrees(np.median(np.arccos(np.clip(cosine, -1, 1))))) if valid.any() else float("nan")
