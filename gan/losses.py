"""The refiner's losses, all masked means over the pixels whose truth is known (keras.ops; tensors (b, h, w, c))."""
from __future__ import annotations

from keras import ops


def pixel_weights(truth_mask, scan_mask, noise, unobserved: float, noise_balance: float):
    """(b, h, w, 1): 1 where the scan saw the pixel, `unobserved` elsewhere, 0 without truth; divided by
    (the image's mean noise + 0.1 mm)^noise_balance, so that coarse sensors do not drown fine ones. Sums to 1 over the batch."""
    seen = ops.sum(scan_mask, axis=(1, 2, 3), keepdims=True)
    mean_noise = ops.sum(noise * scan_mask, axis=(1, 2, 3), keepdims=True) / (seen + 1e-6)
    weights = truth_mask * (scan_mask + (1.0 - scan_mask) * unobserved) / (mean_noise + 0.1) ** noise_balance
    return weights / (ops.sum(weights) + 1e-6)


def charbonnier(error, epsilon: float):
    """√(e² + ε²) − ε: L1 that is smooth at 0 (Charbonnier et al. 1994)."""
    return ops.sqrt(ops.square(error) + epsilon**2) - epsilon


def saturated(penalty, scale: float):
    """s log(1 + p/s): linear for p ≪ s, ever flatter beyond, where hair and hands lie (Cauchy's)."""
    return scale * ops.log(1.0 + penalty / scale)


def depth_loss(weights, residual, truth_residual, epsilon_mm: float, saturation_mm: float):
    """Masked robust L1 in mm."""
    return ops.sum(weights * saturated(charbonnier(residual - truth_residual, epsilon_mm), saturation_mm))


def normal_loss(weights, normals, truth_normals, kind: str):
    """Masked mean of 1 − cos θ ("cosine") or of the chord 2 sin(θ/2) ("chord", which weighs small angles as the
    mean angle does); normals are unit, (b, h, w, 3)."""
    square = ops.sum(ops.square(normals - truth_normals), axis=-1, keepdims=True)  # = 2 (1 − cos θ)
    return ops.sum(weights * (0.5 * square if kind == "cosine" else ops.sqrt(square + 1e-4) - 1e-2))


def adversarial_loss(logits, real: bool, kind: str):
    """Mean cross-entropy with logits ("bce", as published) or squared distance to the label ("lsgan", Mao et al. 2017)."""
    if kind == "lsgan":
        return ops.mean(ops.square(logits - (1.0 if real else 0.0)))
    return ops.mean(ops.softplus(-logits if real else logits))
