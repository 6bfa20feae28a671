"""How sure a fit is: the covariance of pose, coefficients and discrepancy at its end, and a σ for every vertex.

Near its minimum the energy of the fit is a quadratic form, whose inverse is the covariance of a Gaussian posterior (Laplace's
method; MacKay 2003, chapter 27). It takes the pairs of points and vertices as given, which a fit chooses itself, and a real face
for one that model and discrepancy describe. The data therefore count for less than the energy has it, by `TEMPER`, and the
priors for as much (a power likelihood: Grünwald & van Ommen, Bayesian Analysis 12, 2017): a coefficient that the data hardly
tell is as sure as its prior, and no less. The standard deviations of the surface are `OF_SURFACE` times what those give.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor
from scipy.linalg.blas import dtrmm, strmm
from scipy.linalg.lapack import dpotri

from geometry.errors import FitError

OF_SURFACE = 1.15  # of the surface's standard deviations: faces differ in more ways than model and discrepancy know
FINE_MM = 0.05  # standard deviation of what is finer than the coarse surface shows: pores, wrinkles
BIAS = 0.3  # standard deviation of a sensor's bias, in parts of its noise: time of flight measures skin too far
RANK = 20  # of the factor by which correlations are told


@dataclass(frozen=True)
class Temper:
    """How many times as large as the energy takes them for the standard deviations are: noise: of the scan, and of landmarks;
    unshown: of what neither model nor discrepancy shows."""

    noise: float
    unshown: float


NO_TEMPER = Temper(1.0, 1.0)
# Measured, as `OF_SURFACE`, on 313 scans of the validation split (benchmarks/fit_calibration.py): 68 % of errors, of coefficients
# and of surface alike, of meshes and of depth cameras alike, are then within σ to 15 %
TEMPER = Temper(1.7, 1.25)


@dataclass(frozen=True, eq=False)
class FitPosterior:
    """Of a fit with the parameters (turn about each axis in radians, shift in mm, [logarithm of the scale], K identity and E
    expression coefficients), the motion taking the fitted pose to the true one in the model frame.

    covariance (p, p), p = 6 or 7 + K + E; n_pose 6 or 7; n_identity K. sigma_mm (n,): of each vertex of the coarse surface, its
    error along the normal, with what no coefficient tells."""

    covariance: np.ndarray
    n_pose: int
    n_identity: int
    sigma_mm: np.ndarray

    @property
    def sigma(self) -> np.ndarray:
        """(p,) standard deviations."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def identity_sigma(self) -> np.ndarray:
        """(K,) of the identity coefficients."""
        return self.sigma[self.n_pose : self.n_pose + self.n_identity]

    @property
    def expression_sigma(self) -> np.ndarray:
        """(E,) of the expression coefficients."""
        return self.sigma[self.n_pose + self.n_identity :]

    def low_rank(self, rank: int = RANK) -> tuple[np.ndarray, np.ndarray]:
        """diagonal (p,) and factor (p, rank) with covariance ≈ diag(diagonal) + factor factorᵀ, exact on the diagonal: the
        leading eigenvectors of the correlation matrix, as far as their eigenvalues exceed 1."""
        sigma = self.sigma
        values, vectors = np.linalg.eigh(self.covariance / np.outer(sigma, sigma))
        leading = np.argsort(-values)[:rank]
        factor = vectors[:, leading] * np.sqrt(np.maximum(values[leading] - 1, 0))
        factor /= np.sqrt(np.maximum((factor**2).sum(axis=1, keepdims=True), 1))  # nothing is more than wholly explained
        return sigma**2 * (1 - (factor**2).sum(axis=1)), sigma[:, None] * factor


def inverse(precision: np.ndarray) -> np.ndarray:
    """(p, p) → (p, p). Raises FitError where it is not positive definite."""
    scale = 1 / np.sqrt(np.maximum(np.diag(precision), 1e-12))
    try:
        root, _ = cho_factor(scale[:, None] * precision * scale + 1e-9 * np.eye(len(scale)))
    except (np.linalg.LinAlgError, ValueError) as error:
        raise FitError(f"the posterior has no covariance ({error}); too little of the face is visible") from error
    upper = np.triu(dpotri(root)[0])  # in a third of the time of solving for every column
    return scale[:, None] * (upper + np.triu(upper, 1).T) * scale


def spread_along(jacobian: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The standard deviations (n,) of J δ, J (n, p), for δ of the covariance (p, p) = L Lᵀ: the lengths of J L's rows, whose
    product with a triangle is half as long as one with the whole covariance."""
    try:
        root = np.linalg.cholesky(covariance).astype(jacobian.dtype)
    except np.linalg.LinAlgError:  # by its last bits: what is sure to them has no spread
        return np.sqrt(np.maximum(np.einsum("np,np->n", jacobian @ covariance.astype(jacobian.dtype), jacobian), 0.0))
    turned = (strmm if jacobian.dtype == np.float32 else dtrmm)(1.0, root.T, jacobian.T)
    return np.sqrt(np.einsum("pn,pn->n", turned, turned))
