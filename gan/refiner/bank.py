"""A bank of mask-normalised Gaussian smoothings of the scan's residual (keras.ops; tensors (b, h, w, c)).

Normalised convolution (Knutsson & Westin 1993): smooth(m·r) / smooth(m), so that holes do not pull the
residual to 0 at their rims; far from any measurement the quotient fades to 0, the coarse surface.
"""

import numpy as np
from keras import ops

from gan.layout import Tensor

WIDTHS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)  # Gaussian σ in pixels; 0 is the raw residual
FADE_COVERAGE = 0.05  # at this Gaussian-weighted coverage a smoothing has half its weight
TYPICAL_NOISE_MM = 0.3  # assumed where nothing was measured nearby
ROUGHNESS_WIDTH = 8.0  # pixels over which a band's RMS is taken
TAIL = 3.0  # kernels are cut at this many σ


def smoothing_bank(residual: Tensor, noise: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """residual, noise (mm), mask (b, h, w, 1) → smoothed residuals (b, h, w, 6), coverages in [0, 1] (b, h, w, 6),
    noise carried over into holes (b, h, w, 1)."""
    measured = ops.concatenate([residual * mask, mask], axis=-1)
    values, coverages = [residual * mask], [mask]
    for width in WIDTHS[1:]:
        smoothed = gaussian_smooth(measured, width)
        coverage = smoothed[..., 1:]
        values.append(smoothed[..., :1] * coverage / (ops.square(coverage) + FADE_COVERAGE**2))
        coverages.append(coverage)
    spread = gaussian_smooth(ops.concatenate([noise * mask, mask], axis=-1), WIDTHS[-2])
    carried = (spread[..., :1] + 0.01 * TYPICAL_NOISE_MM) / (spread[..., 1:] + 0.01)
    return ops.concatenate(values, axis=-1), ops.concatenate(coverages, axis=-1), mask * noise + (1.0 - mask) * carried


def bands_and_roughness(bank: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The bank's bands b_k − b_{k+1}, the last being b_5 itself, in mm, and the local RMS of the first five about each
    pixel, in mm; (b, h, w, 6) and (b, h, w, 5). Together the RMS are a coarse local spectrum: sensor noise, its correlation
    and true detail differ in it, which one noise figure cannot tell."""
    bands = ops.concatenate([bank[..., :-1] - bank[..., 1:], bank[..., -1:]], axis=-1)
    measured = ops.concatenate([ops.square(bands[..., :-1]) * mask, mask], axis=-1)
    power = gaussian_smooth(measured, ROUGHNESS_WIDTH)
    return bands, ops.sqrt(power[..., :-1] / (power[..., -1:] + 0.01))


def gaussian_smooth(image: Tensor, width: float) -> Tensor:
    """Separable Gaussian of σ `width` pixels over (b, h, w, c), zero beyond the border.

    As products with banded matrices: TensorFlow's depthwise convolution, which takes one tap of few channels at a time, is ten
    times as slow on a processor."""
    height, columns = ops.shape(image)[1:3]
    planes = ops.matmul(ops.transpose(image, (0, 3, 1, 2)), _smoothing_matrix(columns, width))
    return ops.transpose(ops.matmul(_smoothing_matrix(height, width), planes), (0, 2, 3, 1))


def _smoothing_matrix(size: Tensor, width: float) -> Tensor:
    """(size, size), symmetric: row i holds the Gaussian's taps about i, cut at the border."""
    radius = int(np.ceil(TAIL * width))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width) ** 2)
    framed = np.pad(taps / taps.sum(), 1).astype(np.float32)  # 0 beyond the last tap
    place = ops.arange(size)
    return ops.take(framed, ops.clip(place[:, None] - place, -radius - 1, radius + 1) + radius + 1)
