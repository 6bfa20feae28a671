"""Low resolution first: a training curriculum after progressive growing (Karras et al. 2018; Galteri et al. 2019 for faces).

The networks are fully convolutional and their weights have no resolution, so that instead of adding layers the same
weights learn from images reduced by 4, then by 2, then as they are: broad shape from many cheap steps, detail last.
"""

from collections.abc import Iterable

from keras import ops

from gan.layout import Tensor
from geometry.errors import ConfigError


def phases(growing: Iterable[str]) -> list[tuple[int, int]]:
    """["4:1000", "2:3000"] → [(4, 1000), (2, 3000)]: reduction factor and steps. Raises ConfigError."""
    found = []
    for phase in growing:
        factor, separator, steps = phase.partition(":")
        if not (separator and factor.isdecimal() and steps.isdecimal() and int(factor) in (2, 4, 8) and int(steps)):
            raise ConfigError(f"schedule.growing: {phase!r} is not FACTOR:STEPS with a factor of 2, 4 or 8")
        found.append((int(factor), int(steps)))
    return found


def factor_at(step: int, growing: Iterable[str]) -> int:
    """The reduction of the step that follows `step` finished ones; 1 after all phases."""
    for factor, steps in phases(growing):
        if step < steps:
            return factor
        step -= steps
    return 1


def reduced(x: dict[str, Tensor], truth: Tensor, factor: int) -> tuple[dict[str, Tensor], Tensor]:
    """Batches in the layout of `gan.layout`, reduced by masked means over factor × factor pixels; a reduced pixel is known
    where at least half of its own are."""
    if factor == 1:
        return x, truth
    return {name: _pooled(image, factor) for name, image in x.items()}, _pooled(truth, factor)


def _pooled(image: Tensor, factor: int) -> Tensor:
    """The last channel is the mask."""
    mask = image[..., -1:]
    share = _block_means(mask, factor)
    mean = _block_means(image[..., :-1] * mask, factor) / (share + 1e-6)
    known = ops.cast(share >= 0.5, "float32")
    return ops.concatenate([mean * known, known], axis=-1)


def _block_means(image: Tensor, factor: int) -> Tensor:
    """(b, h, w, c) → (b, h / factor, w / factor, c)."""
    height, width, channels = image.shape[1:]
    blocks = ops.reshape(image, (-1, height // factor, factor, width // factor, factor, channels))
    return ops.mean(blocks, axis=(2, 4))
