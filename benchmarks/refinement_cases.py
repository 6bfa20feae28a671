"""What `refinement.py` measures on: the bench's scans, encoded once as the pipeline does it, and synthetic pairs."""

import glob
import hashlib
import importlib.util
import itertools
import json
import pathlib
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import common
import numpy as np
from common import ROOT, say
from scipy.ndimage import binary_dilation

from geometry.charts.chart import from_json
from geometry.charts.curvature import facing
from geometry.charts.geometry_image import GeometryImage, channel_normals
from geometry.charts.rasterize import rasterize
from geometry.evaluation.curvature_error import MARGIN_MM
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.settings.options import to_dict
from pipeline.inputs import listing
from pipeline.inputs.source import Source
from pipeline.scans import steps
from pipeline.scans.chain import TO_THE_FIT
from pipeline.scans.job import Job
from pipeline.scans.state import SUPPORT_MM, ScanState
from pipeline.store import tfrecord

FAR_MM = 15.0  # from the fit: hair, a hand; gan.layout's limit
INDIVIDUALS = ("humface", "james")
PAIR_SENSORS = ("kinect_v1", "truedepth", "time_of_flight", "clean_mesh")
NO_ENCODING = ("evaluation", "reconstruction", "refinement", "synthesis", "template")  # rooms that no encoding depends on


@dataclass(frozen=True)
class BenchScan:
    """One depth image: score_args: what score_surface wants besides the surface; item: the scan as encoded by the pipeline, None
    where it was rejected; truth: the true surface in the encoding's chart; model: the one that was fitted."""

    name: str
    score_args: tuple
    depth: np.ndarray
    camera: dict
    item: ScanState | None
    truth: GeometryImage | None
    model: MorphableModel


@dataclass(frozen=True)
class Pair:
    """One synthetic pair; observed (h, w): where errors count."""

    name: str
    sensor: str
    coarse: GeometryImage
    scan: GeometryImage
    truth: GeometryImage
    observed: np.ndarray


def score_module(path: pathlib.Path):
    """The bench's score.py."""
    spec = importlib.util.spec_from_file_location("bench_score", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def near_fit(coarse: GeometryImage, image: GeometryImage) -> np.ndarray:
    """(h, w) bool: both known, and the image within 15 mm of the fit."""
    return coarse.valid_mask & image.valid_mask & (np.abs(image["depth"] - coarse["depth"]) < FAR_MM)


def bench_scans(bench: pathlib.Path, score, job: Job, folder: pathlib.Path, part: str = "") -> Iterator[BenchScan]:
    """The scans of the bench whose name contains `part`; their encodings are kept under `folder`."""
    found = {source.file_name.removesuffix(".png"): source for source in listing.list_sources(str(bench / "depth"))}
    for path in sorted((bench / "truth").glob("*.truth.npz")):
        name = path.name.removesuffix(".truth.npz")
        if part not in name:
            continue
        known = np.load(path)
        truth, nose = (known["vertices"].astype(float), known["triangles"]), known["nose"]
        keep = known["visible"] & (np.linalg.norm(truth[0] - nose, axis=1) < score.OUTER_MM)
        camera = json.loads((bench / "depth" / f"{name}.json").read_text())
        depth = np.asarray(score.Image.open(bench / "depth" / f"{name}.png")) * camera["depth_unit_mm"]
        item = encoded(found[name], job, folder)
        image = (
            None
            if item is None
            else rasterize(TriangleMesh(item.fit.scan_to_model.apply(truth[0]), truth[1]), item.encoding.scan.chart)
        )
        score_args = truth, truth[0][keep], score.vertex_normals(*truth)[keep], nose
        yield BenchScan(name, score_args, depth, camera, item, image, job.model)


def encoded(source: Source, job: Job, folder: pathlib.Path) -> ScanState | None:
    """The scan after the pipeline's chain up to `rasterize`, from --work where it lies there; None where it is rejected."""
    loaded = steps.load(ScanState(source), job)
    digest = hashlib.sha256((fingerprint(job) + loaded.input_hash).encode()).hexdigest()[:16]
    path = folder / "encodings" / f"{source.scan_id}-{digest}.pickle"
    if path.exists():
        return pickle.loads(path.read_bytes())
    say(f"encoding {source.name}")
    found = common.walk(TO_THE_FIT, loaded, job)
    if found.reason:
        say(f"{source.name}: {found.reason}")
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(found.state))
    return found.state


