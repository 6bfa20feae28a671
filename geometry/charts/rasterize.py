"""Mesh → geometry image by casting a chart's rays, and depth → geometry image by differentiation."""

import numpy as np

from geometry.charts.chart import Chart, pixel_centres
from geometry.charts.curvature import mean_curvature, normals_from_depth
from geometry.charts.geometry_image import GeometryImage, normal_channels
from geometry.mesh import TriangleMesh
from geometry.surfaces.raycasting import cast_rays, interpolate, raycasting_scene


def _image(depth: np.ndarray, normals: np.ndarray, valid: np.ndarray, chart: Chart, curved: bool = True) -> GeometryImage:
    channels = {"depth": depth} | ({"mean_curvature": mean_curvature(depth, valid, chart)} if curved else {})
    channels |= normal_channels(normals)
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
        hit = np.flatnonzero(outer & (distance < start - chart.least_depth))
        valid[hit], depth[hit] = True, start - distance[hit]
        shading = interpolate(mesh.vertex_normals, kept[triangle[hit]], uv[hit])
        normals[hit] = shading / np.maximum(np.linalg.norm(shading, axis=1, keepdims=True), 1e-12)
    return _image(depth.reshape(shape), normals.reshape(*shape, 3), valid.reshape(shape), chart)


def image_from_depth(depth: np.ndarray, valid: np.ndarray, chart: Chart, curved: bool = True) -> GeometryImage:
    """Depth (h, w) in mm and valid (h, w) bool → the five channels, normals and curvature derived from the depth itself; without
    the curvature, of which most of the time goes, unless `curved`.

    Raises ValueError where the shapes are not the chart's.
    """
    shape = (chart.height, chart.width)
    if np.shape(depth) != shape or np.shape(valid) != shape:
        raise ValueError(f"depth {np.shape(depth)} and valid {np.shape(valid)} must have the chart's shape {shape}")
    depth, valid = np.asarray(depth, float), np.asarray(valid, bool)
    return _image(depth, normals_from_depth(depth, valid, chart), valid, chart, curved)
