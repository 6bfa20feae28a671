"""Meshes whose triangles do not say which side is the outside: every triangle twice, or wound this way and that."""

from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_tree, connected_components

from geometry.mesh import numbered_sides
from geometry.scan import Scan

TWICE = 0.01  # share of triangles that lie on others: fewer are specks, and harm nothing
DISAGREEING = 0.02  # share of edges between two triangles wound against each other: meshes of scanners have hardly any
MAJORITY = 0.8  # of a piece's area: what so much of it calls the outside is the outside
ENOUGH = 0.05  # of an area: so much of a piece or a face speaks for it, and so much of a scan is worth a word
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIXERS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))


def consistently_wound(scan: Scan) -> Scan:
    """The scan, of a mesh, with each triangle once and neighbours wound alike, with a note of what was done; a scan that is so,
    and a cloud, as it is.

    Vertices at the same place are one. A piece of which at least `MAJORITY` is wound one way stays so; another is wound to face
    away from its own middle, and the scan remembers of its points that this is a guess. So it does where a piece lies there both
    ways: which of both the file names first says nothing."""
    if not len(scan.triangles):
        return scan
    places = place_keys(scan.points)
    scan, both_ways = _without_copies(scan, places)
    first, second, disagree = edge_neighbours(scan.triangles, places)
    disagreeing = float(disagree.mean()) if len(disagree) else 0.0
    if disagreeing <= DISAGREEING and not both_ways.any():
        return scan
    flip, guessed, by_shape = _flips(scan, both_ways, first, second, disagree)
    triangles = np.where(flip[:, None], scan.triangles[:, ::-1], scan.triangles)
    wound = replace(scan, triangles=triangles, guessed_winding=_points_of(guessed, scan))
    guessed_part, shaped_part = (_part(mask, scan) for mask in (guessed, by_shape))
    if flip.any():
        share = f"{100 * disagreeing:.0f} % of neighbouring" if disagreeing > 0.005 else f"{flip.sum()}"
        side = "" if shaped_part is None else f"; which side{shaped_part} is the outer one was guessed by its shape"
        wound = wound.with_note(f"{share} triangles were wound against each other: they were wound alike{side}")
    if guessed_part is not None and shaped_part is None:
        wound = wound.with_note(f"its triangles do not say which side{guessed_part} is the outer one")
    return wound


def _points_of(guessed: np.ndarray, scan: Scan) -> np.ndarray | None:
    """(n,) bool: the points that only triangles under the mask (m,) have; None where there are none."""
    points = np.zeros(len(scan.points), bool)
    points[scan.triangles[guessed]] = True
    points[scan.triangles[~guessed]] = False
    if scan.guessed_winding is not None:
        points |= scan.guessed_winding
    return points if points.any() else None