def fingerprint(job: Job) -> str:
    """Changes with whatever decides an encoding: model, configuration, and the sources of the geometry that makes it."""
    settings = {name: section for name, section in to_dict(job.config).items() if name not in ("limits", "output", "refine")}
    files = (path.relative_to(ROOT) for path in sorted((ROOT / "geometry").rglob("*.py")))
    code = [hashlib.sha256((ROOT / path).read_bytes()).hexdigest() for path in files if path.parts[1] not in NO_ENCODING]
    return json.dumps([job.model.sha256, settings, code])


def bench_groups(name: str) -> list[str]:
    """The groups of scans whose means are shown."""
    face, sensor = name.split("_", 1)
    kind = "individuals" if face in INDIVIDUALS else "averages"
    return ["all", sensor, kind, f"{sensor} {kind}"]


def pairs_of(patterns: Iterable[str], limit: int | None = None) -> Iterator[Pair]:
    """The first `limit` pairs of these TFRecords (files or globs) that have an observed pixel."""
    paths = sorted({path for pattern in patterns for path in glob.glob(pattern)})
    if not paths:
        raise SystemExit(f"no file matches {' '.join(patterns)}")
    pairs = map(pair_of, itertools.chain.from_iterable(map(tfrecord.read_tfrecord, paths)))
    return itertools.islice((pair for pair in pairs if pair.observed.any()), limit)


def image_of(example: dict, group: str) -> GeometryImage:
    """One group of a decoded record."""
    channels = {
        name.removeprefix(f"{group}/"): np.reshape(values, example["shape"])
        for name, values in example.items()
        if name.startswith(f"{group}/")
    }
    return GeometryImage(channels, channels.pop("valid_mask") > 0.5, from_json(b"".join(example["chart"]).decode()))


def pair_of(record: bytes) -> Pair:
    example = tfrecord.decode_example(record)
    coarse, scan, truth = (image_of(example, group) for group in ("coarse", "scan", "truth"))
    observed = near_fit(coarse, scan) & near_fit(coarse, truth)
    return Pair(example["scan_id"][0].decode(), example["sensor"][0].decode(), coarse, scan, truth, observed)


def on_skin(scan: GeometryImage, truth: GeometryImage, observed: np.ndarray) -> np.ndarray:
    """(h, w) bool: observed pixels whose scan lies on the true surface within its noise, as in the pipeline's `observed_pixels`,
    and away from those whose scan does not: a beard or a hand tells nothing of the skin's detail, and its edge less."""
    other = observed & (np.abs(scan["depth"] - truth["depth"]) * facing(truth) > SUPPORT_MM + 4 * scan["noise_sigma"])
    return observed & ~binary_dilation(other, np.ones((3, 3), bool), iterations=max(1, round(MARGIN_MM / scan.chart.pixel_mm)))


def pair_error(depth: np.ndarray, normals: np.ndarray, pair: Pair) -> tuple[float, float]:
    """Mean |depth error| (mm) and mean angle between normals (degrees) over observed pixels; depth (h, w), normals (h, w, 3)."""
    distance = np.abs(depth - pair.truth["depth"])[pair.observed].mean()
    cosine = (normals * channel_normals(pair.truth)).sum(2)[pair.observed]
    return float(distance), float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def pair_groups(sensor: str) -> list[str]:
    """The groups of pairs whose means are shown."""
    return ["all", sensor if sensor in PAIR_SENSORS else "others"]
