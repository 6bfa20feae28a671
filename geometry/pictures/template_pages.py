"""Pages that show a model's template: its triangles, regions, curves and modes."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from geometry.model.morphable_model import MorphableModel
from geometry.pictures import heads
from geometry.pictures.drawing import INK, Panel, draw_labels, draw_lines, draw_points, legend, sheet
from geometry.pictures.painting import GREY, PALETTE, STRONG, Colour, clay, finished, painted, region_of
from geometry.pictures.views import Body, Seen, View, seen, view_of

_HEAD, _QUARTER, _SMALL, _TILE = (440, 590), (330, 442), (152, 204), (190, 252)  # pixels
_PART, _DETAIL = (344, 344), (270, 270)
_MODES, _SIGMA = 7, 2.5
_EXPRESSIONS = ("jawOpen", "eyeBlink", "mouthSmile", "mouthPucker", "browInnerUp", "cheekPuff", "mouthLeft")
_COLUMNS = 5
_RIM_MM = 6.0  # rims of openings lie so far behind the skin's edge, and are shown through it
_ROOM = 9  # pixels that a number needs on every side


def wire_page(model: MorphableModel) -> Image.Image:
    """The mean's triangles over its shading, whole and enlarged."""
    body = heads.body_of(model)
    whole = [Panel(heads.wired(heads.head(body, _HEAD, yaw), 0.7, 0.62), title) for title, yaw in heads.ALL_ROUND[:3]]
    parts = [Panel(heads.wired(seen(body, view), 1.0, 0.7), name) for name, view in heads.part_views(model, _PART).items()]
    return sheet([whole, parts])


def regions_page(model: MorphableModel) -> Image.Image:
    """Every region: those beside each other in colours and numbers with a legend, those made of others in one colour each."""
    body, (parts, sets) = heads.body_of(model), heads.parts_and_sets(model)
    numbers, colours = {name: number for number, name in enumerate(sorted(parts), 1)}, heads.part_colours(model)
    looks = {title: heads.head(body, _QUARTER, yaw) for title, yaw in heads.ALL_ROUND if title != "three-quarter"}
    looks["cut at the midline"] = heads.cut_head(body, _QUARTER)
    whole = [Panel(_numbered(look, model, numbers), title) for title, look in looks.items()]
    key = _legend_row([(colours[name], f"{number}  {name}") for name, number in numbers.items()])
    alone = [Panel(_alone(body, mask), name) for name, mask in sets.items()]
    return sheet([whole, key, *(alone[start : start + 8] for start in range(0, len(alone), 8))])


def _numbered(look: Seen, model: MorphableModel, numbers: Mapping[str, int]) -> Image.Image:
    """The parts in their colours, each with its number where it is widest, or beside it where it is narrow."""
    parts, _ = heads.parts_and_sets(model)
    found = region_of(look, parts)
    image = finished(heads.in_parts(look, model, np.arange(len(model.mean)), 0.75))
    wide, narrow, middle = {}, {}, View.SAMPLES // 2
    for place, name in enumerate(parts):
        inside = np.zeros(look.hit.shape, bool)
        inside[look.hit] = found == place
        room = distance_transform_edt(np.pad(inside[middle :: View.SAMPLES, middle :: View.SAMPLES], 1))[1:-1, 1:-1]
        row, column = np.unravel_index(int(room.argmax()), room.shape)
        if room.max() > 1:
            (wide if room.max() > _ROOM else narrow)[str(numbers[name])] = (column + 0.5, row + 0.5)
    if narrow:
        image = draw_points(image, np.array(list(narrow.values())), INK, 2.0)
    for chosen, radius in ((narrow, 2.0), (wide, 0.0)):
        image = draw_labels(image, np.array(list(chosen.values())).reshape(-1, 2), list(chosen), 15, radius)
    return image


