"""The example scans that ship with the project: people who do not exist, seen by simulated sensors, in many formats.

`python -m pipeline.synthesize --examples examples/scans` writes them again, byte for byte. One of them is no face.
"""

import io
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from geometry.camera import PinholeCamera
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.scan import Scan
from geometry.synthesis import faces, occluders, sensors
from geometry.synthesis.sensors import SENSORS, Sensor
from geometry.transforms import SimilarityTransform
from pipeline.store import storage

SEED = 2019  # the year of the papers
FACES = faces.SynthesisOptions(expression_strength=(0.1, 0.5), hair_share=0.0, hand_share=0.0)
QVGA = PinholeCamera(320, 240, 291, 291, 159.5, 119.5)  # the Kinect's camera at half resolution


Write = Callable[[str, Scan, SimilarityTransform, np.random.Generator], dict[str, bytes]]


@dataclass(frozen=True)
class Example:
    """name: stem of the file; subject: who (equal numbers, one person); write(scan, upright): files by name, where `upright`
    takes the scan's frame to the model's; wall_mm, shoulders: what stands about the head."""

    name: str
    subject: int
    sensor: Sensor
    yaw: float
    pitch: float
    roll: float
    distance_mm: float
    write: Write
    wall_mm: float | None = None
    shoulders: bool = False
    hair: bool = False


def write_examples(folder: str, model: MorphableModel, chosen: Sequence[Example] | None = None) -> list[str]:
    """Writes the examples (all, where not chosen) and the vase to `folder`; returns the file names, sorted."""
    files = {"not_a_face_vase.ply": ply(vase())}
    for example in chosen or EXAMPLES:
        files |= _files_of(example, model)
    for name, data in files.items():
        storage.write_bytes(storage.join(folder, name), data)
    return sorted(files)


def _files_of(example: Example, model: MorphableModel) -> dict[str, bytes]:
    rng = faces.generator(SEED, 3, EXAMPLES.index(example))
    options = replace(FACES, hair_share=1.0 if example.hair else 0.0)
    face = faces.sample_face(model, rng, options, person=faces.generator(SEED, 2, example.subject))
    nose = np.array([rng.uniform(-20, 20), rng.uniform(-20, 10), example.distance_mm])
    pose = SimilarityTransform(sensors.head_rotation(example.yaw, example.pitch, example.roll), nose)
    around = face.surroundings
    if example.shoulders:
        around.append(occluders.shoulders(face.landmarks, rng))
    if example.wall_mm is not None:
        around.append(occluders.wall(example.wall_mm))
    scan = sensors.observe(face.skin, example.sensor, pose, rng, around, strength=1.0)
    return example.write(example.name, scan, pose.inverse(), rng)


def ply(mesh: TriangleMesh) -> bytes:
    from geometry.readers.ply_writer import write_ply

    buffer = io.BytesIO()
    write_ply(buffer, mesh)
    return buffer.getvalue()


def _ply_mesh_mm(name: str, scan: Scan, upright: SimilarityTransform, rng: np.random.Generator) -> dict[str, bytes]:
    return {f"{name}.ply": ply(TriangleMesh(scan.points, scan.triangles))}


def _ply_cloud_m(name: str, scan: Scan, upright: SimilarityTransform, rng: np.random.Generator) -> dict[str, bytes]:
    """A cloud in metres with a colour for each point: skin with redder lips and cheeks, made up from where a point lies."""
    x, y, _ = upright.apply(scan.points).T
    lips = np.exp(-(((x / 24) ** 2 + ((y + 38) / 9) ** 2) ** 2))
    cheeks = np.exp(-(((np.abs(x) - 42) / 18) ** 2 + ((y + 5) / 18) ** 2))
    brows = np.exp(-(((np.abs(x) - 34) / 20) ** 4 + ((y - 56) / 5) ** 2))
    shade = 1 - 0.55 * brows + 0.03 * rng.standard_normal(len(x))
    color = np.array([214, 168, 142]) * shade[:, None] - np.outer(lips, [35, 75, 55]) - np.outer(cheeks, [0, 22, 18])
    return {f"{name}.ply": ply(TriangleMesh(scan.points / 1000, np.zeros((0, 3)), np.clip(color, 0, 255).astype(np.uint8)))}


def _obj_cm(name: str, scan: Scan, upright: SimilarityTransform, rng: np.random.Generator) -> dict[str, bytes]:
    lines = ["# centimetres, y up"]
    lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in upright.apply(scan.points) / 10]
    lines += [f"f {a} {b} {c}" for a, b, c in scan.triangles + 1]
    return {f"{name}.obj": ("\n".join(lines) + "\n").encode()}


def _stl_turned(name: str, scan: Scan, upright: SimilarityTransform, rng: np.random.Generator) -> dict[str, bytes]:
    """Binary STL, mm, turned at random about a far origin: every triangle has corners of its own."""
    turn = SimilarityTransform(Rotation.from_rotvec(rng.normal(0, 2, 3)).as_matrix(), rng.uniform(-300, 300, 3))
    corners = turn.apply(scan.points)[scan.triangles]
    facets = np.zeros(len(corners), np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")]))
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facets["normal"], facets["corners"] = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12), corners
    return {f"{name}.stl": b"face-relief example".ljust(80, b" ") + struct.pack("<I", len(facets)) + facets.tobytes()}


