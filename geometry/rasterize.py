"""Mesh → geometry image by casting a chart's rays, and depth → geometry image by differentiation."""
from __future__ import annotations

import numpy as np

from geometry.chart import Chart, pixel_centres
from geometry.curvature import mean_curvature, normals_from_depth
from geometry.geometry_image import GeometryImage
from geometry.mesh import TriangleMesh

_MISS = np.iinfo(np.uint32).max


def raycasting_scene(mesh: TriangleMesh):
    """An Open3D RaycastingScene of the mesh, built on one thread: workers are processes, and the tree stays the same everywhere.

    Raises ImportError naming the system packages where Open3D's libraries are missing.
    """
    try:
        import open3d as o3d  # 1.3 s to import: not before it is needed
    except OSError as error:
        raise ImportError(f"Open3D cannot load a system library ({error}); on Debian: apt install libgl1 libgomp1 libx11-6") from error
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        o3d.core.Tensor(mesh.vertices.astype(np.float32)), o3d.core.Tensor(np.ascontiguousarray(mesh.triangles, dtype=np.uint32))
    )
    return scene


def cast_rays(scene, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """First hits of rays (n, 3), (n, 3): distance (n,), inf where none; triangle (n,) int, −1 where none; (n, 2) barycentric u, v
    of the triangle's second and third corner; (n,) bool, whether the triangle's outer side was hit."""
    import open3d as o3d

    rays = np.concatenate([origins, directions], axis=1).astype(np.float32)
    answer = scene.cast_rays(o3d.core.Tensor(rays), nthreads=1)
    triangle = answer["primitive_ids"].numpy().astype(np.int64)
    triangle = np.where(triangle == _MISS, -1, triangle)
    outer = (triangle >= 0) & (np.einsum("ij,ij->i", answer["primitive_normals"].numpy(), rays[:, 3:]) < 0)
    return answer["t_hit"].numpy().astype(float), triangle, answer["primitive_uvs"].numpy().astype(float), outer


def closest_points(scene, points: np.ndarray) -> np.ndarray:
    """(q, 3) → the nearest point (q, 3) of the scene's mesh to each."""
    import open3d as o3d

    if not len(points):
        return np.zeros((0, 3))
    return scene.compute_closest_points(o3d.core.Tensor(np.asarray(points, np.float32)), nthreads=1)["points"].numpy().astype(float)


def interpolate(values: np.ndarray, triangles: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Vertex values (n, k) at barycentric (u, v) (q, 2) of triangles (q, 3) → (q, k)."""
    u, v = uv[:, :1], uv[:, 1:]
    a, b, c = (values[triangles[:, corner]] for corner in range(3))
    return a * (1 - u - v) + b * u + c * v


def normal_channels(normals: np.ndarray) -> dict[str, np.ndarray]:
    """Unit normals (…, 3) → the channels normal_elevation = atan2(n_z, hypot(n_x, n_y)) in rad, normal_x, normal_y, each (…)."""
    x, y, z = np.moveaxis(normals, -1, 0)
    return {"normal_elevation": np.arctan2(z, np.hypot(x, y)), "normal_x": x, "normal_y": y}


def channel_normals(image: GeometryImage) -> np.ndarray:
    """The inverse of `normal_channels`: (h, w, 3) unit normals, 0 where invalid.

    A network's three channels need not agree; the vector (n_x, n_y, sin elevation) weighs them alike and is then normalised.
    """
    elevation = image["normal_elevation"].astype(float)
    normals = np.stack([image["normal_x"], image["normal_y"], np.sin(elevation)], axis=2).astype(float)
    length = np.linalg.norm(normals, axis=2, keepdims=True)
    return np.where(image.valid_mask[..., None], normals / np.maximum(length, 1e-6), 0.0)


def _image(depth: np.ndarray, normals: np.ndarray, valid: np.ndarray, chart: Chart) -> GeometryImage:
    channels = {"depth": depth, "mean_curvature": mean_curvature(depth, valid, chart), **normal_channels(normals)}
    return GeometryImage({k: np.where(valid, v, 0.0).astype(np.float32) for k, v in channels.items()}, valid, chart)


def rasterize(mesh: TriangleMesh, chart: Chart, exclude: np.ndarray | None = None) -> GeometryImage:
    """The surface that the chart's rays meet first from outside.

    mesh: model frame, mm. exclude (m,) bool: triangles that rays pass through (they still shape the vertex normals).
    Normals are the interpolated vertex normals; mean curvature is that of the depth image. A pixel whose first hit
    is a back face is invalid: the ray has entered through a hole. All channels are 0 where invalid.
    """
    shape, centres = (chart.height, chart.width), pixel_centres(chart)
    kept = mesh.triangles if exclude is None else mesh.triangles[~np.asarray(exclude, bool)]
    depth, normals, valid = np.zeros(len(centres)), np.zeros((len(centres), 3)), np.zeros(len(centres), bool)
    if len(kept):
        # rays start just outside the surface: the hit distance is float32, exact to 1e-5 mm at 100 mm but not at 500
        start = float(np.ceil(chart.project(mesh.vertices)[1].max())) + 1.0
        origins, directions, start = chart.rays(centres, start)
        distance, triangle, uv, outer = cast_rays(raycasting_scene(TriangleMesh(mesh.vertices, kept)), origins, directions)
        hit = np.flatnonzero(outer & (distance < start - _depth_floor(chart)))
        valid[hit], depth[hit] = True, start - distance[hit]
        shading = interpolate(mesh.vertex_normals, kept[triangle[hit]], uv[hit])
        normals[hit] = shading / np.maximum(np.linalg.norm(shading, axis=1, keepdims=True), 1e-12)
    return _image(depth.reshape(shape), normals.reshape(*shape, 3), valid.reshape(shape), chart)


def _depth_floor(chart: Chart) -> float:
    """The least depth of a hit: a cylindrical ray that has crossed the axis sees the head from inside."""
    return 0.0 if chart.kind == "cylindrical" else -np.inf


def image_from_depth(depth: np.ndarray, valid: np.ndarray, chart: Chart) -> GeometryImage:
    """Depth (h, w) in mm and valid (h, w) bool → the five channels, normals and curvature derived from the depth itself.

    Raises ValueError where the shapes are not the chart's.
    """
    shape = (chart.height, chart.width)
    if np.shape(depth) != shape or np.shape(valid) != shape:
        raise ValueError(f"depth {np.shape(depth)} and valid {np.shape(valid)} must have the chart's shape {shape}")
    depth, valid = np.asarray(depth, float), np.asarray(valid, bool)
    return _image(depth, normals_from_depth(depth, valid, chart), valid, chart)
