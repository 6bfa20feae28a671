"""The files of one scan, as bytes: meshes, landmarks and fit in the scan's own frame and unit, images, preview.

A run that finds landmarks alone writes `landmarks` and `preview` only.
"""

import io
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from geometry.charts import chart as charts
from geometry.charts.geometry_image import GeometryImage
from geometry.fitting.beard import thick_beard_probability
from geometry.fitting.result import FitResult
from geometry.mesh import TriangleMesh
from geometry.model import landmark_embedding
from geometry.model.morphable_model import MorphableModel
from geometry.readers.ply_writer import write_ply
from geometry.scan import Scan
from geometry.settings.printing import printable
from geometry.surfaces.triangulation import surface_of
from geometry.transforms import SimilarityTransform
from pipeline.scans import manifest
from pipeline.scans.job import Job
from pipeline.scans.manifest import FILE_NAMES
from pipeline.scans.measures import given_distances
from pipeline.scans.state import ScanState
from pipeline.store import storage

WHOLE_MM = 230.0  # across a scan in which no head was found: as large as a head, and within what is drawn of one
POINT_DECIMALS_MM = 4  # of a coordinate in mm
COVARIANCE_DIGITS = 5  # significant


def input_to_model(state: ScanState) -> SimilarityTransform:
    """From the input's coordinates (in its own unit) to the model frame in mm."""
    unit = SimilarityTransform(np.eye(3), np.zeros(3), state.location.scan.unit_mm or 1.0)
    return state.scan_to_model.compose(unit)


def write(state: ScanState, job: Job) -> ScanState:
    """Writes every file, each atomically, and removes what an earlier run with other options left beside them. Before the first
    of them an earlier result is forgotten: killed in between, its state would call files of two scans one finished result."""
    folder = manifest.scan_folder(job.out, state.source.scan_id)
    makers = _makers(state, job)
    manifest.forget(job.out, [state.source.scan_id])
    for key, make in makers.items():
        storage.write_bytes(storage.join(folder, FILE_NAMES[key]), make())
    manifest.keep_only(job.out, state.source.scan_id, {FILE_NAMES[key] for key in makers})
    return replace(state, files={key: f"scans/{state.source.scan_id}/{FILE_NAMES[key]}" for key in makers})


def write_rejected(state: ScanState, job: Job, reason: str) -> ScanState:
    """Writes a picture of what was looked at, where previews are asked for and the scan was read, and removes what an earlier run
    left beside it, which is forgotten first."""
    if not job.config.output.previews or (state.scan is None and state.location is None):
        return state
    scan_id, name = state.source.scan_id, FILE_NAMES["preview"]
    picture = rejected_bytes(state, job.model, reason)
    manifest.forget(job.out, [scan_id])
    storage.write_bytes(storage.join(manifest.scan_folder(job.out, scan_id), name), picture)
    manifest.keep_only(job.out, scan_id, {name})
    return replace(state, files={"preview": f"scans/{scan_id}/{name}"})


def _makers(state: ScanState, job: Job) -> dict[str, Callable[[], bytes]]:
    """Key of the manifest's `files` → what makes the file, for all that this run writes."""
    makers = {"landmarks": lambda: landmarks_bytes(state)}
    if not job.landmarks_only:
        makers |= {
            "coarse": lambda: coarse_bytes(state, job.model),
            "refined": lambda: refined_bytes(state),
            "registered": lambda: registered_bytes(state, job.model),
            "fit": lambda: fit_bytes(state, job.model),
            "geometry_images": lambda: storage.npz_bytes(image_arrays(images_of(state))),
        }
    if job.config.output.previews:
        makers["preview"] = lambda: preview_bytes(state, job.model)
    return {key: makers[key] for key in FILE_NAMES if key in makers}


def mesh_bytes(mesh: TriangleMesh, state: ScanState, attributes: dict[str, np.ndarray] | None = None) -> bytes:
    """A mesh of the model frame as PLY in the input's coordinates."""
    buffer = io.BytesIO()
    write_ply(buffer, in_input(mesh, state), attributes, unit_mm=state.location.scan.unit_mm or 1.0)
    return buffer.getvalue()


def in_input(mesh: TriangleMesh, state: ScanState) -> TriangleMesh:
    """A mesh of the model frame in the input's coordinates."""
    return mesh.with_vertices(input_to_model(state).inverse().apply(mesh.vertices))


def coarse_bytes(state: ScanState, model: MorphableModel) -> bytes:
    """The fitted model as PLY, with the standard deviation of each vertex along its normal."""
    posterior = state.fit.posterior
    attributes = {} if posterior is None else {"sigma_mm": posterior.sigma_mm.astype(np.float32)}
    return mesh_bytes(TriangleMesh(state.fit.vertices, model.triangles), state, attributes)


