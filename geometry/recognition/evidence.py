"""What a scan says for and against a fit, in figures that a wrong fit cannot make look right.

A flexible model follows any smooth surface, so that what lies near a fit speaks for it whatever it is. A wrong fit cannot answer
for three other things: **free space** (skin before a surface that the sensor saw through it), **support** (skin where the sensor
looked, and no surface near it), and **landmarks** that were found without the fit and lie elsewhere than its own.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import minimum_filter
from scipy.spatial import cKDTree

from geometry.charts.chart import pixel_centres
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.masked_filters import masked_mean
from geometry.fitting.encoding import Encoding
from geometry.fitting.result import FitResult
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.model.landmark_embedding import landmarks_on
from geometry.model.morphable_model import MorphableModel
from geometry.scan import Scan
from geometry.transforms import SimilarityTransform

FEATURES_MM = 60.0  # about the nose: where a face has relief
CLOSE_MM = 20.0
CLEARANCE_MM, CLEARANCE_SIGMAS = 3.0, 4.0  # what stands farther before a measured surface than both together contradicts it
FARTHEST_MM = 15.0  # a distance counts as at most this: one hair behind the head is no worse than one beside it
SHOWN_MM = 2.0  # a vertex this near to the rasterized fit's depth at its pixel is seen in the chart
STEEPEST = 0.2  # least cosine between skin and the chart's ray by which a depth is turned into a distance
BELOW_MM = 12.0  # of the landmarks of mouth and chin on the mean: what "below" means
CHIN, MOUTH, INNER = slice(6, 11), slice(48, 68), slice(17, 68)  # of ibug68
LOWER_LIP = [55, 56, 57, 58, 59, 65, 66, 67]
SURE = 0.4  # confidence of a landmark that is asked
FEWEST = 3  # landmarks of which a statistic is made
LANDMARK_MM = 1.2  # standard deviation, per axis, of what no fit shows of a landmark: as in `geometry.landmarks.shape_prior`


@dataclass(frozen=True)
class Evidence:
    """Of one fit; NaN where there is nothing to measure. `below` means about mouth and chin. Distances are in mm. Shares are of
    area, and where nothing else is said of that part of the model's face skin which the chart shows where the scan has a depth.

    A gap is how far the skin stands before the scan along its own normal (the difference of depths times the cosine of the ray),
    negative behind it."""

    visible_face: float
    """Share of the whole face region that scan points support, as the fit counts it."""
    on_face: float
    """Share of the scan's points about the face that lie on it, as the fit counts it."""
    residual_mm: float
    """Mean distance of the scan's points on the face from it, as the fit counts it."""
    noise_mm: float
    """Standard deviation of the scan's noise, as the fit measured it."""
    identity_sigma: float
    """Root mean square of the identity coefficients, √(χ² / modes)."""
    relief: float
    """`relief_explained`, without pixels more than 20 mm off."""
    relief_whole: float
    """The same with every pixel."""
    looked_at: float
    """Share of the face's skin that the chart shows where the scan has a depth."""
    looked_at_below: float
    """The same of the skin about mouth and chin."""
    in_front: float
    """Free space: share whose gap is more than 3 mm + 4 σ of the noise. No sensor sees through skin. Of a depth image, gaps and
    what was looked at are along the sensor's own rays, each gap to the nearest of the 3 × 3 pixels about it."""
    in_front_below: float
    """The same about mouth and chin."""
    behind: float
    """Share whose gap is less than −(3 mm + 4 σ): something stands before it, which is no contradiction and no support."""
    behind_below: float
    """The same about mouth and chin."""
    front_mm: float
    """Mean of what the skin stands before the scan: positive gaps up to 15 mm, others as 0."""
    front_below_mm: float
    """The same about mouth and chin."""
    away_mm: float
    """Median distance of the skin from the nearest point of the scan's surface."""
    away_p90_mm: float
    """Its 90th percentile."""
    away_below_mm: float
    """The median about mouth and chin."""
    away_below_p90_mm: float
    """The 90th percentile about mouth and chin."""
    landmarks_seen: float
    """Sum of the confidences of the inner 51 landmarks that were seen, over their number."""
    mouth_seen: float
    """The same of the 20 of the mouth."""
    lower_lip_seen: float
    """The same of the 8 of the lower lip."""
    chin_seen: float
    """The same of the 5 of the chin."""
    landmark_sigma: float
    """Median Mahalanobis distance of the inner landmarks that are seen and sure from the model's."""
    landmark_p90_sigma: float
    """Its 90th percentile."""
    mouth_sigma: float
    """The median of the mouth's."""
    lower_lip_sigma: float
    """The median of the lower lip's."""
    lower_lip_mm: float
    """The same in mm."""
    chin_sigma: float
    """The median of the chin's."""
    stated_lower_lip_mm: float
    """Standard deviation of the lower lip's place in the face, in any direction, as the fit's posterior states it."""

    @property
    def has_landmarks(self) -> bool:
        """Whether landmarks were found at all."""
        return bool(np.isfinite(self.landmarks_seen))