def _part(mask: np.ndarray, scan: Scan) -> str | None:
    """Words for the share of the area that triangles under the mask (m,) have; None where that is not worth a word."""
    if not mask.any():
        return None
    a, b, c = (scan.points[scan.triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    share = area[mask].sum() / max(area.sum(), 1e-300)
    if share <= ENOUGH:
        return None
    return "" if share > 0.995 else f" of {100 * share:.0f} % of its area"


def place_keys(points: np.ndarray) -> np.ndarray:
    """(n,) uint64: equal where points (n, 3) float64 are equal, and, but for a chance of 2⁻⁶⁴ a pair, only there."""
    bits = np.ascontiguousarray(points + 0.0).view(np.uint64).reshape(-1, 3)  # −0 and 0 are one place
    keys = np.zeros(len(bits), np.uint64)
    with np.errstate(over="ignore"):
        for coordinate in bits.T:  # mixed one after another (splitmix64), so that no symmetry of a shape is one of the keys
            keys = keys + coordinate + _STEP
            for shift, factor in _MIXERS:
                keys = (keys ^ (keys >> shift)) * factor
            keys ^= keys >> np.uint64(31)
    return keys


def _without_copies(scan: Scan, places: np.ndarray) -> tuple[Scan, np.ndarray]:
    """Of triangles with the same corners, in any order, the first; and of each that is left whether one that was dropped is wound
    against it."""
    corners = places[scan.triangles]
    with np.errstate(over="ignore"):
        keys = corners.sum(1)  # modulo 2⁶⁴
    order = np.argsort(keys, kind="stable")
    is_copy = np.concatenate([[False], keys[order[1:]] == keys[order[:-1]]])
    copies, firsts = order[is_copy], order[~is_copy][np.cumsum(~is_copy) - 1][is_copy]
    both_ways = np.zeros(len(keys), bool)
    if len(copies) <= TWICE * len(keys):
        return scan, both_ways
    following = corners < np.roll(corners, -1, axis=1)  # an odd number of them one way round, an even number the other
    is_odd = following.sum(1) % 2 == 1
    both_ways[firsts[is_odd[copies] != is_odd[firsts]]] = True
    kept = np.ones(len(keys), bool)
    kept[copies] = False
    once = replace(scan, triangles=scan.triangles[kept]).with_note(
        f"{len(copies)} of {len(keys)} triangles lie on others, as of a surface with two sides: they were dropped"
    )
    return once, both_ways[kept]


def edge_neighbours(triangles: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of triangles (m, 3), with the `place_keys` (n,) of their vertices, the pairs that alone share an edge: (e,), (e,), and
    whether they are wound against each other (e,) bool, that is run along their edge the same way."""
    corners = np.unique(places, return_inverse=True)[1].reshape(-1)[triangles].astype(np.int32)
    edges, sides = numbered_sides(corners, len(places))
    number, forward = sides.ravel(), (corners < corners[:, [1, 2, 0]]).ravel()
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number, minlength=len(edges)))
    shared = np.flatnonzero(np.diff(ends, prepend=0) == 2)
    first, second = order[ends[shared] - 2], order[ends[shared] - 1]
    return first // 3, second // 3, forward[first] == forward[second]


def _flips(
    scan: Scan, both_ways: np.ndarray, first: np.ndarray, second: np.ndarray, disagree: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(m,) bool: the triangles to be turned; those of pieces whose side is a guess, and of these those where it is one by shape.

    From the first triangle of each piece agreement spreads along a tree, so that an edge that contradicts it stops nothing. Of a
    piece that lies there `both_ways` in part only, the rest says which side is the outer one."""
    m = len(scan.triangles)
    graph = sparse.coo_matrix((1.0 + disagree, (first, second)), shape=(m + 1, m + 1)).tocsr()
    pieces, piece = connected_components(graph[:m, :m], directed=False)
    roots = np.unique(piece, return_index=True)[1]
    graph = graph + sparse.coo_matrix((np.ones(pieces), (np.full(pieces, m), roots)), shape=graph.shape).tocsr()
    tree = breadth_first_tree(graph, m, directed=False).tocoo()
    # two nodes for each triangle, as it is and turned: the tree joins those that go together
    here, there = tree.row, np.where(tree.data > 1.5, tree.col + m + 1, tree.col)
    back = np.where(tree.data > 1.5, tree.col, tree.col + m + 1)
    ends = np.concatenate([here, here + m + 1]), np.concatenate([there, back])
    label = connected_components(sparse.coo_matrix((np.ones(len(ends[0]), np.int8), ends), shape=(2 * m + 2,) * 2), False)[1]
    flip = label[:m] != label[m]
    a, b, c = (scan.points[scan.triangles[:, k]] for k in range(3))
    vector, middle = np.cross(b - a, c - a) * np.where(flip, -1.0, 1.0)[:, None], (a + b + c) / 3
    area = np.linalg.norm(vector, axis=1)
    of_piece = lambda values: np.bincount(piece, values, pieces)
    total = np.maximum(of_piece(area), 1e-300)
    centre = np.stack([of_piece(area * middle[:, k]) for k in range(3)], 1) / total[:, None]
    single = of_piece(area * ~both_ways)
    is_told = single >= ENOUGH * total
    speaks = ~both_ways | ~is_told[piece]
    as_wound = of_piece(area * (speaks & ~flip)) / np.maximum(of_piece(area * speaks), 1e-300)
    inward = of_piece(((middle - centre[piece]) * vector).sum(1)) < 0
    is_clear = (as_wound >= MAJORITY) | (as_wound <= 1 - MAJORITY)
    turned = np.where(is_clear, as_wound < 0.5, inward) & (total > 1e-300)
    return flip ^ turned[piece], (~is_clear | ~is_told)[piece], ~is_clear[piece]
