"""The training of landmarks_gpu.py, in JAX: Adam under a cosine, a moving average of the weights, views taken in as they come."""

import argparse
import dataclasses
import functools
import json
import pathlib
import threading
import time
from collections import Counter
from typing import Any, cast

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax, random
from landmarks_gpu import (
    BATCH,
    CLIP,
    FINAL,
    MOMENTUM,
    NONE,
    RATE,
    SEED,
    SIZE,
    VALIDATION_VIEWS,
    WARM_UP,
    card_figures,
    marks_of,
    read,
)
from landmarks_gpu_views import CONFIG, Array, drawn, plain, weighted

from gan.landmarks.figures import errors_of, table, visibility_figures
from gan.landmarks.losses import loss_terms
from gan.landmarks.network import build_landmark_net

STEPS_AT_ONCE = 10  # between two looks at the clock
MEASURED_BATCHES = 150  # of the batch normalizations
CHUNK = 250  # views validated at a time
BETA_1, BETA_2 = 0.9, 0.99

with jax.default_device(jax.devices("cpu")[0]):  # variable by variable, a GPU takes longer
    keras.utils.set_random_seed(SEED)
    NETWORK = build_landmark_net(dataclasses.replace(CONFIG, precision="mixed_bfloat16"))
    EXACT = build_landmark_net(CONFIG)


class Feed(threading.Thread):
    """Reads the files as they come: `take` gives new views for training; `validation`: depth, marks, kind, sensor each."""

    def __init__(self, folder: pathlib.Path):
        super().__init__(daemon=True)
        self.folder, self.lock, self.ready, self.validation = folder, threading.Lock(), [], []
        self.seen, self.sensors, self.scans, self.astray, self.mark_ups = set(), Counter(), set(), 0, set()

    def run(self) -> None:
        while True:
            for part in read(self.folder, self.seen):
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


class Store:
    """Views on the GPU, `arrays`, of which the first `available` are there."""

    def __init__(self, feed: Feed, capacity: int, portion: int):
        self.feed, self.capacity, self.portion, self.available = feed, capacity, portion, 0
        self.arrays = {"depth": jnp.full((capacity, SIZE, SIZE), NONE, jnp.int16), "marks": jnp.zeros((capacity, 68, 3))}
        self.left = (np.zeros((0, SIZE, SIZE), np.int16), np.zeros((0, 68, 3), np.float32))

    def refresh(self) -> None:
        depth, marks = (np.concatenate(parts) for parts in zip(self.left, *self.feed.take()))
        while len(depth) >= self.portion and self.available + self.portion <= self.capacity:
            self.arrays = _appended(self.arrays, depth[: self.portion], marks[: self.portion], self.available)
            depth, marks, self.available = depth[self.portion :], marks[self.portion :], self.available + self.portion
        self.left = (depth, marks)


@functools.partial(jax.jit, donate_argnums=0)
def _appended(arrays: dict, depth: Array, marks: Array, at: Array) -> dict:
    put = lambda name, values: lax.dynamic_update_slice_in_dim(arrays[name], values, at, 0)
    return {"depth": put("depth", depth), "marks": put("marks", marks)}


def initial() -> dict:
    """The state of a training: weights and their moving average, the other variables, Adam's moments, the step."""
    there = lambda variables: [jax.device_put(np.array(v), jax.devices()[0]) for v in variables]
    weights, zeros = there(NETWORK.trainable_variables), lambda: [jnp.zeros(v.shape) for v in NETWORK.trainable_variables]
    state = {"weights": weights, "mean": [value + 0 for value in weights], "others": there(NETWORK.non_trainable_variables)}
    return state | {"first": zeros(), "second": zeros(), "step": jnp.float32(0)}


def _loss(weights: list, others: list, views: Array, targets: Array) -> tuple:
    answer, others = NETWORK.stateless_call(weights, others, views, training=True)
    terms = loss_terms(answer, targets, (SIZE, SIZE), CONFIG.target_mm)
    return sum(getattr(CONFIG, name) * value for name, value in terms.items()), (terms, others)


def _step(state: dict, store: dict, available: Array, key: Array, rate: Array) -> tuple[dict, dict]:
    """Adam with a bound on the gradient's norm, and the weights' moving average."""
    (_, (terms, others)), slopes = jax.value_and_grad(_loss, has_aux=True)(
        state["weights"], state["others"], *drawn(key, store, available)
    )
    bound, number = jnp.minimum(1.0, CLIP / (jnp.sqrt(sum((g * g).sum() for g in slopes)) + 1e-9)), state["step"] + 1
    first = [BETA_1 * a + (1 - BETA_1) * bound * g for a, g in zip(state["first"], slopes)]
    second = [BETA_2 * a + (1 - BETA_2) * (bound * g) ** 2 for a, g in zip(state["second"], slopes)]
    rate = rate * jnp.minimum(1.0, number / WARM_UP) * jnp.sqrt(1 - BETA_2**number) / (1 - BETA_1**number)
    weights = [w - rate * a / (jnp.sqrt(b) + 1e-7) for w, a, b in zip(state["weights"], first, second)]
    keep = jnp.minimum(MOMENTUM, (1 + number) / (10 + number))
    mean = [keep * a + (1 - keep) * w for a, w in zip(state["mean"], weights)]
    return {"weights": weights, "mean": mean, "others": others, "first": first, "second": second, "step": number}, terms


