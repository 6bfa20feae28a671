"""Rays and nearest points on triangle meshes, by Open3D's `RaycastingScene`."""

from typing import TYPE_CHECKING

import numpy as np

from geometry.mesh import TriangleMesh

if TYPE_CHECKING:
    from open3d.t.geometry import RaycastingScene

_MISS = np.iinfo(np.uint32).max


def raycasting_scene(mesh: TriangleMesh) -> "RaycastingScene":
    """An Open3D RaycastingScene of the mesh, built on one thread: workers are processes, and the tree stays the same everywhere.

    Raises ImportError naming the system packages where Open3D's libraries are missing.
    """
    try:
        import open3d as o3d  # 1.3 s to import: not before it is needed
    except OSError as error:
        raise ImportError(
            f"Open3D cannot load a system library ({error}); on Debian: apt install libgl1 libgomp1 libx11-6"
        ) from error
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        o3d.core.Tensor(mesh.vertices.astype(np.float32)), o3d.core.Tensor(np.ascontiguousarray(mesh.triangles, dtype=np.uint32))
    )
    return scene


def first_hits(
    scene: "RaycastingScene", origins: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """First hits of rays (n, 3), (n, 3): distance (n,) in lengths of the direction, inf where none; triangle (n,) int, −1 where
    none; (n, 2) barycentric u, v of the triangle's second and third corner; (n, 3) float32 the triangle's unit normal."""
    import open3d as o3d

    rays = np.concatenate([origins, directions], axis=1).astype(np.float32)
    answer = scene.cast_rays(o3d.core.Tensor(rays), nthreads=1)
    triangle = answer["primitive_ids"].numpy().astype(np.int64)
    triangle = np.where(triangle == _MISS, -1, triangle)
    uv, normals = answer["primitive_uvs"].numpy().astype(float), answer["primitive_normals"].numpy()
    return answer["t_hit"].numpy().astype(float), triangle, uv, normals


def cast_rays(
    scene: "RaycastingScene", origins: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As `first_hits`, but for the normal (n,) bool: whether the triangle's outer side was hit."""
    distance, triangle, uv, normals = first_hits(scene, origins, directions)
    outer = (triangle >= 0) & (np.einsum("ij,ij->i", normals, directions.astype(np.float32)) < 0)
    return distance, triangle, uv, outer


def nearest_on_scene(scene: "RaycastingScene", points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scene's points nearest to points (q, 3): (q, 3), exact to float32; triangles (q,) int; (q, 2) barycentric u, v."""
    import open3d as o3d

    if not len(points):
        return np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros((0, 2))
    answer = scene.compute_closest_points(o3d.core.Tensor(np.asarray(points, np.float32)), nthreads=1)
    nearest, uv = (answer[name].numpy().astype(float) for name in ("points", "primitive_uvs"))
    return nearest, answer["primitive_ids"].numpy().astype(np.int64), uv


def interpolate(values: np.ndarray, triangles: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Vertex values (n, k) at barycentric (u, v) (q, 2) of triangles (q, 3) → (q, k)."""
    u, v = uv[:, :1], uv[:, 1:]
    a, b, c = (values[triangles[:, corner]] for corner in range(3))
    return a * (1 - u - v) + b * u + c * v
