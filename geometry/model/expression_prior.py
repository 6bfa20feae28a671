"""What is known of a face's expression before anything of it is seen: the mean and the covariance of the coefficients.

Of a model whose expressions are blendshapes (its `expression_range` is their bounds): a weight is small as a rule, the jaw's
varies most, and left and right go together. Of another model the coefficients are N(0, 1). The fit and the landmarks' prior
share it.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from geometry.model.morphable_model import MorphableModel

# The moments of expressions sampled with strengths up to 1.2 and jaws opened in three of ten (geometry.synthesis.faces)
MEAN, SIGMA = 0.04, 0.12  # of a blendshape's weight, in parts of its range
JAW, JAW_MEAN, JAW_SIGMA = "jawOpen", 0.12, 0.3
SIDES = 0.9  # correlation of the weights of a left and a right blendshape
# Of Student's t in the fit: its scale in parts of the standard deviations, and its degrees of freedom; chosen on simulated
# validation faces (docs/experiments/correspondence.md)
CORE, TAIL = 0.5, 2.0
BEYOND = 0.1  # a weight may lie so much above the range, in parts of it, which linearity allows; not below


@dataclass(frozen=True, eq=False)
class ExpressionPrior:
    """mean (E,), covariance (E, E) and its inverse, precision (E, E); low (E,) and high (E,) bounds; sparse: most coefficients
    are about their mean and few far from it, as blendshapes' weights are."""

    mean: np.ndarray
    covariance: np.ndarray
    precision: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sparse: bool = False

    def precision_at(self, off: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """(c, c) precision P of the Gaussian that pulls the coefficients `chosen` (c,), which lie `off` (c,) = x from their mean,
        as the prior of the fit does there: P x is the gradient of its energy.

        Where they are sparse, that is a multivariate Student t of each group of d correlated coefficients, with the energy
        (ν + d) / 2 log(1 + xᵀ Σ⁻¹ x / ν), of which (ν + d) / (ν + xᵀ Σ⁻¹ x) Σ⁻¹ is the majorizing Gaussian's precision
        (iteratively reweighted least squares; Lange, Little & Taylor, Journal of the American Statistical Association 84, 1989):
        a strong expression is held back little, and a coefficient that only noise asks for more than by the Gaussian."""
        covariance = self.covariance[np.ix_(chosen, chosen)]
        if not self.sparse:
            return np.linalg.inv(covariance)
        precision, together = np.linalg.inv(CORE**2 * covariance), covariance != 0
        far = together @ (off * (precision @ off))  # xᵀ Σ⁻¹ x of each one's group
        return precision * ((TAIL + together.sum(axis=1)) / (TAIL + far))[:, None]


@cache
def expression_prior(model: MorphableModel) -> ExpressionPrior:
    """Of all E expression modes of a model."""
    count = model.n_expression
    if model.expression_range is None:
        return ExpressionPrior(np.zeros(count), np.eye(count), np.eye(count), np.full(count, -4.0), np.full(count, 4.0))
    low, high = model.expression_range
    names = np.array(model.expression_names or [str(number) for number in range(count)])
    stems = np.array([name.removesuffix("_L").removesuffix("_R") for name in names])
    mean, sigma = np.where(names == JAW, JAW_MEAN, MEAN), np.where(names == JAW, JAW_SIGMA, SIGMA)
    together = np.where(stems[:, None] == stems, SIDES, 0.0)
    np.fill_diagonal(together, 1.0)
    covariance = (high - low) ** 2 * sigma[:, None] * together * sigma
    return ExpressionPrior(
        low + (high - low) * mean,
        covariance,
        np.linalg.inv(covariance),
        np.full(count, low),
        np.full(count, high + BEYOND * (high - low)),
        sparse=True,
    )
