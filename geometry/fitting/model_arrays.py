"""A morphable model laid out for the inner loop of the fit."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel


@dataclass(frozen=True, eq=False)
class ModelArrays:
    """The n vertices of a model, restricted to its first K identity and E expression modes, m = K + E.

    basis (n, 3, m) float32, mm per coefficient; weights (n,): what a pair with each vertex counts, 0 on borders, eyes, linings;
    areas (n,) mm² of the mean's.
    """

    model: MorphableModel
    n_identity: int
    n_expression: int
    basis: np.ndarray
    weights: np.ndarray
    areas: np.ndarray

    def vertices(self, coefficients: np.ndarray) -> np.ndarray:
        """Coefficients (m,) → vertices (n, 3), model frame, mm."""
        return self.model.mean + self.basis @ coefficients.astype(np.float32)

    @property
    def fitted_face(self) -> np.ndarray:
        """(n,) bool: vertices of the face region that take part in the fit."""
        return self.model.regions["face"] & (self.weights > 0)


@lru_cache(maxsize=2)  # a batch fits one model to many scans
def arrays_of(model: MorphableModel, identity_modes: int, expression_modes: int, surround_weight: float) -> ModelArrays:
    """At most so many modes of the model; surround_weight: of vertices outside the face region."""
    n_identity, n_expression = min(identity_modes, model.n_identity), min(expression_modes, model.n_expression)
    basis = np.concatenate([model.identity_basis[:n_identity], model.expression_basis[:n_expression]])
    basis = np.ascontiguousarray(basis.transpose(1, 2, 0), dtype=np.float32)
    mean = TriangleMesh(model.mean, model.triangles)
    excluded = mean.boundary_vertices | model.regions["mouth_interior"] | model.regions["eyes"]
    excluded |= model.regions.get("cavities", False)
    weights = np.where(model.regions["face"], 1.0, surround_weight) * ~excluded
    return ModelArrays(model, n_identity, n_expression, basis, weights, mean.vertex_areas)
