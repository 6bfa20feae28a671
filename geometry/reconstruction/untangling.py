"""Meshes in a template's topology whose triangles pass through each other, or turn over, drawn apart."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.surfaces.patches import Patches, balls, may_cross
from geometry.surfaces.self_intersection import intersecting_triangles

ROUNDS = 96  # what is left after a few is a knot in a nostril or an ear that has to be drawn from farther and farther about
AVERAGINGS = 4  # of the displacements of a knot, in a round
KEPT = 0.3  # of a displacement, in an averaging
WIDER = 4  # rounds after which what still crosses takes one more ring of neighbours along
NEEDLE = 0.03  # least height of a triangle in parts of its longest side: a smallest angle of about 2 degrees


@dataclass(frozen=True, eq=False)
class Weave:
    """patches: the triangles that must not cross each other; averaging (n, n): the mean of each vertex' neighbours, of which each
    is its neighbour's, too; they tie what must stay apart, too."""

    patches: Patches
    averaging: sparse.csr_matrix

    @cached_property
    def used(self) -> np.ndarray:
        """(k,) the vertices of the triangles."""
        mask = np.zeros(self.averaging.shape[0], bool)
        mask[self.patches.triangles] = True
        return np.flatnonzero(mask)

    @cached_property
    def among_used(self) -> tuple[np.ndarray, sparse.csr_matrix]:
        """The triangles (m, 3) and the averaging (k, k) of these vertices alone, in their numbers."""
        number = np.zeros(self.averaging.shape[0], np.int32)
        number[self.used] = np.arange(len(self.used))
        return number[self.patches.triangles], self.averaging[self.used][:, self.used]

    def with_neighbours(self, mask: np.ndarray) -> np.ndarray:
        """The vertices under a mask (n,) bool and their neighbours, (n,) bool."""
        wider = mask.copy()
        wider[self.averaging[np.flatnonzero(mask)].indices] = True
        return wider

    def wrong(self, vertices: np.ndarray, changed: np.ndarray | None = None, turned: np.ndarray | None = None) -> np.ndarray:
        """(q, 3) corners of the triangles that cross others, look away from the mean normal about them, or are needles; changed
        (p,) bool: patches without which nothing crosses; turned (p,) bool: those of which all is known that lies about them."""
        suspects = may_cross(self.patches, vertices, changed)
        crossing = intersecting_triangles(TriangleMesh(vertices, self.patches.triangles[suspects]))
        spoilt = self._spoilt(vertices)
        if turned is not None:
            spoilt &= turned[self.patches.number]
        return self.patches.triangles[np.unique(np.concatenate([suspects[crossing.ravel()], np.flatnonzero(spoilt)]))]

    def _spoilt(self, vertices: np.ndarray) -> np.ndarray:
        """(m,) bool: triangles that look away from the mean normal about them, or whose height is next to nothing."""
        triangles, averaging = self.among_used
        mesh = TriangleMesh(vertices[self.used], triangles)
        about = mesh.vertex_normals
        for _ in range(2):
            about = about + averaging @ about
        a, b, c = (mesh.vertices[column] for column in triangles.T)
        longest = np.maximum(np.maximum(_squares(b - a), _squares(c - b)), _squares(a - c))
        areas = mesh.triangle_area_vectors
        first, second, third = (about[column] for column in triangles.T)
        return (2 * np.sqrt(_squares(areas)) < NEEDLE * longest) | (np.einsum("ij,ij->i", areas, first + second + third) < 0)


def untangled(vertices: np.ndarray, template: np.ndarray, weave: Weave) -> tuple[np.ndarray, int]:
    """Vertices (n, 3) moved so that the triangles neither pass through each other, nor turn their backs on what is about them,
    nor are needles; and how many still do.

    template (n, 3): a shape of the same topology that is free of that, in about the same pose. Where triangles do, the
    displacements from the template are averaged over the neighbours, round after round farther about: they tend to a translation,
    under which a patch has the template's shape. After a round only what lies near the vertices that it moved is looked at."""
    if not len(weave.patches) or not len(wrong := weave.wrong(vertices)):
        return vertices, 0
    placed, moved, knot = np.array(vertices), vertices - template, np.zeros(len(vertices), bool)
    near = _Near(weave, placed)
    for number in range(ROUNDS):
        here = np.zeros(len(vertices), bool)
        here[wrong] = True
        here = weave.with_neighbours(here)
        again = knot & here
        for _ in range(number // WIDER):
            again = weave.with_neighbours(again)
        here |= again
        knot |= here
        rows = np.flatnonzero(here)
        means = weave.averaging[rows]
        for _ in range(AVERAGINGS):
            moved[rows] = KEPT * moved[rows] + (1 - KEPT) * (means @ moved)
        placed[rows] = template[rows] + moved[rows]
        part, *of_part = near.moved(placed, here)
        wrong = part.wrong(placed, *of_part)
        if not len(wrong):
            break
    return placed, len(wrong)


class _Near:
    """Which patches can have to do with vertices that move, by balls about them."""

    def __init__(self, weave: Weave, vertices: np.ndarray) -> None:
        self.weave = weave
        self.centre, self.radius = balls(weave.patches, [vertices[column] for column in weave.patches.triangles.T])

    def moved(self, vertices: np.ndarray, which: np.ndarray) -> tuple[Weave, np.ndarray, np.ndarray]:
        """Of vertices (n, 3), of which those under `which` (n,) bool moved: the patches that may meet one of these, which of them
        have one, bool, and which of them have a mean normal that one of these turns, bool."""
        patches = self.weave.patches
        a, b, c = (which[column] for column in patches.triangles.T)
        changed = np.zeros(len(patches), bool)
        changed[patches.number[a | b | c]] = True
        own = patches.among(changed)
        corners = [vertices[column] for column in own.triangles.T]
        self.centre[changed], self.radius[changed] = balls(own, corners)
        longest = max((float(_squares(corners[k] - corners[k - 1]).max(initial=0)) for k in range(3)), default=0.0) ** 0.5
        reach = self.radius + longest
        distance = cKDTree(vertices[which]).query(self.centre, distance_upper_bound=float(reach.max()))[0]
        wide = 2 if len(patches) == len(patches.triangles) else 1  # single triangles lie nearer together than their normals reach
        turned = patches.about(changed, wide)
        near = patches.about(turned, wide) | (distance <= reach)
        return Weave(patches.among(near), self.weave.averaging), changed[near], turned[near]


def _squares(vectors: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", vectors, vectors)


def averaging_of(triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    """(count, count) the mean of each vertex' neighbours along the triangles (m, 3); a vertex without any is its own."""
    mesh = TriangleMesh(np.zeros((count, 3)), triangles)
    degrees = np.asarray(mesh.adjacency.sum(axis=1)).ravel()
    lone = sparse.diags((degrees == 0).astype(float))
    return (sparse.diags(1 / np.maximum(degrees, 1)) @ mesh.adjacency + lone).tocsr()
