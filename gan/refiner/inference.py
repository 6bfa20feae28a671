"""The trained refiner on geometry images: NumPy in, NumPy out; TensorFlow is imported when it is constructed."""

from collections.abc import Callable, Sequence

import numpy as np

from gan import layout
from gan.config import GeneratorConfig
from gan.inference import start_tensorflow
from gan.layout import Tensor
from gan.weights import load
from geometry.charts.curvature import mean_curvature
from geometry.charts.geometry_image import GeometryImage, normal_channels
from geometry.errors import FaceReliefError
from geometry.settings.loading import from_dict

NORMAL_NAMES = ("normal_x", "normal_y", "normal_z")
OUTPUTS = ("depth", "normals", "confidence", "sigma")


class ChartError(FaceReliefError):
    """A geometry image that the network was not trained for."""


class Refiner:
    """Refines (coarse, scan) pairs with the weights named or filed as `weights`.

    The refined image is valid where the coarse one is: there the fit supplies what the scan does not show. A scan
    pixel counts only within 15 mm of the coarse surface (`gan.layout`). TensorFlow's last bits depend on
    the batch size and the thread count, so both are fixed; a run that must not depend on its workers takes batches of one.
    """

    def __init__(self, weights: str = "default", batch_size: int = 4, threads: int = 1, mirror: bool = True):
        if batch_size < 1 or threads < 1:
            raise ValueError(f"batch_size and threads must be at least 1, got {batch_size} and {threads}")
        start_tensorflow(threads)
        import tensorflow as tf

        from gan.refiner.networks import build_generator

        self.batch_size = batch_size
        generator, self.card = load(weights, build_generator)
        self.config = from_dict(GeneratorConfig, self.card["generator"])
        # traced once for each shape
        self._function = tf.function(averaged_function(generator, mirror, self.card.get("sigma_scale", 1.0)))

    def refine(self, pairs: Sequence[tuple[GeometryImage, GeometryImage]]) -> list[GeometryImage]:
        """(coarse, scan with channel "noise_sigma") → refined images with the five CHANNELS and "confidence" in [0, 1].

        Raises ChartError for a chart other than the one the network was trained on."""
        for coarse, scan in pairs:
            self._check(coarse, scan)
        refined: list[GeometryImage | None] = [None] * len(pairs)
        for shape in sorted({coarse.shape for coarse, _ in pairs}):  # a batch holds one shape: padding would reach into images
            chosen = [number for number, (coarse, _) in enumerate(pairs) if coarse.shape == shape]
            for first in range(0, len(chosen), self.batch_size):
                batch = chosen[first : first + self.batch_size]
                for number, image in zip(batch, self._refine_batch([pairs[number] for number in batch])):
                    refined[number] = image
        return refined

    def _refine_batch(self, pairs: Sequence[tuple[GeometryImage, GeometryImage]]) -> list[GeometryImage]:
        """At most batch_size pairs of one shape, padded with empty ones and to a multiple of 2^levels."""
        multiple = 2**self.config.levels
        height, width = (-(-side // multiple) * multiple for side in pairs[0][0].shape)
        coarse_batch = np.zeros((self.batch_size, height, width, len(layout.COARSE)), np.float32)
        scan_batch = np.zeros((self.batch_size, height, width, len(layout.SCAN)), np.float32)
        for number, (coarse, scan) in enumerate(pairs):
            window = (number, slice(coarse.shape[0]), slice(coarse.shape[1]))
            coarse_batch[window] = layout.pack_coarse(coarse)
            scan_batch[window] = layout.pack_scan(coarse, scan, self.config.residual_limit_mm)
        found = {name: value.numpy() for name, value in self._function(coarse_batch, scan_batch).items()}
        outputs = ({name: found[name][number] for name in OUTPUTS} for number in range(len(pairs)))
        return [_refined_image(coarse, output) for (coarse, _), output in zip(pairs, outputs)]

    def _check(self, coarse: GeometryImage, scan: GeometryImage) -> None:
        if coarse.chart != scan.chart:
            raise ChartError(f"coarse and scan lie in different charts: {coarse.chart} and {scan.chart}")
        if coarse.chart.kind != "orthographic" or not np.isclose(coarse.chart.pixel_mm, self.config.pixel_mm):
            raise ChartError(
                f"the network was trained on an orthographic chart of {self.config.pixel_mm:g} mm a pixel, not on "
                f"{coarse.chart.kind} with {coarse.chart.pixel_mm:g} mm; use that chart, `refine: smooth`, "
                "or train a network for this one"
            )


def _refined_image(coarse: GeometryImage, found: dict[str, np.ndarray]) -> GeometryImage:
    """Network outputs (h', w', ·) ≥ the image's size → the refined image, valid where the coarse one is."""
    valid = coarse.valid_mask
    outputs = {name: values[: valid.shape[0], : valid.shape[1]].astype(np.float64) for name, values in found.items()}
    depth = np.where(valid, coarse["depth"] + outputs["depth"][..., 0], 0.0)
    channels = {
        "depth": depth,
        **normal_channels(outputs["normals"]),
        "mean_curvature": mean_curvature(depth, valid, coarse.chart),
        "confidence": outputs["confidence"][..., 0],
        "sigma_mm": outputs["sigma"][..., 0],
    }
    masked = {name: np.where(valid, values, 0.0).astype(np.float32) for name, values in channels.items()}
    return GeometryImage(masked, valid, coarse.chart)


def averaged_function(generator: Callable, mirror: bool, sigma_scale: float) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """(coarse, scan) tensors → dict of the tensors `OUTPUTS`, σ times its calibration.

    mirror: the mean of the prediction and of the mirrored image's, mirrored back. Faces of both handedness were trained on,
    so that it costs no bias and averages away what the strided convolutions make of their grid."""
    import tensorflow as tf

    def predict(coarse: Tensor, scan: Tensor) -> dict[str, Tensor]:
        found = generator({"coarse": coarse, "scan": scan})
        return {name: found[name] * (sigma_scale if name == "sigma" else 1.0) for name in OUTPUTS}

    def outputs(coarse: Tensor, scan: Tensor) -> dict[str, Tensor]:
        found = predict(coarse, scan)
        if not mirror:
            return found
        other = predict(layout.mirrored(coarse, layout.COARSE), layout.mirrored(scan, layout.SCAN))
        other = {name: layout.mirrored(values, NORMAL_NAMES if name == "normals" else ()) for name, values in other.items()}
        mean = {name: 0.5 * (found[name] + other[name]) for name in OUTPUTS}
        return mean | {"normals": mean["normals"] / tf.maximum(tf.norm(mean["normals"], axis=-1, keepdims=True), 1e-6)}

    return outputs
