"""How noisy a scan is, from the scan alone."""

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.scan import Scan

MAD_TO_SIGMA = 1.4826
SENSOR_FLOOR_MM = 0.05  # a depth image's noise is partly correlated over pixels, which looks like shape
DENSE_MM = 1.5  # vertex spacing of a mesh that keeps about one vertex a measured point
_EDGES = 10_000  # about so many tell the mean of the expected products to a thousandth
TRIMMING = 1.07  # what the trimmed mean takes off σ for Gaussian noise (measured on noisy spheres)
# Of a mesh the flattest part tells: elsewhere the chords of its triangles are off by more than a clean mesh's noise (17 simulated
# clean meshes of the validation split, medians: 1.3 times the true σ of it, 5.3 times of all)
_FLATTEST, _SMOOTHED = 0.3, 10  # its share; steps of smoothing after which curvature is that of the shape


def noise_of_surface(scan: Scan, surface: TriangleMesh) -> float:
    """Standard deviation in mm of the surface's noise along its normal, 0 where it cannot be told.

    The umbrella operator L (mean of the neighbours − vertex) applied twice takes away shape up to third
    order. A depth image samples its surface densely, so that what is left, r, is noise: σ from its median
    absolute value. A mesh may be coarse, and then r is shape too; but shape gives adjacent vertices
    like r, while independent noise gives E[r_i r_j] = σ² (L² L²ᵀ)_ij < 0, so σ² follows from the mean
    product over the edges of the flattest part (the largest 2 % on either side left out): a clean mesh, coarse or fine, has none.
    """
    if not len(surface.triangles):
        return noise_of_cloud(scan.points) if scan.normals is not None else 0.0
    inner = ~surface.boundary_vertices & (np.diff(surface.adjacency.indptr) >= 3)
    inner &= np.asarray(surface.adjacency @ (~inner).astype(float)).ravel() == 0
    if inner.sum() < 100:
        return 0.0
    twice = (_umbrella(surface) @ _umbrella(surface)).tocsr()
    detail = ((twice @ surface.vertices) * surface.vertex_normals).sum(1)
    if scan.pixels is not None:
        gain = np.sqrt(np.asarray(twice[inner].power(2).sum(1)).ravel())
        return max(SENSOR_FLOOR_MM, float(MAD_TO_SIGMA * np.median(np.abs(detail[inner] / gain))))
    edges = surface.edges[inner[surface.edges].all(axis=1)]
    flat = edges[_flattest(surface, inner)[edges].all(axis=1)]
    return _noise_over_edges(surface, twice, detail, edges if len(flat) < 100 else flat)


def _umbrella(surface: TriangleMesh) -> sparse.csr_matrix:
    degree = np.diff(surface.adjacency.indptr)
    return (sparse.diags(1.0 / np.maximum(degree, 1)) @ surface.adjacency - sparse.identity(len(degree))).tocsr()


def _flattest(surface: TriangleMesh, inner: np.ndarray) -> np.ndarray:
    """(n,) bool: those of the vertices `inner` (n,) bool about which the smoothed surface is curved least."""
    umbrella, smooth = _umbrella(surface), surface.vertices
    for _ in range(_SMOOTHED):
        smooth = smooth + umbrella @ smooth
    curved = np.abs(((umbrella @ smooth) * surface.vertex_normals).sum(1))
    return inner & (curved <= np.quantile(curved[inner], _FLATTEST))


def _noise_over_edges(surface: TriangleMesh, twice: sparse.csr_matrix, detail: np.ndarray, edges: np.ndarray) -> float:
    """σ in mm from the products over edges (e, 2) of detail (n,), the vertices under L² along their normals."""
    if len(edges) < 100:
        return 0.0
    i, j = edges.T
    products = detail[i] * detail[j]
    low, high = np.quantile(products, [0.02, 0.98])
    kept = np.flatnonzero((products >= low) & (products <= high))
    # by chance: every k-th edge of a grid may be of one direction, whose expected product is not the others'
    some = np.random.default_rng(0).permutation(kept)[:_EDGES]
    expected = twice[i[some]].multiply(twice[j[some]]).sum() / len(some)  # of (L² L²ᵀ)_ij, without the whole matrix
    variance = products[kept].mean() / expected
    # a mesh of few triangles was reduced from many samples, and each of its vertices speaks for them all
    spacing = np.median(np.linalg.norm(surface.vertices[i] - surface.vertices[j], axis=1))
    return float(TRIMMING * np.sqrt(max(0.0, variance)) * min(1.0, (DENSE_MM / spacing) ** 2))


def noise_of_cloud(points: np.ndarray, neighbours: int = 12) -> float:
    """As `noise_of_surface`, from the spread of each point's neighbours about their plane."""
    if len(points) < neighbours + 1:
        return 0.0
    chosen = np.random.default_rng(0).permutation(len(points))[:2000]
    _, index = cKDTree(points).query(points[chosen], k=neighbours)
    local = points[index] - points[index].mean(1, keepdims=True)
    smallest = np.linalg.eigvalsh(np.einsum("nka,nkb->nab", local, local))[:, 0]
    return float(np.sqrt(np.median(np.maximum(smallest, 0)) / (neighbours - 3)))
