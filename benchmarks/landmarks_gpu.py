"""The shipped landmark network's training: simulated scans are made by all processors while one GPU trains on their views.

    python benchmarks/landmarks_gpu.py views --folder runs/live --seconds 600 --processes 14 &
    KERAS_BACKEND=jax python benchmarks/landmarks_gpu.py train --folder runs/live --seconds 540 --output runs/landmarks
    python benchmarks/landmarks_gpu.py card --folder runs/live --output runs/landmarks

views: of scans 0, 1, … of the set of `SETTINGS`, as `face-relief synthesize --landmarks` with these settings makes them, but
for their depth alone, rounded to 1/64 mm; all else follows from it. train: needs JAX and NumPy, no TensorFlow. It draws from the
views that there are so far; turns, scales, shifts, mirrors, cuts and roughens them; keeps a moving average of the weights, and at
the end measures the batch normalizations anew for it. card: the weights file in float16 with its card.

Scans and views follow from the seed; which of them a step sees depends on how fast they are made, so that a run cannot be
repeated bit for bit. On one H200 beside 16 cores: 200 views a second made, 15,000 a second trained on.
"""

# ruff: noqa: E402  (the thread limits must stand before NumPy loads)
import argparse
import json
import multiprocessing
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from gan.config import TrainingConfig, config_from_dict

SETTINGS = (
    "set.seed=11",
    "set.split_shares=[0.96,0.03,0.01]",
    "pairs.faces.open_share=0.4",
    "pairs.faces.expression_strength=[0,1.2]",
    "views.views_per_scan=8",
    "views.astray_per_scan=1",
    "views.poses.yaw=80",
    "views.free_deg=[90,45,45]",
)
NETWORK: dict[str, Any] = {"widths": [48, 96, 160, 192, 224], "stacks": 1}
BATCH, RATE, WARM_UP, FINAL, MOMENTUM, CLIP, SEED = 128, 2e-3, 500, 0.01, 0.999, 5.0, 1
VALIDATION_VIEWS = 2500
SIZE, PIXEL_MM, NONE, UNITS = 128, 1.5, -32768, 64  # of a view; its depth where there is none, and to a mm
HALF = SIZE * PIXEL_MM / 2
SCANS_A_FILE = 8
COLUMNS = ("depth", "points", "visible", "kind", "sensor", "split", "scan", "mark_up")


# --- views


def make_files(folder: pathlib.Path, process: int, processes: int, seconds: float) -> None:
    """Every `processes`th scan's views, `SCANS_A_FILE` scans a file."""
    from geometry.charts.geometry_image import GeometryImage
    from geometry.errors import FaceReliefError
    from geometry.landmarks import views
    from geometry.settings import loading
    from pipeline.training import landmark_views
    from pipeline.training.config import SynthesisConfig
    from pipeline.training.sampled_pairs import split_of

    # the other channels follow from the depth: a tenth of the time
    views.image_from_depth = lambda depth, valid, chart, **_: GeometryImage(
        {"depth": np.asarray(depth, np.float32)}, valid, chart
    )
    config, until, rows, files = loading.load(SynthesisConfig, None, SETTINGS), time.monotonic() + seconds, [], 0
    for number, scan in enumerate(range(process, 10**9, processes), 1):
        if time.monotonic() > until:
            return
        split = split_of(scan, config.set.split_shares)
        try:
            records = landmark_views.make_views(scan, config) if split != "test" else []
        except FaceReliefError:
            records = []
        for record in records:
            valid, depth = (np.reshape(record[f"view/{name}"], (SIZE, SIZE)) for name in ("valid_mask", "depth"))
            steps = np.where(valid > 0.5, np.clip(np.round(depth * UNITS), -32000, 32000), NONE).astype(np.int16)
            points, visible = record["landmarks"].reshape(68, 3), record["visible"] > 0.5
            rows.append((steps, points, visible, record["kind"], record["sensor"], split, scan, int(record["mark_up"])))
        if number % SCANS_A_FILE == 0 and rows:
            temporary = folder / f"{process:03d}.tmp.npz"
            columns: dict[str, Any] = {name: np.array(column) for name, column in zip(COLUMNS, zip(*rows))}
            np.savez(temporary, **columns)
            temporary.rename(folder / f"views-{process:03d}-{files:06d}.npz")
            rows, files = [], files + 1


def make_views(arguments: argparse.Namespace) -> None:
    arguments.folder.mkdir(parents=True, exist_ok=True)
    start = multiprocessing.get_context("spawn").Process
    tasks = [(arguments.folder, number, arguments.processes, arguments.seconds) for number in range(arguments.processes)]
    running = [start(target=make_files, args=task) for task in tasks]
    for process in running:
        process.start()
    for process in running:
        process.join()


