"""What the landmark network is trained to: the targets' weights, and the losses. Free of TensorFlow."""

from collections.abc import Mapping

from keras import ops

from gan.landmarks.network import cell_centres
from gan.layout import Tensor

TARGET = ("x", "y", "visible", "weight")  # of each landmark, as the network is trained: weight 0 outside the picture
ASTRAY_WEIGHT = 1e-6  # above 0: it counts for visibility
OUTSIDE_MM = 6.0  # landmarks nearer to the picture's rim than this, outside, still count as in it
TAIL = 5.0  # degrees of freedom of the error's Student distribution: gross errors shall not set the spread


def loss_terms(prediction: Mapping[str, Tensor], target: Tensor, size: tuple[int, int], target_mm: float) -> dict[str, Tensor]:
    """Unweighted losses: coordinate, the distance of the peak in mm; heatmap, the cross-entropy to a Gaussian of `target_mm`
    about the truth; spread, the negative log-likelihood of the peak's error under a bivariate Student distribution of the
    predicted scale, which sees the peak as given; visibility, a cross-entropy."""
    truth, visible, weight = target[..., :2], target[..., 2], target[..., 3]
    mean = lambda values, by=weight: ops.sum(values * by) / (ops.sum(by) + 1e-6)
    error = prediction["position"] - truth
    distance = ops.sqrt(ops.sum(ops.square(error), axis=-1) + 0.01)
    a, b, c = (prediction["factor"][..., k] for k in range(3))
    fixed = ops.stop_gradient(error)
    squared = ops.square(a * fixed[..., 0] + b * fixed[..., 1]) + ops.square(c * fixed[..., 1])
    spread = 0.5 * (TAIL + 2) * ops.log(1 + squared / TAIL) - ops.log(a) - ops.log(c)
    logit = prediction["visibility"]
    inside = ops.cast(weight > 0, "float32")
    agreement = ops.maximum(logit, 0) - logit * visible + ops.log(1 + ops.exp(-ops.abs(logit)))
    return {
        "coordinate": mean(distance),
        "heatmap": mean(_heatmap_loss(prediction["heatmaps"], truth, size, target_mm)),
        "spread": mean(spread),
        "visibility": mean(agreement, inside),
    }


def _heatmap_loss(heatmaps: Tensor, truth: Tensor, size: tuple[int, int], target_mm: float) -> Tensor:
    """heatmaps (s, b, n, l) logits → (b, l), the mean over the stacks."""
    centres = ops.convert_to_tensor(cell_centres(size[0] // 2, size[1] // 2))
    squared = ops.sum(ops.square(centres[None, :, None] - truth[:, None]), axis=-1)
    wanted = ops.softmax(-squared / (2 * target_mm**2), axis=1)
    return ops.mean(ops.logsumexp(heatmaps, axis=2) - ops.sum(wanted[None] * heatmaps, axis=2), axis=0)
