"""What a run measured, as tables: the metrics' definitions, their statistics, `metrics.json` and `metrics.csv`.

A manifest line may lack any metric (rejected and failed scans have none): a missing value stays empty, it is never a zero.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geometry.settings.printing import printable

STATUSES = ("failed", "rejected", "ok")  # worst first
STAGES = ("read", "clean", "locate", "fit", "rasterize", "refine", "lift", "landmarks", "measure", "write")


@dataclass(frozen=True)
class Metric:
    """key in the manifest, name for a reader, unit, decimals to show, better: "lower", "higher" or "" (neither), meaning."""

    key: str
    name: str
    unit: str
    decimals: int
    better: str
    meaning: str

    @property
    def short(self) -> str:
        """The name for a narrow column."""
        return self.name.replace("90th percentile", "90 %").replace("Scan \u2192 ", "").capitalize()


def _distance_metrics(surface: str, meaning: str) -> list[Metric]:
    names = {"mean": "mean", "median": "median", "p90": "90th percentile"}
    return [
        Metric(f"scan_to_{surface}_{key}_mm", f"Scan \u2192 {surface}, {name}", "mm", 3, "lower", f"The {name} of {meaning}.")
        for key, name in names.items()
    ]


METRICS = (
    Metric(
        "fit_quality",
        "Fit quality",
        "0\u20131",
        2,
        "higher",
        "The probability, calibrated on simulated scans, that the fit is right: the seen face within 1.5 mm on average, "
        "and no lip landmark more than 8 mm off. Low values call for a look at the picture.",
    ),
    *_distance_metrics("coarse", "the distances from the scan's points within 100 mm of the nose tip to the fitted model"),
    *_distance_metrics("refined", "the distances from the same points to the refined surface"),
    *_distance_metrics("registered", "the distances from the same points to the refined surface in the model's topology"),
    Metric(
        "normal_disagreement_deg",
        "Normal disagreement",
        "\u00b0",
        1,
        "lower",
        "Mean angle between the scan's surface normals and the refined surface's. The scan's own noise is part of it.",
    ),
    Metric(
        "noise_mm",
        "Scan noise",
        "mm",
        3,
        "lower",
        "Estimated standard deviation of the scan's depth noise: a property of the recording, not of the reconstruction.",
    ),
    Metric(
        "visible_area_mm2", "Visible face area", "mm\u00b2", 0, "higher", "Area of the model's face region that the scan shows."
    ),
    Metric(
        "observed_fraction",
        "Observed share",
        "0\u20131",
        2,
        "higher",
        "Share of the refined surface that the scan supports; the rest is filled in from the statistics of faces.",
    ),
    Metric(
        "scale_is_metric",
        "Metric scale",
        "",
        0,
        "higher",
        "1 where the scan's unit is known or a metric one was inferred; 0 where sizes are those of a head of average size.",
    ),
    Metric(
        "coefficients_at_bounds",
        "Coefficients at bounds",
        "",
        0,
        "lower",
        "Number of the fit's coefficients that are as large as they may be: the face may go beyond the model.",
    ),
    Metric(
        "confidence",
        "Locating confidence",
        "0\u20131",
        2,
        "higher",
        "How sure the search for the head was of the pose it returned.",
    ),
    Metric(
        "landmarks_seen",
        "Landmarks seen",
        "",
        0,
        "higher",
        "Number of landmarks at which the scan shows a surface; "
        "the others are inferred from the seen ones and the statistics of faces.",
    ),
    Metric("landmarks_inferred", "Landmarks inferred", "", 0, "lower", "Number of landmarks at which the scan shows nothing."),
    Metric(
        "landmark_confidence",
        "Landmark confidence",
        "0\u20131",
        2,
        "higher",
        "Mean over the landmarks of the estimated probability that one lies within 4 mm of the true place.",
    ),
    Metric(
        "landmark_sigma_mm",
        "Landmark sigma",
        "mm",
        2,
        "lower",
        "Mean over the landmarks of their estimated standard deviation per axis.",
    ),
    Metric(
        "landmark_to_given_mm",
        "Landmarks \u2192 given ones",
        "mm",
        2,
        "lower",
        "Mean distance to the landmarks that came with the scan, where it came with any. "
        "These also guide the fit, so that the figure is no independent test.",
    ),
)
BY_KEY = {metric.key: metric for metric in METRICS}


def number(value: object) -> float | None:
    """A finite float, or None for everything else: missing, null, NaN, text, a truth value."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        return None
    return float(value) if math.isfinite(value) else None


def metric_of(line: Mapping, key: str) -> float | None:
    return number((line.get("metrics") or {}).get(key))


def seconds_of(line: Mapping) -> dict[str, float]:
    """Stage → seconds of one manifest line, in the pipeline's order; stages this module does not know come last."""
    given = {stage: number(value) for stage, value in (line.get("seconds") or {}).items()}
    order = [stage for stage in STAGES if stage in given] + sorted(set(given) - set(STAGES))
    return {stage: given[stage] for stage in order if given[stage] is not None}