def refined_bytes(state: ScanState) -> bytes:
    """The refined surface as PLY, with what is known of each vertex."""
    surfaces = state.surfaces
    return surface_bytes(surfaces.refined.mesh, state, surfaces.refined.observed, surfaces.refined_sigma_mm)


def registered_bytes(state: ScanState, model: MorphableModel) -> bytes:
    """The model's topology on the refined surface as PLY, with the same."""
    mesh = TriangleMesh(state.registered, model.triangles)
    return surface_bytes(mesh, state, state.surfaces.observed, state.surfaces.sigma_mm)


def surface_bytes(mesh: TriangleMesh, state: ScanState, observed: np.ndarray, sigma_mm: np.ndarray) -> bytes:
    """A mesh of the model frame with normals, the scan's colours, whether the scan shows each vertex (n,), and how sure its place
    is (n,), where that is known."""
    normals = input_to_model(state).inverse().apply_to_directions(mesh.vertex_normals)
    attributes: dict[str, np.ndarray] = {
        name: normals[:, axis].astype(np.float32) for axis, name in enumerate(("nx", "ny", "nz"))
    }
    attributes["observed"] = observed.astype(np.uint8)
    if np.isfinite(sigma_mm).all():
        attributes["sigma_mm"] = sigma_mm.astype(np.float32)
    return mesh_bytes(with_scan_colors(mesh, state), state, attributes)


def with_scan_colors(mesh: TriangleMesh, state: ScanState) -> TriangleMesh:
    """A mesh of the model frame with the colours of the nearest scan points, where the scan has any."""
    scan = state.location.scan
    if scan.colors is None or not len(scan.points):
        return mesh
    _, nearest = cKDTree(state.scan_to_model.apply(scan.points)).query(mesh.vertices)
    return replace(mesh, colors=np.asarray(scan.colors)[nearest])


def landmarks_bytes(state: ScanState) -> bytes:
    """The landmarks in the input's coordinates; null for a point of which nothing is known."""
    unit_mm = state.location.scan.unit_mm or 1.0
    scheme = landmark_embedding.scheme(state.landmarks.scheme)
    estimate = state.landmarks.transformed(input_to_model(state).inverse())
    content = {
        "scheme": scheme.name,
        "frame": "scan",
        "unit_mm": unit_mm,
        "names": list(scheme.names),
        "points": _rounded_points(estimate.points, POINT_DECIMALS_MM + round(np.log10(unit_mm))),
        "confidence": [round(float(value), 4) for value in estimate.confidence],
        "seen": [bool(value) for value in estimate.seen],
        "covariance": _rounded_covariances(estimate.covariance),
    }
    distances = given_distances(state)
    if distances is not None:
        content["given_distance_mm"] = [round(float(value), 4) if np.isfinite(value) else None for value in distances]
    return _json_bytes(content)


def _rounded_points(points: np.ndarray, decimals: int) -> list:
    """(l, 3) → lists rounded to `decimals`; a point of NaN → None."""
    return [[round(float(value), decimals) for value in point] if np.isfinite(point).all() else None for point in points]


def _rounded_covariances(covariances: np.ndarray) -> list:
    """(l, 3, 3) → symmetric lists of `COVARIANCE_DIGITS` significant digits; what is not finite → None."""
    symmetric = (covariances + np.swapaxes(covariances, 1, 2)) / 2
    rounded = lambda value: float(f"{value:.{COVARIANCE_DIGITS}g}")
    return [[[rounded(value) for value in row] for row in matrix] if np.isfinite(matrix).all() else None for matrix in symmetric]


def fit_bytes(state: ScanState, model: MorphableModel) -> bytes:
    fit, scan = state.fit, state.location.scan
    return _json_bytes(
        {
            "model": {"name": model.name, "sha256": model.sha256},
            "identity_coefficients": np.asarray(fit.identity_coefficients, float).tolist(),
            "expression_coefficients": np.asarray(fit.expression_coefficients, float).tolist(),
            "scan_to_model": input_to_model(state).matrix.tolist(),
            "unit_mm": scan.unit_mm or 1.0,
            "scale_is_metric": bool(scan.scale_is_metric),
            "residuals": {name: float(value) for name, value in fit.residuals.items()},
            "fit_quality": float(fit.fit_quality),
            **_certainty(fit),
            "evidence": {name: value if np.isfinite(value) else None for name, value in vars(state.evidence).items()},
            "landmarks": {name: value for name, value in state.metrics.items() if name.startswith("landmark")},
            "notes": list(scan.notes),
        }
    )