def evidence_of(fit: FitResult, encoding: Encoding, location: Location, model: MorphableModel) -> Evidence:
    """fit and encoding: of the scan at `location`, whose estimate's landmarks, where it has any, are held against the fit's."""
    return Evidence(
        visible_face=fit.visible_face,
        on_face=fit.residuals["inlier_fraction"],
        residual_mm=fit.residuals["mean"],
        noise_mm=noise_sigma(fit),
        identity_sigma=fit.identity_rms_sigma,
        relief=relief_explained(encoding.coarse, encoding.scan),
        relief_whole=relief_explained(encoding.coarse, encoding.scan, np.inf),
        **_surface_figures(_skin(fit, encoding, location.scan, model), encoding.scan),
        **_landmark_figures(location.estimate, fit, model),
        stated_lower_lip_mm=_stated(fit, model),
    )


def relief_explained(coarse: GeometryImage, scan: GeometryImage, close_mm: float = CLOSE_MM) -> float:
    """Share of the scan's relief (depth about the nose, less the quadric that fits it best) that the fit explains.

    R² = 1 − Σ(s − c)² / Σs²: near 1 where every feature is where the fit says, at most 0 on a featureless blob; −1 at worst, and
    where too little is seen. close_mm: pixels whose depths differ by more do not count, such as those of a hand before it."""
    chart = coarse.chart
    points = chart.lift(pixel_centres(chart), coarse["depth"].ravel().astype(float)).reshape(*coarse.shape, 3)
    both = coarse.valid_mask & scan.valid_mask & (np.linalg.norm(points, axis=2) < FEATURES_MM)
    both &= np.abs(scan["depth"] - coarse["depth"]) < close_mm
    if both.sum() * chart.pixel_mm**2 < 1000:
        return -1.0
    x, y = points[both][:, :2].T / FEATURES_MM
    form = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))[0]

    def relief(depth: np.ndarray) -> np.ndarray:
        smooth = masked_mean(depth, both, 1.5 / chart.pixel_mm, 1e-6)[both]
        return smooth - form @ (form.T @ smooth)

    a, b = relief(coarse["depth"].astype(float)), relief(scan["depth"].astype(float))
    return float(max(1.0 - ((b - a) ** 2).sum() / max((b**2).sum(), 1e-9), -1.0))


@dataclass(frozen=True)
class _Skin:
    """The model's face vertices (k,): points (k, 3), areas, whether about mouth and chin, whether the chart shows them where the
    scan has a depth, and there gap in mm and the scan's σ in mm; from where the sensor looked, whether it measured something in
    their direction, and how far before that they stand, in mm beyond what its noise allows."""

    points: np.ndarray
    areas: np.ndarray
    below: np.ndarray
    looked_at: np.ndarray
    gap: np.ndarray
    sigma: np.ndarray
    measured: np.ndarray
    trespass: np.ndarray