def total_seconds(line: Mapping) -> float | None:
    seconds = seconds_of(line)
    return sum(seconds.values()) if seconds else None


def error_of(line: Mapping) -> float | None:
    """The one figure that ranks an `ok` scan: scan to refined, else scan to coarse, mean in mm."""
    refined = metric_of(line, "scan_to_refined_mean_mm")
    return metric_of(line, "scan_to_coarse_mean_mm") if refined is None else refined


def counts(lines: Iterable[Mapping]) -> dict[str, int]:
    found = [line.get("status") for line in lines]
    return {"scans": len(found)} | {status: found.count(status) for status in reversed(STATUSES)}


def worst_first(lines: Iterable[Mapping]) -> list[Mapping]:
    """Failed, rejected, then ok by falling error (one without a figure first) and, in a run for landmarks alone, by rising
    confidence in them; ties by source."""

    def rank(line: Mapping) -> tuple:
        status = line.get("status")
        error = error_of(line)
        place = STATUSES.index(status) if status in STATUSES else -1
        confidence = metric_of(line, "landmark_confidence") if error is None else None
        return place, -math.inf if error is None else -error, confidence or 0.0, str(line.get("source", ""))

    return sorted(lines, key=rank)


def statistics(values: Sequence[float]) -> dict[str, float]:
    """count, mean, median, p90 and max; count alone where there are no values."""
    if not len(values):
        return {"count": 0}
    array = np.asarray(values, float)
    return {
        "count": len(array),
        "mean": float(array.mean()),
        "median": float(np.median(array)),
        "p90": float(np.percentile(array, 90)),
        "max": float(array.max()),
    }


def values_of(lines: Iterable[Mapping], key: str) -> list[float]:
    """The metric over the `ok` scans that have it, in the lines' order."""
    found = (metric_of(line, key) for line in lines if line.get("status") == "ok")
    return [value for value in found if value is not None]


def stage_statistics(lines: Sequence[Mapping]) -> dict[str, dict[str, float]]:
    """Stage → statistics of its seconds, with their sum as "total"; whatever the scans' status."""
    per_stage: dict[str, list[float]] = {}
    for line in lines:
        for stage, value in seconds_of(line).items():
            per_stage.setdefault(stage, []).append(value)
    order = [stage for stage in STAGES if stage in per_stage] + sorted(set(per_stage) - set(STAGES))
    return {stage: statistics(per_stage[stage]) | {"total": float(sum(per_stage[stage]))} for stage in order}


def metrics_document(lines: Sequence[Mapping]) -> dict:
    """The content of metrics.json: counts, statistics over the ok scans (each scan counts once), definitions, every scan."""
    lines = sorted(lines, key=lambda line: str(line.get("source", "")))
    return {
        "counts": counts(lines),
        "summary": {metric.key: statistics(values_of(lines, metric.key)) for metric in METRICS},
        "seconds": stage_statistics(lines),
        "definitions": {
            metric.key: {"name": metric.name, "unit": metric.unit, "better": metric.better, "meaning": metric.meaning}
            for metric in METRICS
        },
        "scans": [_scan_entry(line) for line in lines],
    }


def _scan_entry(line: Mapping) -> dict:
    entry = {key: line.get(key) for key in ("source", "scan_id", "status", "stage", "reason")}
    metrics = line.get("metrics") or {}
    notes = {"notes": list(line["notes"])} if line.get("notes") else {}
    return entry | notes | {"metrics": {key: number(metrics[key]) for key in sorted(metrics)}, "seconds": seconds_of(line)}


TEXT_COLUMNS = ("source", "scan_id", "status", "stage", "reason", "sha256")
CSV_COLUMNS = TEXT_COLUMNS + tuple(BY_KEY) + ("seconds",) + tuple(f"seconds_{stage}" for stage in STAGES)


def metrics_csv(lines: Sequence[Mapping]) -> str:
    """One row per scan, sorted by source; the columns are always `CSV_COLUMNS`, an unknown value is an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for line in sorted(lines, key=lambda line: str(line.get("source", ""))):
        seconds = seconds_of(line)
        figures = [metric_of(line, key) for key in BY_KEY] + [total_seconds(line)] + [seconds.get(stage) for stage in STAGES]
        text = [inert(line.get(key)) for key in TEXT_COLUMNS]
        writer.writerow(text + ["" if value is None else f"{value:.6g}" for value in figures])
    return buffer.getvalue()


def inert(text: str | None) -> str:
    """A file name such as `=cmd()` must not become a formula when a spreadsheet opens the table."""
    text = "" if text is None else str(text)
    return "'" + printable(text) if text[:1] in ("=", "+", "-", "@", "\t", "\r") else printable(text)
