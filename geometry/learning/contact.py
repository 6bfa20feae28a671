"""Lips and lids that meet but do not pass through each other, and skin that folds without passing through itself.

A source's lips touch or cross in many of its identities and blendshapes, its lids cross when they close, and below the chin the
skin of an opened jaw is pressed into a knot. Here, once and offline, mean, modes and blendshapes are moved by smooth fields:

- `Contact.apart` moves the two sides of an opening of one shape apart where the gap between them is too small;
- `Contact.attached` takes from identity modes what parts, crosses or slides sides that lie on each other;
- `unfolding` (geometry/learning/unfolding.py) stretches skin that a blendshape presses together.

The two lids are the sides of an eye's opening as the lips are those of the mouth's. What is joined to a rim goes along near it:
lining and eyeball. In identity modes all of an eyeball follows its lids' rim afterwards (`model_learning.with_eyeballs_in_lids`).

The fields are the least (geometry/learning/smooth_fields.py) that answer for the pairs of a vertex v and the point q opposite to
it: nᵀ(c_v − c_q), n across the gap, is to be what is missing of the gap.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.learning.openings import Opening, openings, pairs
from geometry.learning.smooth_fields import SmoothFields, smooth_fields
from geometry.learning.unfolding import unfolding
from geometry.mesh import TriangleMesh
from geometry.template.skin_patch import smooth_step

REST_GAP_MM = 0.3  # between lips or lids of the mean
LEAST_GAP_MM = 0.1  # between lips or lids that a blendshape closes
_TOLERANCE_MM = 0.02
_CORNER_MM = 4.0  # as far about the corners of the eyes skin is loose
_ROUNDS = 15
_FURTHEST_MM = 4.0
_LYING_ON_MM = (0.7, 2.0)  # sides closer than this lie on each other, farther than that they are free
_TANGENTIAL = 0.2  # what sliding on each other counts, beside the change of the gap
_CORRECTS = {"mouthClose": "jawOpen"}  # blendshapes that mean something only on top of another one


@dataclass(frozen=True)
class Contact:
    """mesh: the mean; skin (n,) bool: all but linings and eyeballs. An opening is a border of the skin, but for the longest."""

    mesh: TriangleMesh
    skin: np.ndarray

    @cached_property
    def openings(self) -> list[Opening]:
        return openings(self.mesh, self.skin)

    @cached_property
    def fields(self) -> list[SmoothFields]:
        """Of what is about each opening: skin, and lining or eyeball."""
        return [smooth_fields(self.mesh, opening.zone) for opening in self.openings]

    @property
    def loose_skin(self) -> np.ndarray:
        """(n,) bool: the skin that no expression means to press together: away from the openings, and at the corners of all but
        the lowest, the mouth, whose corners dimples and rolled lips do press."""
        loose = self.skin & ~np.any([opening.zone for opening in self.openings], axis=0)
        corners = [self.mesh.vertices[opening.corners] for opening in self.openings[1:]]
        if corners:
            loose |= self.skin & (cKDTree(np.concatenate(corners)).query(self.mesh.vertices)[0] < _CORNER_MM)
        return loose

    def apart(self, vertices: np.ndarray, rest: bool = False) -> np.ndarray:
        """(n, 3) a shape of the template → the displacement after which its lips and lids are at least LEAST_GAP_MM apart, or,
        at rest, REST_GAP_MM; less towards the corners. As near to that as _ROUNDS steps come."""
        total, least_mm = np.zeros_like(self.mesh.vertices), REST_GAP_MM if rest else LEAST_GAP_MM
        for opening, fields in zip(self.openings, self.fields):
            for _ in range(_ROUNDS):
                found = pairs(self.mesh.with_vertices(vertices + total), opening, _FURTHEST_MM)
                missing = found.parting * least_mm - found.gap
                active = missing > 0
                if missing.max(initial=0) < _TOLERANCE_MM:
                    break
                total += fields.least(found.gap_rows()[active], np.ones(active.sum()), missing[active]).reshape(-1, 3)
        return total

    def attached(self, displacements: np.ndarray) -> np.ndarray:
        """(k, n, 3) → the same without what parts, crosses or slides lips or lids where they lie on each other."""
        flat = displacements.reshape(len(displacements), -1).T
        for opening, fields in zip(self.openings, self.fields):
            found = pairs(self.mesh, opening, _FURTHEST_MM)
            lying_on = 1 - smooth_step(found.gap, *_LYING_ON_MM)
            rows = sparse.vstack([found.gap_rows(), sparse.kron(found.rows, sparse.eye(3))]).tocsr()
            weight = np.append(lying_on, _TANGENTIAL * np.repeat(lying_on, 3))
            rows, weight = rows[weight > 0], weight[weight > 0]
            flat = flat + fields.least(rows, weight, -(rows @ flat))
        return flat.T.reshape(displacements.shape)

    def blendshapes(self, displacements: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        """(E, n, 3) blendshapes → the same, with lips and lids `apart` at weight 1 on the mean, and skin stretched that was
        pressed together; as they are where there are no openings. A blendshape that corrects another one (`mouthClose`) is
        seen together with that."""
        mended = np.array(displacements, np.float64)
        if not self.openings:
            return mended
        for name in sorted(names, key=lambda name: name in _CORRECTS):
            own, base = names.index(name), _CORRECTS.get(name)
            under = mended[names.index(base)] if base in names else 0.0
            if base is None:
                mended[own] += unfolding(self.mesh, self.loose_skin, mended[own])
            mended[own] += self.apart(self.mesh.vertices + under + mended[own])
        return mended
