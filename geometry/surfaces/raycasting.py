"""Rays and nearest points on triangle meshes, by Open3D's `RaycastingScene`."""

from __future__ import annotations

import numpy as np

from geometry.mesh import TriangleMesh

_MISS = np.iinfo(np.uint32).max


def raycasting_scene(mesh: TriangleMesh):
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
    return (
        scene.compute_closest_points(o3d.core.Tensor(np.asarray(points, np.float32)), nthreads=1)["points"].numpy().astype(float)
    )


def interpolate(values: np.ndarray, triangles: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Vertex values (n, k) at barycentric (u, v) (q, 2) of triangles (q, 3) → (q, k)."""
    u, v = uv[:, :1], uv[:, 1:]
    a, b, c = (values[triangles[:, corner]] for corner in range(3))
    return a * (1 - u - v) + b * u + c * v
