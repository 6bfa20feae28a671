"""How a morphable model is shown: its colours, and the views of its head and of parts of its face."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from PIL import Image

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.pictures.painting import GREY, PALETTE, Colour, clay, finished, inked, painted, region_of, wire
from geometry.pictures.views import Body, Seen, View, seen, view_of

SKIN, EYEBALL, CAVITY = (0.90, 0.84, 0.79), (0.955, 0.95, 0.94), (0.66, 0.40, 0.38)
FRONT, TURNED, SIDE, BACK = 0.0, 38.0, 90.0, 180.0  # degrees to the subject's left
ALL_ROUND = (("front", FRONT), ("three-quarter", TURNED), ("side", SIDE), ("back", BACK))
EYE, EYES, NOSE, MOUTH = range(42, 48), range(36, 48), range(27, 36), range(48, 68)  # of ibug68
WIRE: Colour = (40, 60, 92)
_EAR_YAW, _CUT_MM = 80.0, -0.3  # the cut lies beside the midline: rays in the plane of vertices would slip between triangles


@lru_cache(maxsize=2)
def body_of(model: MorphableModel) -> Body:
    """The mean in the colours of skin, eyeballs and linings."""
    return body_with(model, model.mean)


def body_with(model: MorphableModel, points: np.ndarray) -> Body:
    """As `body_of`, of other vertices (n, 3) of the model's topology."""
    colours = np.tile(np.array(SKIN), (len(points), 1))
    for region, colour in (("cavities", CAVITY), ("mouth_cavity", CAVITY), ("eyeballs", EYEBALL)):
        colours[model.regions.get(region, np.zeros(len(points), bool))] = colour
    return Body(TriangleMesh(points, model.triangles), colours)


def head(body: Body, size: tuple[int, int], yaw: float) -> Seen:
    """The whole body from the side that `yaw` says."""
    return seen(body, view_of(body.mesh.vertices, size, yaw))


def cut_head(body: Body, size: tuple[int, int]) -> Seen:
    """The subject's right half, cut along the midline, from within."""
    view = view_of(body.mesh.vertices, size, SIDE)
    return seen(body, replace(view, pivot=(0.0, *view.pivot[1:]), start=_CUT_MM))


def part_views(model: MorphableModel, size: tuple[int, int]) -> dict[str, View]:
    """Enlarged views of eye, nose, mouth and, where the model has one, ear of the mean: name → view."""
    marks = model.mean[model.landmarks["ibug68"]]
    views = {
        "eye": view_of(marks[list(EYE)], size, margin=0.22),
        "nose": view_of(marks[list(NOSE)], size, 25.0, -22.0, margin=0.12),
        "mouth": view_of(marks[list(MOUTH)], size, margin=0.06),
    }
    ear = model.regions.get("ears", np.zeros(len(model.mean), bool)) & (model.mean[:, 0] > 0)
    return views | ({"ear": view_of(model.mean[ear], size, _EAR_YAW)} if ear.any() else {})


def wired(looked: Seen, width: float, strength: float) -> Image.Image:
    """The body in its own colours under its triangles' edges, `width` pixels wide."""
    return finished(inked(clay(looked), looked, wire(looked, width), WIRE, strength))


def parts_and_sets(model: MorphableModel) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Regions that can be painted side by side, the largest first, and those that mostly consist of smaller ones."""
    area = body_of(model).mesh.vertex_areas
    size = {name: float(area[mask].sum()) for name, mask in model.regions.items() if mask.any()}
    taken, parts, sets = np.zeros(len(area), bool), {}, {}
    for name in sorted(size, key=lambda name: (size[name], name)):
        mask = model.regions[name]
        (parts if area[mask & ~taken].sum() > size[name] / 2 else sets)[name] = mask
        taken |= mask
    return dict(reversed(parts.items())), sets


def part_colours(model: MorphableModel) -> dict[str, Colour]:
    """A colour for each of the model's parts."""
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(sorted(parts_and_sets(model)[0]))}


def in_parts(looked: Seen, model: MorphableModel, vertex: np.ndarray, relief: float) -> np.ndarray:
    """(h, w, 3) samples of a body, whose vertices stand for these (n,) of the model, in the colours of the model's parts."""
    parts, colours = parts_and_sets(model)[0], part_colours(model)
    table = np.array([*(colours[name] for name in parts), GREY], np.float32) / 255
    return painted(looked, table[region_of(looked, {name: mask[vertex] for name, mask in parts.items()})], relief)