@functools.partial(jax.jit, donate_argnums=0)
def steps(state: dict, store: dict, available: Array, key: Array, rate: Array) -> tuple[dict, dict]:
    """`STEPS_AT_ONCE` of them, and their mean losses."""
    one = lambda state, key: _step(state, store, available, key, rate)
    state, terms = lax.scan(one, state, random.split(key, STEPS_AT_ONCE))
    return state, {name: values.mean() for name, values in terms.items()}


@jax.jit
def measured(state: dict, store: dict, available: Array, key: Array) -> list:
    """The batch normalizations' means and variances for the averaged weights, in float32, over views as they are."""

    def one(others: list, key: Array) -> tuple[list, None]:
        depth = store["depth"][random.randint(key, (BATCH,), 0, available)]
        flip = random.bernoulli(random.fold_in(key, 1), 0.5, (BATCH, 1, 1))
        views = plain(jnp.where(flip, depth[:, :, ::-1], depth))
        return EXACT.stateless_call(state["mean"], others, views, training=True)[1], None

    return lax.scan(one, state["others"], random.split(key, MEASURED_BATCHES))[0]


@jax.jit
def _answers(weights: list, others: list, depth: Array) -> dict:
    found = EXACT.stateless_call(weights, others, plain(depth), training=False)[0]
    return {name: found[name] for name in ("position", "factor", "visibility")}


class Answering:
    """The averaged network, as `errors_of` asks it; the views that it is given only count."""

    def __init__(self, weights: list, others: list, depth: np.ndarray):
        self.weights, self.others, self.depth, self.at = weights, others, depth, 0

    def predict_on_batch(self, views: np.ndarray) -> dict:
        part = self.depth[self.at : self.at + len(views)]
        self.at += len(views)
        filled = np.concatenate([part, np.full((CHUNK - len(part), SIZE, SIZE), NONE, np.int16)])
        return {name: np.asarray(v)[: len(part)] for name, v in _answers(self.weights, self.others, filled).items()}


class Training:
    """One run, by the options of landmarks_gpu.py."""

    def __init__(self, arguments: argparse.Namespace):
        self.seconds, self.output, self.first_views = arguments.seconds, arguments.output, arguments.first_views
        self.output.mkdir(parents=True, exist_ok=True)
        self.feed = Feed(arguments.folder)
        self.feed.start()
        self.state, self.store = initial(), Store(self.feed, arguments.capacity, arguments.portion)

    def run(self) -> None:
        while self.store.available < self.first_views:
            time.sleep(0.5)
            self.store.refresh()
        self._steps(0, 0.0)  # compiles
        began = told = time.monotonic()
        number, halfway = 0, False
        while (progress := (time.monotonic() - began) / self.seconds) < 1:
            number += 1
            if number % 5 == 0:
                self.store.refresh()
            terms = self._steps(number, RATE * (FINAL + (1 - FINAL) * 0.5 * (1 + np.cos(np.pi * progress))))
            if time.monotonic() - told > 10:
                told = time.monotonic()
                losses = "  ".join(f"{name} {float(value):.3f}" for name, value in terms.items())
                step = int(self.state["step"])
                print(f"{told - began:.0f} s  step {step}  {self.store.available} views  {losses}", flush=True)
            if progress > 0.5 and not halfway:
                halfway = True
                self.finish("half")
        self.finish("end")

    def _steps(self, number: int, rate: float) -> dict:
        key, store = random.fold_in(random.PRNGKey(SEED), number), self.store
        self.state, terms = steps(self.state, store.arrays, store.available, key, jnp.float32(rate))
        jax.block_until_ready(self.state["step"])
        return terms

    def finish(self, name: str) -> None:
        """Validates, and writes `name`.npz."""
        feed, state = self.feed, self.state
        others = measured(state, self.store.arrays, self.store.available, random.PRNGKey(SEED + 1))
        with feed.lock:
            held = feed.validation[:VALIDATION_VIEWS]
        targets = np.asarray(weighted(jnp.asarray(np.stack([marks for _, marks, *_ in held]))))
        asked = Answering(state["mean"], others, np.stack([depth for depth, *_ in held]))
        errors = errors_of(cast(Any, asked), [(np.zeros(1), t, str(k), str(s)) for t, (_, _, k, s) in zip(targets, held)], CHUNK)
        found = {"step": int(state["step"])} | card_figures(errors)
        print(f"{name}: {self.store.available} views\n{table(found['figures'])}\n{visibility_figures(errors)}", flush=True)
        views = {"train": dict(sorted(feed.sensors.items())), "validation": dict(Counter(str(v[3]) for v in held))}
        about = {"files": len(feed.seen), "scans": len(feed.scans), "astray": feed.astray, "mark_up": max(feed.mark_ups)}
        arrays: dict[str, Any] = {f"{n:04d}": np.asarray(value) for n, value in enumerate([*state["mean"], *others])}
        np.savez(self.output / f"{name}.npz", found=json.dumps(found | {"data": about | {"views": views}}), **arrays)
