"""Normals that come with a cloud: whether they are worth more than what the points themselves tell."""

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from geometry.scan import Scan
from geometry.surfaces.bulk import spans_of_bulk
from geometry.surfaces.normals import oriented_normals, plane_normals, voxel_representatives

LOOKED_AT = 6000  # representatives on which it is decided
FEWEST, KNOWN = 100, 0.9  # points with a normal, and their share
LINES = 0.3  # how far from what one direction for all would give to a perfect fit the file's normals must be
ALIKE = 0.5  # least |cosine| of two neighbours' normals whose signs are compared
CONTRADICTING = 0.002  # so much larger a share of contradicting neighbours than the points' own normals have
TURNED = 0.05  # share of the normals that are on the other side than those of the points themselves


def with_believable_normals(scan: Scan) -> Scan:
    """The scan; of a bare cloud without its file's normals, and with a note, where these are not those of its shape (zero, all
    alike, or of something else), or look to one side here and to the other there, as those of a half space or of no orientation.

    All inward is as good as all outward: which it is, the search for the face decides."""
    if scan.normals is None or not scan.is_cloud or scan.pixels is not None:
        return scan
    spans = np.sort(spans_of_bulk(scan.points))
    chosen = voxel_representatives(scan.points, max(np.sqrt(spans[1] * spans[2] / LOOKED_AT), spans[2] / LOOKED_AT, 1e-9))
    known = np.linalg.norm(scan.normals[chosen], axis=1) > 0.5
    if known.mean() < KNOWN or known.sum() < FEWEST:
        return _without(scan, f"are zero at {100 * (1 - known.mean()):.0f} % of its points")
    chosen = chosen[known]
    points, given = scan.points[chosen], scan.normals[chosen]
    if not _are_of_shape(given, plane_normals(scan.points, chosen)):
        return _without(scan, "are not those of its shape")
    own = oriented_normals(replace(scan, points=points, normals=None, colors=None))
    turned = (given * own).sum(1) < 0
    neighbours = cKDTree(points).query(points, k=9)[1][:, 1:]
    if min(turned.mean(), 1 - turned.mean()) < TURNED:
        return scan
    if _contradicting(given, neighbours) > _contradicting(own, neighbours) + CONTRADICTING:
        return _without(scan, f"look to both sides of its surface ({100 * turned.mean():.0f} % of them to the other)")
    return scan


def _without(scan: Scan, fault: str) -> Scan:
    return replace(scan, normals=None).with_note(f"the file's normals {fault}: they were dropped")


def _are_of_shape(given: np.ndarray, shape: np.ndarray) -> bool:
    """Do unit normals (n, 3), of either sign, follow the shape's (n, 3) better than one direction for all would?"""
    fit = np.abs((given * shape).sum(1)).mean()
    direction = np.linalg.eigh(shape.T @ shape)[1][:, -1]
    constant = np.abs(shape @ direction).mean()
    return bool(fit > constant + LINES * (1 - constant))


def _contradicting(normals: np.ndarray, neighbours: np.ndarray) -> float:
    """Of pairs of neighbours (n, k) with normals (n, 3) along nearly the same line the share that point to opposite sides."""
    cosine = np.einsum("nd,nkd->nk", normals, normals[neighbours])
    alike = np.abs(cosine) > ALIKE
    return float((cosine[alike] < 0).mean()) if alike.any() else 0.0