def _glb_m(name: str, scan: Scan, upright: SimilarityTransform, rng: np.random.Generator) -> dict[str, bytes]:
    """Binary glTF 2.0: one primitive, metres, y up."""
    vertices = (upright.apply(scan.points) / 1000).astype("<f4")
    indices = scan.triangles.astype("<u4")
    payload = indices.tobytes() + vertices.tobytes()
    document = {
        "asset": {"version": "2.0", "generator": "face-relief"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 1}, "indices": 0}]}],
        "buffers": [{"byteLength": len(payload)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": indices.nbytes, "target": 34963},
            {"buffer": 0, "byteOffset": indices.nbytes, "byteLength": vertices.nbytes, "target": 34962},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5125, "count": indices.size, "type": "SCALAR"},
            {
                "bufferView": 1,
                "componentType": 5126,
                "count": len(vertices),
                "type": "VEC3",
                "min": vertices.min(0).tolist(),
                "max": vertices.max(0).tolist(),
            },
        ],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(payload), 0x004E4942) + payload
    return {f"{name}.glb": struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks}


def _depth_image(scan: Scan, dtype: type = np.float64) -> np.ndarray:
    depth = np.zeros(scan.raster_shape, dtype)
    depth[scan.pixels[:, 0], scan.pixels[:, 1]] = scan.points[:, 2]
    return depth


def _depth_png(unit_mm: float) -> Write:
    def write(name: str, scan: Scan, upright: SimilarityTransform, rng: np.random.Generator) -> dict[str, bytes]:
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(np.round(_depth_image(scan) / unit_mm).astype(np.uint16)).save(buffer, "PNG", optimize=True)
        camera = scan.camera
        sidecar = {**asdict(camera), "depth_unit_mm": unit_mm}
        return {f"{name}.png": buffer.getvalue(), f"{name}.json": (json.dumps(sidecar, indent=1) + "\n").encode()}

    return write


def _depth_npz(name: str, scan: Scan, upright: SimilarityTransform, rng: np.random.Generator) -> dict[str, bytes]:
    camera = scan.camera
    numbers = {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy, "depth_unit_mm": 1.0}
    arrays = {"depth": _depth_image(scan, np.float32), **{key: np.array(value, float) for key, value in numbers.items()}}
    return {f"{name}.npz": storage.npz_bytes(arrays)}


def _pcd_organized(name: str, scan: Scan, upright: SimilarityTransform, rng: np.random.Generator) -> dict[str, bytes]:
    """Binary PCD, metres, the camera's pixel grid with NaN where there is no depth."""
    height, width = scan.raster_shape
    grid = np.full((height, width, 3), np.nan, "<f4")
    grid[scan.pixels[:, 0], scan.pixels[:, 1]] = scan.points / 1000
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        "FIELDS x y z",
        "SIZE 4 4 4",
        "TYPE F F F",
        "COUNT 1 1 1",
        f"WIDTH {width}",
        f"HEIGHT {height}",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {width * height}",
        "DATA binary",
        "",
    ]
    return {f"{name}.pcd": "\n".join(header).encode() + grid.tobytes()}


def vase() -> TriangleMesh:
    """A vase 220 mm high, about the size and the roundness of a head, and no face."""
    height = np.linspace(0, 220, 56)
    radius = 45 + 42 * np.sin(np.pi * (height / 220) ** 0.8) ** 1.5 - 12 * (height / 220) ** 6
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    grid = np.stack([np.outer(radius, np.sin(angle)), np.repeat(height[:, None], 90, 1), np.outer(radius, np.cos(angle))], -1)
    index = np.arange(56 * 90).reshape(56, 90)
    a, b, c, d = (part.ravel() for part in _cells(index))
    return TriangleMesh(grid.reshape(-1, 3), np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)]))


def _cells(index: np.ndarray) -> Iterator[np.ndarray]:
    """The corners of the cells of a grid whose columns close a circle."""
    right = np.roll(index, -1, axis=1)
    yield from (index[:-1], right[:-1], index[1:], right[1:])


def _with_pitch(name: str, pitch_mm: float) -> Sensor:
    return replace(SENSORS[name], pitch_mm=(pitch_mm, pitch_mm))


EXAMPLES = (
    Example("laser_frontal", 0, _with_pitch("laser", 1.5), 4, -3, 2, 900, _ply_mesh_mm),
    Example("photogrammetry_centimetres", 1, _with_pitch("photogrammetry", 2.2), 0, 0, 0, 900, _obj_cm),
    Example("turned_at_random", 2, _with_pitch("clean_mesh", 2.6), 0, 0, 0, 900, _stl_turned),
    Example("head_in_metres", 3, _with_pitch("clean_mesh", 2.0), 0, 0, 0, 900, _glb_m, hair=True),
    Example("truedepth_frontal", 4, SENSORS["truedepth"], -5, 4, 3, 310, _depth_png(0.1)),
    Example("truedepth_on_its_side", 4, SENSORS["truedepth"], 30, -6, 90, 330, _depth_png(0.1)),
    Example("coloured_cloud_in_metres", 5, SENSORS["truedepth_vga"], 10, 5, -8, 420, _ply_cloud_m),
    Example(
        "kinect_in_a_room", 6, SENSORS["kinect_v1"], -12, 5, 0, 780, _depth_png(1.0), wall_mm=1100, shoulders=True, hair=True
    ),
    Example("time_of_flight", 7, SENSORS["time_of_flight"], 15, 0, 5, 560, _depth_npz, shoulders=True),
    Example("organized_with_nan", 8, replace(SENSORS["kinect_v1"], camera=QVGA), 18, 8, -4, 520, _pcd_organized, wall_mm=700),
)
