"""Short distances across the skin that identity modes change out of proportion, changed less.

Where a distance between two points of the skin has, over a population, a standard deviation of a third of itself, one face in a
thousand turns it about, and the skin passes through itself there: in a fold under an open jaw, at an eye's corner, in the
columella between the nostrils. The points are tied to each other by the least smooth fields (geometry/learning/smooth_fields.py)
until no short distance has a standard deviation, over faces with independent coefficients N(0, 1), of more than STEADY of itself,
as nearly as _ROUNDS rounds come. Every mode keeps the same part of what it does to a distance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.learning.smooth_fields import smooth_fields
from geometry.mesh import TriangleMesh

STEADY = 0.185  # of 0.17, 0.185, 0.2: by crossings in 3,000 faces and the held-out error (docs/experiments/model.md)
_SHORT_MM = 8.0  # from one side of the columella, or of a fold under an open jaw, to the other
_REACH_MM = 15.0  # as far about such points the skin goes along
_ROUNDS = 8
_NEAR_LIMIT = 0.75  # of STEADY: a distance that varies less never comes to vary too much by what is done about others
_WEIGHT = 4.0  # of a change in proportion to the distance
_STAYING = 0.01  # of a millimetre by which a point is moved at all: else all of an eye goes along with its corner


@dataclass(frozen=True)
class Distances:
    """p distances between vertices one, other (p,) of a mesh: along (p, 3) unit from one to other, length (p,) mm."""

    one: np.ndarray
    other: np.ndarray
    along: np.ndarray
    length: np.ndarray

    def variation(self, modes: np.ndarray) -> np.ndarray:
        """(p,) standard deviations, to first order and in proportion to the length, under modes (K, n, 3)."""
        change = np.zeros(len(self.length))
        for mode in modes:
            change += np.einsum("pi,pi->p", mode[self.other] - mode[self.one], self.along) ** 2
        return np.sqrt(change) / self.length

    def chosen(self, which: np.ndarray) -> "Distances":
        return Distances(self.one[which], self.other[which], self.along[which], self.length[which])

    def rows(self, count: int) -> sparse.csr_matrix:
        """(p, 3 count): the change of each length by displacements (count, 3), flattened."""
        columns = 3 * np.stack([self.one, self.other], axis=1)[..., None] + np.arange(3)
        values = self.along[:, None] * np.array([-1.0, 1.0])[:, None]
        start = np.arange(len(self.length) + 1) * 6
        return sparse.csr_matrix((values.ravel(), columns.ravel(), start), shape=(len(self.length), 3 * count))


def short_distances(shapes: Sequence[np.ndarray], skin: np.ndarray) -> Distances:
    """Those between vertices of the skin (n,) bool of each of the shapes (n, 3) that are less than _SHORT_MM apart."""
    vertex, found = np.flatnonzero(skin), []
    for shape in shapes:
        one, other = vertex[cKDTree(shape[vertex]).query_pairs(_SHORT_MM, output_type="ndarray")].T
        way = shape[other] - shape[one]
        length = np.linalg.norm(way, axis=1)
        found.append(Distances(one, other, way / length[:, None], length))
    return Distances(*(np.concatenate([getattr(each, name) for each in found]) for name in Distances.__dataclass_fields__))


def steadied(modes: np.ndarray, mesh: TriangleMesh, skin: np.ndarray, shapes: Sequence[np.ndarray]) -> np.ndarray:
    """Modes (K, n, 3) on a mesh → the same with less of what they do to short distances across its skin (n,) bool, on all of the
    shapes (n, 3) of it: as they are where no distance varies too much."""
    distances = short_distances(shapes, skin)
    distances = distances.chosen(distances.variation(modes) > _NEAR_LIMIT * STEADY)
    varying = np.zeros(len(distances.length), bool)
    for _ in range(_ROUNDS):
        variation = distances.variation(modes)
        if variation.max(initial=0.0) <= STEADY:
            break
        varying |= variation > STEADY
        modes = modes + _less(modes, mesh, distances.chosen(varying), np.minimum(STEADY / variation[varying], 1))
    return modes


def _less(modes: np.ndarray, mesh: TriangleMesh, distances: Distances, part: np.ndarray) -> np.ndarray:
    """(K, n, 3) to be added to modes, so that they do only a part (p,) of what they do to p distances."""
    ends = np.unique(np.append(distances.one, distances.other))
    zone = cKDTree(mesh.vertices[ends]).query(mesh.vertices)[0] < _REACH_MM
    change, staying = distances.rows(len(zone)), sparse.eye(3 * len(zone), format="csr")[np.repeat(zone, 3)]
    wanted = (part - 1)[:, None] * (change @ modes.reshape(len(modes), -1).T)
    field = smooth_fields(mesh, zone).least(
        sparse.vstack([change, staying]).tocsr(),
        np.append(_WEIGHT / distances.length**2, np.full(staying.shape[0], _STAYING)),
        np.vstack([wanted, np.zeros((staying.shape[0], len(modes)))]),
    )
    return field.T.reshape(modes.shape)
