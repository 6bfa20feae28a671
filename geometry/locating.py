"""Find the head in an arbitrarily turned scan: hypothesise noses, verify against the mean face.

A face is where the mean face lies on the scan. Points that protrude at the scale of a nose are
candidates; each is tried under many orientations; a hypothesis is scored by table look-up in a
distance field of the mean face (how much of the face's area the scan supports, and how much of the
scan there contradicts it), the best are polished by rigid registration in the same field, and the
best of these is the answer, with its score as confidence.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from geometry.cleaning import candidate_units, thinned, with_normals
from geometry.errors import NoFaceFound
from geometry.face_field import GRID_MM, LOW, FaceField, field_of
from geometry.handedness import looks_inward, turned_inside_out
from geometry.heads import HEAD_CENTRE, by_head, rivals, several_heads
from geometry.location import Location
from geometry.morphable_model import MorphableModel
from geometry.scan import Scan
from geometry.transforms import SimilarityTransform
from geometry.triangulation import surface_of


@dataclass(frozen=True)
class LocatingOptions:
    """min_confidence: below it there is no face. alternatives: distinct poses kept for verification. reach_mm: of a depth sensor. rival: poses
    with less than this share of the best one's confidence are dropped. candidates: noses tried in each
    connected part of the scan. nose_radius_mm: the scale of protrusion.
    head_radius_mm: the crop about the head's centre. finalists: poses that are polished."""

    min_confidence: float = 0.25
    alternatives: int = 6
    reach_mm: float = 2000.0
    rival: float = 0.75
    candidates: int = 14
    nose_radius_mm: float = 35.0
    head_radius_mm: float = 150.0
    finalists: int = 24
    seed: int = 0


CELL_MM = 8.0  # grid of the scan points that are looked up in the field
SPHERE_CENTRE = np.array([0.0, 15.0, -85.0])  # of the sphere that the mean head follows
REACH_MM, INLIER_COSINE = 7.0, 0.6
SAMPLES = 320  # scan points by which a hypothesis is judged
SURE = 0.7  # a metric unit that gives this confidence needs no rival
METRIC_ENOUGH = 0.45  # nor does it need one without a unit, from here on
ONE_SIDED = 0.6  # a surface's inner side never gave this confidence: above it nobody looks there
OTHER_SIDE_GAIN = 0.05  # by which it has to win


@lru_cache(maxsize=1)
def hypothesis_rotations() -> np.ndarray:
    """(r, 3, 3) rotations of a face about its nose direction (+z): rolls every 30°, straight and tilted by 28° and by 56°,
    because the mean direction of a half-seen nose points to the side that is seen."""
    tilts = [Rotation.identity()] + [
        Rotation.from_rotvec(np.deg2rad(tilt) * np.array([np.cos(a), np.sin(a), 0]))
        for tilt, count in ((28, 6), (56, 8))
        for a in np.arange(count) * 2 * np.pi / count
    ]
    rolls = [Rotation.from_rotvec([0, 0, a]) for a in np.arange(12) * np.pi / 6]
    return np.stack([(tilt * roll).as_matrix() for tilt in tilts for roll in rolls])


@lru_cache(maxsize=1)
def all_rotations() -> np.ndarray:
    """(180, 3, 3) rotations that cover all orientations: the icosahedral group, and it again turned by 24° about two axes."""
    group = Rotation.create_group("I")
    offsets = [Rotation.identity()] + [Rotation.from_rotvec(np.deg2rad(24) * np.array(axis)) for axis in ([0, 1.0, 0], [0.8, 0, 0.6])]
    return np.concatenate([(group * offset).as_matrix() for offset in offsets])


