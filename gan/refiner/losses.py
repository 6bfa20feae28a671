"""The refiner's losses, all masked means over the pixels whose truth is known (keras.ops; tensors (b, h, w, c))."""

from keras import ops

from gan.layout import Tensor
from gan.refiner.surface import neighbours

FULL_BENDING = 0.2  # per mm: a radius of 10 mm (both curvatures), the wing of a nose
COVERAGE = 0.68


def pixel_weights(truth_mask: Tensor, scan_mask: Tensor, noise: Tensor, unobserved: float, noise_balance: float) -> Tensor:
    """(b, h, w, 1): 1 where the scan saw the pixel, `unobserved` elsewhere, 0 without truth; divided by
    (the image's mean noise + 0.1 mm)^noise_balance, so that coarse sensors do not drown fine ones. Sums to 1 over the batch."""
    seen = ops.sum(scan_mask, axis=(1, 2, 3), keepdims=True)
    mean_noise = ops.sum(noise * scan_mask, axis=(1, 2, 3), keepdims=True) / (seen + 1e-6)
    weights = truth_mask * (scan_mask + (1.0 - scan_mask) * unobserved) / (mean_noise + 0.1) ** noise_balance
    return weights / (ops.sum(weights) + 1e-6)


def bending(normals: Tensor, mask: Tensor, pixel_mm: float) -> Tensor:
    """|∂n_x/∂x + ∂n_y/∂y| in 1/mm, twice the mean curvature, of unit normals (b, h, w, 3) → (b, h, w, 1) by central
    differences; 0 where a neighbour is unknown."""
    across = _central(normals[..., :1], mask, axis=2)
    along = _central(normals[..., 1:2], mask, axis=1)
    return ops.abs(across - along) / (2.0 * pixel_mm)  # rows run downward


def _central(values: Tensor, mask: Tensor, axis: int) -> Tensor:
    ahead, behind = neighbours(axis, 2)
    known = mask[ahead] * mask[behind]
    padding = [[0, 0]] * 4
    padding[axis] = [1, 1]
    return ops.pad((values[ahead] - values[behind]) * known, padding)


def emphasised(weights: Tensor, normals: Tensor, mask: Tensor, pixel_mm: float, feature: float) -> Tensor:
    """Pixel weights times 1 + feature · min(1, bending / FULL_BENDING), again with sum 1."""
    weights = weights * (1.0 + feature * ops.minimum(bending(normals, mask, pixel_mm) / FULL_BENDING, 1.0))
    return weights / (ops.sum(weights) + 1e-6)


def quantile_loss(weights: Tensor, log_error: Tensor, log_sigma: Tensor) -> Tensor:
    """Pinball loss (Koenker & Bassett 1978) whose minimum is where log σ is the 68 % quantile of log |error|: quantiles
    pass through monotone maps, and the logarithm makes the loss free of scale."""
    excess = log_error - log_sigma
    return ops.sum(weights * ops.maximum(COVERAGE * excess, (COVERAGE - 1.0) * excess))


def charbonnier(error: Tensor, epsilon: float) -> Tensor:
    """√(e² + ε²) − ε: L1 that is smooth at 0 (Charbonnier et al. 1994)."""
    return ops.sqrt(ops.square(error) + epsilon**2) - epsilon


def saturated(penalty: Tensor, scale: float) -> Tensor:
    """s log(1 + p/s): linear for p ≪ s, ever flatter beyond, where hair and hands lie (Cauchy's)."""
    return scale * ops.log(1.0 + penalty / scale)


def depth_loss(weights: Tensor, residual: Tensor, truth_residual: Tensor, epsilon_mm: float, saturation_mm: float) -> Tensor:
    """Masked robust L1 in mm."""
    return ops.sum(weights * saturated(charbonnier(residual - truth_residual, epsilon_mm), saturation_mm))


def normal_loss(weights: Tensor, normals: Tensor, truth_normals: Tensor, kind: str) -> Tensor:
    """Masked mean of 1 − cos θ ("cosine") or of the chord 2 sin(θ/2) ("chord", which weighs small angles as the
    mean angle does); normals are unit, (b, h, w, 3)."""
    square = ops.sum(ops.square(normals - truth_normals), axis=-1, keepdims=True)  # = 2 (1 − cos θ)
    return ops.sum(weights * (0.5 * square if kind == "cosine" else ops.sqrt(square + 1e-4) - 1e-2))


def adversarial_loss(logits: Tensor, real: bool, kind: str) -> Tensor:
    """Mean cross-entropy with logits ("bce", as published), squared distance to the label ("lsgan", Mao et al. 2017), or the
    discriminator's margin ("hinge", Lim & Ye 2017; the generator's side of it is `fooling_loss`)."""
    if kind == "hinge":
        return ops.mean(ops.relu(1.0 - logits if real else 1.0 + logits))
    if kind == "lsgan":
        return ops.mean(ops.square(logits - (1.0 if real else 0.0)))
    return ops.mean(ops.softplus(-logits if real else logits))


def fooling_loss(logits: Tensor, kind: str) -> Tensor:
    """The generator's: its surfaces shall be taken for real."""
    return -ops.mean(logits) if kind == "hinge" else adversarial_loss(logits, True, kind)
