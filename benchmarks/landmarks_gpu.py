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
import dataclasses
import functools
import json
import multiprocessing
import os
import pathlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from gan.config import LandmarkNetConfig, TrainingConfig, config_from_dict

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
NETWORK = {"widths": [48, 96, 160, 192, 224], "stacks": 1}
BATCH, RATE, WARM_UP, FINAL, MOMENTUM, CLIP, SEED = 128, 2e-3, 500, 0.01, 0.999, 5.0, 1
STEPS_AT_ONCE = 10  # between two looks at the clock
FIRST_VIEWS, CAPACITY, PORTION = 3000, 230_000, 512
MEASURED_BATCHES = 150  # of the batch normalizations
VALIDATION_VIEWS, CHUNK = 2500, 250
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
    views.image_from_depth = lambda depth, valid, chart: GeometryImage({"depth": np.float32(depth)}, valid, chart)
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
            np.savez(temporary, **{name: np.array(column) for name, column in zip(COLUMNS, zip(*rows))})
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


# --- training


class Feed(threading.Thread):
    """Reads the files as they come: `take` gives new views for training; `validation`: depth, marks, kind, sensor each."""

    def __init__(self, folder: pathlib.Path):
        super().__init__(daemon=True)
        self.folder, self.lock, self.ready, self.validation = folder, threading.Lock(), [], []
        self.sensors, self.scans, self.astray, self.mark_ups = Counter(), set(), 0, set()

    def run(self) -> None:
        seen: set[pathlib.Path] = set()
        while True:
            for part in read(self.folder, seen):
                marks, train = marks_of(part["points"], part["visible"]), part["split"] == "train"
                held = part["split"] == "validation"
                with self.lock:
                    self.ready.append((part["depth"][train], marks[train]))
                    self.validation += zip(part["depth"][held], marks[held], part["kind"][held], part["sensor"][held])
                    self.sensors.update(map(str, part["sensor"][train]))
                    self.scans.update(part["scan"][train].tolist())
                    self.astray += int((part["kind"][train] == "astray").sum())
                    self.mark_ups.update(part["mark_up"].tolist())
            time.sleep(0.5)

    def take(self) -> list[tuple[np.ndarray, np.ndarray]]:
        with self.lock:
            ready, self.ready = self.ready, []
        return ready