def _alone(body: Body, mask: np.ndarray) -> Image.Image:
    """One region in colour, from where most of it is seen: outside, or cut open."""
    looks = [heads.head(body, _SMALL, heads.TURNED), heads.cut_head(body, _SMALL)]
    look = max(looks, key=lambda look: float((look.of(mask) >= 0.5).mean()))
    colours = np.array([PALETTE[0], GREY], np.float32) / 255
    return finished(painted(look, colours[region_of(look, {"": mask})], 0.75))


def curves_page(model: MorphableModel, curves: Mapping[str, np.ndarray]) -> Image.Image:
    """Named curves, name → (k,) vertices in order, as lines; both sides of a pair have one colour and one line in the legend."""
    body = heads.body_of(model)
    stems = {name: re.sub(r"^(left|right)_|_(left|right)$", "", name) for name in curves}
    colours = {stem: STRONG[place % len(STRONG)] for place, stem in enumerate(dict.fromkeys(stems.values()))}
    lines = {stem: [_closed(body, curves[name]) for name in curves if stems[name] == stem] for stem in colours}
    looks = {title: heads.head(body, _HEAD, yaw) for title, yaw in heads.ALL_ROUND[:3]}
    eyes = view_of(model.mean[model.landmarks["ibug68"][list(heads.EYES)]], (2 * _DETAIL[0], _DETAIL[1]), margin=0.06)
    views = {"eyes": eyes} | {name: view for name, view in heads.part_views(model, _DETAIL).items() if name != "eye"}

    def drawn(look: Seen, width: float) -> Image.Image:
        image = finished(clay(look))
        for stem, colour in colours.items():
            image = draw_lines(image, look, lines[stem], colour, width, _RIM_MM)
        return image

    whole = [Panel(drawn(look, 2.6), title) for title, look in looks.items()]
    large = [Panel(drawn(seen(body, view), 4.0), name) for name, view in views.items()]
    return sheet([whole, large, _legend_row([(colour, stem) for stem, colour in colours.items()])])


def _closed(body: Body, vertices: np.ndarray) -> np.ndarray:
    """The points of a curve of vertices (k,), the first again at the end where an edge joins both ends: (k, 3) or (k + 1, 3)."""
    joined = len(vertices) > 3 and body.mesh.adjacency[vertices[0], vertices[-1]] > 0
    return body.mesh.vertices[np.append(vertices, vertices[0]) if joined else vertices]


def _legend_row(entries: Sequence[tuple[Colour, str]]) -> list[Panel]:
    """A legend in up to five columns."""
    columns = np.array_split(np.arange(len(entries)), _COLUMNS)
    return [Panel(legend([entries[k] for k in column], 262)) for column in columns if len(column)]


def modes_page(model: MorphableModel) -> Image.Image:
    """The first identity modes at ±2.5 standard deviations, and some expressions at 1 from the front and turned."""
    rows = []
    for sigma in (-_SIGMA, _SIGMA):
        modes = np.eye(model.n_identity)[:_MODES]
        bodies = [heads.body_with(model, model.instance(identity=sigma * mode)) for mode in modes]
        rows.append([Panel(_tile(model, body, heads.FRONT), f"mode {k}: {sigma:+g} sigma") for k, body in enumerate(bodies, 1)])
    weights = {name: _weights_of(model, name) for name in _EXPRESSIONS}
    made = {name: heads.body_with(model, model.instance(expression=w)) for name, w in weights.items() if w.any()}
    rows.append([Panel(_tile(model, body, heads.FRONT), name) for name, body in made.items()])
    rows.append([Panel(_tile(model, body, heads.TURNED)) for body in made.values()])
    return sheet([row for row in rows if row], 15)


def _weights_of(model: MorphableModel, name: str) -> np.ndarray:
    """(E,) 1 for the blendshape of a name, or for those of its two sides."""
    return np.array([other.removesuffix("_L").removesuffix("_R") == name for other in model.expression_names], float)


def _tile(model: MorphableModel, body: Body, yaw: float) -> Image.Image:
    """A shape in the same view as the mean, so that sizes can be compared."""
    return finished(clay(seen(body, view_of(model.mean, _TILE, yaw, margin=0.06))))
