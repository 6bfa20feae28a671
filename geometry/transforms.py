"""Similarity transforms x ↦ s R x + t."""

from dataclasses import dataclass

import numpy as np

MIRROR = np.array([-1.0, 1.0, 1.0])  # times points of the model frame: the mirror image, left and right exchanged


@dataclass(frozen=True)
class SimilarityTransform:
    """x ↦ scale · rotation @ x + translation. rotation (3, 3), det +1; translation (3,)."""

    rotation: np.ndarray
    translation: np.ndarray
    scale: float = 1.0

    @property
    def angle_deg(self) -> float:
        """The angle by which it turns, in degrees."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.rotation) - 1) / 2, -1, 1))))

    @classmethod
    def identity(cls) -> "SimilarityTransform":
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> "SimilarityTransform":
        """From a (4, 4) matrix. Raises ValueError where it is no similarity (a reflection, a shear)."""
        linear = np.asarray(matrix, float)[:3, :3]
        scale = np.cbrt(np.linalg.det(linear))
        if scale <= 0 or not np.allclose(linear @ linear.T, scale**2 * np.eye(3), atol=1e-6 * scale**2):
            raise ValueError(f"not a similarity transform: {np.array2string(np.asarray(matrix), precision=4)}")
        return cls(linear / scale, np.asarray(matrix, float)[:3, 3].copy(), float(scale))

    @classmethod
    def umeyama(
        cls, source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None, with_scale: bool = True
    ) -> "SimilarityTransform":
        """Least-squares source (n, 3) → target (n, 3), never a reflection (Umeyama 1991, eq. 34–42)."""
        w = np.ones(len(source)) if weights is None else np.asarray(weights, float)
        w = w / w.sum()
        source_mean, target_mean = w @ source, w @ target
        a, b = source - source_mean, target - target_mean
        u, d, vt = np.linalg.svd((b * w[:, None]).T @ a)
        sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
        rotation = (u * sign) @ vt
        scale = float((d * sign).sum() / (w @ (a**2).sum(1))) if with_scale else 1.0
        return cls(rotation, target_mean - scale * rotation @ source_mean, scale)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) → (n, 3)."""
        return self.scale * points @ self.rotation.T + self.translation

    def apply_to_directions(self, directions: np.ndarray) -> np.ndarray:
        """(n, 3) unit vectors → (n, 3) unit vectors."""
        return directions @ self.rotation.T

    def compose(self, first: "SimilarityTransform") -> "SimilarityTransform":
        """self ∘ first: apply `first`, then self."""
        return SimilarityTransform(
            self.rotation @ first.rotation,
            self.scale * self.rotation @ first.translation + self.translation,
            self.scale * first.scale,
        )

    def inverse(self) -> "SimilarityTransform":
        rotation = self.rotation.T
        return SimilarityTransform(rotation, -rotation @ self.translation / self.scale, 1.0 / self.scale)

    @property
    def matrix(self) -> np.ndarray:
        """(4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.scale * self.rotation, self.translation
        return matrix
