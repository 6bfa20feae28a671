"""Lips and lids that meet but do not pass through each other, and skin that folds without passing through itself.

A source's lips touch or cross in many of its identities and blendshapes, its lids cross when they close, and below the chin the
skin of an opened jaw is pressed into a knot. Here, once and offline, mean, modes and blendshapes are moved by smooth fields:

- `Contact.apart` moves the two sides of an opening of one shape apart where the gap between them is too small;
- `Contact.attached` takes from identity modes what changes the gap between sides that lie on each other;
- `unfolding` (geometry/learning/unfolding.py) lays skin out evenly that a blendshape presses together.

The fields are the least that answer for the pairs of a vertex v and the point q opposite to it, n across the gap,

    Σ w (nᵀ(c_v − c_q) − wanted)² + STIFFNESS ‖Δc‖²,

Δ the cotangent Laplacian: the thin-plate energy of Botsch & Sorkine, On Linear Variational Surface Deformation Methods (2008).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from geometry.learning.openings import Opening, openings, pairs
from geometry.learning.unfolding import unfolding
from geometry.mesh import TriangleMesh
from geometry.surfaces.joined_borders import joined
from geometry.surfaces.laplacian import thin_plate
from geometry.template.skin_patch import smooth_step

STIFFNESS = 0.3  # mm²
REST_GAP_MM = 0.3  # between the lips of the mean
LEAST_GAP_MM = 0.1  # between lips or lids that a blendshape closes, and between lids and eyeballs
_TOLERANCE_MM = 0.02
_ROUNDS = 15
_TALLEST_MM = 20.0
_FURTHEST_MM = 4.0
_LIPS_ON_MM = (0.7, 2.0)  # lips closer than this lie on each other, farther than that they are free
_LIDS_ON_MM = (0.2, 0.7)  # and lids on their eyeball
_TANGENTIAL = 0.2  # what sliding on each other counts, beside the change of the gap
_BALL_COST = 1e-3
_SHUT = 0.5  # a blendshape that takes more than this share of the height of an eye shuts it
_CORRECTS = {"mouthClose": "jawOpen"}  # blendshapes that mean something only on top of another one


@dataclass(frozen=True)
class Contact:
    """mesh: the mean; skin, eyeballs (n,) bool. An opening is a border of the skin, but for the longest."""

    mesh: TriangleMesh
    skin: np.ndarray
    eyeballs: np.ndarray

    @classmethod
    def of(cls, mesh: TriangleMesh, regions: dict[str, np.ndarray]) -> "Contact":
        """Of a template's mean and its regions "cavities" and, where eyes are open, "eyeballs"."""
        return cls(mesh, ~regions["cavities"], regions.get("eyeballs", np.zeros(len(mesh.vertices), bool)))

    @cached_property
    def openings(self) -> list[Opening]:
        return openings(self.mesh, self.skin, self.eyeballs)

    @cached_property
    def fields(self) -> list["SmoothFields"]:
        """Of the skin and linings about each opening."""
        return [smooth_fields(self.mesh, opening.zone) for opening in self.openings]

    @property
    def flat_skin(self) -> np.ndarray:
        """(n,) bool: the skin away from the openings."""
        return self.skin & ~np.any([opening.zone for opening in self.openings], axis=0)

    def apart(self, vertices: np.ndarray, rest: bool = False) -> np.ndarray:
        """(n, 3) a shape of the template → the displacement after which its lips and lids are LEAST_GAP_MM apart, or lips, at
        rest, REST_GAP_MM; less towards the corners. An eye that is nearly shut is closed to that gap."""
        total = np.zeros_like(self.mesh.vertices)
        for opening, fields in zip(self.openings, self.fields):
            lips_apart = REST_GAP_MM if rest and not len(opening.ball) else LEAST_GAP_MM
            shut = len(opening.ball) > 0 and self._height(vertices, opening) < _SHUT * self._height(self.mesh.vertices, opening)
            for _ in range(_ROUNDS):
                found = pairs(self.mesh.with_vertices(vertices + total), opening, _FURTHEST_MM)
                missing = found.parting * lips_apart - found.gap
                active = missing > 0
                active[found.closest(opening.along)] |= shut
                if np.abs(missing[active]).max(initial=0) < _TOLERANCE_MM:
                    break
                total += fields.least(found.gap_rows()[active], np.ones(active.sum()), missing[active]).reshape(-1, 3)
        return total

    def attached(self, displacements: np.ndarray) -> np.ndarray:
        """(k, n, 3) → the same without what changes the gap of lips that lie on each other, or of lids from their eyeball.

        An eyeball gives way by shifts and its size as far as it can, since no scan tells these, and the lids by the rest."""
        flat = displacements.reshape(len(displacements), -1).T
        for opening, fields in zip(self.openings, self.fields):
            found = pairs(self.mesh, opening, _FURTHEST_MM)
            lying_on = 1 - smooth_step(found.gap, *(_LIDS_ON_MM if len(opening.ball) else _LIPS_ON_MM))
            if len(opening.ball):  # lids glide on it, and an eye's own opening is free
                fields = fields.with_ball(self.mesh.vertices, np.unique(opening.ball))
                rows, weight = found.gap_rows(), lying_on * found.on_ball
            else:
                rows = sparse.vstack([found.gap_rows(), sparse.kron(found.rows, sparse.eye(3))]).tocsr()
                weight = np.append(lying_on, _TANGENTIAL * np.repeat(lying_on, 3))
            rows, weight = rows[weight > 0], weight[weight > 0]
            flat = flat + fields.least(rows, weight, -(rows @ flat))
        return flat.T.reshape(displacements.shape)

    def _height(self, vertices: np.ndarray, opening: Opening) -> float:
        """Median gap in mm between the edges of its sides."""
        found = pairs(self.mesh.with_vertices(vertices), opening, _TALLEST_MM)
        return float(np.median(found.gap[found.closest(opening.along)]))

    def blendshapes(self, displacements: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        """(E, n, 3) blendshapes → the same, whose lips and lids do not cross at weight 1 on the mean, and whose skin is not
        pressed into folds; as they are where there are no openings. A blendshape that corrects another one (`mouthClose`) is
        seen together with that."""
        mended = np.array(displacements, np.float64)
        if not self.openings:
            return mended
        for name in sorted(names, key=lambda name: name in _CORRECTS):
            own, base = names.index(name), _CORRECTS.get(name)
            under = mended[names.index(base)] if base in names else 0.0
            if base is None:
                mended[own] += unfolding(self.mesh, self.flat_skin, mended[own])
            mended[own] += self.apart(self.mesh.vertices + under + mended[own])
        return mended


@dataclass(frozen=True)
class SmoothFields:
    """Displacements of n vertices that vanish outside of a zone. spread (3n, 3f) csr from its f free vertices, vertices that are
    joined moving as one; energy (3f, 3f) csr."""

    spread: sparse.csr_matrix
    energy: sparse.csr_matrix

    def with_ball(self, points: np.ndarray, ball: np.ndarray) -> "SmoothFields":
        """Fields that shift and scale the ball's vertices (b,) as well, at hardly any cost. points (n, 3)."""
        spokes = points[ball] - points[ball].mean(axis=0)
        moves = np.column_stack([np.tile(np.eye(3), (len(ball), 1)), (spokes / np.linalg.norm(spokes, axis=1).mean()).ravel()])
        place = (3 * ball[:, None] + np.arange(3)).ravel()
        rigid = sparse.csr_matrix((moves.ravel(), (np.repeat(place, 4), np.tile(np.arange(4), len(place)))), (points.size, 4))
        cost = sparse.block_diag([self.energy, _BALL_COST * sparse.eye(4)])
        return SmoothFields(sparse.hstack([self.spread, rigid]).tocsr(), cost.tocsr())

    def least(self, rows: sparse.csr_matrix, weight: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """rows (p, 3n), weight (p,), wanted (p,) or (p, k) → (3n,) or (3n, k): the least fields with rows @ field ≈ wanted."""
        free = rows @ self.spread
        weighted = (free.T @ sparse.diags(weight)).tocsr()
        factor = splu((weighted @ free + self.energy).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        return self.spread @ factor.solve(weighted @ wanted)


def smooth_fields(mesh: TriangleMesh, zone: np.ndarray) -> SmoothFields:
    """The fields of a zone (n,) bool of a mesh whose skin and linings are joined at their rims."""
    first = joined(mesh)
    near = zone[mesh.triangles].any(axis=1)
    near = np.isin(mesh.component_labels, mesh.component_labels[mesh.triangles[near, 0]])[mesh.triangles[:, 0]]
    used, triangles = np.unique(first[mesh.triangles[near]], return_inverse=True)
    energy = thin_plate(TriangleMesh(mesh.vertices[used], triangles.reshape(-1, 3)))
    free = np.flatnonzero(zone[used])
    members = np.flatnonzero(zone & np.isin(first, used))
    column = np.searchsorted(used[free], first[members])
    spread = sparse.csr_matrix((np.ones(len(members)), (members, column)), shape=(len(zone), len(free)))
    cube = sparse.eye(3)
    return SmoothFields(sparse.kron(spread, cube).tocsr(), STIFFNESS * sparse.kron(energy[free][:, free], cube).tocsr())
