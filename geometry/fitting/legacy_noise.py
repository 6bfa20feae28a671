"""The noise input of the shipped refiner, as it was trained: the noise that a scan alone shows, which is a fraction of what it is
where neighbouring samples are alike (docs/experiments/fit.md). It goes when the refiner is trained on the measured spectrum.
"""

import numpy as np
from scipy import sparse

from geometry.charts.geometry_image import GeometryImage
from geometry.charts.masked_filters import masked_mean
from geometry.scan import Scan
from geometry.surfaces.noise_estimation import DENSE_MM
from geometry.surfaces.triangulation import surface_of

NOISE_WINDOW_MM = 5.0
_EDGES, _TRIMMING = 10_000, 1.15


def noise_as_trained(scan: Scan, scale: float, alone_mm: float) -> float:
    """In mm of the model, of which a mm of the scan is `scale`. A depth image's and a cloud's is what they show alone, alone_mm
    (`noise_estimation.noise_of_surface`); a mesh's follows from all its edges, and the expected product from every k-th alone,
    which on a grid may be of one direction."""
    if scan.pixels is not None or not len(scan.triangles):
        return alone_mm
    surface = surface_of(scan)
    surface = surface.with_vertices(scale * surface.vertices)
    adjacency = surface.adjacency
    degree = np.asarray(adjacency.sum(1)).ravel()
    umbrella = (sparse.diags(1.0 / np.maximum(degree, 1)) @ adjacency - sparse.identity(len(degree))).tocsr()
    inner = ~surface.boundary_vertices & (degree >= 3)
    inner &= np.asarray(adjacency @ (~inner).astype(float)).ravel() == 0
    i, j = surface.edges[inner[surface.edges].all(axis=1)].T
    if inner.sum() < 100 or len(i) < 100:
        return 0.0
    twice = (umbrella @ umbrella).tocsr()
    detail = ((twice @ surface.vertices) * surface.vertex_normals).sum(1)
    products = detail[i] * detail[j]
    low, high = np.quantile(products, [0.02, 0.98])
    kept = np.flatnonzero((products >= low) & (products <= high))
    some = kept[:: max(len(kept) // _EDGES, 1)]
    expected = twice[i[some]].multiply(twice[j[some]]).sum() / len(some)
    spacing = np.median(np.linalg.norm(surface.vertices[i] - surface.vertices[j], axis=1))
    return float(_TRIMMING * np.sqrt(max(products[kept].mean() / expected, 0.0)) * min(1.0, (DENSE_MM / spacing) ** 2))


def noise_map(coarse: GeometryImage, scan: GeometryImage, noise_mm: float) -> np.ndarray:
    """(h, w) local noise in mm: the scan's overall noise, shared out by how rough its residual is here and there.

    Roughness is the local RMS of the residual's finest band; its ratio to the image's median, kept within a factor
    of three, scales `noise_mm`. A scan without noise has none anywhere, however rich its detail.
    """
    both = coarse.valid_mask & scan.valid_mask
    if noise_mm <= 0 or both.sum() < 100:
        return np.where(scan.valid_mask, np.float32(noise_mm), np.float32(0))
    weight = both.astype(np.float32)
    residual = np.where(both, np.clip(scan["depth"] - coarse["depth"], -10, 10), 0).astype(np.float32)
    fine = residual - masked_mean(residual, weight, 2.0, 1e-3)
    rough = np.sqrt(masked_mean(fine**2, weight, NOISE_WINDOW_MM / coarse.chart.pixel_mm, 1e-3))
    ratio = np.clip(rough / max(np.median(rough[both]), 1e-6), 1 / 3, 3)
    return np.where(scan.valid_mask, noise_mm * np.where(both, ratio, 1.0), 0).astype(np.float32)
