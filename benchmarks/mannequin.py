"""The nine mannequin frames against their fused reference, and against each other: raw depth frame and refined surface.

    python -m pipeline.run --input ../shared/scans/truedepth_mannequin --output runs/mannequin
    python benchmarks/mannequin.py runs/mannequin

**Distance.** Each surface is aligned rigidly (6 degrees of freedom, no scale) to `fused_reference.ply` by a trimmed
point-to-plane ICP of its own, over the face points of the reference that the frame saw. Then the mean of both directions: from
those points to the surface, and from points sampled on the surface to the plane of the nearest reference point, where that is one
of them. **Spread.** At every face point the aligned surfaces are met along the reference's normal: the standard deviation of the
offsets between frames, where at least --least frames saw the point, mean over points.

A frame has seen a point where its raw surface, not at its border, lies within 5 mm of it and faces the camera by less than 75°.
Raw and refined are measured at the same points: those seen that have the refined surface, not its border, above or below them
too ("covered": in profile the chart's frontal view leaves some out). The reference has the sensor's own errors, averaged over
90 frames, and the frames have the lens' distortion: neither figure can reach zero.
"""

import pathlib
from dataclasses import dataclass

import common
import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from geometry.evaluation.metrics import boundary_triangles, sample_surface
from geometry.mesh import TriangleMesh
from geometry.readers import read
from geometry.surfaces.closest_point import closest_points
from geometry.surfaces.raycasting import cast_rays, nearest_on_scene, raycasting_scene
from geometry.surfaces.triangulation import surface_of
from geometry.transforms import SimilarityTransform

REFERENCE = "fused_reference.ply"
FACE_MM = 5.0  # a reference point so near the fitted model's face region belongs to the face
SEEN_MM, SEEN_DEGREES = 5.0, 75.0
HEAD_MM = 200.0  # of a raw frame, what lies so near the fitted head is kept
BESIDE_MM, OVER = 2.0, 0.5  # a place farther away than that counts as over a point within 60 degrees of its normal
TRIMMED = 0.2  # share of the largest residuals that the alignment ignores
SAMPLES = 20_000
REACH_MM = 8.0  # along a normal: what lies farther away is another part of the head


@dataclass(frozen=True)
class Reference:
    """points, normals (n, 3): the whole reference, its frame, mm; face (n,) bool; to_model: mm → model mm; tree: of points."""

    points: np.ndarray
    normals: np.ndarray
    face: np.ndarray
    to_model: SimilarityTransform
    tree: cKDTree


@dataclass(frozen=True)
class Frame:
    """raw, refined: aligned to the reference, its frame, mm; seen (n,) bool: reference face points that the frame saw; covered
    (n,) bool: of those, where the refined surface goes on (the chart's frontal view ends at the sides of the face)."""

    name: str
    raw: TriangleMesh
    refined: TriangleMesh
    seen: np.ndarray
    covered: np.ndarray


def main() -> None:
    parser = common.parser(__doc__, "--json")
    parser.add_argument("run", type=pathlib.Path, help="a run's OUT that holds the mannequin's frames and its reference")
    default = common.SHARED / "scans" / "truedepth_mannequin"
    parser.add_argument("--scans", type=pathlib.Path, default=default, help="the folder of the frames")
    parser.add_argument("--least", type=int, default=4, help="frames that must have seen a point for its spread to count")
    arguments = parser.parse_args()
    lines = {line["source"].rsplit("/", 1)[-1]: line for line in common.manifest(arguments.run) if is_mannequin(line["source"])}
    missing = [f"{name} ({line['status']})" for name, line in sorted(lines.items()) if line["status"] != "ok"]
    lines = {name: line for name, line in sorted(lines.items()) if line["status"] == "ok"}
    if REFERENCE not in lines or len(lines) < 3:
        found = ", ".join(lines) or "none"
        raise SystemExit(f"{arguments.run} needs {REFERENCE} and 2 frames or more that ended ok; it has {found}")
    reference = load_reference(arguments.scans / REFERENCE, arguments.run, lines.pop(REFERENCE))
    frames = [load_frame(arguments.scans / name, arguments.run, line, reference) for name, line in lines.items()]
    result = {"frames": distances(frames, reference), "spread": spread(frames, reference, arguments.least), "missing": missing}
    print(report(result))
    common.keep(result, arguments.json)


def is_mannequin(source: str) -> bool:
    folder, _, name = source.rpartition("/")
    return folder.rpartition("/")[2] in ("", "truedepth_mannequin") and (name == REFERENCE or name.startswith("frame-"))


