"""The report of a run: OUT/report/index.html, metrics.json, metrics.csv.

The page is one file without network access: style, script, plots and thumbnails are inside; full pictures and results
are linked by relative path. Everything in it follows from the manifest, run.json, the previews and the landmarks.json, so
that it can be written again at any time (`python -m pipeline.evaluate`). Timings apart, the same run gives the same bytes.
A run that found landmarks alone has a page too: it shows what there is.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import jinja2
from PIL import Image

from geometry.settings.printing import printable
from pipeline.reporting import metrics, plots
from pipeline.scans import landmark_figures
from pipeline.store import storage

THUMBNAIL_SIZE = (560, 157)  # the frontal row of a preview
# Beyond this many bytes of thumbnails the page links the pictures instead: browsers get slow, mail servers refuse.
THUMBNAIL_BUDGET = 24_000_000
TABLE_METRICS = (
    "scan_to_refined_mean_mm",
    "scan_to_refined_p90_mm",
    "scan_to_coarse_mean_mm",
    "noise_mm",
    "fit_quality",
    "visible_area_mm2",
    "observed_fraction",
)
LANDMARK_TABLE_METRICS = ("landmarks_seen", "landmark_confidence", "landmark_sigma_mm", "confidence")
PANELS = ("Scan", "Coarse", "Refined", "Scan to refined")  # of a picture, from left to right
LANDMARK_PANELS = ("Scan", "Landmarks", "Right side", "Left side")
# Figures of the summary at the top, over the ok scans.
HEADLINES = (
    ("Median scan: refined error", "scan_to_refined_mean_mm"),
    ("Median scan: coarse error", "scan_to_coarse_mean_mm"),
    ("Median scan: fit quality", "fit_quality"),
)
LANDMARK_HEADLINES = (
    ("Median scan: landmarks seen", "landmarks_seen"),
    ("Median scan: confidence", "landmark_confidence"),
    ("Median scan: sigma", "landmark_sigma_mm"),
)
FACTS = (
    ("input", "Input"),
    ("model", "Morphable model"),
    ("landmark_scheme", "Landmark scheme"),
    ("refiner", "Refiner"),
    ("weights", "Weights"),
    ("chart", "Chart"),
)
LANDMARK_WORDS = {
    "landmarks_seen": "{:.0f} landmarks seen",
    "landmarks_inferred": "{:.0f} inferred",
    "landmark_confidence": "confidence {:.2f}",
    "landmark_sigma_mm": "\u03c3 {:.1f} mm",
    "landmark_to_given_mm": "{:.1f} mm from the given ones",
}
FILE_LABELS = {
    "preview": "picture",
    "refined": "refined",
    "registered": "registered",
    "coarse": "coarse",
    "landmarks": "landmarks",
    "fit": "fit",
    "geometry_images": "geometry images",
}


def write_report(out: str, manifest: Sequence[Mapping], run: Mapping) -> None:
    """Writes the three files below `out` (a folder or a Beam filesystem URL), each atomically.

    manifest: the lines of manifest.jsonl; run: the content of run.json. Both may lack anything but `status` and `source`.
    """
    folder = storage.join(str(out), "report")
    storage.write_json(storage.join(folder, "metrics.json"), metrics.metrics_document(manifest))
    storage.write_text(storage.join(folder, "metrics.csv"), metrics.metrics_csv(manifest))
    text = page(manifest, run, Thumbnails(str(out)), landmark_points(str(out), manifest))
    storage.write_text(storage.join(folder, "index.html"), text)


def landmark_points(out: str, lines: Sequence[Mapping]) -> list[list[landmark_figures.Point]]:
    """From the landmarks.json of the ok scans below `out`, sorted by source; one that is missing or damaged is left out."""
    found = []
    for line in sorted(lines, key=lambda line: str(line.get("source", ""))):
        path = (line.get("files") or {}).get("landmarks")
        if line.get("status") != "ok" or not path:
            continue
        try:
            found.append(landmark_figures.points_of(json.loads(storage.read_bytes(storage.join(out, *path.split("/"))))))
        except (OSError, ValueError, TypeError, AttributeError):  # deleted or changed by hand since: the other scans still count
            continue
    return found


class Thumbnails:
    """Pictures for the page, read from the previews below `out`: embedded until the budget is spent, then linked."""

    def __init__(self, out: str, budget: int = THUMBNAIL_BUDGET):
        self.out, self.left = out, budget

    def source_of(self, line: Mapping) -> str | None:
        """The `src` of a scan's thumbnail; None where it has no readable preview."""
        path = (line.get("files") or {}).get("preview")
        if not path:
            return None
        if self.left <= 0:
            return relative_url(path)
        try:
            rejected = line.get("status") == "rejected"  # its panels are not those of the table's head
            data = thumbnail_bytes(storage.read_bytes(storage.join(self.out, *path.split("/"))), named=rejected)
        except OSError:  # deleted since, or no picture (Pillow's UnidentifiedImageError is an OSError): the figures still count
            return None
        self.left -= len(data)
        return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def thumbnail_bytes(png: bytes, named: bool = False) -> bytes:
    """A preview's PNG → a small JPEG of its four frontal panels, with their names or without. Raises OSError where it is no
    picture."""
    from pipeline.pictures.preview import front_row  # Open3D loads here, and only for runs that have pictures

    with Image.open(io.BytesIO(png)) as picture:
        row = front_row(picture.convert("RGB"), named).resize(THUMBNAIL_SIZE, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    row.save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


def relative_url(path: str) -> str:
    """A path below OUT as seen from OUT/report/."""
    return "../" + quote(path)


def page(
    manifest: Sequence[Mapping],
    run: Mapping,
    thumbnails: Thumbnails | None = None,
    landmarks: Sequence[Sequence[landmark_figures.Point]] = (),
) -> str:
    """The HTML of the report; landmarks: `landmark_points` of the ok scans."""
    landmarks_only = _landmarks_only(run)
    table_metrics = LANDMARK_TABLE_METRICS if landmarks_only else TABLE_METRICS
    lines = metrics.worst_first(manifest)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    errors = {
        "Coarse": metrics.values_of(lines, "scan_to_coarse_mean_mm"),
        "Refined": metrics.values_of(lines, "scan_to_refined_mean_mm"),
    }
    has_errors = any(errors.values())
    return environment.get_template("report.html.j2").render(
        counts=metrics.counts(lines),
        landmarks_only=landmarks_only,
        panels=LANDMARK_PANELS if landmarks_only else PANELS,
        headlines=_headlines(lines, LANDMARK_HEADLINES if landmarks_only else HEADLINES),
        wall_seconds=metrics.number(run.get("wall_seconds")),
        facts=run_facts(run),
        run_json=json.dumps(run, indent=1, ensure_ascii=False, sort_keys=True, default=str),
        histogram=plots.histogram(errors, "mm") if has_errors else None,
        cumulative=plots.cumulative(errors, "mm") if has_errors else None,
        rows=[_row(line, thumbnails, table_metrics) for line in lines],
        columns=[metrics.BY_KEY[key] for key in table_metrics],
        passed_over=_passed_over(run),
        left_the_input=[printable(str(source)) for source in _list(run.get("left_the_input"))],
        regions=landmark_figures.by_region(landmarks),
        metrics=metrics.METRICS,
        totals=[(metric, metrics.statistics(metrics.values_of(lines, metric.key))) for metric in metrics.METRICS],
        stages=metrics.stage_statistics(lines),
    )


def figure(value: float | None, decimals: int = 2) -> str:
    """A number for people: fixed decimals, thin spaces between thousands, a dash where there is none."""
    return "\u2013" if value is None else f"{value:,.{decimals}f}".replace(",", "\u202f")


def run_facts(run: Mapping) -> list[tuple[str, str]]:
    """(label, text) for the summary: the input, model, refiner and versions, whichever run.json holds."""
    facts = [(label, _fact(run[key])) for key, label in FACTS if run.get(key) not in (None, "", {})]
    versions = run.get("versions")
    if isinstance(versions, Mapping):
        facts.append(("Versions", ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))))
    return facts


