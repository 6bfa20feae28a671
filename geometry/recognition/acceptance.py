"""Whether a fit is a face: the gate between `ok` and `rejected`. A confident wrong fit is the worst bug.

A flexible model follows any smooth blob to a millimetre or two, so small residuals prove nothing. A face
is believed where the scan shows the *relief* that the fitted face predicts there: nose, eyes, mouth.
"""

import numpy as np
from pydantic import Field

from geometry.charts.chart import pixel_centres
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.masked_filters import masked_mean
from geometry.errors import NoFaceFound
from geometry.fitting.encoding import Encoding
from geometry.fitting.result import FitResult
from geometry.settings.options import Positive, Share, options

FEATURES_MM = 60.0  # about the nose: where a face has relief
CLOSE_MM = 20.0


@options
class AcceptanceOptions:
    """Bounds of a usable face, set between real scans and synthetic non-faces."""

    visible_face: Share = 0.25
    """Least share of the face region's area that the scan shows."""
    inlier_fraction: Share = 0.65
    """Least share of the scan's points about the face that lie on it."""
    relief_explained: float = Field(default=0.7, le=1)
    """Least share of the scan's relief that the fit explains, R²."""
    identity_sigma: Positive = 2.6
    """Largest root mean square of the identity coefficients, in standard deviations."""
    fit_quality: Share = 0.2
    """Least quality of the fit, in [0, 1]."""


def relief_explained(coarse: GeometryImage, scan: GeometryImage) -> float:
    """Share of the scan's relief (depth about the nose, less the quadric that fits it best) that the fit explains.

    R² = 1 − Σ(s − c)² / Σs²: near 1 where every feature is where the fit says, at most 0 on a featureless blob; −1 at worst, and
    where too little is seen."""
    chart = coarse.chart
    points = chart.lift(pixel_centres(chart), coarse["depth"].ravel().astype(float)).reshape(*coarse.shape, 3)
    both = coarse.valid_mask & scan.valid_mask & (np.linalg.norm(points, axis=2) < FEATURES_MM)
    both &= np.abs(scan["depth"] - coarse["depth"]) < CLOSE_MM
    if both.sum() * chart.pixel_mm**2 < 1000:
        return -1.0
    x, y = points[both][:, :2].T / FEATURES_MM
    form = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))[0]

    def relief(depth: np.ndarray) -> np.ndarray:
        smooth = masked_mean(depth, both, 1.5 / chart.pixel_mm, 1e-6)[both]
        return smooth - form @ (form.T @ smooth)

    a, b = relief(coarse["depth"].astype(float)), relief(scan["depth"].astype(float))
    return float(max(1.0 - ((b - a) ** 2).sum() / max((b**2).sum(), 1e-9), -1.0))


def require_face(fit: FitResult, encoding: Encoding, options: AcceptanceOptions = AcceptanceOptions()) -> None:
    """Raises NoFaceFound with the first test that a fit and its encoding fail."""
    relief = relief_explained(encoding.coarse, encoding.scan)
    tests = (
        (
            fit.visible_face >= options.visible_face,
            f"{100 * fit.visible_face:.0f} % of the face is visible",
            f"{100 * options.visible_face:.0f} %",
        ),
        (
            fit.residuals["inlier_fraction"] >= options.inlier_fraction,
            f"{100 * fit.residuals['inlier_fraction']:.0f} % of the points about the face lie on it",
            f"{100 * options.inlier_fraction:.0f} %",
        ),
        (
            relief >= options.relief_explained,
            f"{100 * max(relief, 0):.0f} % of the scan's relief is a face's",
            f"{100 * options.relief_explained:.0f} %",
        ),
        (fit.fit_quality >= options.fit_quality, f"the fit's quality is {fit.fit_quality:.2f}", f"{options.fit_quality:.2f}"),
    )
    for passed, found, needed in tests:
        if not passed:
            raise NoFaceFound(f"no face found: only {found}, at least {needed} is needed")
    if not fit.identity_rms_sigma <= options.identity_sigma:
        found, most = f"{fit.identity_rms_sigma:.1f} σ a mode", f"{options.identity_sigma:.1f}"
        raise NoFaceFound(f"no face found: the shape is implausible ({found}, at most {most})")