def augmentation(config: LandmarkNetConfig) -> Any:
    """The functions of JAX that make batches: (drawn, plain, weighted)."""
    import jax
    import jax.numpy as jnp
    from jax import lax, random

    from gan.landmarks.losses import ASTRAY_WEIGHT, OUTSIDE_MM
    from geometry.model.landmark_embedding import shipped_schemes

    swap, middle = np.array(shipped_schemes()[config.scheme].mirror), (SIZE - 1) / 2

    def channels(depth: Any, valid: Any) -> Any:
        """(b, h, w) → (b, h, w, 5) of `gan.layout.VIEW`, as `geometry.charts.rasterize.image_from_depth` makes them."""
        depth = jnp.where(valid, depth, 0.0)

        def slope(axis: int) -> Any:
            pad = [(1, 1) if k == axis else (0, 0) for k in range(3)]
            d, v = jnp.pad(depth, pad), jnp.pad(valid, pad)
            beside = lambda values, start: lax.slice_in_dim(values, start, start + SIZE, axis=axis)
            before, after = beside(v, 0) & valid, beside(v, 2) & valid
            total = jnp.where(before, depth - beside(d, 0), 0.0) + jnp.where(after, beside(d, 2) - depth, 0.0)
            return total / jnp.maximum(before.astype(jnp.float32) + after, 1.0)

        x, y, mask = -slope(2) / PIXEL_MM, slope(1) / PIXEL_MM, valid.astype(jnp.float32)
        length = jnp.sqrt(x * x + y * y + 1)
        elevation = jnp.arctan2(1 / length, jnp.sqrt(x * x + y * y) / length)
        return jnp.stack([depth, elevation * mask, x / length * mask, y / length * mask, mask], -1)

    def plain(steps: Any) -> Any:
        return channels(steps.astype(jnp.float32) / UNITS, steps != NONE)

    def weighted(marks: Any) -> Any:
        """(b, l, 3) → (b, l, 4) of `gan.landmarks.losses.TARGET`."""
        inside = ((marks[..., :2] > -OUTSIDE_MM) & (marks[..., :2] < 2 * HALF + OUTSIDE_MM)).all(-1)
        weight = jnp.where(inside, jnp.where(marks[..., 2] > 0.5, 1.0, config.hidden), 0.0)
        weight = jnp.where((marks[..., 2] > 0.5).any(-1, keepdims=True), weight, ASTRAY_WEIGHT)
        return jnp.concatenate([marks, weight[..., None]], -1)

    def changed(key: Any, steps: Any, marks: Any) -> tuple:
        """One view: half of them turned in the plane and scaled, half with more noise, half mirrored; shifted, moved in depth,
        with a hole, or without what lies beyond a line."""
        u, normal = random.uniform(key, (24,)), random.normal(random.fold_in(key, 1), (SIZE, SIZE))
        span = lambda number, low, high: low + u[number] * (high - low)
        angle = jnp.where(u[0] < 0.5, jnp.deg2rad(span(1, -20, 20)), 0.0)
        scale = jnp.where(u[0] < 0.5, span(2, 0.94, 1.06), 1.0)
        shift = jnp.floor(u[3:5] * (2 * config.shift_px + 1)) - config.shift_px
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        row, column = jnp.meshgrid(jnp.arange(SIZE), jnp.arange(SIZE), indexing="ij")
        x, y = (column - middle - shift[0]) / scale, (row - middle - shift[1]) / scale
        from_x, from_y = cosine * x + sine * y + middle, -sine * x + cosine * y + middle
        left, top = jnp.floor(from_x + 1e-4), jnp.floor(from_y + 1e-4)
        part_x, part_y = jnp.clip(from_x - left, 0, 1), jnp.clip(from_y - top, 0, 1)
        total = known = 0.0
        for dy, dx in np.ndindex(2, 2):
            i, j = (top + dy).astype(jnp.int32), (left + dx).astype(jnp.int32)
            value = steps.reshape(-1)[jnp.clip(i, 0, SIZE - 1) * SIZE + jnp.clip(j, 0, SIZE - 1)]
            there = (i >= 0) & (i < SIZE) & (j >= 0) & (j < SIZE) & (value != NONE)
            weight = jnp.where(there, (part_x if dx else 1 - part_x) * (part_y if dy else 1 - part_y), 0.0)
            total, known = total + weight * value.astype(jnp.float32) / UNITS, known + weight
        depth, valid = scale * total / jnp.maximum(known, 1e-6), known > 0.5
        x, y = (marks[:, :2] - HALF).T
        place = scale * jnp.stack([cosine * x - sine * y, sine * x + cosine * y], 1) + HALF + shift * PIXEL_MM
        seen = marks[:, 2]

        taps = jnp.exp(-(jnp.arange(-3.0, 4.0) ** 2) / (2 * span(5, 0.5, 1.3) ** 2))
        taps = taps / jnp.sqrt((taps**2).sum())
        blurred = lambda values: sum(taps[k] * jnp.roll(values, k - 3, 0) for k in range(7))
        noise_mm = jnp.where(u[6] < 0.5, jnp.exp(span(7, jnp.log(0.02), jnp.log(0.4))), 0.0)
        depth = depth + noise_mm * blurred(blurred(normal).T) + span(16, -1, 1) * config.shift_mm

        sides = span(jnp.array([8, 9]), *config.hole_px)
        corner = u[10:12] * (SIZE - sides)
        hole, cut, way = u[12] < config.hole_share, u[15] < 0.08, 2 * jnp.pi * u[13]
        within = lambda position, axis: (position >= corner[axis]) & (position < corner[axis] + sides[axis])
        beyond = lambda x, y: jnp.cos(way) * (x - HALF) + jnp.sin(way) * (y - HALF) > span(14, 10.0, 70.0)
        lost = lambda x, y: (hole & within(y / PIXEL_MM, 0) & within(x / PIXEL_MM, 1)) | (cut & beyond(x, y))
        valid = valid & ~lost((column + 0.5) * PIXEL_MM, (row + 0.5) * PIXEL_MM)
        seen = jnp.where(lost(*place.T), 0.0, seen)

        flip = u[17] < 0.5
        depth, valid = jnp.where(flip, depth[:, ::-1], depth), jnp.where(flip, valid[:, ::-1], valid)
        place = jnp.where(flip, jnp.stack([2 * HALF - place[:, 0], place[:, 1]], 1)[swap], place)
        return depth, valid, jnp.concatenate([place, jnp.where(flip, seen[swap], seen)[:, None]], 1)

    def drawn(key: Any, store: Any, available: Any) -> tuple:
        at = random.randint(random.fold_in(key, 7), (BATCH,), 0, available)
        depth, valid, marks = jax.vmap(changed)(random.split(key, BATCH), store["depth"][at], store["marks"][at])
        return channels(depth, valid), weighted(marks)

    return drawn, plain, weighted


