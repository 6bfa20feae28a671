"""The pix2pix networks: a U-Net generator with a kernel-prediction head and a PatchGAN discriminator.

Isola et al. 2017 (U-Net, 70 × 70 PatchGAN); Bako et al. 2017 and Vogels et al. 2018 (kernel-predicting
denoisers): instead of painting depth, the U-Net chooses, per pixel, among smoothings of the measured
residual, so that what is measured stays measured.

Notation, per pixel: r the scan's residual to the coarse depth in mm, m ∈ {0, 1} whether it was measured,
n its noise in mm, b_k the smoothings of r (`gan.refiner.bank`), b_6 = 0 the coarse surface, w_k = softmax weights,
δ a bounded extra residual. The prediction is

    d = (1 − g) r + g (Σ_k w_k b_k + δ),     g = 1 − m (1 − smoothstep(n; clean, noisy)),

so that a noise-free scan passes through exactly (g = 0) and an unseen pixel is the network's alone (g = 1).

Tensors are (b, h, w, c) in the layout of `gan.layout`; h and w are multiples of 2^levels.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from gan.config import DiscriminatorConfig, GeneratorConfig
from gan.layout import COARSE, SCAN, Tensor
from gan.refiner.bank import TYPICAL_NOISE_MM, WIDTHS, bands_and_roughness, smoothing_bank
from gan.refiner.surface import depth_normals, elevation, unit
from geometry.charts.geometry_image import CHANNEL_SCALES

RESIDUAL_SCALE_MM = 3.0
RESIDUAL_CLIP_MM = 10.0
BAND_SCALE_MM = 0.75
NORMAL_CORRECTION = 0.3  # bound of the learned correction to each component of a unit normal
LOG_NOISE_MEAN, LOG_NOISE_SCALE = float(np.log(TYPICAL_NOISE_MM)), 1.5
LOG_SIGMA_RANGE = (-6.0, 4.0)  # about 0.7 µm … 16 mm
PRIOR_SPREAD = 0.6  # of the prior over the bank, in octaves of width
COARSE_LOGIT = -4.0  # prior logit of ignoring the scan


@keras.saving.register_keras_serializable("gan")
class PixelNorm(keras.layers.Layer):
    """Each pixel's features scaled to unit mean square (Karras et al. 2018, eq. in §4.2), as progressive growing
    uses it: unlike batch or group statistics it gives a crop and its full image the same values."""

    def call(self, features: Tensor) -> Tensor:
        return features * ops.rsqrt(ops.mean(ops.square(features), axis=-1, keepdims=True) + 1e-6)


def norm_layer(kind: str, channels: int) -> keras.layers.Layer:
    """kind: pixel | group | none."""
    if kind == "pixel":
        return PixelNorm()
    if kind == "group":
        return keras.layers.GroupNormalization(groups=max(1, channels // 8))
    return keras.layers.Identity()


def _convolution(kind: type, filters: int, size: int, strides: int = 1, **options: Any) -> keras.layers.Layer:
    return kind(filters, size, strides=strides, padding="same", kernel_initializer="he_normal", **options)


class UNet(keras.layers.Layer):
    """pix2pix's encoder–decoder with skips: 4 × 4 convolutions of stride 2 down, transposed ones up, between a 3 × 3 stem
    and `mix_layers` 3 × 3 convolutions at full resolution, `head_filters` wide, which also see the `detail` channels."""

    def __init__(self, config: GeneratorConfig, **options: Any):
        super().__init__(dtype=config.precision, **options)
        dtype: dict[str, Any] = {"dtype": config.precision}
        widths = [config.filters * min(2**level, 8) for level in range(config.levels)]
        self.stem = _convolution(keras.layers.Conv2D, config.head_filters, 3, **dtype) if config.stem else None
        self.down = [_convolution(keras.layers.Conv2D, width, 4, 2, **dtype) for width in widths]
        self.down_norms = [norm_layer(config.norm if level else "none", width) for level, width in enumerate(widths)]
        ups = [config.head_filters, *widths[:-1]]
        self.up = [_convolution(keras.layers.Conv2DTranspose, width, 4, 2, **dtype) for width in ups]
        self.up_norms = [norm_layer(config.norm, width) for width in ups]
        self.mix = [_convolution(keras.layers.Conv2D, config.head_filters, 3, **dtype) for _ in range(config.mix_layers)]

    def call(self, inputs: Tensor, detail: Tensor) -> Tensor:
        skips, features = [], inputs
        full = [detail]
        if self.stem is not None:
            features = ops.leaky_relu(self.stem(inputs), 0.2)
            full.append(features)
        for convolution, norm in zip(self.down, self.down_norms):
            features = ops.leaky_relu(norm(convolution(features)), 0.2)
            skips.append(features)
        for level in reversed(range(len(self.up))):
            features = features if level == len(self.up) - 1 else ops.concatenate([features, skips[level]], axis=-1)
            features = ops.leaky_relu(self.up_norms[level](self.up[level](features)), 0.2)
        features = ops.concatenate([features, *full], axis=-1)
        for convolution in self.mix:
            features = ops.leaky_relu(convolution(features), 0.2)
        return features


class Generator(keras.Model):
    """{"coarse": (b, h, w, 6), "scan": (b, h, w, 7)} (condition "coarse" ignores the scan) → dict of
    depth (b, h, w, 1): residual in mm to the coarse depth; normals (b, h, w, 3): unit; depth_normals (b, h, w, 3): those
    of the predicted depth; sigma (b, h, w, 1): mm, the error that 68 % of such pixels do not exceed (before calibration);
    confidence (b, h, w, 1): 1 measured … 0 imagined. Zero depth outside the coarse mask.

    pixel_mm: of the images it is called with; training at a lower resolution sets it (`gan.refiner.growing`)."""

    def __init__(self, config: GeneratorConfig, **options: Any):
        super().__init__(**options)
        self.config = config
        self.pixel_mm = config.pixel_mm
        self.unet = UNet(config)
        # residual, normal correction (3), log σ, and the weights of the bank
        kernels = config.condition == "coarse+scan" and config.head == "kernels"
        outputs = 5 + (len(WIDTHS) + 1 if kernels else 0)
        # Zero weights: training starts from the prior over smoothing widths, an honest refiner by itself.
        self.head = keras.layers.Conv2D(outputs, 1, kernel_initializer="zeros")

    def call(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        coarse = inputs["coarse"]
        if self.config.condition == "coarse":
            return self._refine_coarse(coarse)
        return self._refine_with_scan(coarse, inputs["scan"])

    def _refine_coarse(self, coarse: Tensor) -> dict[str, Tensor]:
        scaled = scale_coarse(coarse)
        head = self.head(ops.cast(self.unet(scaled, scaled[..., 1:]), "float32"))
        residual = self.config.correction_limit_mm * ops.tanh(head[..., :1])
        return self._surface(
            coarse, residual, NORMAL_CORRECTION * ops.tanh(head[..., 1:4]), head[..., 4:5], ops.zeros_like(residual)
        )

    def _refine_with_scan(self, coarse: Tensor, scan: Tensor) -> dict[str, Tensor]:
        residual, noise, mask = scan[..., :1], scan[..., -2:-1], scan[..., -1:]
        bank, coverages, noise = smoothing_bank(residual, noise, mask)
        evidence = scale_scan(scan, noise)
        bands, roughness = bands_and_roughness(bank, mask)
        # Squashed: the raw scan's spikes would drown what matters, bands of a tenth of a millimetre.
        detail = ops.concatenate([evidence, ops.tanh(bands / BAND_SCALE_MM), _scaled_log(roughness)], axis=-1)
        features = self.unet(ops.concatenate([scale_coarse(coarse), detail, coverages[..., 2:]], axis=-1), detail)
        head = self.head(ops.cast(features, "float32"))
        prior = self._prior_logits(noise, mask, coverages)
        freedom = 1.0 - mask * (1.0 - self._smoothstep(noise))
        if self.config.head == "residual":  # pix2pix as published: the U-Net paints depth
            weights, freedom = ops.softmax(prior, axis=-1), ops.ones_like(freedom)
            correction = self.config.residual_limit_mm * ops.tanh(head[..., :1] / self.config.residual_limit_mm)
            chosen = correction
        else:
            weights = ops.softmax(prior + head[..., 5:], axis=-1)
            correction = self.config.correction_limit_mm * ops.tanh(head[..., :1])
            chosen = ops.sum(weights[..., :-1] * bank, axis=-1, keepdims=True) + correction
        predicted = (1.0 - freedom) * residual * mask + freedom * chosen
        confidence = _confidence(weights, coverages, noise, mask, freedom, correction)
        return self._surface(
            coarse, predicted, freedom * NORMAL_CORRECTION * ops.tanh(head[..., 1:4]), head[..., 4:5], confidence
        )

    def _surface(
        self, coarse: Tensor, residual: Tensor, correction: Tensor, log_sigma: Tensor, confidence: Tensor
    ) -> dict[str, Tensor]:
        known = coarse[..., -1:]
        from_depth = depth_normals(coarse[..., :1] + residual, known, self.pixel_mm)
        return {
            "depth": residual * known,
            "normals": unit(from_depth + correction),
            "depth_normals": from_depth,
            "sigma": TYPICAL_NOISE_MM * ops.exp(ops.clip(log_sigma, *LOG_SIGMA_RANGE)) * known,
            "confidence": confidence * known,
        }

    def _smoothstep(self, noise: Tensor) -> Tensor:
        low, high = self.config.clean_noise_mm, self.config.noisy_noise_mm
        t = ops.clip((noise - low) / (high - low), 0.0, 1.0)
        return t * t * (3.0 - 2.0 * t)

    def _prior_logits(self, noise: Tensor, mask: Tensor, coverages: Tensor) -> Tensor:
        """(b, h, w, 7): a bell over log₂ width about `widths_per_mm` · noise pixels, times the coverage, and the coarse
        surface's constant. In holes the bell is four times wider: there the nearest measurements have to do."""
        octave = ops.log2(self.config.widths_per_mm * noise * (self.config.pixel_mm / self.pixel_mm) + 0.5)
        centres = np.log2(np.array(WIDTHS) + 0.5).astype(np.float32)
        bell = -0.5 * ops.square((octave - centres) / (PRIOR_SPREAD * (4.0 - 3.0 * mask))) + ops.log(coverages + 1e-3)
        return ops.concatenate([bell, ops.full_like(noise, COARSE_LOGIT)], axis=-1)


