"""A scan's noise, measured from what a fit leaves: where faces are smooth, and less what the fit itself is off.

The fit weighs a scan by it; benchmarks/noise_estimates.py measures it against the truth.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.scan import Scan
from geometry.surfaces.closest_point import ClosestPoints, closest_points
from geometry.surfaces.noise_spectrum import IS_NOISE, LENGTHS_MM, NoiseSpectrum, noise_spectrum
from geometry.surfaces.raycasting import interpolate
from geometry.transforms import SimilarityTransform

_FEATURES = ("ala", "brows", "ears", "eyes", "lids", "lips", "mouth", "mouth_interior", "nostrils")
_AWAY_MM = 5.0  # from the features, whose lines a fit misses by millimetres
_NEAR_MM = 10.0  # a point farther from the fitted face than this is not of it
_REACH_MM = 130.0  # about the nose
_MOST_POINTS = 40_000
# What a fit is off at the lengths of noise, in parts of what it is off at 5.6 and 8 mm together (variances): the mean of six
# simulated clean meshes, of subjects of the validation split
_LEAK = np.array([0.006, 0.001, 0.0025, 0.0, 0.024, 0.061, 0.156])
# Of a mesh the noise is at most so many times what the scan alone shows, which misses a part of it (13 simulated laser scans of
# the validation split); what is alike over no more than 1 mm counts first, for there the fit is off least
_HIDDEN, _SHORT_MM = 1.3, 1.0


@dataclass(frozen=True)
class SkinResiduals:
    """Points (p, 3) of a scan in the model frame on skin away from the features, their signed distances (p,) from a fit, mm, and
    for each a model vertex (p,) that it lies by."""

    points: np.ndarray
    distances: np.ndarray
    vertices: np.ndarray


def measured_noise(
    scan: Scan, scan_to_model: SimilarityTransform, vertices: np.ndarray, model: MorphableModel, alone_mm: float, seed: int = 0
) -> NoiseSpectrum | None:
    """The noise of a scan, in mm of the model, under a fit with the vertices (n, 3) in the model frame; None where too little of
    the scan lies on smooth skin. What the scan alone shows, alone_mm (noise_of_surface, in model mm), is the least that a depth
    image or a cloud has, and of a mesh, but for a part that is hidden in it, the most: the fit's own error is many times a clean
    mesh's noise."""
    return noise_of_residuals(scan, residuals_on_smooth_skin(scan, scan_to_model, vertices, model, seed), alone_mm, seed)


def noise_of_residuals(scan: Scan, skin: SkinResiduals, alone_mm: float, seed: int = 0) -> NoiseSpectrum | None:
    """As `measured_noise`, from what a fit leaves on smooth skin."""
    spectrum = noise_spectrum(skin.points, skin.distances, seed)
    if spectrum is None:
        return None
    variance, broad = spectrum.variance.copy(), (LENGTHS_MM > 5) & (LENGTHS_MM < 9)
    variance[IS_NOISE] = np.maximum(variance[IS_NOISE] - _LEAK * variance[broad].sum(), 0)
    if scan.pixels is None and len(scan.triangles):
        short, alike = LENGTHS_MM <= _SHORT_MM, IS_NOISE & (LENGTHS_MM > _SHORT_MM)
        most = (_HIDDEN * alone_mm) ** 2
        for parts in (short, alike):
            variance[parts] *= min(1.0, most / max(variance[parts].sum(), 1e-12))
            most -= variance[parts].sum()
    else:
        variance[LENGTHS_MM == 0] += max(alone_mm**2 - variance[IS_NOISE].sum(), 0.0)
    return replace(spectrum, variance=variance)


def residuals_on_smooth_skin(
    scan: Scan, scan_to_model: SimilarityTransform, vertices: np.ndarray, model: MorphableModel, seed: int = 0
) -> SkinResiduals:
    """Those of at most 40,000 points of a scan under a fit with the vertices (n, 3) in the model frame."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(scan.points))[:_MOST_POINTS])
    points = scan_to_model.apply(scan.points[chosen])
    points = points[np.linalg.norm(points, axis=1) < _REACH_MM]
    mesh = TriangleMesh(vertices, model.triangles)
    if not len(points):
        return SkinResiduals(points, np.zeros(0), np.zeros(0, int))
    shown = smooth_skin(model) & ~model.regions.get("neck", False)  # over a neck lie shoulders, collars and hair
    found = closest_points(points, mesh)
    near = shown[model.triangles].all(axis=1)[found.triangle] & (found.distance < _NEAR_MM)
    points, found = points[near], ClosestPoints(found.distance[near], found.triangle[near], found.uv[near])
    distance, corners = _signed(points, mesh, found)
    return SkinResiduals(points, distance, corners[:, 0])


def signed_distances(points: np.ndarray, mesh: TriangleMesh) -> tuple[np.ndarray, np.ndarray]:
    """Of points (p, 3) → (p,) from the nearest point of the mesh, along its normal there, and the corners (p, 3) of the triangle
    in which that lies. A point beyond a border counts with its whole distance."""
    if not len(points):
        return np.zeros(0), np.zeros((0, 3), int)
    return _signed(points, mesh, closest_points(points, mesh))


def _signed(points: np.ndarray, mesh: TriangleMesh, found: ClosestPoints) -> tuple[np.ndarray, np.ndarray]:
    """As `signed_distances`, of points (p, 3) and the mesh's nearest to them."""
    corners = mesh.triangles[found.triangle]
    every = np.arange(len(points))[:, None] * 3 + np.arange(3)
    values = np.concatenate([mesh.vertices[corners], mesh.vertex_normals[corners]], axis=2).reshape(-1, 6)
    nearest, normal = np.split(interpolate(values, every, found.uv), 2, axis=1)
    side = np.sign(((points - nearest) * normal).sum(axis=1))
    return side * found.distance, corners


@cache
def smooth_skin(model: MorphableModel) -> np.ndarray:
    """(n,) bool: vertices of the face away from its features (eyes, brows, nostrils, lips and the like) by more than 5 mm."""
    features = np.any([model.regions[name] for name in _FEATURES if name in model.regions], axis=0)
    return model.regions["face"] & (cKDTree(model.mean[features]).query(model.mean)[0] > _AWAY_MM)