def train(arguments: argparse.Namespace) -> None:
    import jax
    import jax.numpy as jnp
    import keras
    from jax import lax, random

    from gan.landmarks.figures import errors_of, figures_of, sigma_scale, table, visibility_figures
    from gan.landmarks.losses import loss_terms
    from gan.landmarks.network import build_landmark_net

    config = LandmarkNetConfig(**NETWORK)
    feed = Feed(arguments.folder)
    feed.start()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with jax.default_device(jax.devices("cpu")[0]):  # variable by variable, a GPU takes longer
        keras.utils.set_random_seed(SEED)
        network = build_landmark_net(dataclasses.replace(config, precision="mixed_bfloat16"))
        exact = build_landmark_net(config)
    drawn, plain, weighted = augmentation(config)
    on_device = lambda variables: [jax.device_put(np.asarray(v), jax.devices()[0]) for v in variables]
    weights, others = on_device(network.trainable_variables), on_device(network.non_trainable_variables)
    zeros = lambda: [jnp.zeros_like(value) for value in weights]
    copies = [value + 0 for value in weights]
    state = {"weights": weights, "others": others, "first": zeros(), "second": zeros(), "mean": copies, "step": jnp.float32(0)}

    def loss(weights: list, others: list, views: Any, targets: Any) -> tuple:
        answer, others = network.stateless_call(weights, others, views, training=True)
        terms = loss_terms(answer, targets, (SIZE, SIZE), config.target_mm)
        return sum(getattr(config, name) * value for name, value in terms.items()), (terms, others)

    def step(state: dict, store: dict, available: Any, key: Any, rate: Any) -> tuple:
        """Adam with a bound on the gradient's norm, and the weights' moving average."""
        (_, (terms, others)), slopes = jax.value_and_grad(loss, has_aux=True)(
            state["weights"], state["others"], *drawn(key, store, available)
        )
        bound = jnp.minimum(1.0, CLIP / (jnp.sqrt(sum((g * g).sum() for g in slopes)) + 1e-9))
        number = state["step"] + 1
        first = [0.9 * a + 0.1 * bound * g for a, g in zip(state["first"], slopes)]
        second = [0.99 * a + 0.01 * (bound * g) ** 2 for a, g in zip(state["second"], slopes)]
        rate = rate * jnp.minimum(1.0, number / WARM_UP) * jnp.sqrt(1 - 0.99**number) / (1 - 0.9**number)
        weights = [w - rate * a / (jnp.sqrt(b) + 1e-7) for w, a, b in zip(state["weights"], first, second)]
        keep = jnp.minimum(MOMENTUM, (1 + number) / (10 + number))
        mean = [keep * a + (1 - keep) * w for a, w in zip(state["mean"], weights)]
        new = {"weights": weights, "others": others, "first": first, "second": second, "mean": mean, "step": number}
        return new, terms

    @functools.partial(jax.jit, donate_argnums=0)
    def steps(state: dict, store: dict, available: Any, key: Any, rate: Any) -> tuple:
        state, terms = lax.scan(
            lambda state, key: step(state, store, available, key, rate), state, random.split(key, STEPS_AT_ONCE)
        )
        return state, {name: values.mean() for name, values in terms.items()}

    @jax.jit
    def measured(state: dict, store: dict, available: Any, key: Any) -> list:
        """The batch normalizations' means and variances for the averaged weights, in float32, over views as they are."""

        def one(others: list, key: Any) -> tuple:
            depth = store["depth"][random.randint(key, (BATCH,), 0, available)]
            flip = random.bernoulli(random.fold_in(key, 1), 0.5, (BATCH, 1, 1))
            views = plain(jnp.where(flip, depth[:, :, ::-1], depth))
            return exact.stateless_call(state["mean"], others, views, training=True)[1], None

        return lax.scan(one, state["others"], random.split(key, MEASURED_BATCHES))[0]

    @jax.jit
    def answers(weights: list, others: list, depth: Any) -> dict:
        found = exact.stateless_call(weights, others, plain(depth), training=False)[0]
        return {name: found[name] for name in ("position", "factor", "visibility")}

    @functools.partial(jax.jit, donate_argnums=0)
    def appended(store: dict, depth: Any, marks: Any, at: Any) -> dict:
        put = lambda name, values: lax.dynamic_update_slice_in_dim(store[name], values, at, 0)
        return {"depth": put("depth", depth), "marks": put("marks", marks)}

    empty = {"depth": np.zeros((0, SIZE, SIZE), np.int16), "marks": np.zeros((0, 68, 3), np.float32)}
    store = {
        "depth": jnp.full((arguments.capacity, SIZE, SIZE), NONE, jnp.int16),
        "marks": jnp.zeros((arguments.capacity, 68, 3)),
    }
    left, available = (empty["depth"], empty["marks"]), 0

    def refresh() -> None:
        nonlocal store, left, available
        depth, marks = (np.concatenate(parts) for parts in zip(left, *feed.take()))
        while len(depth) >= arguments.portion and available + arguments.portion <= arguments.capacity:
            store = appended(store, depth[: arguments.portion], marks[: arguments.portion], available)
            depth, marks, available = depth[arguments.portion :], marks[arguments.portion :], available + arguments.portion
        left = (depth, marks)

    class Answering:
        """The averaged network, as `errors_of` asks it."""

        def __init__(self, others: list, depth: np.ndarray):
            self.others, self.depth, self.at = others, depth, 0

        def predict_on_batch(self, views: np.ndarray) -> dict:
            part = self.depth[self.at : self.at + len(views)]
            self.at += len(views)
            filled = np.concatenate([part, np.full((CHUNK - len(part), SIZE, SIZE), NONE, np.int16)])
            return {name: np.asarray(v)[: len(part)] for name, v in answers(state["mean"], self.others, filled).items()}

    def finish(name: str) -> None:
        others = measured(state, store, available, random.PRNGKey(SEED + 1))
        with feed.lock:
            held = feed.validation[:VALIDATION_VIEWS]
        targets = np.asarray(weighted(jnp.asarray(np.stack([marks for _, marks, *_ in held]))))
        asked = Answering(others, np.stack([depth for depth, *_ in held]))
        errors = errors_of(asked, [(np.zeros(1), t, str(k), str(s)) for t, (_, _, k, s) in zip(targets, held)], CHUNK)
        print(f"{name}: step {int(state['step'])}, {available} views\n{table(figures_of(errors))}\n{visibility_figures(errors)}")
        found = {
            "step": int(state["step"]),
            "images": len(held),
            "figures": {key: {k: round(v, 4) for k, v in row.items()} for key, row in figures_of(errors).items()},
            "sigma_scale": round(sigma_scale(errors), 4),
            "data": {
                "files": len(list(arguments.folder.glob("views-*.npz"))),
                "views": {"train": dict(sorted(feed.sensors.items())), "validation": dict(Counter(str(v[3]) for v in held))},
                "astray": feed.astray,
                "scans": len(feed.scans),
                "mark_up": max(feed.mark_ups),
            },
        }
        arrays = {f"{n:04d}": np.asarray(value) for n, value in enumerate([*state["mean"], *others])}
        np.savez(arguments.output / f"{name}.npz", found=json.dumps(found), **arrays)

    while available < arguments.first_views:
        time.sleep(0.5)
        refresh()
    key = random.PRNGKey(SEED)
    state, _ = steps(state, store, available, key, jnp.float32(0))  # compiles
    began = told = time.monotonic()
    number, halfway = 0, False
    while (progress := (time.monotonic() - began) / arguments.seconds) < 1:
        number += 1
        if number % 5 == 0:
            refresh()
        rate = RATE * (FINAL + (1 - FINAL) * 0.5 * (1 + np.cos(np.pi * progress)))
        state, terms = steps(state, store, available, random.fold_in(key, number), jnp.float32(rate))
        jax.block_until_ready(state["step"])
        if time.monotonic() - told > 10:
            told = time.monotonic()
            losses = "  ".join(f"{name} {float(value):.3f}" for name, value in terms.items())
            print(f"{told - began:.0f} s  step {int(state['step'])}  {available} views  {losses}", flush=True)
        if progress > 0.5 and not halfway:
            halfway = True
            finish("half")
    finish("end")