def _confidence(weights: Tensor, coverages: Tensor, noise: Tensor, mask: Tensor, freedom: Tensor, correction: Tensor) -> Tensor:
    """c = [(1 − g) m q₀ + g Σ_k w_k C_k q_k] / (1 + (g δ / 1 mm)²): the share of the prediction that was measured, C_k the
    coverage under smoothing k and q_k = 1 / (1 + (n a_k / 1 mm)²) its trust, where smoothing over σ_k pixels leaves a_k =
    1 / (1 + σ_k) of the noise (2√π σ of white noise; sensors' noise is correlated). 1 measured, 0 imagined."""
    left = (1.0 / (1.0 + np.array(WIDTHS))).astype(np.float32)
    trust = 1.0 / (1.0 + ops.square(noise * left))
    measured = ops.sum(weights[..., :-1] * coverages * trust, axis=-1, keepdims=True)
    measured = (1.0 - freedom) * mask * trust[..., :1] + freedom * measured
    return ops.clip(measured / (1.0 + ops.square(freedom * correction)), 0.0, 1.0)


def scale_coarse(coarse: Tensor) -> Tensor:
    """Channels by their fixed scales; the mask as it is."""
    scales = np.array([1.0 / CHANNEL_SCALES.get(name, 1.0) for name in COARSE], np.float32)
    return coarse * scales


