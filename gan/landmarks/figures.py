"""How well a landmark network does on views with known landmarks. Free of TensorFlow."""

from collections.abc import Mapping

import numpy as np

from gan.landmarks.network import LandmarkNet

INNER = slice(17, 68)  # of ibug68: the jaw line slides with the view
MEAN = "mean"  # over the kinds of views
MEDIAN_CHI2 = 1.3863  # of two dimensions: ln 4


def errors_of(network: LandmarkNet, views: list, batch: int = 16) -> list[dict]:
    """One dict a view: kind, sensor; error_mm and squared Mahalanobis distance, (l,) each, that count where `used` (l,), the
    visible inner landmarks; visible and the logit of it, (l,), that count where `counted` (l,)."""
    found = []
    for start in range(0, len(views), batch):
        part = views[start : start + batch]
        prediction = network.predict_on_batch(np.stack([view for view, *_ in part]))
        answers = (prediction[name] for name in ("position", "factor", "visibility"))
        for position, factor, logit, (_, target, kind, sensor) in zip(*answers, part):
            dx, dy = (position - target[:, :2]).T
            squared = (factor[:, 0] * dx + factor[:, 1] * dy) ** 2 + (factor[:, 2] * dy) ** 2
            used = (target[:, 2] > 0.5) & (target[:, 3] > 0)
            used[: INNER.start] = False
            found.append(
                {
                    "kind": kind,
                    "sensor": sensor,
                    "error_mm": np.hypot(dx, dy),
                    "squared": squared,
                    "used": used,
                    "visible": target[:, 2] > 0.5,
                    "counted": target[:, 3] > 0,
                    "logit": logit,
                }
            )
    return found


def figures_of(errors: list[dict]) -> dict[str, dict[str, float]]:
    """By kind of view and by sensor: the visible inner landmarks' mean error in the picture's plane, in mm, and shares within
    2 and 4 mm; and the mean of the kinds."""
    found = {}
    for group in ("kind", "sensor"):
        for name in sorted({item[group] for item in errors}):
            values = np.concatenate([item["error_mm"][item["used"]] for item in errors if item[group] == name])
            if len(values):
                found[name] = {
                    "mean_mm": float(values.mean()),
                    "within_2": float((values < 2).mean()),
                    "within_4": float((values < 4).mean()),
                }
    kinds = [found[name] for name in sorted({item["kind"] for item in errors}) if name in found]
    return {MEAN: {key: float(np.mean([row[key] for row in kinds])) for key in kinds[0]}, **found}


def visibility_figures(errors: list[dict]) -> dict[str, float]:
    """How well visibility is told: share of landmarks right at a probability of one half, and the same by views astray."""
    right = lambda items: float(
        np.mean(np.concatenate([((i["logit"] > 0) == i["visible"])[i["counted"]] for i in items] or [[np.nan]]))
    )
    astray = [item for item in errors if not item["visible"].any()]
    return {"right": right([item for item in errors if item["visible"].any()]), "right_astray": right(astray)}


def sigma_scale(errors: list[dict]) -> float:
    """What the predicted σ must be multiplied by so that half of the errors lie within the covariance's median ellipse."""
    squared = np.concatenate([item["squared"][item["used"]] for item in errors])
    return float(np.sqrt(np.median(squared) / MEDIAN_CHI2))


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each kind of views and each sensor."""
    lines = [f"{'views':<16}{'mean mm':>9}{'< 2 mm':>9}{'< 4 mm':>9}"]
    return "\n".join(
        lines
        + [
            f"{name:<16}{row['mean_mm']:>9.3f}{100 * row['within_2']:>8.1f}%{100 * row['within_4']:>8.1f}%"
            for name, row in figures.items()
        ]
    )
