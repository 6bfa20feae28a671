"""What benchmarks/acceptance.py does with its rows: the logistic regressions, and the tables.

A row is one fit: the figures of its `Evidence` by name, what is true of it (`face_mm`, `lips_mm`), of what scan (`number`,
`kind`, `sensor`, `jaw`), how it was started (`start`) and why it was refused without a probability (`reason`, "" if not).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from scipy.optimize import minimize

from geometry.recognition.evidence import Evidence
from geometry.recognition.rightness import FACE_MM, LIPS_MM, TERMS, Regression, Term, probability_right

Row = dict[str, Any]
RUN, UNMARKED, NUDGED = "run", "unmarked", "nudged"  # starts of fits: as a run does, without landmarks, and badly
RIDGE = 1.0  # of the weights: a Gaussian prior of standard deviation 1 on what one standard deviation of a term is worth
FOLDS = 10
LEAST_SCALE = 1e-3
FAR_MM, FAR_LIPS_MM = 3.0, 16.0  # a fit beyond either is far off


def evidence(row: Row) -> Evidence:
    """A fit that was made without landmarks is judged without."""
    hidden = lambda name: row["start"] == UNMARKED and is_of_landmarks(name)
    return Evidence(**{name: np.nan if hidden(name) else float(row[name]) for name in (field.name for field in fields(Evidence))})


def is_of_landmarks(name: str) -> bool:
    """Whether a figure of the evidence is measured on landmarks."""
    return name.startswith(("landmark", "mouth_", "lower_lip_", "chin_"))


def face_right(row: Row) -> bool:
    return float(row["face_mm"]) <= FACE_MM


def lips_right(row: Row) -> bool:
    return float(row["lips_mm"]) <= LIPS_MM


def right(row: Row) -> bool:
    return face_right(row) and lips_right(row)


def far_off(row: Row) -> bool:
    return not (float(row["face_mm"]) <= FAR_MM and float(row["lips_mm"]) <= FAR_LIPS_MM)


def regressions(rows: Sequence[Row]) -> dict[str, Regression]:
    """By the names of `TERMS`: of the face, on all fits; of the mouth, on those whose face is right, as a run would do them and
    started badly, with landmarks; of the mouth without landmarks, on fits that had none."""
    faces = [row for row in rows if face_right(row)]
    marked = [row | {"start": row["start"] + " "} if row["start"] == UNMARKED else row for row in faces]
    unmarked = [row for row in faces if row["start"] == UNMARKED]
    return {
        "face": fitted(rows, face_right, TERMS["face"], RUN),
        "mouth": fitted(marked, lips_right, TERMS["mouth"], RUN),
        "unmarked_mouth": fitted(unmarked, lips_right, TERMS["unmarked_mouth"], UNMARKED),
    }


def fitted(rows: Sequence[Row], outcome: Callable[[Row], bool], terms: Mapping[str, Term], usual: str) -> Regression:
    """The weights most likely under the rows and the ridge, each of its term's sign. Fits of other starts than the `usual` have a
    bias of their own, by start, which is dropped: they say what a figure is worth, and not how often a run's fit is right. Not
    so those without landmarks where a term tells of them."""
    found = [evidence(row) for row in rows]
    columns, layout = [], {}
    for name, term in terms.items():
        values = np.array([term.value(each) for each in found])
        known = values[np.isfinite(values)]
        layout[name] = float(np.median(known)), max(float(known.std()), LEAST_SCALE)
        columns.append([term.standardised(each, *layout[name]) for each in found])
    own = {usual} | ({UNMARKED} if UNMARKED in terms else set())  # a term tells of these fits already
    starts = sorted({str(row["start"]) for row in rows} - own)
    ones = [[1.0] * len(rows), *([float(row["start"] == start) for row in rows] for start in starts)]
    design, outcomes = np.array(columns + ones).T, np.array([outcome(row) for row in rows])
    ridge = np.array([RIDGE] * len(terms) + [1e-3] + [1e-2] * len(starts))
    bounds = [(0, None) if term.sign > 0 else (None, 0) for term in terms.values()] + [(None, None)] * len(ones)
    weights = most_likely(design, outcomes, ridge, bounds)
    return Regression(terms, float(weights[len(terms)]), {name: (*layout[name], float(w)) for name, w in zip(terms, weights)})


def most_likely(
    design: np.ndarray, outcomes: np.ndarray, ridge: np.ndarray, bounds: list, weight: np.ndarray | float = 1.0
) -> np.ndarray:
    """The minimum of −log likelihood + ½ Σ ridge w² within bounds; weight (n,): of the rows in the likelihood."""

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.where(outcomes, 1, -1) * (design @ weights)
        pull = -weight * np.where(outcomes, 1, -1) / (1 + np.exp(logits))
        return (weight * np.logaddexp(0, -logits)).sum() + 0.5 * (ridge * weights**2).sum(), design.T @ pull + ridge * weights

    return minimize(loss, np.zeros(design.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x


def probabilities(rows: Sequence[Row], parts: Mapping[str, Regression] | None = None) -> np.ndarray:
    """(n,) P(right), by the shipped regressions where none are given."""
    return np.array([probability_right(evidence(row), parts) for row in rows])


def cross_validated(rows: Sequence[Row]) -> np.ndarray:
    """(n,) P(right) of each row by regressions on the other folds; all fits of one scan are in one fold."""
    fold, found = np.array([int(row["number"]) % FOLDS for row in rows]), np.zeros(len(rows))
    for number in range(FOLDS):
        parts = regressions([row for row, other in zip(rows, fold != number) if other])
        found[fold == number] = probabilities([row for row, own in zip(rows, fold == number) if own], parts)
    return found


def as_json(parts: Mapping[str, Regression], made: Mapping[str, object]) -> dict:
    """The content of geometry/data/acceptance.json."""

    def told(part: Regression) -> dict:
        terms = {name: dict(zip(("centre", "scale", "weight"), np.round(term, 4).tolist())) for name, term in part.terms.items()}
        return {"bias": round(part.bias, 4), "terms": terms}

    return {"made": dict(made)} | {name: told(part) for name, part in parts.items()}


def calibration_table(rows: Sequence[Row], found: np.ndarray) -> list[str]:
    """Of fits called so likely, how many are right; every row has passed the bounds of a face."""
    is_right = np.array([right(row) for row in rows])
    lines = [f"{'called right with':24s}{'fits':>7s}{'mean p':>9s}{'right':>9s}{'± s.e.':>8s}"]
    edges = [(low / 10, low / 10 + 0.1) for low in range(10)]
    for low, high in [*edges, (0.85, 0.95), (0.0, 1.0)]:
        chosen = (found >= low) & (found < high + 1e-9 * (high >= 1))
        label = f"{low:.2f} to {high:.2f}"
        if chosen.any():
            share = is_right[chosen].mean()
            error = np.sqrt(max(share * (1 - share), 0.25 / chosen.sum()) / chosen.sum())
            lines.append(f"{label:24s}{chosen.sum():7d}{found[chosen].mean():9.3f}{share:9.3f}{error:8.3f}")
        else:
            lines.append(f"{label:24s}{0:7d}")
    score = ((found - is_right) ** 2).mean()
    return [*lines, f"Brier score {score:.4f}, of the mean alone {is_right.mean() * (1 - is_right.mean()):.4f}"]


def jaw_class(row: Row) -> str:
    """Of 0 to 0.1, 0.3, 0.6 and 1."""
    edges = (0.0, 0.1, 0.3, 0.6, 1.0)
    place = int(np.searchsorted(edges[1:-1], float(row["jaw"]), side="right"))
    return f"jaw {edges[place]:g} to {edges[place + 1]:g}"


def acceptance_table(rows: Sequence[Row], accepted: np.ndarray) -> list[str]:
    """Shares accepted of right, wrong and far-off fits, by class of scan."""
    heads = (("right", 7), ("accepted", 10), ("wrong", 7), ("accepted", 10), ("far off", 9), ("accepted", 10))
    lines = [f"{'accepted':24s}{'fits':>7s}" + "".join(f"{head:>{width}s}" for head, width in heads)]
    groups: dict[str, list[bool]] = {"all": [True] * len(rows)}
    for label in (jaw_class, lambda row: f"kind {row['kind']}", lambda row: str(row["sensor"])):
        names = [label(row) for row in rows]
        groups |= {name: [other == name for other in names] for name in sorted(set(names))}
    is_right, is_far = np.array([right(row) for row in rows]), np.array([far_off(row) for row in rows])
    for name, members in groups.items():
        cells = f"{name:24s}{sum(members):7d}"
        for what, width in ((is_right, 7), (~is_right, 7), (is_far, 9)):
            chosen = what & np.array(members)
            cells += f"{chosen.sum():{width}d}" + (f"{100 * accepted[chosen].mean():8.1f} %" if chosen.any() else f"{'–':>10s}")
        lines.append(cells)
    return lines


def threshold_table(rows: Sequence[Row], found: np.ndarray) -> list[str]:
    """What other thresholds of the probability would accept; `found` is 0 where the bounds of a face refuse."""
    is_right, is_far = np.array([right(row) for row in rows]), np.array([far_off(row) for row in rows])
    share = lambda chosen, least: f"{100 * (found[chosen] >= least).mean():10.1f} %" if chosen.any() else f"{'–':>12s}"
    lines = [f"{'accepted from':24s}{'of right':>12s}{'of wrong':>12s}{'of far off':>12s}"]
    for least in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        lines.append(f"{least:<24.2f}" + share(is_right, least) + share(~is_right, least) + share(is_far, least))
    return lines