def _certainty(fit: FitResult) -> dict[str, object]:
    """What the scan's noise was found to be and how sure the fit is; nothing where the fit did not ask."""
    found: dict[str, object] = {"discrepancy_sigma": round(float(fit.discrepancy_sigma), 4)}
    if fit.noise is not None:
        names = ("sigma_mm", "correlation_mm", "broad_mm")
        found["noise"] = {name: round(float(getattr(fit.noise, name)), 4) for name in names}
    if fit.beard is not None:
        values = {"probability": thick_beard_probability(fit.beard)} | vars(fit.beard)
        found["beard"] = {name: round(float(value), 4) if np.isfinite(value) else None for name, value in values.items()}
    if fit.posterior is not None:
        digits = lambda values: np.array([float(f"{value:.4g}") for value in np.ravel(values)]).reshape(np.shape(values)).tolist()
        diagonal, factor = fit.posterior.low_rank()
        found["posterior"] = {
            "pose_sigma": digits(fit.posterior.sigma[: fit.posterior.n_pose]),
            "identity_sigma": digits(fit.posterior.identity_sigma),
            "expression_sigma": digits(fit.posterior.expression_sigma),
            "diagonal": digits(diagonal),
            "factor": digits(factor),
        }
    return found


def _json_bytes(value: object) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def images_of(state: ScanState) -> dict[str, GeometryImage]:
    return {"coarse": state.encoding.coarse, "scan": state.encoding.scan, "refined": state.refined}


def image_arrays(images: dict[str, GeometryImage]) -> dict[str, np.ndarray]:
    """The layout of geometry_images.npz: `<group>/<channel>` (h, w) float32, `<group>/valid_mask` (h, w) bool, `chart` JSON."""
    arrays: dict[str, np.ndarray] = {"chart": np.array(charts.to_json(next(iter(images.values())).chart))}
    for group, image in images.items():
        arrays |= {f"{group}/{name}": np.asarray(values, np.float32) for name, values in image.channels.items()}
        arrays[f"{group}/valid_mask"] = image.valid_mask.astype(bool)
    return arrays


def load_images(data: bytes) -> dict[str, GeometryImage]:
    """The inverse of `image_arrays`, from the file's bytes."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    chart = charts.from_json(str(arrays.pop("chart")))
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, values in arrays.items():
        group, _, channel = name.partition("/")
        groups.setdefault(group, {})[channel] = values
    return {group: GeometryImage(channels, channels.pop("valid_mask"), chart) for group, channels in groups.items()}


def preview_bytes(state: ScanState, model: MorphableModel) -> bytes:
    from pipeline.pictures import preview

    surface = surface_of(state.location.scan)  # pixel grids are triangulated by distances from the sensor: in the scan's frame
    scan = surface.with_vertices(state.scan_to_model.apply(surface.vertices))
    title = preview.preview_title(printable(state.source.name), state.metrics)
    if state.fit is None:
        return preview.png_bytes(preview.render_landmarks(scan, scan.vertices, state.landmarks, title))
    coarse = TriangleMesh(state.fit.vertices, model.triangles)
    refined, registered = state.surfaces.refined.mesh, preview.patterned(state.registered, model.mesh())
    image = preview.render_preview(scan, scan.vertices, coarse, refined, state.landmarks, title, registered)
    return preview.png_bytes(image)


def rejected_bytes(state: ScanState, model: MorphableModel, reason: str) -> bytes:
    """The picture of a scan in which no face was found: about the head that was taken for one, or, where none was, as a whole."""
    from pipeline.pictures import preview

    located = state.location
    scan = state.scan if located is None else located.scan
    to_model = as_a_whole(scan) if located is None else state.scan_to_model
    surface = surface_of(scan)
    found = None if located is None or located.estimate is None else located.estimate.transformed(to_model)
    fitted = None if state.fit is None else TriangleMesh(state.fit.vertices, model.triangles)
    points, title = to_model.apply(surface.vertices), f"{printable(state.source.name)}\nrejected: {printable(reason)}"
    return preview.png_bytes(preview.render_rejected(surface.with_vertices(points), points, fitted, found, title))


def as_a_whole(scan: Scan) -> SimilarityTransform:
    """What brings a scan's bulk, as its sensor saw it or, of a mesh, along its z axis, to where a head is looked at."""
    from pipeline.pictures.casting import PIVOT_MM

    turn = np.diag([1.0, -1.0, -1.0]) if scan.pixels is not None else np.eye(3)
    low, high = np.quantile(scan.points, [0.02, 0.98], axis=0) if len(scan.points) else np.zeros((2, 3))
    scale = WHOLE_MM / max(float(np.linalg.norm(high - low)), 1e-9)
    return SimilarityTransform(turn, np.array(PIVOT_MM) - scale * turn @ ((low + high) / 2), scale)