def scale_scan(scan: Tensor, noise: Tensor) -> Tensor:
    """(b, h, w, 7), like the scan's layout: clipped residual, scaled channels, log noise (carried into holes), mask."""
    residual = ops.clip(scan[..., :1], -RESIDUAL_CLIP_MM, RESIDUAL_CLIP_MM) / RESIDUAL_SCALE_MM
    scales = np.array([1.0 / CHANNEL_SCALES[name] for name in SCAN[1:-2]], np.float32)
    shape = ops.clip(scan[..., 1:-2] * scales, -2.0, 2.0)  # a noisy scan's curvature has no bound
    return ops.concatenate([residual, shape, _scaled_log(noise), scan[..., -1:]], axis=-1)


def _scaled_log(millimetres: Tensor) -> Tensor:
    """Millimetres of noise or roughness → about −2 … 2."""
    return (ops.log(millimetres + 0.01) - LOG_NOISE_MEAN) / LOG_NOISE_SCALE


def build_generator(config: GeneratorConfig) -> Generator:
    """With its variables created; accepts any h, w that are multiples of 2^levels."""
    generator = Generator(config)
    size = 2**config.levels
    generator({"coarse": ops.zeros((1, size, size, len(COARSE))), "scan": ops.zeros((1, size, size, len(SCAN)))})
    return generator


class Discriminator(keras.Model):
    """PatchGAN: (condition (b, h, w, 6) coarse, surface (b, h, w, 5)) → patch logits (b, h', w', 1).

    With three strided levels each logit sees 70 × 70 pixels, as published."""

    def __init__(self, config: DiscriminatorConfig, **options: Any):
        super().__init__(**options)
        widths = [config.filters * min(2**level, 8) for level in range(config.levels + 1)]
        strides = [2] * config.levels + [1]
        self.convolutions = [_convolution(keras.layers.Conv2D, width, 4, stride) for width, stride in zip(widths, strides)]
        self.norms = [norm_layer(config.norm if level else "none", width) for level, width in enumerate(widths)]
        self.logits = keras.layers.Conv2D(1, 4, padding="same")

    def call(self, inputs: dict[str, Tensor]) -> Tensor:
        features = ops.concatenate([scale_coarse(inputs["coarse"]), inputs["surface"]], axis=-1)
        for convolution, norm in zip(self.convolutions, self.norms):
            features = ops.leaky_relu(norm(convolution(features)), 0.2)
        return self.logits(features)


def discriminator_surface(residual: Tensor, normals: Tensor, mask: Tensor) -> Tensor:
    """What the discriminator sees of a surface, (b, h, w, 5): scaled residual, n_x, n_y, elevation, mask; 0 outside it."""
    clipped = ops.clip(residual, -RESIDUAL_CLIP_MM, RESIDUAL_CLIP_MM) / RESIDUAL_SCALE_MM
    shape = [clipped, normals[..., :2], elevation(normals) / CHANNEL_SCALES["normal_elevation"]]
    return ops.concatenate([ops.concatenate(shape, axis=-1) * mask, mask], axis=-1)


def build_discriminator(config: DiscriminatorConfig) -> Discriminator:
    """With its variables created."""
    discriminator = Discriminator(config)
    discriminator({"coarse": ops.zeros((1, 64, 64, len(COARSE))), "surface": ops.zeros((1, 64, 64, 5))})
    return discriminator
