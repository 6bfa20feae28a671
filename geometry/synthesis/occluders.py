"""What stands before, beside and behind a face in a real scan: hair, a hand, shoulders, a wall. Model frame, mm."""

import numpy as np
from scipy.spatial import ConvexHull

from geometry.mesh import TriangleMesh, merged
from geometry.synthesis.random_fields import smooth_noise


def hair(head: TriangleMesh, landmarks: np.ndarray, rng: np.random.Generator) -> TriangleMesh:
    """Tufts of 3–25 mm on the scalp, with a ragged fringe that may hang over the forehead and temples."""
    points = head.vertices
    brow = landmarks[17:27, 1].max()
    ragged = 6 * smooth_noise(points, (8, 30), rng)
    hairline = brow + rng.uniform(12, 55) - 0.5 * np.abs(points[:, 0]) * rng.uniform(0, 1)
    above = points[:, 1] + ragged > hairline
    sides = (np.abs(points[:, 0]) > rng.uniform(62, 85)) & (points[:, 2] < -70) & (points[:, 1] > landmarks[8, 1] - 40)
    patch, kept = head.submesh(above | (sides & (rng.random() < 0.5)))
    if not len(patch.triangles):
        return patch
    strands = smooth_noise(patch.vertices * [1, 0.35, 1], (4, 16), rng)  # stretched along y: locks hang down
    thickness = np.clip(rng.uniform(4, 16) + 3 * strands, 2.0, 25.0)
    return patch.with_vertices(patch.vertices + thickness[:, None] * head.vertex_normals[kept])


def _ellipsoid(centre: np.ndarray, axes: np.ndarray) -> TriangleMesh:
    """centre (3,), axes (3, 3): rows are half axes in mm."""
    golden = np.pi * (3 - np.sqrt(5)) * np.arange(162)
    z = np.linspace(1, -1, 162)
    sphere = np.stack([np.sqrt(1 - z**2) * np.cos(golden), np.sqrt(1 - z**2) * np.sin(golden), z], 1)
    triangles = ConvexHull(sphere).simplices
    corners = sphere[triangles]
    inward = np.einsum("ij,ij->i", np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), corners.mean(1)) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return TriangleMesh(sphere @ axes + centre, triangles)


def hand(landmarks: np.ndarray, rng: np.random.Generator) -> TriangleMesh:
    """A palm and two to four fingers, 5–40 mm before the lower face or a cheek, pointing up or inward."""
    side = rng.choice([-1.0, 1.0])
    target = landmarks[rng.choice([4, 6, 8, 10, 12, 48, 54])]
    target = target + [side * rng.uniform(0, 25), rng.uniform(-15, 10), rng.uniform(14, 45)]
    angle = np.pi / 2 + side * rng.uniform(0.0, 1.3)
    along = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.2, 0.2)])
    along /= np.linalg.norm(along)
    across = np.cross(along, [0, 0, 1.0])
    across /= np.linalg.norm(across)
    parts = [_ellipsoid(target - 70 * along, np.stack([48 * along, 40 * across, 13 * np.cross(along, across)]))]
    for finger in range(rng.integers(2, 5)):
        reach = rng.uniform(34, 44)
        centre = target + (finger - 1.5) * 19 * across - (40 - reach) * along
        parts.append(_ellipsoid(centre, np.stack([reach * along, 9 * across, 8 * np.cross(along, across)])))
    return merged(parts)


def glasses(landmarks: np.ndarray, rng: np.random.Generator) -> TriangleMesh:
    """A frame: two rims 4–14 mm before the eyes, bridge and temples. The lenses are clear and deliver no depth of their own."""
    eyes = [landmarks[36:42].mean(0), landmarks[42:48].mean(0)]
    half = np.array([rng.uniform(22, 27), rng.uniform(15, 21)])
    thick, squareness = rng.uniform(0.8, 2.5), rng.uniform(2.0, 4.5)
    front = max(landmarks[27, 2], eyes[0][2] + 8, eyes[1][2] + 8) + rng.uniform(0, 5)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    super_ellipse = (
        np.stack(
            [
                np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / squareness),
                np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / squareness),
            ],
            1,
        )
        * half
    )
    drop = rng.uniform(-3, 4)
    parts, rims = [], []
    for eye in eyes:
        rim = np.column_stack([super_ellipse + [eye[0], eye[1] - drop], np.full(48, front)])
        rim[:, 2] -= 0.004 * rim[:, 0] ** 2  # the frame bends about the face
        rims.append(rim)
        parts.append(_tube(np.vstack([rim, rim[:1]]), thick))
    inner = rims[0][rims[0][:, 0].argmax()], rims[1][rims[1][:, 0].argmin()]
    parts.append(_tube(np.stack([inner[0], (inner[0] + inner[1]) / 2 + [0, 2, 2], inner[1]]), thick))
    for rim, ear in ((rims[0], landmarks[0]), (rims[1], landmarks[16])):
        outer = rim[np.abs(rim[:, 0]).argmax()]
        parts.append(_tube(np.stack([outer, np.array([ear[0] * 1.06, outer[1], ear[2] - 20])]), thick))
    return merged(parts)


def _tube(path: np.ndarray, radius_mm: float, sides: int = 6) -> TriangleMesh:
    """A tube about a polyline (n, 3); its cross-section keeps to the directions across the path nearest y and z.
    Wound outward: a sensor does not see the inside of a thing."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    across = np.cross(tangent, [0.0, 0.0, 1.0])
    flat = np.linalg.norm(across, axis=1) < 0.1
    across[flat] = [1.0, 0.0, 0.0]
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    upward = np.cross(across, tangent)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(angle)[None, :, None] * across[:, None] + np.sin(angle)[None, :, None] * upward[:, None]
    vertices = (path[:, None] + radius_mm * ring).reshape(-1, 3)
    i, k = (index.ravel() for index in np.meshgrid(np.arange(len(path) - 1), np.arange(sides), indexing="ij"))
    a, b = i * sides + k, i * sides + (k + 1) % sides
    triangles = np.concatenate([np.stack([a, a + sides, b], 1), np.stack([b, a + sides, b + sides], 1)])
    return TriangleMesh(vertices, triangles.astype(np.int32))


def shoulders(landmarks: np.ndarray, rng: np.random.Generator) -> TriangleMesh:
    """A neck and a torso below the chin, about 420 mm across."""
    chin = landmarks[8]
    back = chin[2] - rng.uniform(70, 95)
    neck = _ellipsoid(np.array([0, chin[1] - 70, back]), np.diag([62.0, 120.0, 62.0]))
    torso = _ellipsoid(np.array([0, chin[1] - rng.uniform(250, 290), back - 10]), np.diag([rng.uniform(190, 230), 170.0, 110.0]))
    return merged([neck, torso])


def wall(depth_mm: float, half_size_mm: float = 2500.0) -> TriangleMesh:
    """A plane behind the head at z = −depth_mm, facing +z."""
    corners = half_size_mm * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) - [0, 0, depth_mm]
    return TriangleMesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))
