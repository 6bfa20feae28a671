"""Simulated sensors that look at a mesh: depth cameras, and scanners that deliver meshes.

An ideal depth image is cast by Open3D's RaycastingScene through the centres of the camera's pixels (integer (u, v)), a noise
model of `geometry.synthesis.sensor_noise` degrades it, and `Scan.from_depth` carries it on, exactly as a reader would.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from geometry.camera import PinholeCamera
from geometry.charts.chart import CylindricalChart, pixel_centres
from geometry.mesh import TriangleMesh, merged
from geometry.scan import Scan
from geometry.settings.options import AtLeast0, Share, options
from geometry.surfaces.raycasting import first_hits, raycasting_scene
from geometry.surfaces.triangulation import FLOOR_MM, grid_triangles
from geometry.synthesis import sensor_noise
from geometry.transforms import SimilarityTransform

CAMERA_FROM_UPRIGHT = np.diag([1.0, -1.0, -1.0])  # model axes (left, up, out) as a camera in front of the face sees them


@dataclass(frozen=True)
class Sensor:
    """A simulated sensor: a depth camera, or a scanner that delivers a mesh. A range is (low, high)."""

    name: str
    """The name in SENSORS, and the source of its scans."""
    noise: Callable[..., np.ndarray]
    """A function of `geometry.synthesis.sensor_noise`: depth, cosine, camera, strength and generator in, measured depth out."""
    distance_mm: tuple[float, float]
    """Range in mm of the distance between the sensor and the nose tip."""
    strength: tuple[float, float]
    """Range of the multiple of the published noise, drawn log-uniformly."""
    camera: PinholeCamera | None = None
    """Of a depth camera; None for a scanner, which samples the surface and returns a mesh."""
    pitch_mm: tuple[float, float] | None = None
    """Range in mm of a scanner's sampling step; None for a depth camera."""
    cylindrical: bool = False
    """Whether the scanner goes round the head instead of standing before it."""


def _camera(width: int, height: int, focal_px: float) -> PinholeCamera:
    return PinholeCamera(width, height, focal_px, focal_px, (width - 1) / 2, (height - 1) / 2)


SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        Sensor("kinect_v1", sensor_noise.structured_light, (500, 1000), (0.5, 1.5), _camera(640, 480, 582)),
        Sensor("truedepth", sensor_noise.truedepth, (250, 450), (0.4, 2.5), _camera(320, 240, 300)),
        Sensor("truedepth_vga", sensor_noise.truedepth, (250, 500), (0.4, 2.5), _camera(640, 480, 600)),
        Sensor("time_of_flight", sensor_noise.time_of_flight, (500, 900), (0.3, 2.0), _camera(512, 424, 366)),
        Sensor("any_near", sensor_noise.any_depth, (250, 500), (0.5, 2.0), _camera(320, 240, 300)),
        Sensor("any_middle", sensor_noise.any_depth, (400, 1000), (0.5, 2.0), _camera(640, 480, 580)),
        Sensor("any_wide", sensor_noise.any_depth, (400, 900), (0.5, 2.0), _camera(512, 424, 366)),
        Sensor("stereo", sensor_noise.passive_stereo, (500, 900), (0.3, 1.5), _camera(640, 480, 1000)),
        Sensor("laser", sensor_noise.laser_lines, (600, 1200), (0.3, 2.0), pitch_mm=(0.6, 1.6)),
        Sensor("photogrammetry", sensor_noise.photogrammetry, (600, 1200), (0.3, 2.0), pitch_mm=(0.7, 1.6), cylindrical=True),
        Sensor("clean_mesh", sensor_noise.nearly_clean, (600, 1200), (0.1, 2.0), pitch_mm=(0.6, 2.0), cylindrical=True),
    )
}


@options
class PoseRange:
    """How heads are turned before a sensor, in degrees."""

    yaw: AtLeast0 = 60.0
    """Limit of the turn to the left or right: drawn from a Gaussian whose σ is half of it, and cut at the limit."""
    pitch: AtLeast0 = 30.0
    """Limit of the nod, drawn in the same way."""
    roll: AtLeast0 = 20.0
    """Limit of the turn in the picture, drawn uniformly."""
    free_roll_share: Share = 0.3
    """Share of frames whose roll is any angle (a phone held on its side, a mesh in no particular frame)."""


def head_rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Degrees → (3, 3) model → camera. yaw turns the face to the subject's left, pitch downward, roll in the image."""
    turn = Rotation.from_euler("YX", [yaw, pitch], degrees=True).as_matrix()
    return Rotation.from_euler("Z", roll, degrees=True).as_matrix() @ CAMERA_FROM_UPRIGHT @ turn


def sample_pose(sensor: Sensor, rng: np.random.Generator, poses: PoseRange = PoseRange()) -> SimilarityTransform:
    """model → camera: the face before the sensor, its nose tip within the sensor's range and the head within the picture."""
    yaw, pitch = (float(np.clip(rng.normal(0, limit / 2), -limit, limit)) for limit in (poses.yaw, poses.pitch))
    free = rng.random() < poses.free_roll_share
    roll = rng.uniform(-180, 180) if free else rng.uniform(-poses.roll, poses.roll)
    distance = rng.uniform(*sensor.distance_mm)
    shift = np.zeros(2)
    if sensor.camera is not None:
        # the face spans about ±100 mm about the nose: what room is left, half of it used
        room = np.array([sensor.camera.width / sensor.camera.fx, sensor.camera.height / sensor.camera.fy]) / 2 * distance - 100
        shift = rng.uniform(-0.5, 0.5, 2) * np.maximum(room, 20)
    return SimilarityTransform(head_rotation(yaw, pitch, roll), np.array([*shift, distance]))


