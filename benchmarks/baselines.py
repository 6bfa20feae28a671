"""The surfaces that a refiner is compared with, and where their fixed settings come from.

    python benchmarks/baselines.py runs/pairs/validation-*.tfrecord.gz --limit 60
    python benchmarks/baselines.py --faces 4

prints the error of each setting, on synthetic validation pairs (filters and reconstruction in the chart) and on simulated depth
images of sampled faces (the filter on a sensor's own image, where noise is not yet resampled); the constants below are the best
rows by the mean of both errors relative to raw. amberg's steps are trimesh's in kind and were not searched. Everything is in mm.
"""

import functools
import itertools
from collections import defaultdict
from dataclasses import replace
from unittest import mock

import common
import fit_settings
import numpy as np
from refinement_cases import Pair, near_fit, pair_error, pairs_of

from geometry.charts.curvature import positions
from geometry.charts.geometry_image import GeometryImage, channel_normals
from geometry.charts.rasterize import image_from_depth, rasterize
from geometry.evaluation.metrics import surface_errors
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.model.registry import load_model
from geometry.scan import Scan
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.raycasting import nearest_on_scene, raycasting_scene
from geometry.surfaces.triangulation import surface_of

SENSOR_WIDTHS = (3.0, 3.0)  # bilateral filter of a sensor's image: mm across and in depth
CHART_WIDTHS = (1.5, 3.0)  # the same of a geometry image
CELL_MM = 3.0  # Poisson's finest octree cell
REACH_MM = 5.0  # Poisson closes its surface; what lies farther from every point is no reconstruction
SPATIAL_WIDTHS, RANGE_WIDTHS, CELLS = (1.5, 3.0, 5.0), (1.0, 3.0, 8.0), (1.5, 3.0, 6.0)
MATCH_MM = 8.0  # Amberg: a vertex farther from the scan has no partner there
TEMPLATE_RADIUS_MM = 110.0  # about the nose tip: what is scored, and some more
# (smoothness, landmark weight, normals' exponent, iterations): stiff to soft, as in Amberg et al. 2007; no landmarks are given
AMBERG_STEPS = ((0.05, 0, 0.5, 4), (0.02, 0, 0.5, 4), (0.008, 0, 0.5, 4))


def bilateral(depth: np.ndarray, valid: np.ndarray, pixel_mm: float, widths: tuple[float, float]) -> np.ndarray:
    """Depth (h, w) in mm, filtered among the valid pixels (h, w) (Tomasi & Manduchi 1998): Gaussian weights of widths[0] mm
    in the image, where a pixel spans pixel_mm, and of widths[1] mm in depth. Invalid pixels stay as they are."""
    spatial_mm, range_mm = widths
    radius = max(1, int(np.ceil(2 * spatial_mm / pixel_mm)))
    depth = np.asarray(depth, np.float32)
    padded, known = np.pad(depth, radius), np.pad(np.asarray(valid, np.float32), radius)
    total, weight = np.zeros_like(depth), np.zeros_like(depth)
    for row, column in itertools.product(range(2 * radius + 1), repeat=2):
        window = slice(row, row + depth.shape[0]), slice(column, column + depth.shape[1])
        step = padded[window] - depth
        square = ((row - radius) ** 2 + (column - radius) ** 2) * (pixel_mm / spatial_mm) ** 2
        share = known[window] * np.exp(-(square + (step / range_mm) ** 2) / 2)
        total += share * step  # sums of small differences keep their digits
        weight += share
    return np.where(valid, depth + total / np.maximum(weight, 1e-12), depth).astype(float)


def poisson(points: np.ndarray, normals: np.ndarray, cell_mm: float = CELL_MM, reach_mm: float = REACH_MM) -> TriangleMesh:
    """Screened Poisson reconstruction (Kazhdan & Hoppe 2013, as Open3D has it) of points (n, 3) with outward normals (n, 3),
    cut off where it lies farther than reach_mm from every point."""
    import open3d as o3d
    from scipy.spatial import cKDTree

    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud.normals = o3d.utility.Vector3dVector(normals)
    depth = int(np.ceil(np.log2(1.1 * np.ptp(points, axis=0).max() / cell_mm)))
    found, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth, n_threads=1)
    mesh = TriangleMesh(np.asarray(found.vertices), np.asarray(found.triangles))
    near = cKDTree(points).query(mesh.vertices, distance_upper_bound=reach_mm)[0] < np.inf
    return mesh.submesh(near)[0]


