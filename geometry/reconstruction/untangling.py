"""Meshes in a template's topology whose triangles pass through each other, or turn over, drawn apart."""

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.surfaces.self_intersection import intersecting_triangles

ROUNDS = 24
AVERAGINGS = 4  # of the displacements of a knot, in a round
KEPT = 0.3  # of a displacement, in an averaging
WIDER = 4  # rounds after which what still crosses takes one more ring of neighbours along
NEEDLE = 0.03  # least height of a triangle in parts of its longest side: a smallest angle of about 2 degrees
NEAR_MM = 4.0  # of what moved: triangles that are looked at again


def untangled(
    vertices: np.ndarray, template: np.ndarray, triangles: np.ndarray, averaging: sparse.csr_matrix
) -> tuple[np.ndarray, int]:
    """Vertices (n, 3) moved so that the triangles (m, 3) neither pass through each other, nor turn their backs on what is about
    them, nor are needles; and how many still do.

    template (n, 3): a shape of the same topology that is free of that, in about the same pose; averaging (n, n): the mean of each
    vertex' neighbours, which tie what must stay apart, too. Where triangles do, the displacements from the template are
    averaged over the neighbours, round after round farther about: they tend to a translation, under which a patch has the
    template's shape. Vertices that none of that moves come back to the last bit."""
    if not len(triangles):
        return vertices, 0
    moved, knot = vertices - template, np.zeros(len(vertices), bool)
    among, left = triangles, 0
    for number in range(ROUNDS + 1):
        mesh = TriangleMesh(template + moved, among)
        wrong = np.unique(np.concatenate([intersecting_triangles(mesh).ravel(), np.flatnonzero(_spoilt(mesh, averaging))]))
        left = len(wrong)
        if not left or number == ROUNDS:
            break
        here = np.zeros(len(vertices), bool)
        here[among[wrong]] = True
        here |= averaging @ here.astype(float) > 0
        again = knot & here
        for _ in range(number // WIDER):
            again |= averaging @ again.astype(float) > 0
        here |= again
        knot |= here
        rows = np.flatnonzero(here)
        for _ in range(AVERAGINGS):
            moved[rows] = KEPT * moved[rows] + (1 - KEPT) * (averaging[rows] @ moved)
        middles = (template + moved)[triangles].mean(axis=1)
        distance = cKDTree((template + moved)[knot]).query(middles, distance_upper_bound=NEAR_MM)[0]
        among = triangles[np.isfinite(distance)]
    return np.where(knot[:, None], template + moved, vertices), left


def _spoilt(mesh: TriangleMesh, averaging: sparse.csr_matrix) -> np.ndarray:
    """(m,) bool: triangles that look away from the mean normal about them, or whose height is next to nothing."""
    about = mesh.vertex_normals
    for _ in range(2):
        about = about + averaging @ about
    areas = mesh.triangle_area_vectors
    corners = mesh.vertices[mesh.triangles]
    longest = ((corners - np.roll(corners, 1, axis=1)) ** 2).sum(axis=2).max(axis=1)
    needle = 2 * np.linalg.norm(areas, axis=1) < NEEDLE * longest
    return needle | ((areas * about[mesh.triangles].sum(axis=1)).sum(axis=1) < 0)


def averaging_of(triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    """(count, count) the mean of each vertex' neighbours along the triangles (m, 3); a vertex without any is its own."""
    mesh = TriangleMesh(np.zeros((count, 3)), triangles)
    degrees = np.asarray(mesh.adjacency.sum(axis=1)).ravel()
    lone = sparse.diags((degrees == 0).astype(float))
    return (sparse.diags(1 / np.maximum(degrees, 1)) @ mesh.adjacency + lone).tocsr()
