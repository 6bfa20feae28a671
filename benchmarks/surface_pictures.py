"""Pictures of a finished run's surfaces, shaded and as wires, to be looked at: one a scan, and sheets of all.

    python -m pipeline.run --input ../shared/scans --output runs/scans
    python benchmarks/surface_pictures.py runs/scans runs/pictures

A scan's picture, `NAME.png`, has three columns: from the subject's left, from the front, from the right, in the model frame and
at one scale for all scans. Its rows: the scan, `refined.ply` shaded, its triangles at the eye, the mouth and the ear, and the
same of `registered.ply` with the triangles of the whole face besides. A surface's inner side is drawn darker. A scan without a
face has the first row alone, as it lies in its file. `sheet-N.png` has the shaded pictures of several scans, a row each.
"""

import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import common
import numpy as np
from finished_scans import FinishedScan, finished_scans
from PIL import Image
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.pictures import heads
from geometry.pictures.drawing import Panel, sheet
from geometry.pictures.painting import clay, finished, inked, wire
from geometry.pictures.views import Body, Seen, View, seen, view_of
from geometry.scan import Scan

YAWS = {"left": heads.TURNED, "front": heads.FRONT, "right": -heads.TURNED}
TILE, ENLARGED, SMALL = (362, 400), (362, 320), (146, 162)  # pixels
HEAD_MM = 190.0  # from the nose tip: what lies farther away is not drawn
MARGIN = 0.03
SHOWN = ("face", "forehead", "ears")
NOSTRILS_AND_LIPS = (31, 33, 35, 48, 54, 66)  # of ibug68
PART_MM = 56.0  # width of an enlarged view
WIRE_PIXELS, FINE_PIXELS, WIRE_STRENGTH = 0.9, 0.6, 0.8
SPLAT = 1.3  # size of a cloud's point over its distance from the neighbours
COLOURS = 128  # of a picture's palette
ROWS_OF_A_SHEET = 8
SCAN, REFINED, REGISTERED = (0.80, 0.82, 0.85), (0.90, 0.84, 0.79), heads.SKIN
Row = list[Panel]


@dataclass(frozen=True, eq=False)
class LitBody(Body):
    """Lit as if nothing shaded anything: a dark place is a crease or an inner side."""

    @cached_property
    def openness(self) -> np.ndarray:
        return np.ones(len(self.mesh.vertices))


class Views:
    """What is looked at, the same for every scan: the model's face and ears, and parts of them."""

    def __init__(self, model: MorphableModel) -> None:
        none = np.zeros(model.n_vertices, bool)
        shown = model.mean[np.any([model.regions.get(name, none) for name in SHOWN], axis=0)]
        fitting = {name: view_of(shown, TILE, yaw, margin=MARGIN) for name, yaw in YAWS.items()}
        pixel_mm = max(view.pixel_mm for view in fitting.values())
        self.whole = {name: replace(view, pixel_mm=pixel_mm) for name, view in fitting.items()}
        shrunk = pixel_mm * TILE[0] / SMALL[0]
        self.small = {name: View(*SMALL, shrunk, view.pivot, view.yaw) for name, view in self.whole.items()}
        marks = model.mean[model.landmarks["ibug68"]]
        ear = model.regions.get("ears", none) & (model.mean[:, 0] < 0)
        places = {
            "left eye": (marks[list(heads.EYE)], 25.0, 0.0),
            "mouth and nostrils": (marks[list(NOSTRILS_AND_LIPS)], 0.0, -12.0),
            "right ear": (model.mean[ear] if ear.any() else marks[:1], -65.0, 0.0),
        }
        self.parts = {name: part_view(*place) for name, place in places.items()}


def part_view(points: np.ndarray, yaw: float, pitch: float) -> View:
    """An enlarged view of what lies about the middle of points (n, 3)."""
    x, y, z = points.mean(axis=0).tolist()
    return View(*ENLARGED, PART_MM / ENLARGED[0], (x, y, z), yaw, pitch)


def body_of(mesh: TriangleMesh, colour: tuple[float, float, float]) -> Body:
    return LitBody(mesh, np.tile(np.array(colour), (len(mesh.vertices), 1)))