def amberg(template: TriangleMesh, target: TriangleMesh, steps=AMBERG_STEPS, match_mm: float = MATCH_MM) -> TriangleMesh:
    """Optimal-step non-rigid ICP (Amberg, Romdhani & Vetter 2007, as trimesh has it): the template's largest piece drawn onto the
    target, both in one frame."""
    import trimesh
    from trimesh import proximity
    from trimesh.registration import nricp_amberg

    labels = template.component_labels  # a piece that meets no scan would leave the system singular
    template = template.submesh(labels == np.bincount(labels).argmax())[0]
    source = trimesh.Trimesh(template.vertices, template.triangles, process=False)
    scan = trimesh.Trimesh(target.vertices, target.triangles, process=False)
    # trimesh looks closest points up with rtree, which is no dependency of this project and slower by far
    with mock.patch.object(proximity, "closest_point", _closest_point):
        drawn = nricp_amberg(source, scan, steps=[list(step) for step in steps], distance_threshold=match_mm / source.scale)
    return template.with_vertices(drawn)


@functools.lru_cache(maxsize=1)
def _scene_of(mesh):
    return raycasting_scene(TriangleMesh(mesh.vertices, mesh.faces))


def _closest_point(mesh, points):
    """A stand-in for trimesh.proximity.closest_point (mesh, points) → points, distances, triangles."""
    nearest, triangle, _ = nearest_on_scene(_scene_of(mesh), points)
    return nearest, np.linalg.norm(points - nearest, axis=1), triangle


def decimated(mesh: TriangleMesh, triangles: int) -> TriangleMesh:
    """At most so many triangles, by quadric edge collapse."""
    import open3d as o3d

    if len(mesh.triangles) <= triangles:
        return mesh
    vertices, faces = np.array(mesh.vertices), np.array(mesh.triangles)  # Open3D takes writeable arrays only
    whole = o3d.geometry.TriangleMesh(o3d.utility.Vector3dVector(vertices), o3d.utility.Vector3iVector(faces))
    found = whole.simplify_quadric_decimation(triangles)
    return TriangleMesh(np.asarray(found.vertices), np.asarray(found.triangles))


def face_template(vertices: np.ndarray, model: MorphableModel) -> TriangleMesh:
    """The front of a fitted model (vertices (n, 3), model frame) without what no scan shows: cavities, the back of the head."""
    hidden = model.regions["mouth_interior"] | (model.regions.get("cavities", False) & ~model.regions["eyes"])
    front = ~hidden & (np.linalg.norm(model.mean, axis=1) < TEMPLATE_RADIUS_MM)
    return TriangleMesh(vertices, model.triangles).submesh(front)[0]