def _cast(mesh: TriangleMesh, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First hits of rays (n, 3) → ray parameter (n,), inf where none; cosine of the angle of incidence (n,), 0 where none.

    A head is solid: a ray that meets a surface from its inner side has entered through a hole, and sees nothing."""
    distance, _, _, normals = first_hits(raycasting_scene(mesh), origins, directions)
    cosine = -np.einsum("ij,ij->i", normals, directions) / np.linalg.norm(directions, axis=1)
    outer = np.isfinite(distance) & (cosine > 0)
    return np.where(outer, distance, np.inf), np.where(outer, cosine, 0.0)


def render_depth(mesh: TriangleMesh, camera: PinholeCamera) -> tuple[np.ndarray, np.ndarray]:
    """A mesh in the camera frame → ideal depth (h, w) mm, 0 where nothing is hit, and cosine (h, w) of the incidence angle."""
    depth, cosine = np.zeros((camera.height, camera.width)), np.zeros((camera.height, camera.width))
    seen = mesh.vertices[mesh.vertices[:, 2] > 1.0]
    if not len(seen):
        return depth, cosine
    uv, _ = camera.project(seen)
    left, top = np.clip(np.floor(uv.min(0)), 0, [camera.width, camera.height]).astype(int)
    right, bottom = np.clip(np.ceil(uv.max(0)) + 1, 0, [camera.width, camera.height]).astype(int)
    columns, rows = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
    if not columns.size:
        return depth, cosine
    # direction with z = 1: the ray parameter is the depth
    directions = camera.unproject(np.stack([columns.ravel(), rows.ravel()], 1).astype(float), np.ones(columns.size))
    distance, incidence = _cast(mesh, np.zeros_like(directions), directions)
    depth[top:bottom, left:right] = np.where(np.isfinite(distance), distance, 0.0).reshape(columns.shape)
    cosine[top:bottom, left:right] = incidence.reshape(columns.shape)
    return depth, cosine


def observe(
    mesh: TriangleMesh,
    sensor: Sensor,
    scan_pose: SimilarityTransform,
    rng: np.random.Generator,
    surroundings: Sequence[TriangleMesh] = (),
    strength: float | None = None,
) -> Scan:
    """What `sensor` delivers of a face: mesh and surroundings in the model frame, scan_pose model → camera, mm.

    strength multiplies the published noise (drawn from the sensor's range where None). Returns a depth `Scan` with camera
    and pixels, or, for a scanner, a mesh `Scan` in the camera frame. A view that hits nothing is an empty scan.
    """
    if strength is None:
        strength = float(np.exp(rng.uniform(*np.log(sensor.strength))))
    scene = merged([mesh, *surroundings])
    if sensor.camera is None:
        return _scan_mesh(scene, sensor, scan_pose, strength, rng)
    depth, cosine = render_depth(scene.with_vertices(scan_pose.apply(scene.vertices)), sensor.camera)
    measured = sensor.noise(depth, cosine, sensor.camera, strength, rng)
    return Scan.from_depth(measured, sensor.camera, source=sensor.name, format="synthetic depth")


def _scan_mesh(
    scene: TriangleMesh, sensor: Sensor, scan_pose: SimilarityTransform, strength: float, rng: np.random.Generator
) -> Scan:
    sample = _sample_round if sensor.cylindrical else _sample_front
    points, pixels, shape = sample(scene, sensor, scan_pose, strength, rng)
    triangles = grid_triangles(pixels, points, FLOOR_MM)
    scan = Scan(points, triangles, source=sensor.name, format="synthetic mesh", unit_mm=1.0, scale_is_metric=True)
    return scan.keep(np.isin(np.arange(len(points)), triangles))


def _sample_front(
    scene: TriangleMesh, sensor: Sensor, scan_pose: SimilarityTransform, strength: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """A scanner standing before the head: a camera whose pixels are `pitch_mm` apart at the nose."""
    distance = float(np.linalg.norm(scan_pose.translation))
    focal = distance / rng.uniform(*sensor.pitch_mm)
    width = int(320 * focal / distance)
    centre = scan_pose.translation[:2] / scan_pose.translation[2] * focal
    camera = PinholeCamera(width, width, focal, focal, width / 2 - centre[0], width / 2 - centre[1])
    depth, cosine = render_depth(scene.with_vertices(scan_pose.apply(scene.vertices)), camera)
    measured = sensor.noise(depth, cosine, camera, strength, rng)
    rows, columns = np.nonzero(measured > 0)
    points = camera.unproject(np.stack([columns, rows], 1).astype(float), measured[rows, columns])
    return points, np.stack([rows, columns], 1), measured.shape


def _sample_round(
    scene: TriangleMesh, sensor: Sensor, scan_pose: SimilarityTransform, strength: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """A scanner that goes round: rays towards an upright axis within the head, off their grid by up to a third of a step."""
    pitch = rng.uniform(*sensor.pitch_mm)
    width = int(rng.uniform(250, 360) / pitch)
    chart = CylindricalChart(height=int(240 / pitch), width=width, pixel_mm=pitch, centre_y=rng.uniform(0, 15))
    centres = pixel_centres(chart) + rng.uniform(-0.33, 0.33, (chart.height * chart.width, 2))
    origins, directions, start = chart.rays(centres)
    hit, incidence = _cast(scene, origins, directions)
    depth = np.where(np.isfinite(hit), start - hit, 0.0).reshape(chart.height, chart.width)
    measured = sensor.noise(depth, incidence.reshape(depth.shape), None, strength, rng)
    rows, columns = np.nonzero(measured > 0)
    points = chart.lift(centres.reshape(chart.height, chart.width, 2)[rows, columns], measured[rows, columns])
    return scan_pose.apply(points), np.stack([rows, columns], 1), measured.shape
