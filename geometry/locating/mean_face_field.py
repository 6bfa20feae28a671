"""The mean face as a distance field over a voxel grid: what a hypothetical pose of a scan is looked up in."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.seen_surface import covered_eyeballs, eyeballs_behind_lids

GRID_MM = 3.0  # spacing of the field
LOW, HIGH = np.array([-114.0, -126.0, -132.0]), np.array([114.0, 126.0, 48.0])


@dataclass(frozen=True)
class SignedDistanceField:
    """The mean face as look-up tables over a voxel grid, model frame: signed distance in mm (positive outside),
    outward normal at the nearest surface point, and whether that point belongs to the face region."""

    distance: np.ndarray
    normal: np.ndarray
    is_face: np.ndarray
    shape: tuple[int, int, int]
    face_area: float

    def look_up(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (..., 3) → flat voxel index (...) and whether inside the grid (...)."""
        index = np.round((points - LOW) / GRID_MM).astype(np.int32)
        inside = ((index >= 0) & (index < np.array(self.shape))).all(-1)
        index = np.where(inside[..., None], index, 0)
        return (index[..., 0] * self.shape[1] + index[..., 1]) * self.shape[2] + index[..., 2], inside


@lru_cache(maxsize=4)
def field_of(model: MorphableModel) -> SignedDistanceField:
    """The mean face of the model as a field over the grid; what is seen of the eyeballs belongs to the face."""
    mesh = TriangleMesh(model.mean, model.triangles)
    eyeballs = eyeballs_behind_lids(model)
    outer = ~(model.regions["mouth_interior"] | model.regions.get("cavities", False)) | (eyeballs & ~covered_eyeballs(model))
    vertices, normals, face = mesh.vertices[outer], mesh.vertex_normals[outer], (model.regions["face"] | eyeballs)[outer]
    shape = tuple(np.round((HIGH - LOW) / GRID_MM).astype(int) + 1)
    points = LOW + GRID_MM * np.indices(shape).reshape(3, -1).T
    distance, nearest = cKDTree(vertices).query(points)
    signed = ((points - vertices[nearest]) * normals[nearest]).sum(1)
    signed = np.where(distance < 8, signed, np.copysign(distance, signed))
    area = mesh.vertex_areas[outer][face].sum()
    return SignedDistanceField(signed.astype(np.float32), normals[nearest].astype(np.float32), face[nearest], shape, float(area))
