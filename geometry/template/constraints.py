"""Vertices and edges that a new triangulation of a surface must have: points along its curves, and single points."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

_END_MM = 0.05  # nearer to a chain's end than this is the end


@dataclass(frozen=True)
class Constraints:
    """weights (a, k) csr of the anchors over the surface's vertices; edges (c, 2) between anchors."""

    weights: sparse.csr_matrix
    edges: np.ndarray


class AnchorGatherer:
    """Anchors under construction: each is two surface vertices and the share of the second."""

    def __init__(self, points: np.ndarray, size: np.ndarray) -> None:
        self.points, self.size = points, size
        self.entries: list[tuple[int, int, float]] = []
        self.edges: list[tuple[int, int]] = []
        self.at_vertex: dict[int, int] = {}

    def place_of(self, vertex: int) -> int:
        """The anchor at a surface vertex, made where there is none."""
        if vertex not in self.at_vertex:
            self.at_vertex[vertex] = len(self.entries)
            self.entries.append((vertex, vertex, 0.0))
        return self.at_vertex[vertex]

    def add_chain(self, chain: np.ndarray, must: set[int], closed: bool) -> np.ndarray:
        """Evenly spaced anchors, in units of the wanted edge length, between those chain vertices that must be there.

        Returns them all in order, of a closed chain the first not again."""
        stops = [i for i, vertex in enumerate(chain.tolist()) if vertex in must]
        if closed:
            chain = np.append(np.roll(chain, -stops[0]), chain[stops[0]])
            stops = [stop - stops[0] for stop in stops] + [len(chain) - 1]
        legs = [self._add_evenly(chain[start : end + 1]) for start, end in zip(stops, stops[1:])]
        along = [place for leg in legs for place in leg[:-1]]
        return np.array(along if closed else along + legs[-1][-1:])

    def add_leg_at(self, leg: np.ndarray, targets: np.ndarray) -> None:
        """Anchors at the ends of the open chain `leg`, and on it where it passes by targets (t, 3) that are not its ends."""
        step = np.diff(self.points[leg], axis=0)
        length = np.linalg.norm(step, axis=1)
        from_start = targets[:, None] - self.points[leg[:-1]]
        share = np.clip((from_start * step).sum(axis=2) / length**2, 0, 1)
        piece = np.linalg.norm(from_start - share[..., None] * step, axis=2).argmin(axis=1)
        position = np.append(0, np.cumsum(length))[piece] + share[np.arange(len(piece)), piece] * length[piece]
        inside = (position > _END_MM) & (position < length.sum() - _END_MM)
        self._add_leg(leg, np.append(0, np.cumsum(length)), np.sort(position[inside]))

    def _add_evenly(self, leg: np.ndarray) -> list[int]:
        step = np.linalg.norm(np.diff(self.points[leg], axis=0), axis=1)
        measure = np.append(0, np.cumsum(step / ((self.size[leg[1:]] + self.size[leg[:-1]]) / 2)))
        return self._add_leg(leg, measure, np.linspace(0, measure[-1], max(1, round(measure[-1])) + 1)[1:-1])

    def _add_leg(self, leg: np.ndarray, measure: np.ndarray, positions: np.ndarray) -> list[int]:
        """measure (len(leg),): rising along the leg; positions: those of the anchors between its ends. Returns all, in order."""
        places = [self.place_of(int(leg[0]))]
        for position in positions:
            piece = int(np.searchsorted(measure, position, side="right")) - 1
            share = (position - measure[piece]) / (measure[piece + 1] - measure[piece])
            places.append(len(self.entries))
            self.entries.append((int(leg[piece]), int(leg[piece + 1]), float(share)))
        places.append(self.place_of(int(leg[-1])))
        self.edges += list(zip(places, places[1:]))
        return places

    def constraints(self) -> Constraints:
        """All anchors gathered so far."""
        first, second, share = (np.array(column) for column in zip(*self.entries))
        rows = np.arange(len(first))
        entries = np.concatenate([1 - share, share]), (np.concatenate([rows, rows]), np.concatenate([first, second]))
        weights = sparse.coo_matrix(entries, shape=(len(rows), len(self.points)))
        return Constraints(weights.tocsr(), np.array(self.edges))
