"""A page that shows a landmark scheme on a model's mean, each point with its number and its name."""

import numpy as np
from PIL import Image

from geometry.model.landmark_embedding import points_of
from geometry.model.landmark_scheme import LandmarkScheme
from geometry.model.morphable_model import MorphableModel
from geometry.pictures import heads
from geometry.pictures.drawing import Panel, draw_labels, draw_points, font, legend, sheet
from geometry.pictures.painting import STRONG, Colour, clay, finished
from geometry.pictures.views import Body, View, seen, view_of

_LARGE, _EYES, _MOUTH = (560, 640), (620, 300), (500, 300)  # pixels
_COLUMNS, _LEGEND = 5, 15
_ALWAYS = 2  # the first views; the others where they show points that none before them does
_SIDES = (
    ("front", heads.FRONT, 0.0),
    ("three-quarter", heads.TURNED, 0.0),
    ("side", heads.SIDE, 0.0),
    ("other side", -heads.SIDE, 0.0),
    ("back", heads.BACK, 0.0),
    ("above", heads.FRONT, 80.0),
)


def landmark_page(model: MorphableModel, scheme: LandmarkScheme) -> Image.Image:
    """The scheme's points from the front and turned, from other sides where these show more of them, eyes and mouth enlarged
    where it has points there, and the names by number, counted from 0. Raises ModelError where the scheme is of another model."""
    body, points = heads.body_of(model), points_of(scheme, model, np.asarray(model.mean, float))
    colours = _colours(scheme)
    marks = model.mean[model.landmarks["ibug68"]]
    framed, hidden = np.vstack([marks, points]), np.ones(len(points), bool)
    panels = []
    for title, yaw, pitch in _SIDES:
        view = view_of(framed, _LARGE, yaw, pitch, margin=0.07)
        shows = seen(body, view).shows(points)
        if len(panels) < _ALWAYS or (hidden & shows).any():
            panels.append(Panel(_marked(body, view, points, colours), title))
            hidden &= ~shows
    rows = [panels[k : k + 2] for k in range(0, len(panels), 2)]
    parts = (("eyes", heads.EYES, _EYES), ("mouth", heads.MOUTH, _MOUTH))
    views = {name: view_of(marks[list(members)], size, margin=0.12) for name, members, size in parts}
    rows.append([Panel(_marked(body, view, points, colours), name) for name, view in views.items() if _holds(view, points) > 1])
    entries = [(colour, f"{number}  {name}") for number, (colour, name) in enumerate(zip(colours, scheme.names))]
    columns = np.array_split(np.arange(len(entries)), min(_COLUMNS, -(-len(entries) // 4)))
    width = max(216, *(round(font(_LEGEND).getlength(text)) + 2 * _LEGEND for _, text in entries))
    rows.append([Panel(legend([entries[k] for k in column], width, _LEGEND)) for column in columns])
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