# --- weights and card


def card(arguments: argparse.Namespace) -> None:
    """`end.npz` → landmarks.weights.h5 with its card, whose figures and σ are those of the float16 file under TensorFlow."""
    from gan.inference import start_tensorflow

    start_tensorflow(1)
    from gan import weights
    from gan.landmarks.dataset import _with_weight
    from gan.landmarks.figures import errors_of, figures_of, sigma_scale, table
    from gan.landmarks.network import build_landmark_net
    from gan.layout import pack_view
    from geometry.charts.rasterize import image_from_depth
    from geometry.landmarks.views import VIEW_CHART

    with np.load(arguments.output / "end.npz") as file:
        found, arrays = json.loads(str(file["found"])), [file[name] for name in sorted(set(file.files) - {"found"})]
    config = training_config(found["step"])
    network = build_landmark_net(config.landmarks)
    for variable, value in zip([*network.trainable_variables, *network.non_trainable_variables], arrays, strict=True):
        variable.assign(value)
    path = arguments.output / f"landmarks{weights.SUFFIX}"
    weights.save(path, network, config, found["data"], figures={})
    shipped, made = weights.load(path, build_landmark_net, "landmarks")
    views = []
    for part in read(arguments.folder, set()):
        marks = marks_of(part["points"], part["visible"])
        for n in np.flatnonzero(part["split"] == "validation"):
            if len(views) == VALIDATION_VIEWS:
                break
            valid = part["depth"][n] != NONE
            view = pack_view(image_from_depth(np.where(valid, part["depth"][n] / UNITS, 0.0), valid, VIEW_CHART))
            target = _with_weight(config.landmarks, view, marks[n]).numpy()
            views.append((view, target, str(part["kind"][n]), str(part["sensor"][n])))
    errors = errors_of(shipped, views)
    figures = {key: {k: round(v, 4) for k, v in row.items()} for key, row in figures_of(errors).items()}
    told = {"figures": figures, "sigma_scale": round(sigma_scale(errors), 4), "images": len(views), "step": found["step"]}
    weights.write_card(path, made | told)
    print(table(figures))


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
    add("--first-views", type=int, default=FIRST_VIEWS, help="before training begins; default %(default)s")
    add("--capacity", type=int, default=CAPACITY, help="views kept on the GPU; default %(default)s")
    add("--portion", type=int, default=PORTION, help="views taken in at a time; default %(default)s")
    arguments = parser.parse_args()
    {"views": make_views, "train": train, "card": card}[arguments.what](arguments)


if __name__ == "__main__":
    main()
