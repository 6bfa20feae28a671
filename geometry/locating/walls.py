"""Solids with walls, as for printing: a face and, somewhat behind it, an inner surface, which looks like another face."""

from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from geometry.locating.winding import edge_neighbours, place_keys
from geometry.mesh import TriangleMesh
from geometry.scan import Scan
from geometry.surfaces.bulk import spans_of_bulk
from geometry.surfaces.raycasting import first_hits, raycasting_scene
from geometry.surfaces.triangulation import surface_of

ONE_LAYER = 0.45  # outwardness of one surface: of faces and heads at least 0.6, of solids with walls at most 0.2
THICKEST = 0.15  # of a wall, as a share of the scan's length
WALLED = 0.6  # least share of the area that has a wall behind it
THICKER = 2.5  # times the median: where a ray goes so far through the material, it runs along a rim
FOLD = 0.5  # least cosine between triangles of one piece
SQUARE = 0.5  # least cosine of a ray with the wall's other side


def outer_surface(scan: Scan) -> Scan:
    """The scan, of a mesh that is a solid with walls, without its inner surface and the rims between, with a note; any other scan
    as it is."""
    if not len(scan.triangles):
        return scan
    surface = surface_of(scan)
    if abs(outwardness(surface)) > ONE_LAYER:
        return scan
    length = float(spans_of_bulk(scan.points).max())
    for outside in (1.0, -1.0):  # the material is behind the triangles, or, wound inside out, before them
        thickness = _thickness(surface, length, outside)
        area = np.linalg.norm(surface.triangle_area_vectors, axis=1)
        if area[np.isfinite(thickness)].sum() > WALLED * area.sum():
            return _outer(scan, surface, thickness, outside)
    return scan


def outwardness(mesh: TriangleMesh) -> float:
    """In [−1, 1]: how much of a mesh faces away from its middle, each part by its area and distance. Near 1 of one surface of a
    head, near −1 where it is wound inside out, near 0 of two surfaces that face each other's backs."""
    area = mesh.vertex_areas
    if not area.sum() > 0:
        return 0.0
    middle = (area[:, None] * mesh.vertices).sum(0) / area.sum()
    away = area * ((mesh.vertices - middle) * mesh.vertex_normals).sum(1)
    return float(away.sum() / max(np.abs(away).sum(), 1e-300))


def _thickness(surface: TriangleMesh, length: float, outside: float) -> np.ndarray:
    """(m,) how far a ray from each triangle goes through material before it leaves through another one; inf where it does not, or
    only slantwise, or after `THICKEST` of the `length`."""
    origin = surface.vertices.mean(0)
    scene = raycasting_scene(surface.with_vertices((surface.vertices - origin) / length))
    vectors = surface.triangle_area_vectors
    inward = -outside * vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300)
    starts = (surface.vertices[surface.triangles].mean(1) - origin) / length + 1e-5 * inward
    distance, _, _, normals = first_hits(scene, starts, inward)
    leaves = outside * np.einsum("ij,ij->i", normals, inward) > SQUARE
    return np.where(leaves & (distance < THICKEST), distance * length, np.inf)


def _outer(scan: Scan, surface: TriangleMesh, thickness: np.ndarray, outside: float) -> Scan:
    """Without its rims and along its folds the solid falls into pieces: those that face away from the middle of the whole are the
    outer surface."""
    typical = float(np.median(thickness[np.isfinite(thickness)]))
    is_wall, m = thickness < THICKER * typical, len(thickness)
    vectors = outside * surface.triangle_area_vectors
    area = np.linalg.norm(vectors, axis=1)
    normals = vectors / np.maximum(area, 1e-300)[:, None]
    first, second, _ = edge_neighbours(surface.triangles, place_keys(scan.points))
    joined = is_wall[first] & is_wall[second] & ((normals[first] * normals[second]).sum(1) > FOLD)
    pairs = sparse.coo_matrix((np.ones(int(joined.sum()), np.int8), (first[joined], second[joined])), shape=(m, m))
    piece = connected_components(pairs, directed=False)[1]
    centres = surface.vertices[surface.triangles].mean(1)
    middle = (area[:, None] * centres).sum(0) / area.sum()
    outward = np.bincount(piece, ((centres - middle) * vectors).sum(1))
    kept = is_wall & (outward[piece] > 0)
    outer = replace(scan, triangles=scan.triangles[kept])
    used = np.zeros(len(scan.points), bool)
    used[outer.triangles] = True
    return outer.keep(used).with_note(
        f"it is a solid with walls about {_shown(scan, typical)} thick: only its outer surface is used"
    )


def _shown(scan: Scan, length: float) -> str:
    return f"{length:.1f} mm" if scan.unit_mm is not None else f"{length:.3g} of its units"
