"""Scan and fitted model as geometry images over one chart: what the refiner sees."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from geometry.charts.chart import Chart, CylindricalChart
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.rasterize import rasterize
from geometry.fitting.legacy_noise import noise_as_trained, noise_map
from geometry.fitting.result import FitResult
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.scan import Scan
from geometry.surfaces.raycasting import cast_rays, raycasting_scene
from geometry.surfaces.seen_surface import seen_surface
from geometry.surfaces.triangulation import cloud_triangles, surface_of

STEP_NOISE_MM = 0.35  # a denoising pass for each so much noise: see `_settled`
MAX_PASSES = 3
FACE_MARGIN_MM = 30.0
BEHIND_MM = 6.0  # points so far behind the fitted surface are the inside of a mouth, or the far side of an ear


@dataclass(frozen=True)
class Encoding:
    """coarse and scan over the same chart; scan has the extra channel `noise_sigma` (mm, 0 where invalid)."""

    coarse: GeometryImage
    scan: GeometryImage


def encode(scan: Scan, fit: FitResult, model: MorphableModel, chart: Chart) -> Encoding:
    """Rasterize the fitted model and the scan (cropped to the head) with one rasterizer in one chart, model frame. The model's
    open mouth is closed between the rims of the lips: its bag would be a hole as deep as the head."""
    coarse = rasterize(fitted_surface(fit, model), chart)
    image = rasterize(scan_surface(scan, fit, model), chart)
    noise_mm = noise_as_trained(scan, fit.scan_to_model.scale, fit.noise_mm)
    return Encoding(coarse, image.with_channel("noise_sigma", noise_map(coarse, image, noise_mm)))


def fitted_surface(fit: FitResult, model: MorphableModel) -> TriangleMesh:
    """What is seen of the fitted model from outside, model frame."""
    return TriangleMesh(fit.vertices, seen_surface(model)[0])


def scan_surface(scan: Scan, fit: FitResult, model: MorphableModel) -> TriangleMesh:
    """The scan as a mesh in the model frame. Bare clouds are triangulated around the head's axis, front points only."""
    surface = surface_of(scan)
    if not len(surface.triangles):
        return _cloud_surface(scan, fit, model)
    if scan.pixels is not None and scan.camera is not None:
        surface = _settled(surface, fit.noise_mm)
    return surface.with_vertices(fit.scan_to_model.apply(surface.vertices))


def _settled(surface: TriangleMesh, noise_mm: float) -> TriangleMesh:
    """A noisy depth image's vertices moved along their viewing rays toward their neighbours' mean.

    Seen from another side than the sensor's, noise of the size of the pixel spacing folds the surface over itself, and
    first hits then favour what sticks out. A few passes of the umbrella operator, as many as the noise asks for, unfold it.
    """
    passes = int(np.clip(np.round(noise_mm / STEP_NOISE_MM), 0, MAX_PASSES))
    adjacency = surface.adjacency
    degree = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
    rays = surface.vertices / np.linalg.norm(surface.vertices, axis=1, keepdims=True)
    vertices = surface.vertices
    for _ in range(passes):
        offset = (((adjacency @ vertices) / degree[:, None] - vertices) * rays).sum(1)
        vertices = vertices + 0.6 * offset[:, None] * rays
    return surface.with_vertices(vertices)


def _cloud_surface(scan: Scan, fit: FitResult, model: MorphableModel) -> TriangleMesh:
    """Delaunay over (angle, height) about the head's axis, of the points that face outward near the fitted face."""
    points = fit.scan_to_model.apply(scan.points)
    distance, nearest = cKDTree(fit.vertices).query(points, distance_upper_bound=FACE_MARGIN_MM)
    near = np.isfinite(distance)
    points, colors = points[near], None if scan.colors is None else scan.colors[near]
    axis = CylindricalChart()
    unrolled, radius = axis.project(points)
    origins, directions, start = axis.rays(unrolled)
    hit = cast_rays(raycasting_scene(fitted_surface(fit, model)), origins, directions)[0]
    front = ~(start - hit - radius > BEHIND_MM)  # a second layer would riddle the first with holes
    points, colors, unrolled = points[front], None if colors is None else colors[front], unrolled[front]
    triangles = cloud_triangles(points, unrolled)
    mesh = TriangleMesh(points, triangles, colors)
    outward = axis.outward_directions(unrolled)
    inward = (mesh.triangle_area_vectors * outward[triangles].mean(1)).sum(1) < 0
    triangles = np.where(inward[:, None], triangles[:, ::-1], triangles)
    return TriangleMesh(points, triangles, colors)
