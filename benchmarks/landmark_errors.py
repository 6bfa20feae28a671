"""What `landmarks.py` makes of the errors of fitted scans: whether their spreads are true, and
geometry/data/landmark_calibration.json (`--calibrate`)."""

from dataclasses import replace

import numpy as np

from geometry.landmarks.calibration import mesh_covariance, shipped_calibration
from geometry.landmarks.estimate import CLOSE_MM, LandmarkEstimate
from geometry.landmarks.fusion import fused
from geometry.landmarks.heatmaps import probability_within
from geometry.model.landmark_embedding import shipped_schemes

INNER = np.arange(17, 68)
NOISE_WEIGHT = 0.5
MEDIAN_CHI2 = 2.366  # of three dimensions


def calibrate(rows: list[dict]) -> dict:
    """What stands in geometry/data/landmark_calibration.json, from fitted scans; see `geometry.landmarks.calibration`. A landmark
    and its mirror image are measured together, and medians speak for variances, so that a few gross errors do not."""
    usable = [row for row in rows if not row["reason"] and {"heatmaps", "registered"} <= set(row["result"].estimates)]
    before = np.array(shipped_calibration().heatmap_variance)
    pairs = {name: [row["result"].estimates[name] for row in usable] for name in ("heatmaps", "registered")}
    error = {name: np.array([e.points - row["made"].landmarks for e, row in zip(found, usable)]) for name, found in pairs.items()}
    seen = {name: np.array([e.seen for e in found]) for name, found in pairs.items()}
    squared = {name: (values**2).sum(2) / MEDIAN_CHI2 for name, values in error.items()}
    predicted = np.array([np.trace(e.covariance, axis1=1, axis2=2) / 3 for e in pairs["heatmaps"]]) / before
    mesh = lambda wanted: np.sqrt(_by_landmark(np.median, squared["registered"], seen["registered"] == wanted))
    both = seen["heatmaps"] & seen["registered"]
    ratio = _by_landmark(np.median, squared["heatmaps"] / predicted, both)
    inlying = both & (squared["heatmaps"] < 9) & (squared["registered"] < 9)
    mean = lambda values: _by_landmark(np.mean, values, inlying)
    shared = mean((error["heatmaps"] * error["registered"]).sum(2) / MEDIAN_CHI2)
    correlation = shared / np.sqrt(mean(squared["heatmaps"]) * mean(squared["registered"]))
    found = {
        "seen_mm": mesh(True),
        "unseen_mm": mesh(False),
        "heatmap_variance": ratio,
        "correlation": np.clip(correlation, 0, 0.9),
    }
    found = {name: [round(float(value), 3) for value in values] for name, values in found.items()}
    excess, gross = _fused_excess(usable, found, before)
    return found | {"noise_weight": NOISE_WEIGHT, "fused_variance": round(excess, 3), "gross_share": round(gross, 3)}


def _by_landmark(statistic, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(s, 68) values of scans, where chosen (s, 68) → (68,): a landmark's with its mirror image's, or all landmarks' where these
    are fewer than eight."""
    swap = np.array(shipped_schemes()["ibug68"].mirror)
    pooled = statistic(values[chosen])
    found = [np.concatenate([values[chosen[:, k], k], values[chosen[:, swap[k]], swap[k]]]) for k in range(68)]
    return np.array([statistic(part) if len(part) >= 8 else pooled for part in found])


def _fused_excess(rows: list[dict], found: dict, before: np.ndarray) -> tuple[float, float]:
    """Of the fused inner landmarks: the median squared Mahalanobis distance of their errors over what it should be (1 is
    calibrated), and by how much fewer of them than their covariances say lie within 4 mm."""
    squared, within, expected = [], [], []
    measured = replace(shipped_calibration(), **found, noise_weight=NOISE_WEIGHT)
    factor = (np.array(measured.heatmap_variance) / before)[:, None, None]
    for row in rows:
        heatmaps, mesh = (row["result"].estimates[name] for name in ("heatmaps", "registered"))
        mesh = replace(mesh, covariance=mesh_covariance(mesh.seen, row["result"].walk.state.fit.noise_mm, measured))
        points = np.where(heatmaps.seen[:, None], heatmaps.points, np.nan)
        known = replace(heatmaps, points=points, covariance=heatmaps.covariance * factor)
        both = fused(mesh, known, np.array(measured.correlation))
        seen = INNER[heatmaps.seen[INNER]]
        squared.append(_mahalanobis_squared(both, row["made"].landmarks)[seen])
        within.append(np.linalg.norm((both.points - row["made"].landmarks)[seen], axis=1) < CLOSE_MM)
        expected.append(probability_within(both.covariance)[seen])
    gross = 1 - np.concatenate(within).mean() / np.concatenate(expected).mean()
    return float(np.median(np.concatenate(squared)) / MEDIAN_CHI2), float(np.clip(gross, 0, 0.2))


def _mahalanobis_squared(estimate: LandmarkEstimate, truth: np.ndarray) -> np.ndarray:
    """truth (l, 3) → (l,), of the errors by their covariances."""
    error = estimate.points - truth
    return np.einsum("li,lij,lj->l", error, np.linalg.inv(estimate.covariance), error)


def calibration_table(rows: list[dict]) -> list[str]:
    """Whether covariance and confidence mean what they say."""
    lines = [
        f"{'calibration':14s}{'points':>8s}{'median d²/2.37':>16s}"
        + "".join(f"{f'conf {low:.1f}-{low + 0.2:.1f}':>22s}" for low in (0, 0.2, 0.4, 0.6, 0.8))
    ]
    for name in ("heatmaps", "registered", "fused"):
        found = [(row["result"].estimates[name], row["made"].landmarks) for row in rows if name in row["result"].estimates]
        squared = np.concatenate([_mahalanobis_squared(e, truth)[INNER][e.seen[INNER]] for e, truth in found])
        confidence = np.concatenate([e.confidence[INNER] for e, _ in found])
        close = np.concatenate([np.linalg.norm((e.points - truth)[INNER], axis=1) < CLOSE_MM for e, truth in found])
        line = f"{name:14s}{len(close):8d}{np.median(squared) / MEDIAN_CHI2:16.2f}"
        for low in (0, 0.2, 0.4, 0.6, 0.8):
            chosen = (confidence >= low) & (confidence <= low + 0.2 + 1e-9)
            line += f"{f'{100 * close[chosen].mean():.0f} % of {chosen.sum()}' if chosen.any() else '–':>22s}"
        lines.append(line)
    return lines
