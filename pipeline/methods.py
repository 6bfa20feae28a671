"""The swappable stages, by the name that a configuration gives: another method is a function here (or in a file of
its own) and one line in its registry. Nothing heavy is imported until a method is used.

locator (scan, model, settings, check) → geometry.location.Location; raises NoFaceFound
fitter (location, model, settings, check) → geometry.fitting.FitResult; `check()` between iterations may raise
refiner (settings) → a function of pairs [(coarse, scan), …] of geometry images → refined images, built once per process
landmarker (model, vertices, refined, observed, settings) → points (l, 3) in the model frame and confidence (l,) in [0, 1]
"""
from __future__ import annotations


def _pose_search(scan, model, settings, check):
    from geometry import verification

    return verification.locate(scan, model, check=check)


def _gauss_newton(location, model, settings, check):
    from geometry import fitting

    options = fitting.FittingOptions(
        identity_modes=settings.identity_modes, expression_modes=settings.expression_modes,
        regularization_weight=settings.regularization_weight, landmark_sigma_mm=settings.landmark_sigma_mm,
    )
    return fitting.fit(location, model, options, check=check)


def _gan(settings):
    from gan.inference import Refiner  # imports TensorFlow when constructed
    from geometry.gating import do_no_harm

    refiner = Refiner(settings.weights, batch_size=settings.batch_size)
    if refiner.config.condition == "coarse":  # the papers' setting: the scan has no say
        return refiner.refine
    return lambda pairs: [do_no_harm(coarse, scan, image) for (coarse, scan), image in zip(pairs, refiner.refine(pairs), strict=True)]


def _smooth(settings):
    from geometry.smoothing import smooth_refine

    return lambda pairs: [smooth_refine(coarse, scan) for coarse, scan in pairs]


def _none(settings):
    from geometry.smoothing import none_refine

    return lambda pairs: [none_refine(coarse) for coarse, _ in pairs]


def _from_registered_mesh(model, vertices, refined, observed, settings):
    """Landmarks where the registered mesh carries them, trusted as far as the refined image is at that place."""
    import numpy as np

    from geometry.landmarks import landmarks_on

    points = landmarks_on(model, vertices, settings.scheme)
    image_points, _ = refined.chart.project(points)
    height, width = refined.shape
    columns = np.clip(np.floor(image_points[:, 0]), 0, width - 1).astype(int)
    rows = np.clip(np.floor(image_points[:, 1]), 0, height - 1).astype(int)
    confidence = refined["confidence"][rows, columns] * observed[rows, columns]
    return points, np.clip(confidence.astype(float), 0.0, 1.0)


LOCATORS = {"pose_search": _pose_search}
FITTERS = {"gauss_newton": _gauss_newton}
REFINERS = {"gan": _gan, "smooth": _smooth, "none": _none}
BATCHED = {"gan"}  # refiners that gain from batches; the others take each scan as it comes
LANDMARKERS = {"mesh": _from_registered_mesh}