def _fact(value: object) -> str:
    """A name with its hash shortened; other mappings as `key value` pairs."""
    if not isinstance(value, Mapping):
        return str(value)
    parts = [str(value["name"])] if value.get("name") else []
    for key, item in sorted(value.items()):
        if key == "sha256" and item:
            parts.append(f"SHA-256 {str(item)[:12]}\u2026")
        elif key not in ("name", "sha256") and item not in (None, "") and not isinstance(item, (Mapping, list)):
            parts.append(f"{key.replace('_', ' ')} {item}")
    return ", ".join(parts)


def _landmarks_only(run: Mapping) -> bool:
    """Whether the run was asked for landmarks alone; run.json may lack anything."""
    settings = run.get("config")
    output = settings.get("output") if isinstance(settings, Mapping) else None
    return isinstance(output, Mapping) and output.get("stages") == "landmarks"


def _passed_over(run: Mapping) -> list[dict]:
    """What the run's input held that no scan was read from: kind, count, reason and examples of each."""
    known = [
        entry for entry in _list(run.get("passed_over")) if isinstance(entry, Mapping) and metrics.number(entry.get("count"))
    ]
    return [
        {
            "kind": str(entry.get("kind", "")),
            "count": entry["count"],
            "reason": str(entry.get("reason", "")),
            "examples": [printable(str(name)) for name in _list(entry.get("examples"))],
        }
        for entry in known
    ]


def _list(value: object) -> list:
    return value if isinstance(value, list) else []


def _headlines(lines: Sequence[Mapping], chosen: Sequence[tuple[str, str]]) -> list[tuple[str, metrics.Metric, float | None]]:
    """The median over the ok scans of the `chosen` (label, metric), the figures that a reader looks for first."""
    medians = {key: metrics.statistics(metrics.values_of(lines, key)).get("median") for _, key in chosen}
    return [(label, metrics.BY_KEY[key], medians[key]) for label, key in chosen]


def landmark_words(line: Mapping) -> str | None:
    """The landmarks of one scan in words, as far as its line tells of them; None where it does not."""
    known = {key: metrics.metric_of(line, key) for key in LANDMARK_WORDS}
    return " \u00b7 ".join(text.format(known[key]) for key, text in LANDMARK_WORDS.items() if known[key] is not None) or None


def _row(line: Mapping, thumbnails: Thumbnails | None, table_metrics: Sequence[str]) -> dict:
    """What the table shows of one scan."""
    status = str(line.get("status", "unknown"))
    files = line.get("files") or {}
    preview = files.get("preview")
    return {
        "source": printable(str(line.get("source", ""))),
        "scan_id": str(line.get("scan_id", "")),
        "status": status,
        "rank": metrics.STATUSES.index(status) if status in metrics.STATUSES else -1,
        "stage": line.get("stage") if status != "ok" else None,
        "reason": line.get("reason") if status != "ok" else None,
        "notes": [str(note) for note in line.get("notes") or ()],
        "landmarks": landmark_words(line),
        "thumbnail": thumbnails.source_of(line) if thumbnails else None,
        "preview": relative_url(preview) if preview else None,
        "files": [(label, relative_url(files[key])) for key, label in FILE_LABELS.items() if files.get(key)],
        "figures": [(metrics.BY_KEY[key], metrics.metric_of(line, key)) for key in table_metrics],
        "seconds": metrics.total_seconds(line),
    }
