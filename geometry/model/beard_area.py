"""Where beards grow on a morphable model's face."""

from functools import cache

import numpy as np

from geometry.model.morphable_model import MorphableModel

ABOVE_LIPS = 33  # of ibug68: the base of the nose, down to which an upper lip may be covered
CORNERS = (48, 54)  # of ibug68: of the mouth
SOFT_MM = 8.0  # over which a beard thins out at its border
LIPS_MM = (30.0, 13.0)  # half the width and height, doubled, of the bare lips
BEHIND_MM = 110.0  # of the foremost point: where no beard grows


@cache
def beard_area(model: MorphableModel) -> np.ndarray:
    """(n,) in [0, 1], float32: how much of a beard's length stands on each vertex of the face and neck; lips are bare. An
    average of many beards: chin, jaw, upper lip, as `geometry.synthesis.wrinkles` has them."""
    points, marks = model.mean, model.mean[model.landmarks["ibug68"]]
    border = marks[ABOVE_LIPS, 1] + np.interp(np.abs(points[:, 0]), [0, 25, 60], [0, -8, 12]) - 2.5
    x, y = (points[:, :2] - marks[list(CORNERS)].mean(axis=0)[:2]).T
    bare = np.clip(2 * np.hypot(x / LIPS_MM[0], y / LIPS_MM[1]) - 1.6, 0, 1)
    front = points[:, 2] > points[:, 2].max() - BEHIND_MM
    return (np.clip((border - points[:, 1]) / SOFT_MM, 0, 1) * bare * front).astype(np.float32)
