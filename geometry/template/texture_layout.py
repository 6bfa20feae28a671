"""A mirror-symmetric texture layout of the template: one conformal chart of the outer skin, and one of each cavity beside it.

The skin's chart is a least-squares conformal map (Lévy, Petitjean, Ray & Maillot 2002). Those of the cavities, deep bags that a
conformal map would leave next to no texture, keep areas as well as angles: they minimise the symmetric Dirichlet energy, by
scalable locally injective mappings (Rabinovich, Poranne, Panozzo & Sorkine-Hornung 2017). Both are libigl's, `lscm` and
`slim_solve`. Their sources are under the MPL-2.0, as is the rest of what `import igl` loads; what is under the GPL
(`igl.copyleft`) has to be imported by its name. Only who lays out a template needs the library.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import depth_first_order
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.model.texture_layout import TextureLayout
from geometry.template.remeshing import embed_in_circle
from geometry.template.skin_patch import boundary_loops

TEXELS = 2048  # along a side of the texture whose texels are counted
_OVERLAP_TEXELS = 4096  # along a side of the raster that looks for overlaps
_SEAM_TO_FACE_MM = 8.0
_GAP_SHARE = 1 / 128  # of the skin chart's width, round every chart: 16 texels, so that coarser levels of a texture do not bleed
_SLIM_ROUNDS = 50
_MOST_RINGS = 6  # of vertices round a turned triangle that its mending moves
_FLIP_U = np.array([-1.0, 1.0])


@dataclass(frozen=True)
class _Chart:
    """A piece of the mesh in the plane: plane (t, 2) mm, its area that of the piece in space; vertex (t,) of the mesh; triangles
    (k,) of the mesh and their corners (k, 3) among the rows of plane."""

    plane: np.ndarray
    vertex: np.ndarray
    triangles: np.ndarray
    corners: np.ndarray

    @property
    def size(self) -> np.ndarray:
        return np.ptp(self.plane, axis=0)

    def placed(self, centre_x: float, bottom: float) -> "_Chart":
        low, high = self.plane.min(axis=0), self.plane.max(axis=0)
        return replace(self, plane=self.plane + [centre_x - (low[0] + high[0]) / 2, bottom - low[1]])


def texture_layout(
    vertices: np.ndarray, triangles: np.ndarray, mirror_vertex: np.ndarray, regions: dict[str, np.ndarray]
) -> TextureLayout:
    """vertices (n, 3) mm, model frame; triangles (m, 3); mirror_vertex (n,): each one's mirror image, itself on the midline;
    regions name → (n,) bool with "face", "mouth_interior" and "cavities"; what is no cavity is the outer skin, one piece.

    The skin is cut along the midline, from its rearmost border to 8 mm before the face; a cavity on the midline along its roof.
    The skin's chart is upright and has the square's width, the cavities' lie above it; all have the same mean scale.
    Raises ModelError without libigl, where the pieces are not as described, and where a triangle would be turned over.
    """
    missing = {"face", "mouth_interior", "cavities"} - set(regions)
    if missing:
        raise ModelError(f"a texture layout asks for the regions {sorted(missing)}; a template names them")
    mesh = TriangleMesh(vertices, triangles)
    piece, cavities = mesh.component_labels, regions["cavities"]
    outer, inner = np.unique(piece[~cavities]), np.unique(piece[cavities])
    if len(outer) != 1 or outer[0] in inner:
        raise ModelError(
            f"the outer skin is {len(outer)} pieces, or grown together with a cavity; a layout needs it to be one piece"
        )
    skin = piece == outer[0]
    seam, lip = _skin_seam(mesh, mirror_vertex, skin, regions)
    skin_chart = _flattened(mesh, skin, mirror_vertex, seam, _conformal, np.append(lip, seam[-1]))
    middle, aside = [], []
    for part in (piece == label for label in inner):
        if _is_own_mirror(part, mirror_vertex) or mesh.vertices[part, 0].mean() > 0:
            seam = _cavity_seam(mesh, mirror_vertex, part)
            chart = _flattened(mesh, part, mirror_vertex, seam, _area_keeping, seam[-1:])
            (middle if _is_own_mirror(part, mirror_vertex) else aside).append(chart)
    skin_chart, middle, aside = _packed(skin_chart, middle, sorted(aside, key=lambda chart: -chart.size[0]))
    layout = _joined([skin_chart, *middle, *aside, *(_mirror_image(mesh, chart, mirror_vertex) for chart in aside)])
    turned = np.flatnonzero(_doubled_areas(layout.uv[layout.triangles]) <= 0)
    if len(turned):
        raise ModelError(
            f"{len(turned)} triangles would be turned over in the texture, first {turned[0]}; make the mesh more even"
        )
    return layout


def _is_own_mirror(part: np.ndarray, mirror_vertex: np.ndarray) -> bool:
    return bool(part[mirror_vertex[part]].any())


def _libigl() -> ModuleType:
    try:
        import igl
    except ImportError as error:
        raise ModelError("the layout of a template's texture needs libigl: pip install 'face-relief[template]'") from error
    return igl


def _midline(mesh: TriangleMesh, mirror_vertex: np.ndarray, part: np.ndarray, start_of: np.ndarray) -> np.ndarray:
    """Vertices along the midline of the part (n,) bool, from the one of its ends at which start_of (n,) is largest."""
    own = part & (mirror_vertex == np.arange(len(mirror_vertex)))
    ends = np.flatnonzero(own & mesh.boundary_vertices)
    if not len(ends):
        raise ModelError("the midline of a piece that is its own mirror image meets no border; a closed piece has no layout")
    along = sparse.diags(own.astype(float)) @ mesh.adjacency @ sparse.diags(own.astype(float))
    return depth_first_order(along, ends[start_of[ends].argmax()], directed=False, return_predecessors=False)


def _skin_seam(
    mesh: TriangleMesh, mirror_vertex: np.ndarray, skin: np.ndarray, regions: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The vertices of the seam, from the rim; and one (1,) on the inner rim of the lower lip."""
    chain = _midline(mesh, mirror_vertex, skin, -mesh.vertices[:, 2])
    near = cKDTree(mesh.vertices[regions["face"]]).query(mesh.vertices[chain])[0] < _SEAM_TO_FACE_MM
    seam = chain[: max(int(near.argmax()), 1)]
    lips = np.flatnonzero(skin & regions["mouth_interior"] & (mirror_vertex == np.arange(len(skin))))
    if not near.any() or not len(np.setdiff1d(lips, seam)):
        raise ModelError("the skin's midline leads from its rearmost border to no face, or through no lips; a layout needs both")
    return seam, lips[[mesh.vertices[lips, 1].argmin()]]