def scan_mesh(scan: Scan, middle: np.ndarray, radius: float) -> TriangleMesh:
    """What of a scan lies so near to a point (3,); each point of a cloud as a triangle that faces along its normal."""
    near = np.linalg.norm(scan.points - middle, axis=1) < radius
    if not scan.is_cloud:
        return TriangleMesh(scan.points, scan.triangles).submesh(near)[0]
    points, normals = scan.points[near], scan.normals[near]
    if len(points) < 2:
        return TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int32))
    size = SPLAT * np.median(cKDTree(points).query(points, k=2)[0][:, 1])
    first = np.cross(normals, np.eye(3)[np.abs(normals).argmin(axis=1)])
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(normals, first)
    turns = 2 * np.pi * np.arange(3) / 3
    corners = [points + size * (np.cos(turn) * first + np.sin(turn) * second) for turn in turns]
    return TriangleMesh(np.stack(corners, axis=1).reshape(-1, 3), np.arange(3 * len(points)).reshape(-1, 3))


def shaded(look: Seen) -> Image.Image:
    return finished(clay(look))


def wired(look: Seen, width: float = WIRE_PIXELS) -> Image.Image:
    """The body under its triangles' edges."""
    return finished(inked(clay(look), look, wire(look, width), heads.WIRE, WIRE_STRENGTH))


def row(body: Body, views: dict[str, View], draw: Callable[[Seen], Image.Image], title: str) -> Row:
    """What each view shows of a body."""
    return [Panel(draw(seen(body, view)), f"{title}, {name}") for name, view in views.items()]


def picture(bodies: dict[str, Body], views: Views) -> list[Row]:
    """The rows of a scan's picture. bodies: "scan", "refined", "registered"."""
    rows = [row(bodies["scan"], views.whole, shaded, "scan")]
    for name in ("refined", "registered"):
        rows.append(row(bodies[name], views.whole, shaded, name))
        if name == "registered":
            rows.append(row(bodies[name], views.whole, lambda look: wired(look, FINE_PIXELS), name))
        rows.append(row(bodies[name], views.parts, wired, name))
    return rows


def lone_picture(scan: Scan) -> list[Row]:
    """Of a scan without a face: all of it, in its own frame."""
    middle = np.median(scan.points, axis=0)
    reach = np.quantile(np.linalg.norm(scan.points - middle, axis=1), 0.98)
    body = body_of(scan_mesh(scan, middle, float(reach)), SCAN)
    views = {name: view_of(body.mesh.vertices, TILE, yaw) for name, yaw in YAWS.items()}
    return [row(body, views, shaded, "scan")]


def small_row(bodies: dict[str, Body], views: Views, source: str) -> Row:
    """A scan's row of a sheet: the scan from the front, both surfaces from all sides."""
    panels = [Panel(shaded(seen(bodies["scan"], views.small["front"])), source[-20:])]
    for name in ("refined", "registered"):
        panels += [Panel(shaded(seen(bodies[name], view)), name) for view in views.small.values()]
    return panels


def bodies_of(finished_scan: FinishedScan, model: MorphableModel) -> dict[str, Body]:
    scan = scan_mesh(finished_scan.scan, np.zeros(3), HEAD_MM)
    registered = heads.body_with(model, finished_scan.mesh("registered").vertices)
    return {
        "scan": body_of(scan, SCAN),
        "refined": body_of(finished_scan.mesh("refined"), REFINED),
        "registered": LitBody(registered.mesh, registered.colours),
    }


def save(rows: Sequence[Row], file: pathlib.Path, size: int = 15) -> None:
    """As a PNG with a palette, which has a quarter of the bytes."""
    sheet(rows, size).quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> None:
    parser = common.parser(__doc__, "--limit")
    parser.add_argument("run", type=pathlib.Path, help="a run's OUT")
    parser.add_argument("output", type=pathlib.Path, help="folder of the pictures")
    parser.add_argument("--scans", type=pathlib.Path, help="the folder that the run read, if it is not where it says")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    model = common.model_of(arguments.run)
    views, small = Views(model), []
    for found in list(finished_scans(arguments.run, arguments.scans))[: arguments.limit]:
        if found.is_ok:
            bodies = bodies_of(found, model)
            rows = picture(bodies, views)
            small.append(small_row(bodies, views, found.source))
        else:
            rows = lone_picture(found.scan)
        rows[0][0] = Panel(rows[0][0].image, f"{found.source[-32:]} ({found.line['status']}), left")
        file = arguments.output / f"{found.line['scan_id']}.png"
        save(rows, file)
        common.say(f"{file} {file.stat().st_size // 1024} KiB")
    for number, start in enumerate(range(0, len(small), ROWS_OF_A_SHEET)):
        save(small[start : start + ROWS_OF_A_SHEET], arguments.output / f"sheet-{number}.png", 12)


if __name__ == "__main__":
    main()