def marks_of(points: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """(n, l, 3) of the view's frame → (n, l, 3) of x, y mm from the picture's upper left corner, and visible."""
    return np.stack([points[..., 0] + HALF, HALF - points[..., 1], visible], -1).astype(np.float32)


def read(folder: pathlib.Path, seen: set[pathlib.Path]) -> Iterator[dict[str, np.ndarray]]:
    """The columns of every file that is not in `seen`, which it joins."""
    for path in sorted(set(folder.glob("views-*.npz")) - seen):
        seen.add(path)
        with np.load(path) as file:
            yield {name: file[name] for name in COLUMNS}


def train(arguments: argparse.Namespace) -> None:
    from landmarks_gpu_training import Training  # JAX

    Training(arguments).run()


# --- weights and card


def card_figures(errors: list[dict]) -> dict:
    """What the card says of `gan.landmarks.figures.errors_of` views."""
    from gan.landmarks.figures import figures_of, sigma_scale

    figures = {name: {key: round(value, 4) for key, value in row.items()} for name, row in figures_of(errors).items()}
    return {"figures": figures, "sigma_scale": round(sigma_scale(errors), 4), "images": len(errors)}


def card(arguments: argparse.Namespace) -> None:
    """`end.npz` → landmarks.weights.h5 with its card, whose figures and σ are those of the float16 file under TensorFlow."""
    from gan.inference import start_tensorflow

    start_tensorflow(1)
    from gan import weights
    from gan.landmarks.figures import errors_of, table
    from gan.landmarks.network import build_landmark_net

    with np.load(arguments.output / "end.npz") as file:
        found, arrays = json.loads(str(file["found"])), [file[name] for name in sorted(set(file.files) - {"found"})]
    config = training_config(found["step"])
    network = build_landmark_net(config.landmarks)
    for variable, value in zip([*network.trainable_variables, *network.non_trainable_variables], arrays, strict=True):
        variable.assign(value)
    path = arguments.output / f"landmarks{weights.SUFFIX}"
    weights.save(path, network, config, found["data"], figures={})
    shipped, made = weights.load(path, build_landmark_net, "landmarks")
    told = card_figures(errors_of(shipped, held_out(arguments.folder, config)))
    weights.write_card(path, made | told | {"step": found["step"]})
    print(table(told["figures"]))


def held_out(folder: pathlib.Path, config: TrainingConfig) -> list[tuple]:
    """Up to `VALIDATION_VIEWS` views of the validation split: view, target, kind, sensor."""
    from gan.landmarks.dataset import _with_weight
    from gan.layout import pack_view
    from geometry.charts.rasterize import image_from_depth
    from geometry.landmarks.views import VIEW_CHART

    views = []
    for part in read(folder, set()):
        marks = marks_of(part["points"], part["visible"])
        for n in np.flatnonzero(part["split"] == "validation"):
            valid = part["depth"][n] != NONE
            view = pack_view(image_from_depth(np.where(valid, part["depth"][n] / UNITS, 0.0), valid, VIEW_CHART))
            target = _with_weight(config.landmarks, view, marks[n]).numpy()
            views.append((view, target, str(part["kind"][n]), str(part["sensor"][n])))
    return views[:VALIDATION_VIEWS]


def training_config(steps: int) -> TrainingConfig:
    """What the card says of the training."""
    rates = {"learning_rate": RATE, "warmup_steps": WARM_UP, "final_fraction": FINAL, "beta_1": 0.9, "beta_2": 0.99}
    return config_from_dict(
        {
            "network": "landmarks",
            "output": "runs/landmarks",
            "seed": SEED,
            "landmarks": NETWORK,
            "optimizer": rates | {"clip_norm": CLIP, "ema_momentum": MOMENTUM},
            "data": {"train": ["runs/live/views-*.npz"], "batch_size": BATCH},
            "schedule": {"steps": steps},
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("what", choices=("views", "train", "card"))
    add("--folder", type=pathlib.Path, default=pathlib.Path("runs/live"), help="of the views; default %(default)s")
    add("--output", type=pathlib.Path, default=pathlib.Path("runs/landmarks"), help="of the weights; default %(default)s")
    add("--seconds", type=float, default=540.0, help="of making views, or of training once compiled; default %(default)s")
    add("--processes", type=int, default=os.cpu_count(), help="that make views; default %(default)s")
    add("--first-views", type=int, default=3000, help="before training begins; default %(default)s")
    add("--capacity", type=int, default=230_000, help="views kept on the GPU; default %(default)s")
    add("--portion", type=int, default=512, help="views taken in at a time; default %(default)s")
    arguments = parser.parse_args()
    {"views": make_views, "train": train, "card": card}[arguments.what](arguments)


if __name__ == "__main__":
    main()
