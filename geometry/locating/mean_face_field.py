"""The mean face as a distance field over a voxel grid: what a hypothetical pose of a scan is looked up in."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.seen_surface import covered_eyeballs, eyeballs_behind_lids

GRID_MM = 3.0  # spacing of the field
LOW, HIGH = np.array([-117.0, -129.0, -135.0]), np.array([117.0, 129.0, 51.0])  # its rim stands for all that lies outside
REACH_MM, ABOUT_MM = 7.0, 30.0  # a scan's point supports the face up to the first distance, and is about it up to the second


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
        index = self.index_of(*np.moveaxis((points - LOW) / GRID_MM, -1, 0))
        return index, ~self.is_rim[index]

    def index_of(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Flat voxel index (...) of places in steps of the grid from `LOW`, each coordinate an array (...)."""
        whole = (np.nan_to_num(np.rint(places), nan=0.0) for places in (x, y, z))
        across, up, out = (np.clip(places, 0, size - 1) for places, size in zip(whole, self.shape, strict=True))
        return ((across * self.shape[1] + up) * self.shape[2] + out).astype(np.int32)

    @cached_property
    def is_rim(self) -> np.ndarray:
        """Whether a voxel lies at the grid's border; no face is there."""
        rim = np.ones(self.shape, bool)
        rim[1:-1, 1:-1, 1:-1] = False
        return rim.ravel()

    @cached_property
    def is_about(self) -> np.ndarray:
        """1 where a scan's point is about the face, else 0; float32, so that a sum of them is a product."""
        return (self.is_face & (np.abs(self.distance) < ABOUT_MM)).astype(np.float32)

    @cached_property
    def closeness(self) -> np.ndarray:
        """In [0, 1]: how much a scan's point there, with the surface's normal, supports the face."""
        return np.clip(1 - (self.distance / REACH_MM) ** 2, 0, 1) * self.is_about


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
    inner = ((points > LOW + GRID_MM / 2) & (points < HIGH - GRID_MM / 2)).all(1)
    area = float(mesh.vertex_areas[outer][face].sum())
    return SignedDistanceField(signed.astype(np.float32), normals[nearest].astype(np.float32), face[nearest] & inner, shape, area)
