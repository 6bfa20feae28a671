"""A morphable model laid out for the inner loop of the fit."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from geometry.fitting.options import FittingOptions
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.shape_operator import shape_operators

_FRINGE_MM = 60.0  # so far from the scalp a fringe may hang: chosen with `_LEAST` on 80 simulated validation scans
_LEAST = 0.02  # weight at the scalp's edge before hair is told from skin
_MOST_BENT = 0.15  # 1/mm: where lines of lips and lids bend more, a quadric does not tell of the way to the next point


@dataclass(frozen=True, eq=False)
class ModelArrays:
    """The n vertices of a model, restricted to its first K identity and E expression modes, m = K + E.

    basis (n, 3, m) float32, mm per coefficient; weights (n,): what a pair with each vertex counts, 0 on borders, eyes, linings;
    first_weights (n,): the same before hair can be told from skin; areas (n,) mm² and bent (n, 3, 3) 1/mm, the shape
    operators, of the mean's, from which a face differs too little to matter.
    """

    model: MorphableModel
    n_identity: int
    n_expression: int
    basis: np.ndarray
    weights: np.ndarray
    first_weights: np.ndarray
    areas: np.ndarray
    bent: np.ndarray
    _parts: dict[bytes, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def vertices(self, coefficients: np.ndarray) -> np.ndarray:
        """Coefficients (m,) → vertices (n, 3), model frame, mm."""
        flat = self.basis.reshape(-1, len(coefficients))  # of three axes the product takes twice as long
        return self.model.mean + (flat @ coefficients.astype(np.float32)).reshape(-1, 3)

    def moved(self, vertices: np.ndarray, modes: np.ndarray, by: np.ndarray) -> np.ndarray:
        """Vertices (n, 3) after a change (a,) of the coefficients of the modes (a,)."""
        return vertices + (self.basis_of(modes).reshape(vertices.size, len(modes)) @ by.astype(np.float32)).reshape(-1, 3)

    def basis_of(self, modes: np.ndarray) -> np.ndarray:
        """(n, 3, a) of the modes (a,), made once: a stage of the fit asks for the same in each of its steps."""
        key = modes.tobytes()
        if len(modes) == self.basis.shape[2]:
            return self.basis
        if key not in self._parts:
            self._parts[key] = np.ascontiguousarray(self.basis[:, :, modes])
        return self._parts[key]

    @property
    def fitted_face(self) -> np.ndarray:
        """(n,) bool: vertices of the face region that take part in the fit."""
        return self.model.regions["face"] & (self.weights > 0)


@lru_cache(maxsize=2)  # a batch fits one model to many scans
def arrays_of(model: MorphableModel, options: FittingOptions) -> ModelArrays:
    """At most so many modes of the model, and its vertices' weights, as the options have them."""
    n_identity, n_expression = min(options.identity_modes, model.n_identity), min(options.expression_modes, model.n_expression)
    basis = np.concatenate([model.identity_basis[:n_identity], model.expression_basis[:n_expression]])
    basis = np.ascontiguousarray(basis.transpose(1, 2, 0), dtype=np.float32)
    mean = TriangleMesh(model.mean, model.triangles)
    excluded = mean.boundary_vertices | model.regions["mouth_interior"] | model.regions["eyes"]
    excluded |= model.regions.get("cavities", False)
    weights = _shown(model, options) * ~excluded
    first, bent = weights * _without_hair(model), shape_operators(mean, _MOST_BENT)
    return ModelArrays(model, n_identity, n_expression, basis, weights, first, mean.vertex_areas, bent)


def _shown(model: MorphableModel, options: FittingOptions) -> np.ndarray:
    """(n,) weights of vertices: less where something else than a person's face lies, or moves."""
    weights = np.where(model.regions["face"], 1.0, options.surround_weight)
    if "scalp" in model.regions:
        weights[model.regions["scalp"]] *= options.scalp_weight
    if "neck" in model.regions:
        weights[model.regions["neck"]] *= options.neck_weight
    return weights


def _without_hair(model: MorphableModel) -> np.ndarray:
    """(n,) in [0, 1]: how far hair that falls from the scalp leaves a vertex to be seen, 1 where the model names no scalp."""
    if "scalp" not in model.regions:
        return np.ones(model.n_vertices)
    away = cKDTree(model.mean[model.regions["scalp"]]).query(model.mean)[0]
    return np.clip(away / _FRINGE_MM, _LEAST, 1)