def nose_candidates(points: np.ndarray, normals: np.ndarray, radius: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Local maxima of protrusion: indices (c,) and mean outward directions (c, 3).

    Protrusion is how far a point stands out from the mean of its neighbours along their mean normal, an
    integral measure (cf. Manay et al. 2006), so that noise and holes matter little.
    """
    tree = cKDTree(points)
    pairs = tree.query_ball_point(points, radius, return_sorted=False)
    sizes = np.array([len(p) for p in pairs])
    owner = np.repeat(np.arange(len(points)), sizes)
    member = np.concatenate(pairs).astype(np.int64) if len(pairs) else np.zeros(0, np.int64)
    mean_of = lambda v: np.stack([np.bincount(owner, v[member, k], len(points)) for k in range(3)], 1) / sizes[:, None]
    direction = mean_of(normals)
    coherence = np.linalg.norm(direction, axis=1)
    direction /= np.maximum(coherence, 1e-9)[:, None]
    protrusion = ((points - mean_of(points)) * direction).sum(1)
    # depth far beyond a sensor's range is spikes with normals in all directions; a nose is a smooth thing
    protrusion[(sizes < 8) | (coherence < 0.45)] = -np.inf
    chosen: list[int] = []
    taken: dict[int, int] = {}
    cluster = _clusters(tree)
    suppressed = protrusion < 0.03 * radius
    for index in np.argsort(-protrusion, kind="stable"):
        if suppressed[index] or taken.get(cluster[index], 0) >= count:
            continue
        chosen.append(int(index))
        taken[cluster[index]] = taken.get(cluster[index], 0) + 1
        if len(chosen) == 6 * count:
            break
        suppressed[tree.query_ball_point(points[index], 12.0)] = True
    return np.array(chosen, int), direction[chosen]


def _clusters(tree: cKDTree) -> np.ndarray:
    """(n,) label of each point's cluster (single linkage at twice the cell): a room's clutter must not crowd out a head."""
    pairs = tree.query_pairs(2 * CELL_MM, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(tree.n, tree.n))
    return connected_components(graph, directed=False)[1]


def frames_toward(directions: np.ndarray) -> np.ndarray:
    """(c, 3, 3) rotations that take each unit direction to +z."""
    helper = np.where(np.abs(directions[:, 1:2]) < 0.9, np.array([[0.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 0.0]]))
    x = np.cross(helper, directions)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack([x, np.cross(directions, x), directions], axis=1)


def score_poses(field: FaceField, points: np.ndarray, normals: np.ndarray, cell_area: float) -> tuple[np.ndarray, np.ndarray]:
    """Scan points and normals in h hypothetical model frames (h, n, 3) → coverage (h,) and agreement (h,), in [0, 1].

    coverage: face area with scan support over the face's area. agreement: of the scan's points about the face,
    those that lie on it. Points far behind the face's rim are no evidence either way.
    """
    index, inside = field.look_up(points)
    distance = field.distance[index]
    cosine = np.einsum("hnk,hnk->hn", field.normal[index], normals)
    about = inside & field.is_face[index] & (np.abs(distance) < 30)
    closeness = np.clip(1 - (distance / REACH_MM) ** 2, 0, 1) * np.clip((cosine - INLIER_COSINE) / (1 - INLIER_COSINE), 0, 1)
    support = (closeness * about).sum(1)
    return np.minimum(support * cell_area / field.face_area, 1.0), support / np.maximum(about.sum(1), 1)


def polish(field: FaceField, points: np.ndarray, normals: np.ndarray, rotations: np.ndarray, translations: np.ndarray, iterations: int = 12):
    """Rigid point-to-plane registration of h point sets (h, n, 3) with normals, all at once, in the field.

    rotations (h, 3, 3), translations (h, 3) → the same, improved.
    """
    for step in range(iterations):
        q = points @ rotations.transpose(0, 2, 1) + translations[:, None]
        turned = normals @ rotations.transpose(0, 2, 1)
        index, inside = field.look_up(q)
        normal, distance = field.normal[index], field.distance[index]
        # the table holds voxel centres: first-order correction to the point itself
        centre = np.round((q - LOW) / GRID_MM) * GRID_MM + LOW
        distance = distance + np.einsum("hnk,hnk->hn", q - centre, normal)
        gate = 20.0 - 12.0 * step / iterations
        weight = inside * field.is_face[index] * (np.einsum("hnk,hnk->hn", normal, turned) > 0.4) / (1 + (distance / (gate / 2)) ** 2) ** 2
        weight = weight * (np.abs(distance) < gate)
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


def _sample_about(tree: cKDTree, centre: np.ndarray, radius: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """`SAMPLES` indices of points about a centre (repeated where there are fewer) and the area in mm² that each stands for."""
    near = np.sort(tree.query_ball_point(centre, radius)).astype(np.int64)
    if not len(near):
        return near, 0.0
    if len(near) >= SAMPLES:
        return rng.choice(near, SAMPLES, replace=False), CELL_MM**2 * len(near) / SAMPLES
    return near[np.arange(SAMPLES) % len(near)], CELL_MM**2 * len(near) / SAMPLES


def head_centres(points: np.ndarray, normals: np.ndarray, tree: cKDTree, count: int = 40) -> np.ndarray:
    """(c, 3) centres of head-sized spheres that the surface follows somewhere: a head without a visible nose."""
    _, anchors = np.unique(np.floor(points / 60.0).astype(np.int64), axis=0, return_index=True)
    found = []
    for near in tree.query_ball_point(points[anchors], 85.0):
        if len(near) < 40:
            continue
        p = points[near]
        (*centre, constant), *_ = np.linalg.lstsq(np.c_[2 * p, np.ones(len(p))], (p**2).sum(1), rcond=None)
        radius = np.sqrt(max(constant + np.dot(centre, centre), 0))
        outward = ((p - centre) * normals[near]).sum(1).mean() / max(radius, 1e-9)
        if 60 < radius < 140 and outward > 0.6:
            found.append((-outward * len(near), centre))
    found.sort(key=lambda item: item[0])
    return np.array([centre for _, centre in found[:count]]).reshape(-1, 3)


def rank_poses(
    points: np.ndarray, normals: np.ndarray, field: FaceField, options: LocatingOptions, without_nose: bool = False
) -> list[Pose]:
    """All that the search found in one scan (points (n, 3) mm on a `CELL_MM` grid), best first.

    Faces are sought by their noses, or, `without_nose`, as heads without one, as in full profile.
    """
    if len(points) < 30:
        return []
    rng, tree = np.random.default_rng(options.seed), cKDTree(points)
    if without_nose:
        centres, target = head_centres(points, normals, tree), SPHERE_CENTRE
        turns = np.broadcast_to(all_rotations(), (len(centres), *all_rotations().shape))
    else:
        candidates, directions = nose_candidates(points, normals, options.nose_radius_mm, options.candidates)
        centres, target = points[candidates], np.zeros(3)
        turns = hypothesis_rotations() @ frames_toward(directions)[:, None] if len(candidates) else np.zeros((0, 1, 3, 3))
    return sorted(_search(centres, turns, target, points, normals, tree, field, options, rng), key=lambda pose: -pose.confidence)


def _search(centres, turns, model_point, points, normals, tree, field, options, rng) -> list[Pose]:
    """Poses that take centre c (c, 3) to `model_point` under each of its rotations (c, r, 3, 3): scored, and the best polished."""
    if not len(centres):
        return []
    values, owners, kept = [], [], []
    for number, (centre, rotations) in enumerate(zip(centres, turns)):
        index, area = _sample_about(tree, centre, 115.0 + np.linalg.norm(model_point) / 2, rng)
        if not len(index):
            continue
        index, area = index[::2], 2 * area  # enough to tell the promising ones; these are judged by all
        back = rotations.transpose(0, 2, 1)
        coverage, agreement = score_poses(field, (points[index] - centre) @ back + model_point, normals[index] @ back, area)
        best = np.argsort(-coverage * agreement, kind="stable")[:4]
        values += list((coverage * agreement)[best])
        owners += [number] * len(best)
        kept += list(rotations[best])
    if not values:
        return []
    chosen = np.argsort(-np.array(values), kind="stable")[: options.finalists]
    return _polished(centres[np.array(owners)[chosen]], np.array(kept)[chosen], model_point, points, normals, tree, field, rng)


def _polished(centres, rotations, model_point, points, normals, tree, field, rng) -> list[Pose]:
    """Register every finalist (centre (h, 3), rotation (h, 3, 3)), all in one batch."""
    samples = [_sample_about(tree, centre, 135.0, rng) for centre in centres]
    index, areas = np.stack([s[0] for s in samples]), np.array([s[1] for s in samples])
    local, directions = points[index] - centres[:, None], normals[index]
    rotations, translations = polish(field, local, directions, rotations, np.tile(model_point, (len(centres), 1)))
    q, n = local @ rotations.transpose(0, 2, 1) + translations[:, None], directions @ rotations.transpose(0, 2, 1)
    coverage, agreement = score_poses(field, q, n, areas)
    poses = [
        Pose(SimilarityTransform(r, t - r @ centre), float(c), float(a))
        for r, t, centre, c, a in zip(rotations, translations, centres, coverage, agreement)
    ]
    return sorted(poses, key=lambda pose: -pose.confidence)


def _in_unit(scan: Scan, unit_mm: float, is_metric: bool, reach_mm: float) -> Scan:
    """The scan in one candidate unit; an organized cloud, which has its sensor at the origin, within the sensor's reach."""
    scaled = scan.in_unit(unit_mm, is_metric) if scan.unit_mm is None else scan
    if scaled.pixels is None:
        return scaled
    near = np.linalg.norm(scaled.points, axis=1) < reach_mm
    return scaled if near.all() else scaled.keep(near)


def poses_by_unit(
    scan: Scan, model: MorphableModel, options: LocatingOptions, units: list[tuple[float, bool]], searches: tuple[bool, ...]
) -> Iterator[tuple[Scan, list[Pose]]]:
    """All poses found, best first, under each of the units, most plausible unit first; by one search (`without_nose`) in every
    unit, then, for who still wants more, by the next."""
    field = field_of(model)
    found: dict[float, list[Pose]] = {}
    for without_nose in searches:
        for unit_mm, is_metric in units:
            scaled = _in_unit(scan, unit_mm, is_metric, options.reach_mm)
            if not len(scaled.points):
                continue
            poses = rank_poses(*thinned(scaled.points, scaled.normals, CELL_MM), field, options, without_nose)
            found[unit_mm] = sorted(found.get(unit_mm, []) + poses, key=lambda pose: -pose.confidence)
            if found[unit_mm]:
                yield scaled, found[unit_mm]


def distinct(poses: list[Pose], count: int, near_mm: float = 15.0, near_deg: float = 25.0) -> list[Pose]:
    """The first `count` poses that differ by more than `near_mm` at the nose or by more than `near_deg`."""
    kept: list[Pose] = []
    for pose in poses:
        inverse = pose.scan_to_model.inverse()
        same = (
            np.linalg.norm(other.translation - inverse.translation) < near_mm
            and np.trace(other.rotation.T @ inverse.rotation) > 1 + 2 * np.cos(np.deg2rad(near_deg))
            for other in (k.scan_to_model.inverse() for k in kept)
        )
        if not any(same):
            kept.append(pose)
        if len(kept) == count:
            break
    return kept


def candidate_locations(
    scan: Scan, model: MorphableModel, options: LocatingOptions = LocatingOptions(), check: Callable[[], None] = lambda: None
) -> list[Location]:
    """Where the head may be in a cleaned scan, most confident first; never empty. Where there are several heads, only places
    of the largest, whose scan has a note of them. A surface that shows its face on the inner side is turned, with a note.

    Raises NoFaceFound where no pose explains enough of the scan as a face.
    """
    whole, found = _better_side(scan, model, options)
    if found is None or found[1][0].confidence < options.min_confidence:
        best = 0.0 if found is None else found[1][0].confidence
        raise NoFaceFound(f"no face found: the best pose has confidence {best:.2f}, at least {options.min_confidence:.2f} is needed")
    scaled, poses = found
    whole = whole.in_unit(scaled.unit_mm, scaled.scale_is_metric) if whole.unit_mm is None else whole
    located = lambda pose: Location(cropped(whole, pose.scan_to_model, options.head_radius_mm), pose.scan_to_model, pose.confidence)
    groups = rivals(by_head(poses))
    if len(groups) > 1:
        several = several_heads([located(group[0]) for group in groups], model, check)
        if several is not None:
            poses, whole = groups[several.place], several.without_others(whole).with_note(several.note)
    poses = distinct(poses, options.alternatives)
    worth = [pose for pose in poses if pose.confidence >= max(options.min_confidence, options.rival * poses[0].confidence)]
    return [located(pose) for pose in worth]


def _better_side(scan: Scan, model: MorphableModel, options: LocatingOptions) -> tuple[Scan, tuple[Scan, list[Pose]] | None]:
    """The scan, turned inside out where a face shows on its inner side, and what `_best_unit` says of it. First is searched
    the side that seems the outer one, then, unless that convinces, the other."""
    outer = with_normals(_every_other_pixel(scan))
    turned = looks_inward(outer)
    search = lambda turned, *limits: _best_unit(turned_inside_out(outer) if turned else outer, model, options, *limits)
    found = search(turned, candidate_units(scan))
    confidence = 0.0 if found is None else found[1][0].confidence
    if confidence < ONE_SIDED and scan.camera is None:
        is_metric = found is not None and found[0].scale_is_metric and confidence >= METRIC_ENOUGH
        other = search(not turned, [unit for unit in candidate_units(scan) if unit[1] or not is_metric], (False,))
        if other is not None and other[1][0].confidence > confidence + OTHER_SIDE_GAIN:
            turned, found = not turned, other
    whole = scan if scan.pixels is not None else outer  # the full raster, or the normals that are wanted again
    if turned:
        whole = turned_inside_out(whole).with_note("the face shows on the inner side of the surface: it was turned inside out")
    return whole, found


def _best_unit(
    scan: Scan, model: MorphableModel, options: LocatingOptions, units: list[tuple[float, bool]], searches: tuple[bool, ...] = (False, True)
) -> tuple[Scan, list[Pose]] | None:
    """The scan in the unit in which it holds the most convincing face, and all poses there, best first."""
    best: tuple[Scan, list[Pose]] | None = None
    seen: set[float] = set()
    for scaled, poses in poses_by_unit(scan, model, options, units, searches):
        if scaled.unit_mm in seen and best[1][0].confidence >= SURE:
            break  # every unit was tried by its noses, and one convinced
        seen.add(scaled.unit_mm)
        if best is not None and best[0].scale_is_metric and not scaled.scale_is_metric and best[1][0].confidence >= METRIC_ENOUGH:
            continue
        if best is None or poses[0].confidence > best[1][0].confidence or scaled.unit_mm == best[0].unit_mm:
            best = scaled, poses
        if scaled.scale_is_metric and poses[0].confidence >= SURE:
            break
    return best


def _every_other_pixel(scan: Scan, enough: int = 60_000) -> Scan:
    """A large raster at a half, a quarter, … of its resolution: a head is sought on an 8 mm grid."""
    while scan.pixels is not None and len(scan.points) > enough:
        scan = scan.keep((scan.pixels % 2 == 0).all(1))
        scan = replace(scan, pixels=scan.pixels // 2, raster_shape=tuple((side + 1) // 2 for side in scan.raster_shape))
    return scan


def locate(scan: Scan, model: MorphableModel, options: LocatingOptions = LocatingOptions()) -> Location:
    """The head in a cleaned scan: the most confident candidate. Raises NoFaceFound."""
    return candidate_locations(scan, model, options)[0]


def cropped(scan: Scan, scan_to_model: SimilarityTransform, radius_mm: float) -> Scan:
    """The scan's points about the head that hang together with the face: no shoulders, no wall, no floaters."""
    q = scan_to_model.apply(scan.points)
    inside = np.linalg.norm(q - HEAD_CENTRE, axis=1) < radius_mm
    scan, q = scan.keep(inside), q[inside]
    surface = surface_of(scan)
    if not len(surface.triangles):
        return scan
    labels = surface.component_labels
    area = np.bincount(labels, surface.vertex_areas)
    return scan.keep((area[labels] > 0.02 * area.max()) & (area[labels] > 0))
