"""The scan as the fit sees it: area-uniform samples with normals, and landmarks."""

from dataclasses import dataclass, field, replace

import numpy as np

from geometry.errors import FitError
from geometry.fitting.options import FittingOptions
from geometry.locating.location import Location
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.noise_estimation import noise_of_surface
from geometry.surfaces.triangulation import surface_of

FIRST_INNER = 17  # of ibug68: the jaw line before it is no point of the skin
_CELL_MM = 8.0  # edge of the cells by which samples are sorted


@dataclass(frozen=True)
class ScanSamples:
    """The scan as the fit sees it: points (n, 3) and outward unit normals (n, 3) in the scan's frame, mm, in random
    order, so that a prefix is a fair subsample; noise_mm, what the scan alone shows of its noise, in model mm; landmark points
    (l, 3), their model vertices (l,) and standard deviations (l,) in mm, the first `given` of them from whoever sent the scan."""

    points: np.ndarray
    normals: np.ndarray
    noise_mm: float
    landmarks: np.ndarray
    landmark_vertices: np.ndarray
    landmark_sigma: np.ndarray
    given: int
    _firsts: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, init=False, repr=False)

    def first(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Points and normals (count, 3), or fewer where there are no more, such that neighbours follow each other: a search for
        nearest vertices then finds most of its tree in the processor's cache."""
        if count not in self._firsts:
            points = self.points[:count]
            cell = np.floor((points - points.min(axis=0)) / _CELL_MM).astype(np.int64) if len(points) else np.zeros((0, 3), int)
            order = np.lexsort(cell.T)
            self._firsts[count] = points[order], self.normals[:count][order]
        return self._firsts[count]


def prepare_target(
    location: Location, model: MorphableModel, options: FittingOptions = FittingOptions(), limit: int = 32000
) -> ScanSamples:
    """Area-uniform samples of the located scan's surface (or its points, for a bare cloud), and its landmarks."""
    rng = np.random.default_rng(options.seed)
    surface = surface_of(location.scan)
    if len(surface.triangles):
        areas = np.linalg.norm(surface.triangle_area_vectors, axis=1)
        if not areas.sum() > 0:
            raise FitError("the located surface has no area; check the scan's triangles")
        chosen = _evenly(areas, limit, rng)
        weights = rng.dirichlet((1, 1, 1), limit)
        corners = surface.triangles[chosen]
        normals = np.einsum("nca,nc->na", surface.vertex_normals[corners], weights)
        points = np.einsum("nca,nc->na", surface.vertices[corners], weights)
        if location.scan.pixels is None:
            points = phong_tessellated(points, surface.vertices[corners], surface.vertex_normals[corners], weights)
    else:
        chosen = rng.permutation(len(location.scan.points))[:limit]
        points, normals = location.scan.points[chosen], location.scan.normals[chosen]
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    scale = location.scan_to_model.scale
    scan = location.scan if scale == 1.0 else replace(location.scan, points=scale * location.scan.points)
    noise_mm = noise_of_surface(scan, surface if scale == 1.0 else surface.with_vertices(scale * surface.vertices))
    return ScanSamples(points, normals, noise_mm, *_landmark_targets(location, model, options))


def _evenly(areas: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) numbers of triangles with the areas (m,), in random order: one in each of `count` equal parts of the whole area
    (stratified sampling), which leaves fewer gaps than independent choices do, and the fit fewer minima to end in."""
    places = (rng.permutation(count) + rng.random(count)) / count
    return np.minimum(np.searchsorted(np.cumsum(areas) / areas.sum(), places, side="right"), len(areas) - 1)


def _landmark_targets(
    location: Location, model: MorphableModel, options: FittingOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Points, vertices and standard deviations of the landmarks that came with the scan, then of those found on it; and how many
    came."""
    vertices, given = np.asarray(model.landmarks["ibug68"]), np.zeros(68, bool)
    points, sigma = np.full((68, 3), np.nan), np.full(68, options.landmark_sigma_mm)
    if location.landmarks is not None:
        given = np.isfinite(location.landmarks).all(1)
        points[given] = location.landmarks[given]
    found = np.zeros(68, bool)
    if location.estimate is not None and options.found_sigma_factor > 0:
        estimate = location.estimate
        found = ~given & estimate.seen & (estimate.confidence > options.found_confidence) & (np.arange(68) >= FIRST_INNER)
        points[found] = estimate.points[found]
        own = np.sqrt(np.trace(estimate.covariance[found], axis1=1, axis2=2) / 3)
        sigma[found] = options.found_sigma_factor * np.maximum(own, options.landmark_sigma_mm)
    order = np.concatenate([np.flatnonzero(given), np.flatnonzero(found)])
    return points[order], vertices[order], sigma[order], int(given.sum())


def phong_tessellated(points: np.ndarray, corners: np.ndarray, normals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Points (n, 3), of weights (n, 3) in flat triangles, moved to the curved surface that the vertex normals tell of: Phong
    tessellation (Boubekeur & Alexa 2008, eq. 2, α = 3/4). The facets of a coarse mesh cut the corners of a face by tenths of a
    mm."""
    distance = np.einsum("nca,nca->nc", points[:, None] - corners, normals)
    return points - 0.75 * np.einsum("nc,nca->na", weights * distance, normals)  # the weights add up to 1
