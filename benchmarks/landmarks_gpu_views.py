"""Batches of views on the GPU for landmarks_gpu.py, changed at random: what `gan.landmarks.dataset` does, and more, in JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from landmarks_gpu import BATCH, HALF, NETWORK, NONE, PIXEL_MM, SIZE, UNITS

from gan.config import LandmarkNetConfig
from gan.landmarks.losses import ASTRAY_WEIGHT, OUTSIDE_MM
from geometry.model.landmark_embedding import shipped_schemes

CONFIG = LandmarkNetConfig(**NETWORK)
SWAP = np.array(shipped_schemes()[CONFIG.scheme].mirror)
ROW, COLUMN = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
MIDDLE = (SIZE - 1) / 2
TURN_DEG, SCALE, NOISE_MM, NOISE_PX = 20.0, (0.94, 1.06), (0.02, 0.4), (0.5, 1.3)
CUT_SHARE, CUT_MM = 0.08, (10.0, 70.0)
Array = Any  # of JAX


def channels(depth: Array, valid: Array) -> Array:
    """(b, h, w) → (b, h, w, 5) of `gan.layout.VIEW`, as `geometry.charts.rasterize.image_from_depth` makes them."""
    depth, mask = jnp.where(valid, depth, 0.0), valid.astype(jnp.float32)
    x, y = -_slope(depth, valid, 2) / PIXEL_MM, _slope(depth, valid, 1) / PIXEL_MM
    length = jnp.sqrt(x * x + y * y + 1)
    elevation = jnp.arctan2(1 / length, jnp.sqrt(x * x + y * y) / length)
    return jnp.stack([depth, elevation * mask, x / length * mask, y / length * mask, mask], -1)


def _slope(depth: Array, valid: Array, axis: int) -> Array:
    """Central differences, one-sided at the border of the valid region, in mm a pixel."""
    pad = [(1, 1) if k == axis else (0, 0) for k in range(3)]
    d, v = jnp.pad(depth, pad), jnp.pad(valid, pad)
    beside = lambda values, start: lax.slice_in_dim(values, start, start + SIZE, axis=axis)
    before, after = beside(v, 0) & valid, beside(v, 2) & valid
    total = jnp.where(before, depth - beside(d, 0), 0.0) + jnp.where(after, beside(d, 2) - depth, 0.0)
    return total / jnp.maximum(before.astype(jnp.float32) + after, 1.0)


def plain(steps: Array) -> Array:
    """Views as they are: (b, h, w) int16 → (b, h, w, 5)."""
    return channels(steps.astype(jnp.float32) / UNITS, steps != NONE)


def weighted(marks: Array) -> Array:
    """(b, l, 3) → (b, l, 4) of `gan.landmarks.losses.TARGET`."""
    inside = ((marks[..., :2] > -OUTSIDE_MM) & (marks[..., :2] < 2 * HALF + OUTSIDE_MM)).all(-1)
    weight = jnp.where(inside, jnp.where(marks[..., 2] > 0.5, 1.0, CONFIG.hidden), 0.0)
    weight = jnp.where((marks[..., 2] > 0.5).any(-1, keepdims=True), weight, ASTRAY_WEIGHT)
    return jnp.concatenate([marks, weight[..., None]], -1)


def drawn(key: Array, store: dict, available: Array) -> tuple[Array, Array]:
    """A batch of the first `available` views of the store, changed at random, and its targets."""
    at = random.randint(random.fold_in(key, 7), (BATCH,), 0, available)
    depth, valid, marks = jax.vmap(_changed)(random.split(key, BATCH), store["depth"][at], store["marks"][at])
    return channels(depth, valid), weighted(marks)


def _changed(key: Array, steps: Array, marks: Array) -> tuple[Array, Array, Array]:
    """One view: half of them turned in the plane and scaled, half with more noise, half mirrored; all shifted and moved in
    depth; some with a hole, some without what lies beyond a line."""
    u = random.uniform(key, (24,))
    depth, valid, place = _turned(u[:5], steps, marks[:, :2])
    depth = depth + _noise(u[5:8], random.fold_in(key, 1)) + (2 * u[16] - 1) * CONFIG.shift_mm
    valid = valid & ~_lost(u[8:16], (COLUMN + 0.5) * PIXEL_MM, (ROW + 0.5) * PIXEL_MM)
    seen = jnp.where(_lost(u[8:16], *place.T), 0.0, marks[:, 2])
    flip = u[17] < 0.5
    depth, valid = jnp.where(flip, depth[:, ::-1], depth), jnp.where(flip, valid[:, ::-1], valid)
    place = jnp.where(flip, jnp.stack([2 * HALF - place[:, 0], place[:, 1]], 1)[SWAP], place)
    return depth, valid, jnp.concatenate([place, jnp.where(flip, seen[SWAP], seen)[:, None]], 1)


def _between(share: Array, low: float, high: float) -> Array:
    return low + share * (high - low)


def _turned(u: Array, steps: Array, places: Array) -> tuple[Array, Array, Array]:
    """Turned, scaled and shifted, by u (5,) in 0 … 1; places (l, 2) mm go along."""
    angle = jnp.where(u[0] < 0.5, jnp.deg2rad(_between(u[1], -TURN_DEG, TURN_DEG)), 0.0)
    scale = jnp.where(u[0] < 0.5, _between(u[2], *SCALE), 1.0)
    shift = jnp.floor(u[3:5] * (2 * CONFIG.shift_px + 1)) - CONFIG.shift_px
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    x, y = (COLUMN - MIDDLE - shift[0]) / scale, (ROW - MIDDLE - shift[1]) / scale
    depth, valid = _sampled(steps, cosine * x + sine * y + MIDDLE, -sine * x + cosine * y + MIDDLE)
    x, y = (places - HALF).T
    moved = scale * jnp.stack([cosine * x - sine * y, sine * x + cosine * y], 1) + HALF + shift * PIXEL_MM
    return scale * depth, valid, moved


def _sampled(steps: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Bilinear depth, from the valid ones of four pixels, at columns x and rows y (h, w), and whether half of it is known."""
    left, top = jnp.floor(x + 1e-4), jnp.floor(y + 1e-4)
    part_x, part_y = jnp.clip(x - left, 0, 1), jnp.clip(y - top, 0, 1)
    total = known = 0.0
    for dy, dx in np.ndindex(2, 2):
        i, j = (top + dy).astype(jnp.int32), (left + dx).astype(jnp.int32)
        value = steps.reshape(-1)[jnp.clip(i, 0, SIZE - 1) * SIZE + jnp.clip(j, 0, SIZE - 1)]
        there = (i >= 0) & (i < SIZE) & (j >= 0) & (j < SIZE) & (value != NONE)
        weight = jnp.where(there, (part_x if dx else 1 - part_x) * (part_y if dy else 1 - part_y), 0.0)
        total, known = total + weight * value.astype(jnp.float32) / UNITS, known + weight
    return total / jnp.maximum(known, 1e-6), known > 0.5


