"""A page that shows a landmark scheme on a model's mean, each point with its number and its name."""

import numpy as np
from PIL import Image

from geometry.model.landmark_embedding import points_of
from geometry.model.landmark_scheme import LandmarkScheme
from geometry.model.morphable_model import MorphableModel
from geometry.pictures import heads
from geometry.pictures.drawing import Panel, draw_labels, draw_points, legend, sheet
from geometry.pictures.painting import STRONG, Colour, clay, finished
from geometry.pictures.views import Body, View, seen, view_of

_LARGE, _EYES, _MOUTH = (560, 640), (620, 300), (500, 300)  # pixels
_COLUMNS = 5


def landmark_page(model: MorphableModel, scheme: LandmarkScheme) -> Image.Image:
    """The scheme's points from the front and turned, eyes and mouth enlarged where it has points there, and the names by number,
    counted from 0. Raises ModelError where the scheme is of another model."""
    body, points = heads.body_of(model), points_of(scheme, model, np.asarray(model.mean, float))
    colours = _colours(scheme)
    marks = model.mean[model.landmarks["ibug68"]]
    framed = np.vstack([marks, points])
    rows = [
        [
            Panel(_marked(body, view_of(framed, _LARGE, yaw, margin=0.07), points, colours), title)
            for title, yaw in (("front", heads.FRONT), ("three-quarter", heads.TURNED))
        ]
    ]
    parts = (("eyes", heads.EYES, _EYES), ("mouth", heads.MOUTH, _MOUTH))
    views = {name: view_of(marks[list(members)], size, margin=0.12) for name, members, size in parts}
    rows.append([Panel(_marked(body, view, points, colours), name) for name, view in views.items() if _holds(view, points) > 1])
    entries = [(colour, f"{number}  {name}") for number, (colour, name) in enumerate(zip(colours, scheme.names))]
    columns = np.array_split(np.arange(len(entries)), min(_COLUMNS, -(-len(entries) // 4)))
    rows.append([Panel(legend([entries[k] for k in column], 216, 15)) for column in columns])
    return sheet([row for row in rows if row])


def _colours(scheme: LandmarkScheme) -> list[Colour]:
    """A colour for each of the scheme's groups."""
    colours = [STRONG[0]] * len(scheme)
    for place, members in enumerate(scheme.groups.values()):
        for member in members:
            colours[member] = STRONG[place % len(STRONG)]
    return colours


def _holds(view: View, points: np.ndarray) -> int:
    """How many of the points (l, 3) lie within the view."""
    pixels, _ = view.project(points)
    return int(((pixels > 0) & (pixels < (view.width, view.height))).all(axis=1).sum())


def _marked(body: Body, view: View, points: np.ndarray, colours: list[Colour]) -> Image.Image:
    look = seen(body, view)
    image, shown, pixels = finished(clay(look)), np.flatnonzero(look.shows(points)), view.project(points)[0]
    radius = 3.2 if view.pixel_mm > 0.2 else 4.5
    for colour in dict.fromkeys(colours[k] for k in shown):
        image = draw_points(image, pixels[[k for k in shown if colours[k] == colour]], colour, radius)
    return draw_labels(image, pixels[shown], [str(k) for k in shown], 15 if radius < 4 else 18, radius)