@lru_cache(maxsize=4)
def _face_skin(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (k,) of the vertices of the face without eyes and linings, and whether they are about mouth and chin (k,)."""
    apart = model.regions["mouth_interior"] | model.regions["eyes"] | model.regions.get("cavities", False)
    rows, marks = np.flatnonzero(model.regions["face"] & ~apart), landmarks_on(model, model.mean)
    near = cKDTree(np.concatenate([marks[CHIN], marks[MOUTH]])).query(model.mean[rows])[0]
    return rows, near < BELOW_MM


def _skin(fit: FitResult, encoding: Encoding, seen: Scan, model: MorphableModel) -> _Skin:
    surface, (rows, below) = TriangleMesh(fit.vertices, model.triangles), _face_skin(model)
    coarse, scan, points = encoding.coarse, encoding.scan, fit.vertices[rows]
    places, depth = coarse.chart.project(points)
    size, (column, row) = np.array(coarse.shape[::-1]), np.floor(places).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < size[0]) & (row < size[1])
    pixel = np.clip(row, 0, size[1] - 1), np.clip(column, 0, size[0] - 1)
    shown = inside & coarse.valid_mask[pixel] & (np.abs(coarse["depth"][pixel] - depth) < SHOWN_MM)
    normals = surface.vertex_normals[rows]
    facing = (normals * coarse.chart.outward_directions(places)).sum(1)
    looked_at = shown & scan.valid_mask[pixel]
    gap = (coarse["depth"] - scan["depth"])[pixel] * np.clip(facing, STEEPEST, 1)
    sigma = scan["noise_sigma"][pixel]
    if seen.camera is None or seen.pixels is None:
        measured, trespass = looked_at, gap - CLEARANCE_MM - CLEARANCE_SIGMAS * sigma
    else:
        measured, before = _before_depth_image(points, normals, seen, fit.scan_to_model)
        trespass = before - CLEARANCE_MM - CLEARANCE_SIGMAS * noise_sigma(fit)
    return _Skin(points, surface.vertex_areas[rows], below, looked_at, gap, sigma, measured, trespass)


def _before_depth_image(
    points: np.ndarray, normals: np.ndarray, seen: Scan, scan_to_model: SimilarityTransform
) -> tuple[np.ndarray, np.ndarray]:
    """Skin (k, 3) in the model frame → whether it faces the sensor where that measured something (k,), and how far it stands
    before the nearest of the 3 × 3 measurements there, along its normal in mm (k,)."""
    to_camera = scan_to_model.inverse()
    places, normals = to_camera.apply(points), to_camera.apply_to_directions(normals)
    raster = np.full(seen.raster_shape, np.inf)
    raster[seen.pixels[:, 0], seen.pixels[:, 1]] = seen.points[:, 2]
    nearest = minimum_filter(raster, 3)
    ahead = places[:, 2] > 0
    pixels, depth = seen.camera.project(np.where(ahead[:, None], places, 1.0))
    column, row = np.rint(pixels).astype(int).T
    inside = ahead & (column >= 0) & (row >= 0) & (column < raster.shape[1]) & (row < raster.shape[0])
    pixel = np.where(inside, row, 0), np.where(inside, column, 0)
    along = places / np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-9)
    facing = -(normals * along).sum(1)
    measured = inside & (facing > STEEPEST) & np.isfinite(nearest[pixel])
    step = np.where(measured, nearest[pixel] - depth, 0.0) / np.maximum(along[:, 2], STEEPEST)  # of z → along the ray
    return measured, step * facing * scan_to_model.scale


def _surface_figures(skin: _Skin, scan: GeometryImage) -> dict[str, float]:
    """Free space and support, of the whole face and about mouth and chin."""
    valid = scan.valid_mask
    seen = scan.chart.lift(pixel_centres(scan.chart)[valid.ravel()], scan["depth"][valid].astype(float))
    away = np.full(len(skin.points), FARTHEST_MM)
    if len(seen):
        away = np.minimum(cKDTree(seen).query(skin.points, distance_upper_bound=FARTHEST_MM)[0], FARTHEST_MM)
    figures, clearance = {}, CLEARANCE_MM + CLEARANCE_SIGMAS * skin.sigma
    for name, part in (("", np.ones_like(skin.below)), ("_below", skin.below)):
        asked = part & skin.looked_at
        areas, gap, most = skin.areas[asked], skin.gap[asked], clearance[asked]
        total = float(areas.sum())
        mean = lambda values, areas=areas, total=total: float((areas * values).sum() / total) if total > 0 else np.nan
        figures[f"looked_at{name}"] = total / float(skin.areas[part].sum())
        figures[f"behind{name}"] = mean(gap < -most)
        measured = skin.areas * (part & skin.measured)
        figures[f"in_front{name}"] = float(measured[skin.trespass > 0].sum() / measured.sum()) if measured.any() else np.nan
        figures[f"front{name}_mm"] = mean(np.clip(gap, 0, FARTHEST_MM))
        figures[f"away{name}_mm"], figures[f"away{name}_p90_mm"] = _quantiles(away[asked], areas, (0.5, 0.9))
    return figures


def _quantiles(values: np.ndarray, weights: np.ndarray, shares: tuple[float, ...]) -> list[float]:
    """Weighted quantiles of values (k,) with weights (k,); NaN where there are none."""
    if not len(values):
        return [np.nan] * len(shares)
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    places = np.minimum(np.searchsorted(reached, shares), len(values) - 1)
    return [float(value) for value in values[order][places]]


def _landmark_figures(estimate: LandmarkEstimate | None, fit: FitResult, model: MorphableModel) -> dict[str, float]:
    """How much of the landmarks was seen, and how far those that are sure lie from the model's, in units of their own error."""
    confidence, sure, away, sigma = np.full(68, np.nan), np.zeros(68, bool), np.full(68, np.nan), np.full(68, np.nan)
    if estimate is not None:
        found = estimate.transformed(fit.scan_to_model)
        confidence = np.where(found.seen, found.confidence, 0.0)
        sure = found.seen & (found.confidence > SURE) & np.isfinite(found.points).all(1)
        offset = found.points[sure] - landmarks_on(model, fit.vertices)[sure]
        total = found.covariance[sure] + LANDMARK_MM**2 * np.eye(3)
        away[sure] = np.linalg.norm(offset, axis=1)
        sigma[sure] = np.sqrt(np.einsum("li,lij,lj->l", offset, np.linalg.inv(total), offset))
    return {
        "landmarks_seen": float(confidence[INNER].mean()),
        "mouth_seen": float(confidence[MOUTH].mean()),
        "lower_lip_seen": float(confidence[LOWER_LIP].mean()),
        "chin_seen": float(confidence[CHIN].mean()),
        "landmark_sigma": _quantile(sigma[INNER], 0.5),
        "landmark_p90_sigma": _quantile(sigma[INNER], 0.9),
        "mouth_sigma": _quantile(sigma[MOUTH], 0.5),
        "lower_lip_sigma": _quantile(sigma[LOWER_LIP], 0.5),
        "lower_lip_mm": _quantile(away[LOWER_LIP], 0.5),
        "chin_sigma": _quantile(sigma[CHIN], 0.5),
    }


def noise_sigma(fit: FitResult) -> float:
    """In mm: measured from what the fit leaves, or where it was not, as the scan alone shows it."""
    return fit.noise_mm if fit.noise is None else fit.noise.sigma_mm


def _stated(fit: FitResult, model: MorphableModel) -> float:
    """Root mean square over the lower lip's landmarks; NaN where the fit has no posterior."""
    if fit.posterior is None:
        return np.nan
    n_identity, n_expression = len(fit.identity_coefficients), len(fit.expression_coefficients)
    rows = np.asarray(model.landmarks["ibug68"])[LOWER_LIP]
    modes = np.concatenate([model.identity_basis[:n_identity, rows], model.expression_basis[:n_expression, rows]])
    covariance = fit.posterior.covariance[fit.posterior.n_pose :, fit.posterior.n_pose :]
    flat = modes.reshape(len(modes), -1)
    return float(np.sqrt(np.einsum("kd,kl,ld->", flat, covariance, flat) / len(rows)))


def _quantile(values: np.ndarray, share: float) -> float:
    """Of those values (k,) that are numbers; NaN where they are fewer than `FEWEST`."""
    known = values[np.isfinite(values)]
    return float(np.quantile(known, share)) if len(known) >= FEWEST else np.nan