def pose_of(run: pathlib.Path, line: dict) -> tuple[SimilarityTransform, float]:
    """Scan in mm → model in mm, and mm in one unit of the scan's file."""
    fit = common.fit_of(run, line)
    unit = SimilarityTransform(np.eye(3), np.zeros(3), 1 / fit["unit_mm"])
    return SimilarityTransform.from_matrix(np.array(fit["scan_to_model"])).compose(unit), fit["unit_mm"]


def load_reference(path: pathlib.Path, run: pathlib.Path, line: dict) -> Reference:
    """The face of the reference: its points near the face region of the model fitted to it."""
    to_model, unit_mm = pose_of(run, line)
    scan = read(path)
    points = scan.points * (1.0 if scan.unit_mm else unit_mm)
    model = common.model_of(run)
    coarse = read(run / line["files"]["coarse"]).points * unit_mm
    distance, vertex = cKDTree(coarse).query(points, distance_upper_bound=FACE_MM)
    region = np.append(model.regions["face"] & ~model.regions["mouth_interior"], False)
    tree = cKDTree(points)
    # a surfel's normal is noisier than its place: the mean of its neighbours'
    normals = scan.normals[tree.query(points, k=9)[1]].mean(1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return Reference(points, normals, np.isfinite(distance) & region[vertex], to_model, tree)


def load_frame(path: pathlib.Path, run: pathlib.Path, line: dict, reference: Reference) -> Frame:
    """A frame's two surfaces, each aligned on its own."""
    frame_to_model, unit_mm = pose_of(run, line)
    start = reference.to_model.inverse().compose(frame_to_model)
    start = SimilarityTransform(start.rotation, start.translation)  # a fit may carry scale; a camera's millimetres are true
    raw = surface_of(read(path))
    raw = raw.submesh(np.linalg.norm(frame_to_model.apply(raw.vertices), axis=1) < HEAD_MM)[0]
    refined = surface_of(read(run / line["files"]["refined"]))
    refined = refined.with_vertices(refined.vertices * unit_mm)
    pose = start
    for _ in range(2):  # what was seen depends on the pose, if little
        seen = seen_points(raw, pose, reference)
        pose = aligned(raw, pose, reference, seen)
    seen = seen_points(raw, pose, reference)
    refined = moved(refined, aligned(refined, pose, reference, seen & inside(moved(refined, pose), seen, reference)))
    return Frame(path.stem, moved(raw, pose), refined, seen, inside(refined, seen, reference))


def inside(mesh: TriangleMesh, mask: np.ndarray, reference: Reference) -> np.ndarray:
    """(n,) bool: points under mask (n,) whose nearest place on the mesh is not at its border, however far above or below them
    that is; what lies beside them is another piece, an ear."""
    points, within = reference.points[mask], mask.copy()
    found = closest_points(points, mesh)
    corners, (u, v) = mesh.vertices[mesh.triangles[found.triangle]], found.uv.T[:, :, None]
    offset = corners[:, 0] * (1 - u - v) + corners[:, 1] * u + corners[:, 2] * v - points
    beside = np.abs((offset * reference.normals[mask]).sum(1)) < OVER * found.distance
    within[mask] = ~boundary_triangles(mesh)[found.triangle] & ~(beside & (found.distance > BESIDE_MM))
    return within


def moved(mesh: TriangleMesh, pose: SimilarityTransform) -> TriangleMesh:
    return mesh.with_vertices(pose.apply(mesh.vertices))


def seen_points(raw: TriangleMesh, pose: SimilarityTransform, reference: Reference) -> np.ndarray:
    """(n,) bool: face points of the reference near the inside of the frame's raw surface, turned to its camera."""
    camera = pose.apply(np.zeros((1, 3)))
    view = camera - reference.points
    facing = (view * reference.normals).sum(1) / np.linalg.norm(view, axis=1)
    seen = reference.face & (facing > np.cos(np.deg2rad(SEEN_DEGREES)))
    mesh = moved(raw, pose)
    seen = inside(mesh, seen, reference)
    seen[seen] = closest_points(reference.points[seen], mesh).distance < SEEN_MM
    return seen


def aligned(
    mesh: TriangleMesh, pose: SimilarityTransform, reference: Reference, mask: np.ndarray, iterations: int = 40
) -> SimilarityTransform:
    """Trimmed point-to-plane ICP (Chen & Medioni 1992; Chetverikov et al. 2002): the mesh onto the reference's points under the
    mask (n,); starts from pose (mesh → reference) and returns the better one."""
    points, normals = reference.points[mask], reference.normals[mask]
    scene = raycasting_scene(mesh)
    for _ in range(iterations):
        found = pose.apply(nearest_on_scene(scene, pose.inverse().apply(points))[0])
        residual = ((found - points) * normals).sum(1)
        kept = np.abs(residual) <= np.quantile(np.abs(residual), 1 - TRIMMED)
        centre = points.mean(0)
        rows = np.concatenate([np.cross(found - centre, normals), normals], axis=1)[kept]
        step = np.linalg.lstsq(rows, -residual[kept], rcond=None)[0]
        turn = Rotation.from_rotvec(step[:3]).as_matrix()
        pose = SimilarityTransform(turn, centre + step[3:] - turn @ centre).compose(pose)
        if np.abs(step).max() < 1e-5:
            break
    return pose


def distance(mesh: TriangleMesh, seen: np.ndarray, reference: Reference) -> float:
    """Mean of both directions in mm, over the reference's points under `seen` (n,)."""
    forward = closest_points(reference.points[seen], mesh).distance.mean()
    corners = mesh.vertices[mesh.triangles].mean(1)
    near = reference.tree.query(corners, distance_upper_bound=SEEN_MM)[1] < len(reference.points)
    area = np.linalg.norm(mesh.triangle_area_vectors, axis=1) * near
    samples = sample_surface(mesh, area, SAMPLES, np.random.default_rng(0))
    nearest = reference.tree.query(samples)[1]
    samples, nearest = samples[seen[nearest]], nearest[seen[nearest]]
    back = np.abs(((samples - reference.points[nearest]) * reference.normals[nearest]).sum(1)).mean()
    return float((forward + back) / 2)


def distances(frames: list[Frame], reference: Reference) -> list[dict]:
    return [
        {
            "frame": frame.name,
            "seen": int(frame.seen.sum()),
            "covered": int(frame.covered.sum()),
            "raw_mm": distance(frame.raw, frame.covered, reference),
            "refined_mm": distance(frame.refined, frame.covered, reference),
        }
        for frame in frames
    ]


def offsets(mesh: TriangleMesh, reference: Reference) -> np.ndarray:
    """(n,) signed offset in mm of the mesh along the reference's normals at its points; NaN where it lies beyond REACH_MM."""
    origins = reference.points + REACH_MM * reference.normals
    hit = cast_rays(raycasting_scene(mesh), origins, -reference.normals)[0]
    return np.where(hit <= 2 * REACH_MM, REACH_MM - hit, np.nan)


def spread(frames: list[Frame], reference: Reference, least: int) -> dict:
    """Mean standard deviation in mm between frames of raw and refined, at the same points of the same frames."""
    raw = np.stack([offsets(frame.raw, reference) for frame in frames])
    refined = np.stack([offsets(frame.refined, reference) for frame in frames])
    both = np.isfinite(raw) & np.isfinite(refined) & np.stack([frame.covered for frame in frames])
    enough = both.sum(0) >= least
    deviation = lambda values: float(np.nanstd(np.where(both, values, np.nan)[:, enough], axis=0, ddof=1).mean())
    return {"points": int(enough.sum()), "least_frames": least, "raw_mm": deviation(raw), "refined_mm": deviation(refined)}


def report(result: dict) -> str:
    lines = [f"{'frame':14s}{'points':>12s}{'covered':>9s}{'raw mm':>10s}{'refined mm':>12s}{'ratio':>8s}   to {REFERENCE}"]
    for row in result["frames"]:
        lines.append(
            f"{row['frame']:14s}{row['seen']:12d}{row['covered'] / row['seen']:9.0%}"
            f"{row['raw_mm']:10.3f}{row['refined_mm']:12.3f}{row['refined_mm'] / row['raw_mm']:8.2f}"
        )
    raw, refined = (float(np.mean([row[key] for row in result["frames"]])) for key in ("raw_mm", "refined_mm"))
    lines.append(f"{'mean':35s}{raw:10.3f}{refined:12.3f}{refined / raw:8.2f}   (target 0.70)")
    found = result["spread"]
    lines.append(
        f"{'spread':14s}{found['points']:12d}{'':9s}{found['raw_mm']:10.3f}{found['refined_mm']:12.3f}"
        f"{found['refined_mm'] / found['raw_mm']:8.2f}   (target 0.50; points in {found['least_frames']} or more frames)"
    )
    if result["missing"]:
        lines.append("without: " + ", ".join(result["missing"]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