def grid_mesh(image: GeometryImage, mask: np.ndarray, jump_mm: float = 15.0) -> TriangleMesh:
    """The pixels of a geometry image under mask (h, w) as they are: two triangles a cell, none across a depth jump."""
    index = np.arange(mask.size).reshape(mask.shape)
    a, b, c, d = (corner.ravel() for corner in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    triangles = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    depth = image["depth"].ravel()[triangles]
    kept = triangles[mask.ravel()[triangles].all(1) & (np.ptp(depth, axis=1) < jump_mm)]
    mesh = TriangleMesh(positions(image["depth"], image.chart).reshape(-1, 3), kept)
    return mesh.submesh(np.bincount(kept.ravel(), minlength=mask.size) > 0)[0]


def plain(image: GeometryImage) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A surface as refinement.py measures it on pairs: depth (h, w), normals (h, w, 3), and the depth whose detail counts."""
    depth = image["depth"].astype(float)
    return depth, channel_normals(image), depth


def over_coarse(image: GeometryImage, coarse: GeometryImage) -> GeometryImage:
    """The image, and the coarse one where it is not valid."""
    channels = {name: np.where(image.valid_mask, image[name], coarse[name]) for name in coarse.channels}
    return GeometryImage(channels, image.valid_mask | coarse.valid_mask, coarse.chart)


def bilateral_image(pair: Pair, widths: tuple[float, float] = CHART_WIDTHS):
    """A pair's scan, filtered in the chart, as `plain` gives it; so the next two."""
    mask, chart = near_fit(pair.coarse, pair.scan), pair.scan.chart
    depth = bilateral(pair.scan["depth"], mask, chart.pixel_mm, widths)
    return plain(over_coarse(image_from_depth(depth, mask, chart), pair.coarse))


def poisson_image(pair: Pair, cell_mm: float = CELL_MM):
    mask = near_fit(pair.coarse, pair.scan)
    mesh = poisson(positions(pair.scan["depth"], pair.scan.chart)[mask], channel_normals(pair.scan)[mask], cell_mm)
    return plain(over_coarse(rasterize(mesh, pair.scan.chart), pair.coarse))


def amberg_image(pair: Pair):
    template = decimated(grid_mesh(pair.coarse, pair.coarse.valid_mask), 12_000)
    mesh = amberg(template, grid_mesh(pair.scan, near_fit(pair.coarse, pair.scan)))
    return plain(over_coarse(rasterize(mesh, pair.scan.chart), pair.coarse))


def filtered_head(depth: np.ndarray, scan: Scan, widths: tuple[float, float] = SENSOR_WIDTHS) -> np.ndarray:
    """A sensor's depth image (h, w) in mm, filtered about the head that scan is cropped to; a pixel spans what it does at the
    distance of the head."""
    (top, left), (bottom, right) = np.maximum(scan.pixels.min(0) - 16, 0), scan.pixels.max(0) + 17
    part, filtered = depth[top:bottom, left:right], depth.copy()
    pixel_mm = float(np.median(scan.points[:, 2])) / scan.camera.fx
    filtered[top:bottom, left:right] = bilateral(part, part > 0, pixel_mm, widths)
    return filtered


def main() -> None:
    parser = common.parser(__doc__, "--limit")
    parser.add_argument("records", nargs="*", help="validation pairs")
    parser.add_argument("--faces", type=int, default=0, help="faces to sample and to simulate every sensor on")
    arguments = parser.parse_args()
    if arguments.records:
        show(pair_rows(arguments.records, arguments.limit))
    if arguments.faces:
        show(sensor_rows(arguments.faces))


def pair_rows(paths: list[str], limit: int | None) -> dict[str, list[tuple[float, float]]]:
    """Setting → (mm, degrees) of each pair."""
    table = defaultdict(list)
    for pair in pairs_of(paths, limit):
        surfaces = {"raw": plain(pair.scan), "coarse": plain(pair.coarse)}
        for widths in itertools.product(SPATIAL_WIDTHS, RANGE_WIDTHS):
            surfaces["bilateral {:g} mm, {:g} mm".format(*widths)] = bilateral_image(pair, widths)
        for cell in CELLS:
            surfaces[f"poisson {cell:g} mm"] = poisson_image(pair, cell)
        for name, (found, normals, _) in surfaces.items():
            table[name].append(pair_error(found, normals, pair))
    return table


def sensor_rows(faces: int) -> dict[str, list[tuple[float, float]]]:
    """Setting → (mm, degrees) of each simulated depth image, measured as the bench measures."""
    table = defaultdict(list)
    for case in fit_settings.cases(load_model(), faces):
        scan, skin = case.state.location.scan, case.skin
        if scan.camera is None:
            continue
        depth = np.zeros(scan.raster_shape)
        depth[tuple(scan.pixels.T)] = scan.points[:, 2]
        nose = case.pose.apply(np.zeros((1, 3)))[0]
        visible = surface_distance(skin.vertices, surface_of(scan)) < 3.0
        images = {"raw": depth} | {
            "bilateral {:g} mm, {:g} mm".format(*widths): filtered_head(depth, scan, widths)
            for widths in itertools.product(SPATIAL_WIDTHS, RANGE_WIDTHS)
        }
        for name, image in images.items():
            rays = scan.points / scan.points[:, 2:]
            surface = surface_of(replace(scan, points=rays * image[tuple(scan.pixels.T)][:, None]))
            found = surface_errors(skin, surface, nose, visible)
            table[name].append((found.distance, found.normal_angle))
    return table


def show(table: dict[str, list[tuple[float, float]]]) -> None:
    base = np.mean(table["raw"], axis=0)
    for name, rows in table.items():
        depth, angle = np.mean(rows, axis=0)
        both = (depth / base[0] + angle / base[1]) / 2
        print(f"{name:24s} {depth:8.3f} mm {angle:8.2f}°   both, relative to raw {both:.3f}   of {len(rows)}", flush=True)


if __name__ == "__main__":
    main()
