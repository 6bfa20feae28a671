"""Find the head in an arbitrarily turned scan: hypothesise noses, verify against the mean face.

A face is where the mean face lies on the scan. Points that protrude at the scale of a nose are
candidates; each is tried under many orientations; a hypothesis is scored by table look-up in a
distance field of the mean face (how much of the face's area the scan supports, and how much of the
scan there contradicts it), the best are polished by rigid registration in the same field, and the
best of these is the answer, with its score as confidence.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from geometry.locating.hypotheses import (
    CELL_MM,
    all_rotations,
    frames_toward,
    head_centres,
    hypothesis_rotations,
    nose_candidates,
)
from geometry.locating.mean_face_field import GRID_MM, LOW, SignedDistanceField
from geometry.surfaces.robust_loss import geman_mcclure_weights
from geometry.transforms import SimilarityTransform


@dataclass(frozen=True)
class LocatingOptions:
    """Settings of the search for heads by geometry alone."""

    min_confidence: float = 0.25
    """In [0, 1]; below it there is no face."""
    alternatives: int = 6
    """At most so many distinct poses are kept for verification."""
    reach_mm: float = 2000.0
    """Of a depth sensor: points of an organized cloud beyond it are ignored."""
    rival: float = 0.75
    """Poses with less than this share of the best one's confidence are dropped."""
    candidates: int = 14
    """Noses tried in each connected part of the scan."""
    nose_radius_mm: float = 35.0
    """Radius of the neighbourhood in which a nose protrudes."""
    head_radius_mm: float = 150.0
    """Of the crop about the head's centre."""
    finalists: int = 24
    """So many of the best poses are registered to the mean face."""
    seed: int = 0
    """Of the choice of the points by which a pose is judged."""


SPHERE_CENTRE = np.array([0.0, 15.0, -85.0])  # of the sphere that the mean head follows
INLIER_COSINE = 0.6
SAMPLES = 320  # scan points by which a hypothesis is judged


