"""The probability that a fit is right: logistic regressions on the evidence, fitted on simulated scans.

A fit is right where the seen face lies within 1.5 mm of the truth on average, and no landmark of the lips more than 8 mm off. The
two fail for different reasons, so that

    P(right) = P(face) · P(mouth | face),    P = 1 / (1 + exp(−b − Σ_k w_k z_k)),    z_k = (x_k − c_k) / s_k,

with x_k a term of the evidence. z_k is cut where it speaks for a fit by more than `BEST` or against it by more than `WORST`,
and 0 where there is nothing to measure. The mouth has two regressions: with landmarks, and of the surface alone where none were
found or asked for. Each weight w_k has the sign that its term says: no figure can make a fit likelier by being worse.
`benchmarks/acceptance.py --calibrate` fits b, c, s and w and writes them to geometry/data/acceptance.json, which says what they
were made of.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from geometry.recognition.evidence import Evidence

FACE_MM, LIPS_MM = 1.5, 8.0  # what "right" means
BEST, WORST = 2.0, 10.0  # standard deviations beyond which a term says no more: there are hardly any calibration scans there


@dataclass(frozen=True)
class Term:
    """value: of the evidence, NaN where there is nothing to measure; sign: of its weight, ±1."""

    value: Callable[[Evidence], float]
    sign: int

    def standardised(self, evidence: Evidence, centre: float, scale: float) -> float:
        """z of the module's formula."""
        value = self.value(evidence)
        return 0.0 if np.isnan(value) else self.sign * float(np.clip(self.sign * (value - centre) / scale, -WORST, BEST))


def _log(name: str, least: float) -> Callable[[Evidence], float]:
    return lambda evidence: float(np.log(getattr(evidence, name) + least))


def _own(name: str) -> Callable[[Evidence], float]:
    return lambda evidence: float(getattr(evidence, name))


def _excess(evidence: Evidence) -> float:
    """What a fit leaves beyond what noise leaves, in mm: the mean of |x| is 0.8 σ for a Gaussian x. Not its logarithm, which
    would take 4 mm for little worse than 1: fits that bad are rare among those that the weights are made of."""
    return float(max(evidence.residual_mm - 0.8 * evidence.noise_mm, 0.0))


FACE_TERMS: Mapping[str, Term] = {
    "excess_mm": Term(_excess, -1),
    "noise_mm": Term(_log("noise_mm", 0.1), -1),
    "relief": Term(_own("relief"), 1),
    "unmarked": Term(lambda evidence: float(not evidence.has_landmarks), -1),
}
MOUTH_TERMS: Mapping[str, Term] = {
    "lower_lip_seen": Term(_own("lower_lip_seen"), 1),
    "lower_lip_mm": Term(_log("lower_lip_mm", 1.0), -1),
    "chin_sigma": Term(_log("chin_sigma", 0.5), -1),
    "in_front_below": Term(_log("in_front_below", 0.01), -1),
    "identity_sigma": Term(_log("identity_sigma", 0.5), -1),
    "residual_mm": Term(_log("residual_mm", 0.1), -1),
    "stated_lower_lip_mm": Term(_log("stated_lower_lip_mm", 0.3), -1),
}
UNMARKED_MOUTH_TERMS: Mapping[str, Term] = {
    "in_front_below": Term(_log("in_front_below", 0.01), -1),
    "front_below_mm": Term(_log("front_below_mm", 0.05), -1),
    "away_below_p90_mm": Term(_log("away_below_p90_mm", 0.3), -1),
    "looked_at_below": Term(_own("looked_at_below"), 1),
    "stated_lower_lip_mm": Term(_log("stated_lower_lip_mm", 0.3), -1),
    "residual_mm": Term(_log("residual_mm", 0.1), -1),
}
TERMS: Mapping[str, Mapping[str, Term]] = {"face": FACE_TERMS, "mouth": MOUTH_TERMS, "unmarked_mouth": UNMARKED_MOUTH_TERMS}


@dataclass(frozen=True)
class Regression:
    """kinds: its terms; bias; by the name of a term its centre, scale and weight."""

    kinds: Mapping[str, Term]
    bias: float
    terms: Mapping[str, tuple[float, float, float]]

    def probability(self, evidence: Evidence) -> float:
        total = self.bias
        for name, (centre, scale, weight) in self.terms.items():
            total += weight * self.kinds[name].standardised(evidence, centre, scale)
        return float(1.0 / (1.0 + np.exp(-total)))


def probability_right(evidence: Evidence, regressions: Mapping[str, Regression] | None = None) -> float:
    """In [0, 1]. regressions: by the names of `TERMS`; the shipped ones where none are given."""
    of = regressions or shipped_regressions()
    mouth = "mouth" if evidence.has_landmarks else "unmarked_mouth"
    return of["face"].probability(evidence) * of[mouth].probability(evidence)


@cache
def shipped_regressions() -> Mapping[str, Regression]:
    """By the names of `TERMS`."""
    values = json.loads((resources.files("geometry") / "data" / "acceptance.json").read_text(encoding="utf-8"))
    numbers = lambda term: (term["centre"], term["scale"], term["weight"])
    return {
        name: Regression(kinds, values[name]["bias"], {key: numbers(term) for key, term in values[name]["terms"].items()})
        for name, kinds in TERMS.items()
    }
