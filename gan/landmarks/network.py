"""The landmark network: a view of a scan → one heatmap per landmark, its peak below the pixel, how sure it is, and whether the
scan shows it.

An hourglass of residual blocks (Newell et al. 2016; with one stack a U-Net), or several after one another. The heatmap of
landmark l is a distribution over the pixels, p_l = softmax h_l; its peak is the mean μ_l = Σ_x p_l(x) x ("soft-argmax":
Luvizon et al. 2017; Sun et al. 2018, integral regression), which has no grid. From the features under the heatmap,
f_l = Σ_x p_l(x) f(x), two small linear maps tell the 2 × 2 covariance of the error of μ_l, as the Cholesky factor of its
inverse (Kumar et al. 2020, LUVLi), and the logit of visibility.

All coordinates are in mm of the view's plane: x to the right of the picture, y down, from its upper left corner.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from gan.config import LandmarkNetConfig
from gan.layout import VIEW, Tensor

STRIDE = 2  # of the heatmaps: pixels of the view to a cell
VIEW_PIXEL_MM = 1.5
LOG_RANGE = (-3.0, 3.5)  # of the logarithms of the factor's diagonal, 1/mm: σ of 0.03 … 20 mm
OUTPUTS = ("position", "factor", "visibility")


def _convolution(filters: int, size: int, dtype: str, strides: int = 1, **options: Any) -> keras.layers.Layer:
    return keras.layers.Conv2D(
        filters, size, strides=strides, padding="same", kernel_initializer="he_normal", dtype=dtype, **options
    )


class ResidualBlock(keras.layers.Layer):
    """Two 3 × 3 convolutions with batch normalization beside the identity, or a 1 × 1 where `before`, the channels of its
    input, are not `width` (He et al. 2016)."""

    def __init__(self, before: int, width: int, dtype: str, **options: Any):
        super().__init__(dtype=dtype, **options)
        self.convolutions = [_convolution(width, 3, dtype, use_bias=False) for _ in range(2)]
        self.norms = [keras.layers.BatchNormalization(momentum=0.98, dtype=dtype) for _ in range(2)]
        self.shortcut = None if before == width else _convolution(width, 1, dtype, use_bias=False)

    def call(self, features: Tensor, training: bool | None = None) -> Tensor:
        kept = features if self.shortcut is None else self.shortcut(features)
        inner = ops.relu(self.norms[0](self.convolutions[0](features), training=training))
        return ops.relu(kept + self.norms[1](self.convolutions[1](inner), training=training))


class Hourglass(keras.layers.Layer):
    """Down by max pooling, up by repetition, the skipped features added."""

    def __init__(self, widths: tuple[int, ...], dtype: str, **options: Any):
        super().__init__(dtype=dtype, **options)
        self.down = [ResidualBlock(before, width, dtype) for before, width in zip((widths[0], *widths), widths)]
        self.reduce = [_convolution(width, 1, dtype) for width in widths[:-1]]
        self.up = [ResidualBlock(width, width, dtype) for width in widths[:-1]]

    def call(self, features: Tensor, training: bool | None = None) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            features = block(features if not level else ops.max_pool(features, 2, 2), training=training)
            skips.append(features)
        for level in reversed(range(len(self.up))):
            features = ops.repeat(ops.repeat(self.reduce[level](features), 2, axis=1), 2, axis=2)
            features = self.up[level](features + skips[level], training=training)
        return features


class LandmarkNet(keras.Model):
    """Views (b, h, w, 5) in the layout `gan.layout.VIEW` → dict of position (b, l, 2) mm; factor (b, l, 3): a, b, c of the
    Cholesky factor [[a, 0], [b, c]] of the inverse covariance, 1/mm; visibility (b, l) logits; heatmaps (s, b, n, l) logits
    over the n cells, one for each stack."""

    def __init__(self, config: LandmarkNetConfig, **options: Any):
        super().__init__(**options)
        self.config = config
        dtype, width = config.precision, config.widths[0]
        self.stem = _convolution(width, 4, dtype, strides=STRIDE)
        self.hourglasses = [Hourglass(config.widths, dtype) for _ in range(config.stacks)]
        self.heads = [_convolution(config.landmarks, 1, "float32") for _ in range(config.stacks)]
        self.returns = [_convolution(width, 1, dtype) for _ in range(config.stacks - 1)]
        shape = (config.landmarks, width, 4)
        self.reading = self.add_weight(shape=shape, initializer=keras.initializers.RandomNormal(stddev=0.02), name="reading")
        self.reading_bias = self.add_weight(shape=shape[::2], initializer="zeros", name="reading_bias")

    def call(self, inputs: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        features, heatmaps = ops.relu(self.stem(scaled(inputs))), []
        for number, hourglass in enumerate(self.hourglasses):
            grown = hourglass(features, training=training)
            maps = self.heads[number](grown)
            heatmaps.append(maps)
            if number < len(self.returns):
                features = features + grown + self.returns[number](ops.cast(maps, grown.dtype))
        height, width = maps.shape[1:3]
        flat = [ops.reshape(maps, (-1, height * width, self.config.landmarks)) for maps in heatmaps]
        share = ops.softmax(flat[-1], axis=1)
        position = ops.einsum("bnl,nk->blk", share, ops.convert_to_tensor(cell_centres(height, width)))
        read = ops.einsum(
            "bnl,bnf->blf",
            ops.stop_gradient(share),
            ops.reshape(ops.cast(grown, "float32"), (-1, height * width, grown.shape[-1])),
        )
        read = ops.einsum("blf,lfk->blk", read, self.reading) + self.reading_bias
        diagonal = ops.exp(ops.clip(read[..., :2], *LOG_RANGE))
        factor = ops.stack([diagonal[..., 0], read[..., 2], diagonal[..., 1]], axis=-1)
        return {"position": position, "factor": factor, "visibility": read[..., 3], "heatmaps": ops.stack(flat)}


def scaled(views: Tensor) -> Tensor:
    """The channels of `VIEW` at the size of one: depth by 50 mm, elevation about its mean over a face."""
    depth, elevation, rest = views[..., :1], views[..., 1:2], views[..., 2:]
    return ops.concatenate([depth / 50.0, (elevation - 0.9) * views[..., -1:], rest], axis=-1)


def cell_centres(height: int, width: int) -> np.ndarray:
    """(height·width, 2) float32: x, y of the heatmaps' cells in mm from the view's upper left corner, row-major."""
    step = STRIDE * VIEW_PIXEL_MM
    columns, rows = np.meshgrid((np.arange(width) + 0.5) * step, (np.arange(height) + 0.5) * step)
    return np.stack([columns.ravel(), rows.ravel()], 1).astype(np.float32)


def build_landmark_net(config: LandmarkNetConfig, size: int = 128) -> LandmarkNet:
    """With its variables created; takes any h, w that are multiples of 2^(number of widths)."""
    network = LandmarkNet(config)
    network(ops.zeros((1, size, size, len(VIEW))))
    return network