def score_poses(
    field: SignedDistanceField,
    points: np.ndarray,
    normals: np.ndarray,
    rotations: np.ndarray,
    translations: np.ndarray,
    cell_area: float | np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Scan points and normals, (n, 3) or for each pose others (h, n, 3), in h hypothetical poses, rotations (h, 3, 3) and
    translations (h, 3) → coverage (h,) and agreement (h,), in [0, 1].

    coverage: face area with scan support over the face's area. agreement: of the scan's points about the face,
    those that lie on it. Points far behind the face's rim are no evidence either way.
    """
    places = _turned(points, rotations / GRID_MM) + (translations.T - LOW[:, None])[..., None] / GRID_MM
    index = field.index_of(*places)
    closeness = field.closeness[index]
    near = np.flatnonzero(closeness)  # a few in a hundred: only there the normals count
    turned, normal = _turned(normals, rotations).reshape(3, -1)[:, near], field.normal[index.ravel()[near]]
    cosine = turned[0] * normal[:, 0] + turned[1] * normal[:, 1] + turned[2] * normal[:, 2]
    supports = np.zeros(closeness.shape)
    supports.ravel()[near] = closeness.ravel()[near] * np.clip((cosine - INLIER_COSINE) / (1 - INLIER_COSINE), 0, 1)
    support, about = supports.sum(1), field.is_about[index] @ np.ones(index.shape[1], np.float32)
    return np.minimum(support * cell_area / field.face_area, 1.0), support / np.maximum(about, 1)


def _turned(vectors: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Vectors (n, 3), or (h, n, 3), under each of the rotations (h, 3, 3): (3, h, n), coordinate by coordinate."""
    if vectors.ndim == 3:
        return np.ascontiguousarray((rotations @ vectors.transpose(0, 2, 1)).transpose(1, 0, 2))
    return (rotations.transpose(1, 0, 2).reshape(-1, 3) @ vectors.T).reshape(3, len(rotations), -1)


def icp(
    field: SignedDistanceField,
    points: np.ndarray,
    normals: np.ndarray,
    rotations: np.ndarray,
    translations: np.ndarray,
    iterations: int = 12,
) -> tuple[np.ndarray, np.ndarray]:
    """Rigid point-to-plane registration of h point sets (h, n, 3) with normals, all at once, in the field.

    rotations (h, 3, 3), translations (h, 3) → the same, improved.
    """
    for step in range(iterations):
        q = points @ rotations.transpose(0, 2, 1) + translations[:, None]
        turned = normals @ rotations.transpose(0, 2, 1)
        index, _ = field.look_up(q)
        normal, distance = field.normal[index], field.distance[index]
        # the table holds voxel centres: first-order correction to the point itself
        centre = np.round((q - LOW) / GRID_MM) * GRID_MM + LOW
        distance = distance + np.einsum("hnk,hnk->hn", q - centre, normal)
        gate = 20.0 - 12.0 * step / iterations
        paired = field.is_face[index] & (np.einsum("hnk,hnk->hn", normal, turned) > 0.4) & (np.abs(distance) < gate)
        weight = paired * geman_mcclure_weights(distance, gate / 2)
        jacobian = np.concatenate([np.cross(q, normal), normal], axis=2)
        weighted = jacobian * weight[..., None]
        hessian = weighted.transpose(0, 2, 1) @ jacobian + np.diag([1e3] * 3 + [1.0] * 3)
        gradient = (weighted.transpose(0, 2, 1) @ distance[..., None])[..., 0]
        delta = -np.linalg.solve(hessian, gradient[..., None])[..., 0]
        turn = Rotation.from_rotvec(delta[:, :3]).as_matrix()
        rotations = turn @ rotations
        translations = np.einsum("hab,hb->ha", turn, translations) + delta[:, 3:]
    return rotations, translations


@dataclass(frozen=True)
class Pose:
    scan_to_model: SimilarityTransform
    coverage: float
    agreement: float

    @property
    def confidence(self) -> float:
        """Half the face seen, and nearly all that is seen agreeing, is as good as it gets in profile."""
        return float(np.sqrt(min(self.coverage / 0.5, 1.0) * self.agreement))


def rank_poses(
    points: np.ndarray, normals: np.ndarray, field: SignedDistanceField, options: LocatingOptions, without_nose: bool = False
) -> list[Pose]:
    """All that the search found in one scan (points (n, 3) mm on a `CELL_MM` grid), best first.

    Faces are sought by their noses, or, `without_nose`, as heads without one, as in full profile.
    """
    if len(points) < 30:
        return []
    search = _Search(points, normals, cKDTree(points), field, np.random.default_rng(options.seed))
    if without_nose:
        centres, target, rotations = head_centres(points, normals, search.tree), SPHERE_CENTRE, all_rotations()
        frames = np.broadcast_to(np.eye(3), (len(centres), 3, 3))
    else:
        candidates, directions = nose_candidates(points, normals, options.nose_radius_mm, options.candidates)
        centres, target, rotations = points[candidates], np.zeros(3), hypothesis_rotations()
        frames = frames_toward(directions)
    return search.best_poses(centres, frames, rotations, target, options.finalists)


@dataclass(frozen=True)
class _Search:
    """A scan's points (n, 3) and normals (n, 3) on a `CELL_MM` grid, and the field in which their poses are judged."""

    points: np.ndarray
    normals: np.ndarray
    tree: cKDTree
    field: SignedDistanceField
    rng: np.random.Generator

    def best_poses(
        self, centres: np.ndarray, frames: np.ndarray, rotations: np.ndarray, model_point: np.ndarray, finalists: int
    ) -> list[Pose]:
        """Poses that take centre c (c, 3) to `model_point` (3,) under each of the rotations (r, 3, 3) after the centre's frame
        (c, 3, 3): scored, and the best of them polished. Best first."""
        promising: list[tuple[float, np.ndarray, np.ndarray]] = []
        at = np.tile(model_point, (len(rotations), 1))
        for centre, frame in zip(centres, frames):
            index, area = self._sample_about(centre, 115.0 + float(np.linalg.norm(model_point)) / 2)
            if not len(index):
                continue
            index, area = index[::2], 2 * area  # enough to tell the promising ones; these are judged by all
            turns = (rotations.reshape(-1, 3) @ frame).reshape(rotations.shape)
            coverage, agreement = score_poses(self.field, self.points[index] - centre, self.normals[index], turns, at, area)
            score = coverage * agreement
            promising += [(score[k], centre, rotations[k] @ frame) for k in np.argsort(-score, kind="stable")[:4]]
        if not promising:
            return []
        _, best, turned = zip(*sorted(promising, key=lambda found: -found[0])[:finalists])
        return self._polished(np.array(best), np.array(turned), model_point)

    def _polished(self, centres: np.ndarray, rotations: np.ndarray, model_point: np.ndarray) -> list[Pose]:
        """Every finalist (centre (h, 3), rotation (h, 3, 3)) registered, all in one batch. Best first."""
        samples = [self._sample_about(centre, 135.0) for centre in centres]
        index, areas = np.stack([s[0] for s in samples]), np.array([s[1] for s in samples])
        local, directions = self.points[index] - centres[:, None], self.normals[index]
        rotations, translations = icp(self.field, local, directions, rotations, np.tile(model_point, (len(centres), 1)))
        coverage, agreement = score_poses(self.field, local, directions, rotations, translations, areas)
        poses = [
            Pose(SimilarityTransform(r, t - r @ centre), float(c), float(a))
            for r, t, centre, c, a in zip(rotations, translations, centres, coverage, agreement)
        ]
        return sorted(poses, key=lambda pose: -pose.confidence)

    def _sample_about(self, centre: np.ndarray, radius: float) -> tuple[np.ndarray, float]:
        """`SAMPLES` indices of points about a centre, repeated where there are fewer, and the area in mm² of each."""
        near = np.sort(self.tree.query_ball_point(centre, radius)).astype(np.int64)
        if not len(near):
            return near, 0.0
        if len(near) >= SAMPLES:
            return self.rng.choice(near, SAMPLES, replace=False), CELL_MM**2 * len(near) / SAMPLES
        return near[np.arange(SAMPLES) % len(near)], CELL_MM**2 * len(near) / SAMPLES