def _noise(u: Array, key: Array) -> Array:
    """(h, w) mm of blurred white noise, in half of the views, by u (3,)."""
    taps = jnp.exp(-(jnp.arange(-3.0, 4.0) ** 2) / (2 * _between(u[0], *NOISE_PX) ** 2))
    taps = taps / jnp.sqrt((taps**2).sum())
    blurred = lambda values: sum(taps[k] * jnp.roll(values, k - 3, 0) for k in range(7))
    size = jnp.exp(_between(u[2], *np.log(NOISE_MM)))
    return jnp.where(u[1] < 0.5, size, 0.0) * blurred(blurred(random.normal(key, (SIZE, SIZE))).T)


def _lost(u: Array, x: Array, y: Array) -> Array:
    """Whether x, y in mm lie in the hole, or beyond the line, that u (8,) says."""
    sides = _between(u[:2], *CONFIG.hole_px)
    corner = u[2:4] * (SIZE - sides)
    hole, cut, way = u[4] < CONFIG.hole_share, u[7] < CUT_SHARE, 2 * jnp.pi * u[5]
    within = lambda position, axis: (position >= corner[axis]) & (position < corner[axis] + sides[axis])
    beyond = jnp.cos(way) * (x - HALF) + jnp.sin(way) * (y - HALF) > _between(u[6], *CUT_MM)
    return (hole & within(y / PIXEL_MM, 0) & within(x / PIXEL_MM, 1)) | (cut & beyond)
