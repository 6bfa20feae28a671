"""Geometry images as pictures to be looked at: shaded normals, and signed distances in colours."""

import numpy as np

LIGHT = np.array([-0.35, 0.45, 0.82]) / np.linalg.norm([-0.35, 0.45, 0.82])
WHITE = np.array([255, 255, 255])


def shaded_normals(normals: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Unit normals (h, w, 3) → (h, w, 3) uint8; dark blue where not valid (h, w)."""
    grey = np.clip(normals @ LIGHT, 0, 1) * 235 + 20
    return np.where(valid[..., None], grey[..., None], np.array([24, 26, 48])).astype(np.uint8)


def signed_colours(distance: np.ndarray, valid: np.ndarray, full_scale_mm: float) -> np.ndarray:
    """(h, w) mm → (h, w, 3) uint8: white at 0, red in front, blue behind, darkest at full scale; grey where not valid (h, w)."""
    t = np.clip(distance / full_scale_mm, -1, 1)[..., None]
    colour = np.where(t > 0, WHITE - t * [35, 200, 215], WHITE + t * [215, 165, 30])
    return np.where(valid[..., None], colour, 40).astype(np.uint8)
