"""Differentiable geometry of depth maps on an orthographic chart (keras.ops; tensors (b, h, w, c)).

Row 0 is the top (y up), columns run to +x (the subject's left), depth z grows outward, so the
outward normal of z(x, y) is (−∂z/∂x, −∂z/∂y, 1) / |·|.
"""

from keras import ops

from gan.layout import Tensor

STEP_SCALE_MM = 1.0  # differences beyond it begin to count as a step between two surfaces


def depth_normals(depth: Tensor, mask: Tensor, pixel_mm: float) -> Tensor:
    """Unit normals (b, h, w, 3) of depth (b, h, w, 1) in mm by differences that neither cross the mask (b, h, w, 1)
    nor, as far as possible, a step: the two one-sided differences are averaged with weights 1/(d² + STEP_SCALE²),
    as essentially non-oscillatory schemes do (Jiang & Shu 1996). Where no neighbour is known: (0, 0, 1)."""
    depth, mask = ops.convert_to_tensor(depth), ops.convert_to_tensor(mask)
    slope_x = _difference(depth, mask, axis=2) / pixel_mm
    slope_y = -_difference(depth, mask, axis=1) / pixel_mm  # rows run downward
    return unit(ops.concatenate([-slope_x, -slope_y, ops.ones_like(depth)], axis=-1))


def unit(vectors: Tensor) -> Tensor:
    """(…, 3) scaled to length 1."""
    return vectors / ops.sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True) + 1e-12)


def normals_from_components(normal_x: Tensor, normal_y: Tensor) -> Tensor:
    """Unit normals (b, h, w, 3) from x and y (b, h, w, 1): charts see only surfaces with z ≥ 0."""
    normal_x, normal_y = ops.convert_to_tensor(normal_x), ops.convert_to_tensor(normal_y)
    square = ops.square(normal_x) + ops.square(normal_y)
    return unit(ops.concatenate([normal_x, normal_y, ops.sqrt(ops.maximum(1.0 - square, 1e-6))], axis=-1))


def elevation(normals: Tensor) -> Tensor:
    """(b, h, w, 1) in radians: atan2(n_z, hypot(n_x, n_y))."""
    flat = ops.sqrt(ops.sum(ops.square(normals[..., :2]), axis=-1, keepdims=True) + 1e-12)
    return ops.arctan2(normals[..., 2:], flat)


def _difference(depth: Tensor, mask: Tensor, axis: int) -> Tensor:
    """Mean of the forward and backward difference per pixel step along the axis, each where both its ends are known."""
    ahead, behind = neighbours(axis)
    step = depth[ahead] - depth[behind]
    weight = mask[ahead] * mask[behind] / (ops.square(step) + STEP_SCALE_MM**2)
    forward, backward = [[0, 0]] * 4, [[0, 0]] * 4
    forward[axis], backward[axis] = [0, 1], [1, 0]
    product = step * weight
    total = ops.pad(product, forward) + ops.pad(product, backward)
    return total / (ops.pad(weight, forward) + ops.pad(weight, backward) + 1e-9)


def neighbours(axis: int, step: int = 1) -> tuple[tuple, tuple]:
    """Indices of tensors (b, h, w, c): all but the first `step` along the axis, and all but the last."""
    ahead, behind = [slice(None)] * 4, [slice(None)] * 4
    ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
    return tuple(ahead), tuple(behind)