def _cavity_seam(mesh: TriangleMesh, mirror_vertex: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The upper half of a bag's midline, from its rim to its far end; of a cavity beside the midline only its rim's highest
    vertex."""
    border = np.flatnonzero(part & mesh.boundary_vertices)
    if not len(border):
        raise ModelError(f"the cavity with vertex {part.argmax()} is closed; a piece without a border has no layout")
    if not _is_own_mirror(part, mirror_vertex):
        return border[[mesh.vertices[border, 1].argmax()]]
    chain = _midline(mesh, mirror_vertex, part, mesh.vertices[:, 1])
    arc = np.cumsum(np.linalg.norm(np.diff(mesh.vertices[chain], axis=0), axis=1))
    return chain[: np.searchsorted(arc, arc[-1] / 2) + 1]


def _flattened(
    mesh: TriangleMesh,
    part: np.ndarray,
    mirror_vertex: np.ndarray,
    seam: np.ndarray,
    flatten: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    held: np.ndarray,
) -> _Chart:
    """The chart of a part (n,) bool of the mesh, cut along the seam (s,), whose last vertex stays whole.

    flatten(points, triangles, held): the map to the plane, which brings the vertices held (h,) to x = 0. The chart of a part
    that is its own mirror image is so, too."""
    n, cut = len(part), seam[:-1]
    copy, image, source = np.arange(n), np.append(mirror_vertex, cut), np.append(np.arange(n), cut)
    copy[cut] = image[cut] = n + np.arange(len(cut))
    own = np.flatnonzero(part[mesh.triangles].all(axis=1))
    corners = mesh.triangles[own]
    right = mesh.vertices[corners, 0].sum(axis=1) < 0
    rows, corners = np.unique(np.where(right[:, None], copy[corners], corners), return_inverse=True)
    corners, vertex = corners.reshape(-1, 3), source[rows]
    points = mesh.vertices[vertex]
    plane = _to_scale(flatten(points, corners, np.searchsorted(rows, held)), points, corners)
    if _is_own_mirror(part, mirror_vertex):
        plane = (plane + plane[np.searchsorted(rows, image[rows])] * _FLIP_U) / 2  # they differ as far as the halves in space do
    return _Chart(plane, vertex, own, corners)


def _to_scale(plane: np.ndarray, points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The plane coordinates (k, 2) with the area that the points (k, 3) span."""
    area = np.linalg.norm(TriangleMesh(points, triangles).triangle_area_vectors, axis=1).sum()
    return plane * np.sqrt(2 * area / _doubled_areas(plane[triangles]).sum())


def _conformal(points: np.ndarray, triangles: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(k, 2) plane coordinates of points (k, 3) under triangles (m, 3): held[0] below, held[1], of the outer border, above it.
    The map is least conformal at these two.

    A fan about their centre closes all other openings meanwhile: a free border folds triangles over at an eye's corner."""
    fans, centres = [triangles], [points]
    for loop in boundary_loops(triangles):
        if held[1] not in loop:
            apex = np.full(len(loop), len(points) + len(centres) - 1)
            fans.append(np.stack([np.roll(loop, -1), loop, apex], axis=1))
            centres.append(points[loop].mean(axis=0, keepdims=True))
    closed = TriangleMesh(np.vstack(centres), np.vstack(fans))
    corners, places = closed.triangles.astype(np.int64), np.array([[0.0, 0.0], [0.0, 1.0]])
    plane = _libigl().lscm(closed.vertices, corners, held.astype(np.int64), places)[0]
    return _unfolded(closed, plane, len(triangles))[: len(points)]


def _unfolded(mesh: TriangleMesh, plane: np.ndarray, n_shown: int) -> np.ndarray:
    """The map `plane` (k, 2) of the mesh with no turned triangle among the first n_shown: their corners, and as long as that does
    not do the vertices about them, too, go to the mean of their neighbours, weighted by 1 / edge length (Tutte 1963).

    The border stays. What a few very uneven triangles need; the same on both sides of the midline."""
    i, j = mesh.edges.T
    weight = 1 / np.maximum(np.linalg.norm(mesh.vertices[i] - mesh.vertices[j], axis=1), 1e-3)
    graph = sparse.coo_matrix((np.append(weight, weight), (np.append(i, j), np.append(j, i))), shape=(len(plane),) * 2).tocsr()
    laplacian = (sparse.diags(np.asarray(graph.sum(axis=1)).ravel()) - graph).tocsr()
    for rings in range(_MOST_RINGS):
        turned = _doubled_areas(plane[mesh.triangles[:n_shown]]) <= 0
        if not turned.any():
            break
        near = np.isin(np.arange(len(plane)), mesh.triangles[:n_shown][turned])
        for _ in range(rings):
            near |= graph @ near > 0
        near &= ~mesh.boundary_vertices
        plane = plane.copy()
        plane[near] = splu(laplacian[near][:, near].tocsc()).solve(-(laplacian[near][:, ~near] @ plane[~near]))
    return plane


def _area_keeping(points: np.ndarray, triangles: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(k, 2) plane coordinates of points (k, 3) of a disc under triangles (m, 3), none turned over; held[0], of its border, is
    uppermost."""
    igl, loop = _libigl(), boundary_loops(triangles)[0]
    loop = np.roll(loop, -int(np.flatnonzero(loop == held[0])[0]))
    circle, _ = embed_in_circle(TriangleMesh(points, triangles), loop, sparse.identity(len(points)).tocsr()[loop])
    start = _to_scale(np.stack([-circle[:, 1], circle[:, 0]], axis=1), points, triangles)
    in_space, corners, at_start = (np.asfortranarray(each) for each in (points, triangles.astype(np.int32), start))
    none, nowhere = np.zeros(0, np.int32), np.zeros((0, 2), order="F")
    data = igl.slim_precompute(in_space, corners, at_start, igl.SYMMETRIC_DIRICHLET, none, nowhere, 0.0)
    return igl.slim_solve(data, _SLIM_ROUNDS)[:, :2]


def _packed(skin: _Chart, middle: list[_Chart], aside: list[_Chart]) -> tuple[_Chart, list[_Chart], list[_Chart]]:
    """The charts in a square of side 1 about x = 0: the skin below, above it those on the midline one above the other, and in
    the right corner those of the left half of the body side by side."""
    gap = _GAP_SHARE * skin.size[0]
    row = max(sum(chart.size[1] + gap for chart in middle), max((chart.size[1] + gap for chart in aside), default=0.0))
    core = max((chart.size[0] for chart in middle), default=0.0)
    side = max(
        skin.size[0] + 2 * gap, skin.size[1] + 2 * gap + row, core + 2 * gap + 2 * sum(chart.size[0] + gap for chart in aside)
    )
    stack = side - row + np.cumsum([0, *(chart.size[1] + gap for chart in middle)])
    right = side / 2 - gap - np.cumsum([0, *(chart.size[0] + gap for chart in aside)])
    shrunk = lambda chart: replace(chart, plane=chart.plane / side)
    return (
        shrunk(skin.placed(0, gap)),
        [shrunk(chart.placed(0, bottom)) for chart, bottom in zip(middle, stack)],
        [shrunk(chart.placed(edge - chart.size[0] / 2, side - gap - chart.size[1])) for chart, edge in zip(aside, right)],
    )


def _mirror_image(mesh: TriangleMesh, chart: _Chart, mirror_vertex: np.ndarray) -> _Chart:
    """The chart of the mirror image of an uncut chart's piece."""
    vertex, row = mirror_vertex[chart.vertex], np.full(len(mirror_vertex), -1)
    row[vertex] = np.arange(len(vertex))
    own = np.flatnonzero((row[mesh.triangles] >= 0).all(axis=1))
    return _Chart(chart.plane * _FLIP_U, vertex, own, row[mesh.triangles[own]])


def _joined(charts: list[_Chart]) -> TextureLayout:
    """One layout of charts that hold every triangle once, x from -1/2 to 1/2 and y from 0 to 1 in their planes."""
    triangles = np.zeros((sum(len(chart.triangles) for chart in charts), 3), np.int32)
    starts = np.cumsum([0, *(len(chart.vertex) for chart in charts)])
    for chart, start in zip(charts, starts):
        triangles[chart.triangles] = chart.corners + start
    uv = np.concatenate([chart.plane for chart in charts]) + [0.5, 0.0]
    return TextureLayout(uv, triangles, np.concatenate([chart.vertex for chart in charts]))


def _doubled_areas(corners: np.ndarray) -> np.ndarray:
    """corners (m, 3, 2) → (m,) twice the signed areas."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


@dataclass(frozen=True)
class LayoutFigures:
    """angle: a triangle's larger singular value over its smaller, in the face: median, 95th percentile, largest; texels: a mm² of
    a texture of 2048², in the face: 5th percentile, median, 95th percentile; turned: triangles turned over, of all; overlap: the
    share of the covered texture that lies in several triangles; asymmetry: the largest distance between a corner and its twin's
    mirror image, in uv."""

    angle: tuple[float, float, float]
    texels: tuple[float, float, float]
    turned: int
    overlap: float
    asymmetry: float


def layout_figures(
    vertices: np.ndarray, triangles: np.ndarray, layout: TextureLayout, face: np.ndarray, mirror_vertex: np.ndarray
) -> LayoutFigures:
    """vertices (n, 3) mm, triangles (m, 3), face (n,) bool, mirror_vertex (n,)."""
    flat = layout.uv[layout.triangles]
    gram, gram_flat = (edges @ edges.swapaxes(1, 2) for edges in (_two_edges(vertices[triangles]), _two_edges(flat)))
    product = np.sqrt(np.linalg.det(gram_flat) / np.linalg.det(gram))  # σ₁ σ₂
    squares = np.trace(np.linalg.solve(gram, gram_flat), axis1=1, axis2=2)  # σ₁² + σ₂²
    mean_ratio = np.maximum(squares / (2 * product), 1)  # (r + 1 / r) / 2 of the ratio r = σ₁ / σ₂
    inside = face[triangles].all(axis=1)
    low, middle, high = np.percentile(product[inside] * TEXELS**2, [5, 50, 95]).tolist()
    median, most, largest = np.percentile((mean_ratio + np.sqrt(mean_ratio**2 - 1))[inside], [50, 95, 100]).tolist()
    return LayoutFigures(
        (median, most, largest),
        (low, middle, high),
        int((_doubled_areas(flat) <= 0).sum()),
        _overlap(flat),
        _asymmetry(triangles, layout, mirror_vertex),
    )


def _two_edges(corners: np.ndarray) -> np.ndarray:
    return corners[:, 1:] - corners[:, :1]


def _overlap(corners: np.ndarray) -> float:
    """corners (m, 3, 2) in [0, 1] → share of the covered raster points that lie in several triangles.

    On every line of the raster a triangle is a span between two of its edges, closed on the left and open on the right: triangles
    that share an edge take its crossing from the same two points in the same order, so that no point is in both."""
    x, y = (np.take_along_axis(corners[:, :, axis], corners[:, :, 1].argsort(axis=1), axis=1) for axis in range(2))
    x, y = x * _OVERLAP_TEXELS, y * _OVERLAP_TEXELS
    first, end = np.ceil(y[:, 0]).astype(int), np.ceil(y[:, 2]).astype(int)
    triangle = np.repeat(np.arange(len(x)), end - first)
    line = np.arange(len(triangle)) - np.repeat(np.cumsum(end - first) - (end - first), end - first) + first[triangle]
    x, y = x[triangle], y[triangle]

    def crossing(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        (x0, x1), (y0, y1) = (np.take_along_axis(values, np.stack([low, high], 1), axis=1).T for values in (x, y))
        return x0 + (line - y0) / (y1 - y0) * (x1 - x0)

    lower = (line < y[:, 1]).astype(int)  # on the edge from the lowest corner to the middle one, else on that above it
    ends = np.ceil(np.sort([crossing(0 * lower, 0 * lower + 2), crossing(1 - lower, 2 - lower)], axis=0)).astype(int)
    count = np.zeros((_OVERLAP_TEXELS + 1, _OVERLAP_TEXELS + 2), np.int16)
    np.add.at(count, (line, ends[0]), 1)
    np.add.at(count, (line, ends[1]), -1)
    covered = np.cumsum(count, axis=1, dtype=np.int16)
    return float((covered > 1).sum() / max((covered > 0).sum(), 1))


def _asymmetry(triangles: np.ndarray, layout: TextureLayout, mirror_vertex: np.ndarray) -> float:
    """The largest distance in uv between a triangle's corner and the mirror image of its twin's."""
    sorted_uv = []
    for named in (triangles, mirror_vertex[triangles]):
        order = np.argsort(named, axis=1)
        uv = layout.uv[np.take_along_axis(layout.triangles, order, axis=1)]
        sorted_uv.append(uv[np.lexsort(np.take_along_axis(named, order, axis=1).T)])
    own, twin = sorted_uv
    return float(np.abs(own - (twin * _FLIP_U + [1.0, 0.0])).max())
