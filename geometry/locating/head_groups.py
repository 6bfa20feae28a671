"""Several heads in one scan: tell them apart, believe those that are faces, take the largest, say what there is of the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from geometry.locating.location import Location
from geometry.locating.pose_search import Pose
from geometry.scan import Scan
from geometry.transforms import SimilarityTransform

Believes = Callable[[Location], "Head | None"]  # whether a place shows a head, and which: a fit decides, so the caller brings it
AS_LARGE = 0.95  # a face that shows this share of another's area is as large; then the one with more points counts
HEAD_CENTRE = np.array([0.0, 10.0, -95.0])  # between face and occiput, so that the crop takes in the whole head
APART_MM = 120.0  # two heads' centres are farther apart than this, two poses of one head are nearer
CONFIDENT, RIVAL = 0.55, 0.7  # what may be another head: its confidence, and that as a share of the first one's
MOST_HEADS = 6


def head_centre(scan_to_model: SimilarityTransform) -> np.ndarray:
    """(3,) the middle of the located head, scan mm."""
    return scan_to_model.inverse().apply(HEAD_CENTRE[None])[0]


def by_head(poses: Sequence[Pose]) -> list[list[Pose]]:
    """Poses, best first, grouped by the head that they mean: each joins the first group whose best pose is near."""
    groups: list[list[Pose]] = []
    for pose in poses:
        centre = head_centre(pose.scan_to_model)
        near = [group for group in groups if np.linalg.norm(head_centre(group[0].scan_to_model) - centre) < APART_MM]
        if near:
            near[0].append(pose)
        else:
            groups.append([pose])
    return groups


def rivals(groups: Sequence[list[Pose]]) -> list[list[Pose]]:
    """The first group, and those whose best pose is confident enough to be a head of its own."""
    needed = max(CONFIDENT, RIVAL * groups[0][0].confidence)
    return [groups[0]] + [group for group in groups[1:MOST_HEADS] if group[0].confidence >= needed]


@dataclass(frozen=True)
class Head:
    """centre (3,) in scan mm; area_mm2 of face that the scan shows; points of the scan that lie about it."""

    centre: np.ndarray
    area_mm2: float
    points: int


@dataclass(frozen=True)
class Heads:
    """heads, at least two; `taken` numbers the largest of them, `place` the one of the tried places where it was found."""

    heads: tuple[Head, ...]
    taken: int
    place: int

    @property
    def note(self) -> str:
        """What to tell the user: "2 heads found; the largest (14,200 mm² of face) was taken, the other lies 320 mm away"."""
        largest, *others = self.heads[self.taken], *(head for k, head in enumerate(self.heads) if k != self.taken)
        away = sorted(np.linalg.norm(head.centre - largest.centre) for head in others)
        where = (
            ", ".join(f"{distance:.0f}" for distance in away[:-1]) + (" and " if away[:-1] else "") + f"{away[-1]:.0f} mm away"
        )
        lie = "the other lies" if len(away) == 1 else "the others lie"
        return f"{len(self.heads)} heads found; the largest ({largest.area_mm2:,.0f} mm² of face) was taken, {lie} {where}"

    def without_others(self, scan: Scan) -> Scan:
        """The scan's points that are nearer to the taken head's centre than to any other's."""
        distance = np.stack([np.linalg.norm(scan.points - head.centre, axis=1) for head in self.heads])
        return scan.keep(distance.argmin(0) == self.taken)


def largest(heads: Sequence[Head]) -> int:
    """Which head shows most of its face; among those that show as much, the one with most points."""
    area = max(head.area_mm2 for head in heads)
    return max((k for k, head in enumerate(heads) if head.area_mm2 >= AS_LARGE * area), key=lambda k: heads[k].points)


def several_heads(places: Sequence[Location], believes: Believes) -> Heads | None:
    """The heads at places, the most confident first, of which each may be a head of its own; None where at most one is."""
    others = [believes(place) for place in places[1:]]
    if not any(others):
        return None  # the usual case: the first need not be tried
    found = [(place, head) for place, head in enumerate([believes(places[0]), *others]) if head is not None]
    if len(found) < 2:
        return None
    heads = tuple(head for _, head in found)
    taken = largest(heads)
    return Heads(heads, taken, found[taken][0])
