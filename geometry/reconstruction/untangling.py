"""Meshes in a template's topology whose triangles pass through each other, or turn over, drawn apart."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.surfaces.patches import Patches, balls, may_cross
from geometry.surfaces.self_intersection import cross, intersecting_triangles

ROUNDS = 96  # what is left after a few is a knot in a nostril or an ear that has to be drawn from farther and farther about
AVERAGINGS = 4  # of the displacements of a knot, in a round
KEPT = 0.3  # of a displacement, in an averaging
WIDER = 4  # rounds after which what still crosses takes one more ring of neighbours along
UNSEEN = 5  # rounds at most between two looks at everything
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
        """The triangles (m, 3) and which of these vertices are neighbours, (k, k) of 0 and 1, in their numbers."""
        number = np.zeros(self.averaging.shape[0], np.int32)
        number[self.used] = np.arange(len(self.used))
        neighbours = self.averaging[self.used][:, self.used]
        neighbours.data[:] = 1
        return number[self.patches.triangles], neighbours

    def within(self, which: np.ndarray, rings: int) -> np.ndarray:
        """(n,) bool: the vertices among `which`, of any shape, and those at most so many sides from one of them."""
        starts, ends = self.averaging.indptr[:-1], self.averaging.indptr[1:]
        found = np.zeros(len(starts), bool)
        found[which] = True
        fresh = np.flatnonzero(found)
        for _ in range(rings):
            sizes = ends[fresh] - starts[fresh]
            places = np.arange(sizes.sum()) + np.repeat(starts[fresh] - np.cumsum(sizes) + sizes, sizes)
            reached = self.averaging.indices[places]
            fresh = np.unique(reached[~found[reached]])
            found[fresh] = True
        return found

    def wrong(
        self, vertices: np.ndarray, changed: np.ndarray | None = None, turned: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(q,) the triangles that cross others, look away from the mean normal about them, or are needles; and the mean normals
        about all, (m, 3). changed (p,) bool: patches without which nothing crosses; turned (p,) bool: those of which all is known
        that lies about them."""
        suspects = may_cross(self.patches, vertices, changed)
        crossing = intersecting_triangles(TriangleMesh(vertices, self.patches.triangles[suspects]))
        normals = self._normals_about(vertices)
        spoilt = _spoilt(vertices, self.patches.triangles, normals)
        if turned is not None:
            spoilt &= turned[self.patches.number]
        return np.unique(np.concatenate([suspects[crossing.ravel()], np.flatnonzero(spoilt)])), normals

    def still_wrong(self, vertices: np.ndarray, wrong: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """(k,) of the triangles that were wrong (q,), and of those that they touch, the ones that still are; normals (m, 3): the
        mean ones, as `wrong` gave them."""
        near = np.zeros(len(vertices), bool)
        near[self.patches.triangles[wrong]] = True
        a, b, c = (near[column] for column in self.patches.triangles.T)
        touching = np.flatnonzero(a | b | c)
        crossing = intersecting_triangles(TriangleMesh(vertices, self.patches.triangles[touching]))
        spoilt = wrong[_spoilt(vertices, self.patches.triangles[wrong], normals[wrong])]
        return np.unique(np.concatenate([touching[crossing.ravel()], spoilt]))

    def _normals_about(self, vertices: np.ndarray) -> np.ndarray:
        """(m, 3) about each triangle the mean normal by area, of any length, over two rings of vertices about its corners: so
        much of a lid is more than its rim, which a mean of less would follow."""
        triangles, neighbours = self.among_used
        corners = [vertices[self.used][column] for column in triangles.T]
        areas = cross(corners[1] - corners[0], corners[2] - corners[0])
        about = np.stack([np.bincount(triangles.T.ravel(), np.tile(axis, 3), len(self.used)) for axis in areas.T], axis=1)
        for _ in range(2):
            about = about + neighbours @ about
        first, second, third = (about[column] for column in triangles.T)
        return first + second + third


def _spoilt(vertices: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(m,) bool: triangles that look away from the mean normals (m, 3) about them, or whose height is next to nothing."""
    a, b, c = (vertices[column] for column in triangles.T)
    longest = np.maximum(np.maximum(_squares(b - a), _squares(c - b)), _squares(a - c))
    areas = cross(b - a, c - a)
    return (np.sqrt(_squares(areas)) < NEEDLE * longest) | (np.einsum("ij,ij->i", areas, normals) < 0)


def untangled(vertices: np.ndarray, template: np.ndarray, weave: Weave, rounds: int = ROUNDS) -> tuple[np.ndarray, int]:
    """Vertices (n, 3) moved so that the triangles neither pass through each other, nor turn their backs on what is about them,
    nor are needles; and how many still do.

    template (n, 3): a shape of the same topology that is free of that, in about the same pose. Where triangles do, the
    displacements from the template are averaged over the neighbours, round after round farther about: they tend to a translation,
    under which a patch has the template's shape. After a round only what was wrong is looked at again; after the more rounds the
    less is left, all that lies near the vertices that they moved."""
    if not len(weave.patches):
        return vertices, 0
    wrong, normals = weave.wrong(vertices)
    placed, moved, knot = np.array(vertices), vertices - template, np.zeros(len(vertices), bool)
    part, near, looks, done = weave, _Near(weave, placed), 0, 0
    while len(wrong) and done < rounds:
        anywhere = np.zeros(len(vertices), bool)
        for number in range(min(2 + looks, UNSEEN)):
            if number and not len(wrong := part.still_wrong(placed, wrong, normals)):
                break
            here = weave.within(part.patches.triangles[wrong], 1)
            here |= weave.within(np.flatnonzero(knot & here), done // WIDER)
            rows = np.flatnonzero(here)
            means = weave.averaging[rows]
            for _ in range(AVERAGINGS):
                moved[rows] = KEPT * moved[rows] + (1 - KEPT) * (means @ moved)
            placed[rows] = template[rows] + moved[rows]
            knot[rows] = anywhere[rows] = True
            done += 1
        part, *of_part = near.moved(placed, anywhere)
        wrong, normals = part.wrong(placed, *of_part)
        looks += 1
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
