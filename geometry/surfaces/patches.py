"""A triangulation in patches, and the few of its triangles that may cross others at all.

A connected piece of a surface whose normals all lie within a cone of less than a right angle is a graph over the cone's plane and
cannot cross itself (Volino & Magnenat-Thalmann, Computer Graphics Forum 13, 1994). A patch is what lies in one triangle of a
coarse mesh; round pieces are the patches about a corner of theirs, and those about both ends of a side. Patches that lie close to
each other and share no such piece are looked at more closely, triangle by triangle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

CONE = np.cos(np.radians(80.0))  # least cosine of the normals of a piece and their mean
QUICK = {"balanced_tree": False, "compact_nodes": False}  # a tree that is asked once


@dataclass(frozen=True, eq=False)
class Patches:
    """triangles (m, 3), one patch' after the other's; starts (p + 1,): where each patch begins; corners (p, 3): numbers of the
    corners of the coarse triangle that each patch is of, 0 … their count."""

    triangles: np.ndarray
    starts: np.ndarray
    corners: np.ndarray

    @classmethod
    def of(cls, triangles: np.ndarray, coarse: np.ndarray) -> "Patches":
        """Of triangles (m, 3) and the corners (m, 3) of the coarse triangle that each lies in."""
        order = np.lexsort(coarse.T)
        rows = coarse[order]
        first = np.flatnonzero(np.append(np.ones(min(len(rows), 1), bool), (rows[1:] != rows[:-1]).any(axis=1)))
        corners = np.unique(rows[first], return_inverse=True)[1].reshape(-1, 3)
        return cls(np.ascontiguousarray(triangles[order]), np.append(first, len(rows)), corners)

    def __len__(self) -> int:
        return len(self.corners)

    @cached_property
    def number(self) -> np.ndarray:
        """(m,) the patch of each triangle."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @cached_property
    def sides(self) -> np.ndarray:
        """(e,) the sides of coarse triangles, once each: smaller corner · count + larger, sorted."""
        ends = np.sort(self.corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        return np.unique(ends[:, 0] * self.corner_count + ends[:, 1])

    @cached_property
    def corner_count(self) -> int:
        return int(self.corners.max(initial=-1)) + 1

    def among(self, chosen: np.ndarray) -> "Patches":
        """The patches under chosen (p,) bool alone; corners keep their numbers."""
        sizes = np.diff(self.starts)[chosen]
        return Patches(self.triangles[chosen[self.number]], np.append(0, np.cumsum(sizes)), self.corners[chosen])

    def about(self, chosen: np.ndarray, rings: int = 1) -> np.ndarray:
        """(p,) bool: the patches under chosen (p,) bool, and those that share a corner with one."""
        for _ in range(rings):
            touched = np.zeros(self.corner_count, bool)
            touched[self.corners[chosen]] = True
            chosen = touched[self.corners].any(axis=1)
        return chosen

    def rows(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The triangles of patches (q,), one patch' after the other's, and for each of them the place in `which`."""
        sizes = np.diff(self.starts)[which]
        place = np.repeat(np.arange(len(which)), sizes)
        begins = self.starts[which] - np.append(0, np.cumsum(sizes)[:-1]) if len(which) else sizes
        return np.arange(len(place)) + begins[place], place


def may_cross(patches: Patches, vertices: np.ndarray, changed: np.ndarray | None = None) -> np.ndarray:
    """(k,) of the triangles those that may cross another one: all that do are among them. changed (p,) bool: of two patches that
    cross one is among these."""
    if len(patches) == len(patches.triangles):  # to ask them one by one is no more work
        return np.arange(len(patches))
    corners = [vertices[column] for column in patches.triangles.T]
    cones = _Cones.of(patches, corners)
    one, other = touching(*balls(patches, corners))
    changed = np.ones(len(patches), bool) if changed is None else changed
    fresh = changed[one] | changed[other]
    one, other = one[fresh], other[fresh]
    apart = ~cones.hold_both(patches.corners[one], patches.corners[other])
    one, other = one[apart], other[apart]
    chosen = (changed & _any_of_three(cones.graph[patches.corners], none=True))[patches.number]
    low, high = (extreme(extreme(corners[0], corners[1]), corners[2]) for extreme in (np.minimum, np.maximum))
    starts = patches.starts[:-1]
    box_low, box_high = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    near = _any_of_three((box_low[one] > box_high[other]) | (box_low[other] > box_high[one]), none=True)
    one, other = one[near], other[near]
    one, other = np.append(one, other), np.append(other, one)
    rows, place = patches.rows(one)
    other = other[place]
    chosen[rows[_any_of_three((low[rows] > box_high[other]) | (box_low[other] > high[rows]), none=True)]] = True
    return np.flatnonzero(chosen)


def balls(patches: Patches, corners: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of each patch a centre (p, 3) and a radius (p,) of a ball that holds it; corners: the triangles' three, each (m, 3)."""
    starts = patches.starts[:-1]
    centre = np.add.reduceat(corners[0] + corners[1] + corners[2], starts) / (3 * np.diff(patches.starts))[:, None]
    about, reach = centre[patches.number], np.zeros(len(patches.number))
    for corner in corners:
        np.maximum(reach, _squares(corner - about), out=reach)
    return centre, np.sqrt(np.maximum.reduceat(reach, starts))


def _squares(vectors: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", vectors, vectors)


def _any_of_three(marks: np.ndarray, none: bool = False) -> np.ndarray:
    """(k,) bool: whether any of three marks (k, 3) is set, or none is; numpy's own reductions are slow along short axes."""
    found = marks[:, 0] | marks[:, 1] | marks[:, 2]
    return ~found if none else found


def touching(centre: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (k,), (k,) of balls that meet: each once."""
    found, octave = [np.zeros((0, 2), np.int64)], np.floor(np.log2(np.maximum(radius, 1e-12))).astype(int)
    for level in np.unique(octave):  # balls of one size look for those that are not larger
        own, smaller = np.flatnonzero(octave == level), np.flatnonzero(octave < level)
        tree, largest = cKDTree(centre[own], **QUICK), float(radius[own].max())
        found.append(own[tree.query_pairs(2 * largest, output_type="ndarray")])
        if len(smaller):
            reach = largest + float(radius[smaller].max())
            near = tree.sparse_distance_matrix(cKDTree(centre[smaller], **QUICK), reach, output_type="ndarray")
            found.append(np.stack([own[near["i"]], smaller[near["j"]]], axis=1))
    one, other = np.concatenate(found).T
    meet = _squares(centre[one] - centre[other]) <= (radius[one] + radius[other]) ** 2
    return one[meet], other[meet]


@dataclass(frozen=True)
class _Cones:
    """graph (c,) bool: the patches about a corner lie within a cone; sides (s,): of the sides whose two ends' do together,
    smaller corner · c + larger, sorted."""

    graph: np.ndarray
    sides: np.ndarray

    @classmethod
    def of(cls, patches: Patches, corners: Sequence[np.ndarray]) -> "_Cones":
        count, starts = patches.corner_count, patches.starts[:-1]
        areas = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        lengths = np.maximum(np.sqrt(_squares(areas)), 1e-12)
        of_patch = np.add.reduceat(areas, starts)
        axis = np.stack([np.bincount(patches.corners.ravel(), np.repeat(part, 3), count) for part in of_patch.T], axis=1)
        axis = axis / np.maximum(np.sqrt(_squares(axis)), 1e-12)[:, None]
        least = np.ones(count)
        for column in patches.corners.T:
            cosine = np.einsum("ij,ij->i", areas, axis[column[patches.number]]) / lengths
            np.minimum.at(least, column, np.minimum.reduceat(cosine, starts))
        first, second = np.divmod(patches.sides, max(count, 1))
        between = np.arccos(np.clip(np.einsum("ij,ij->i", axis[first], axis[second]), -1, 1)) / 2
        wide = np.arccos(np.clip(np.minimum(least[first], least[second]), -1, 1)) + between
        return cls(least > CONE, patches.sides[wide < np.arccos(CONE)])

    def hold_both(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """(k,) bool: the patches with corners one (k, 3) and other (k, 3) lie in one piece that is a graph."""
        held = np.zeros(len(one), bool)
        for mine in one.T:
            held |= self.graph[mine] & _any_of_three(mine[:, None] == other)
        left = np.flatnonzero(~held) if len(self.sides) else np.zeros(0, np.int64)
        low, high = np.minimum(one[left, :, None], other[left, None]), np.maximum(one[left, :, None], other[left, None])
        keys = (low * len(self.graph) + high).reshape(-1, 9)
        at = np.minimum(np.searchsorted(self.sides, keys), len(self.sides) - 1)
        held[left] = (self.sides[at] == keys).any(axis=1)
        return held
