"""Several heads in one scan: tell them apart, believe those that are faces, take the largest."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from geometry.transforms import SimilarityTransform

HEAD_CENTRE = np.array([0.0, 10.0, -70.0])
APART_MM = 120.0  # two heads' centres are farther apart than this, two poses of one head are nearer
CONFIDENT, RIVAL = 0.55, 0.7  # what may be another head: its confidence, and that as a share of the first one's
MOST_HEADS = 6


class Placed(Protocol):
    """A pose, or a location."""

    @property
    def scan_to_model(self) -> SimilarityTransform: ...

    @property
    def confidence(self) -> float: ...


PoseOrLocation = TypeVar("PoseOrLocation", bound=Placed)


def head_centre(scan_to_model: SimilarityTransform) -> np.ndarray:
    """(3,) the middle of the located head, scan mm."""
    return scan_to_model.inverse().apply(HEAD_CENTRE[None])[0]


def by_head(poses: Sequence[PoseOrLocation]) -> list[list[PoseOrLocation]]:
    """Poses, best first, grouped by the head that they mean: each joins the first group whose best pose is near."""
    groups: list[list[PoseOrLocation]] = []
    centres: list[np.ndarray] = []
    for pose in poses:
        centre = head_centre(pose.scan_to_model)
        near = [number for number, other in enumerate(centres) if np.linalg.norm(other - centre) < APART_MM]
        if near:
            groups[near[0]].append(pose)
        else:
            groups.append([pose])
            centres.append(centre)
    return groups


def rivals(groups: Sequence[list[PoseOrLocation]]) -> list[list[PoseOrLocation]]:
    """The first group, and those whose best pose is confident enough to be a head of its own."""
    needed = max(CONFIDENT, RIVAL * groups[0][0].confidence)
    return [groups[0]] + [group for group in groups[1:MOST_HEADS] if group[0].confidence >= needed]
