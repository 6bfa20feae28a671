"""Faces of known shape and pose that several tests share, and the model they come from, loaded once a process."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

import geometry
from geometry.camera import PinholeCamera
from geometry.locating.candidates import candidate_locations
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.model.registry import load_model
from geometry.scan import Scan
from geometry.surfaces.normals import with_normals
from geometry.transforms import SimilarityTransform

SHIPPED_MODEL = Path(geometry.__file__).parent / "data" / "face_relief_model.npz"
NO_TRIANGLES = np.zeros((0, 3), np.int32)
CAMERA = PinholeCamera(240, 240, 280.0, 280.0, 119.5, 119.5)


@lru_cache(maxsize=1)
def default_model() -> MorphableModel:
    return load_model("default")


@dataclass(frozen=True)
class KnownFace:
    """identity (K,), expression (E,); vertices (n, 3) in the model frame; pose: model → scan, mm."""

    identity: np.ndarray
    expression: np.ndarray
    vertices: np.ndarray
    pose: SimilarityTransform

    @property
    def mesh(self) -> TriangleMesh:
        return TriangleMesh(self.vertices, default_model().triangles)

    @property
    def scan_points(self) -> np.ndarray:
        return self.pose.apply(self.vertices)

    @property
    def landmarks(self) -> np.ndarray:
        """(68, 3) of ibug68 in the model frame."""
        return self.vertices[default_model().landmarks["ibug68"]]

    @property
    def scan_landmarks(self) -> np.ndarray:
        """(68, 3) of ibug68 on the scan."""
        return self.pose.apply(self.landmarks)


def known_face(seed: int, spread: float = 0.7, expressions: int = 0) -> KnownFace:
    """Identity coefficients N(0, spread²), `expressions` blendshapes between 0.1 and 0.3, a random pose."""
    model, rng = default_model(), np.random.default_rng(seed)
    identity = rng.standard_normal(model.n_identity) * spread
    expression = np.zeros(model.n_expression)
    expression[rng.permutation(model.n_expression)[:expressions]] = rng.uniform(0.1, 0.3, expressions)
    pose = SimilarityTransform(Rotation.from_rotvec(rng.normal(size=3)).as_matrix(), rng.normal(size=3) * 100)
    return KnownFace(identity, expression, model.instance(identity, expression), pose)


def mesh_scan(points: np.ndarray, triangles: np.ndarray | None = None, unit_mm: float | None = 1.0) -> Scan:
    """A mesh scan in the model's topology (or other triangles); without a unit where `unit_mm` is None."""
    triangles = default_model().triangles if triangles is None else triangles
    return Scan(points, triangles, "known face", "test", unit_mm=unit_mm, scale_is_metric=unit_mm is not None)


def seen_scan(points: np.ndarray) -> Scan:
    """A mesh scan (n, 3) in the model's topology of what a scanner sees: skin and eyeballs, no linings of mouth and nostrils."""
    regions = default_model().regions
    return mesh_scan(points).keep(~regions["cavities"] | regions["eyeballs"])


def degrees_of(rotation: np.ndarray) -> float:
    """The angle by which it turns."""
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def nearly_located(scan: Scan, face: KnownFace, **fields) -> Location:
    """The location a good search gives: off by 6° and 5 mm."""
    off = SimilarityTransform(Rotation.from_rotvec(np.array([0.08, -0.05, 0.06])).as_matrix(), np.array([3.0, -2.0, 3.0]))
    return Location(with_normals(scan), off.compose(face.pose.inverse()), 0.8, **fields)


def most_confident(scan: Scan, model) -> Location:
    """The first place where the face may be; that there are several heads is not asked."""
    return candidate_locations(scan, model, lambda place: None)[0]
