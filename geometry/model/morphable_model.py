"""The linear 3D morphable model S = S̄ + U_d α_d + U_e α_e (Blanz & Vetter 1999; Ferrari et al. 2017)."""

from dataclasses import dataclass, field

import numpy as np

from geometry.mesh import TriangleMesh
from geometry.model.texture_layout import TextureLayout

MARK_UP = 2  # of ibug68. 1: the marks of the ICT Face Model; 2: geometry/template/marking.py


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """n vertices, K identity and E expression modes; mm, model frame (origin at the mean's nose tip).

    Compared and hashed by identity: what is derived from a model is kept by `functools.lru_cache`, with the model as key.

    mean (n, 3); triangles (m, 3) int32.
    identity_basis (K, n, 3) float32: displacement in mm per standard deviation.
    expression_basis (E, n, 3) float32: displacement in mm per standard deviation, or per unit of a
        blendshape weight where `expression_range` is (0, 1).
    landmarks: scheme name → (l,) vertex indices ("ibug68" always present).
    regions: name → (n,) bool. Always: "face" (what a fit may trust), "eyes" (the lids' inner edge and what is between them),
        "mouth_interior"; where the model has linings of mouth and nostrils, or eyeballs, "cavities".
    curves: name → (k,) vertex indices in order; may be empty.
    mirror_vertex (n,): the vertex that is each one's mirror image, or None where the file does not say.
    texture: the layout of a texture, or None.
    mark_up: the number of the mark-up that `landmarks["ibug68"]` follows.
    earlier_mark_ups: number of an earlier ibug68 mark-up (`geometry.landmarks.mark_up`) → (68, 3) its points on the mean, mm.
    expression_range: (low, high) bounds of expression coefficients, or None where they are N(0, 1).
    """

    name: str
    mean: np.ndarray
    triangles: np.ndarray
    identity_basis: np.ndarray
    expression_basis: np.ndarray
    landmarks: dict[str, np.ndarray]
    regions: dict[str, np.ndarray]
    expression_names: tuple[str, ...] = ()
    expression_range: tuple[float, float] | None = None
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    mirror_vertex: np.ndarray | None = None
    texture: TextureLayout | None = None
    mark_up: int = MARK_UP
    earlier_mark_ups: dict[int, np.ndarray] = field(default_factory=dict)
    sha256: str = ""
    notes: dict = field(default_factory=dict)

    @property
    def n_vertices(self) -> int:
        return len(self.mean)

    @property
    def n_identity(self) -> int:
        return len(self.identity_basis)

    @property
    def n_expression(self) -> int:
        return len(self.expression_basis)

    def instance(self, identity: np.ndarray | None = None, expression: np.ndarray | None = None) -> np.ndarray:
        """Coefficients (≤ K,) and (≤ E,), missing ones zero → vertices (n, 3) in mm, model frame."""
        shape = np.array(self.mean, np.float64)
        for basis, coefficients in ((self.identity_basis, identity), (self.expression_basis, expression)):
            if coefficients is not None and len(coefficients):
                shape += np.tensordot(np.asarray(coefficients, basis.dtype), basis[: len(coefficients)], axes=1)
        return shape

    def mesh(self, identity: np.ndarray | None = None, expression: np.ndarray | None = None) -> TriangleMesh:
        return TriangleMesh(self.instance(identity, expression), self.triangles)
