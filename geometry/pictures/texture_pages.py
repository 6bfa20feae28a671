"""Pages that show a texture layout on a model's mean: a checker, the layout itself, and how much it stretches."""

import numpy as np
from PIL import Image

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.pictures import heads
from geometry.pictures.drawing import Panel, colour_bar, draw_lines, sheet
from geometry.pictures.painting import EMBER, VIRIDIS, Colour, finished, inked, painted, scaled, wire
from geometry.pictures.views import Body, Seen, seen, view_of

TEXTURE = 2048  # texels along a side, for which densities are stated
_SQUARES = 48  # of the checker, along a side
_HEIGHTS = (
    np.array([(80, 60, 160), (30, 110, 190), (20, 150, 150), (70, 160, 60), (215, 150, 20), (205, 80, 40), (150, 40, 110)]) / 255
)
_SEAM: Colour = (204, 20, 17)
_HEAD, _LAYOUT = (330, 442), (940, 940)


def stretch(model: MorphableModel, uv: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uv (t, 2) in [0, 1], corners (m, 3) rows of it → of each triangle of the mean the quasi-conformal ratio σ₁/σ₂ ≥ 1, inf
    where it has no area, and the texels per mm² of a texture of 2048² texels.

    σ₁ ≥ σ₂ are the singular values of the triangle's linear map from the surface to the texture (Sander et al. 2001, § 3).
    """
    a, b, c = (np.asarray(model.mean, float)[model.triangles[:, k]] for k in range(3))
    along, side = b - a, c - a
    length = np.linalg.norm(along, axis=1)
    east = along / np.maximum(length, 1e-12)[:, None]
    x = (side * east).sum(axis=1)
    y = np.linalg.norm(side - x[:, None] * east, axis=1)
    p, q, r = (uv[corners[:, k]] * TEXTURE for k in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (q - p) / length[:, None]
        second = ((r - p) - first * x[:, None]) / y[:, None]
        total = (first**2 + second**2).sum(axis=1)
        area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
        root = np.sqrt(np.maximum(total**2 - 4 * area**2, 0))
        ratio = np.sqrt((total + root) / np.maximum(total - root, 0))
    return np.where(np.isnan(ratio), np.inf, ratio), np.nan_to_num(area)


def median_by_area(values: np.ndarray, area: np.ndarray, share: float = 0.5) -> float:
    """The value (m,) under which `share` of the area (m,) lies."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(area[order])
    return float(values[order][np.searchsorted(total, share * total[-1])])


def checker_page(model: MorphableModel, uv: np.ndarray, corners: np.ndarray, corner_vertex: np.ndarray) -> Image.Image:
    """The layout with its regions, triangles and borders, and a checker of it on the mean with its seams."""
    body = heads.body_of(model)
    flat = Body(TriangleMesh(np.column_stack([uv, np.zeros(len(uv))]), corners), np.ones((len(uv), 3)))
    corner_points = np.array([[0, 0, 0], [1, 1, 0]], float)
    layout = seen(flat, view_of(corner_points, _LAYOUT, margin=0.008))
    pale = 0.35 + 0.65 * heads.in_parts(layout, model, corner_vertex, 0.0)  # dark colours would hide the triangles
    image = inked(pale, layout, wire(layout, 0.8), heads.WIRE, 0.6)
    border = flat.mesh.boundary_edges
    drawn = draw_lines(finished(image), layout, flat.mesh.vertices[border], _SEAM, 1.6)
    seam = corner_vertex[border]
    twice = np.sort(seam, axis=1)
    _, place, count = np.unique(twice, axis=0, return_index=True, return_counts=True)
    lines = body.mesh.vertices[seam[place[count > 1]]]  # an edge that the surface ends at is no seam
    looks = {title: heads.head(body, _HEAD, yaw) for title, yaw in heads.ALL_ROUND}
    tiles = [Panel(draw_lines(_checker(look, uv, corners), look, lines, _SEAM, 2.2), title) for title, look in looks.items()]
    return sheet([[Panel(drawn, "texture layout"), Panel(sheet([tiles[:2], tiles[2:]]))]])


def _checker(look: Seen, uv: np.ndarray, corners: np.ndarray) -> Image.Image:
    """White squares beside squares whose colour says how high in the texture they lie, and whose lightness on which side."""
    place = np.einsum("kc,kcd->kd", look.weights, uv[corners[look.triangle]])
    hue = scaled(place[:, 1], 0.0, 1.0, _HEIGHTS) * np.where(place[:, :1] < 0.5, 0.78, 1.0)
    dark = np.floor(place * _SQUARES).sum(axis=1) % 2 == 0
    return finished(painted(look, np.where(dark[:, None], hue, 0.97), 0.8))


def stretch_page(model: MorphableModel, uv: np.ndarray, corners: np.ndarray) -> Image.Image:
    """How much the layout shears (quasi-conformal ratio) and how dense its texels are, in colours with their scales."""
    body, (ratio, texels) = heads.body_of(model), stretch(model, uv, corners)
    area = np.linalg.norm(body.mesh.triangle_area_vectors, axis=1)
    in_face = model.regions["face"][model.triangles].all(axis=1)
    top = float(np.ceil(median_by_area(texels, area, 0.98) / 4) * 4) or 1.0
    rows = []
    for title, values, low, high, stops in (
        ("quasi-conformal ratio (1: angles are kept)", ratio, 1.0, 1.5, EMBER),
        (f"texels per mm2 at {TEXTURE} x {TEXTURE}", texels, 0.0, top, VIRIDIS),
    ):
        ticks = [(value, f"{value:.4g}") for value in np.linspace(low, high, 5 if high > 2 else 6)]
        middle = [median_by_area(values[chosen], area[chosen], share) for chosen, share in ((in_face, 0.5), (area > 0, 0.5))]
        text = f"{title}; median {middle[0]:.3g} in the face, {middle[1]:.3g} in all"
        looks = [heads.head(body, _HEAD, yaw) for _, yaw in heads.ALL_ROUND]
        panels = [Panel(finished(painted(look, scaled(values[look.triangle], low, high, stops), 0.45))) for look in looks]
        rows += [[Panel(colour_bar(low, high, stops, ticks, 620), text)], panels]
    return sheet(rows)
