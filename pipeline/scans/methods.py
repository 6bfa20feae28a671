"""The swappable stages, by the name that a configuration gives: another method is a function here (or in a file of
its own) and one line in its registry. Nothing heavy is imported until a method is used.

locator (scan, model, config, check, places) → geometry.locating.location.Location; config: the whole configuration; places: where the
    head may be, if the caller knows; raises NoFaceFound
fitter (location, model, settings, check) → geometry.fitting.result.FitResult; `check()` between iterations may raise
refiner (settings) → a function of pairs [(coarse, scan), …] of geometry images → refined images, built once per process
landmarker (pipeline.scans.landmarking.Evidence, settings) → geometry.landmarks.estimate.LandmarkEstimate in the model frame
"""

from __future__ import annotations


def _pose_search(scan, model, config, check, places=None):
    from geometry.recognition import trial_fit

    return trial_fit.locate(scan, model, check=check, places=places)


def _gauss_newton(location, model, settings, check):
    from geometry.fitting import staged_fit

    return staged_fit.fit(location, model, settings, check=check)


def _gan(settings):
    from gan.refiner.inference import Refiner  # imports TensorFlow when constructed
    from geometry.refinement.contradiction_gate import replace_contradicted

    refiner = Refiner(settings.weights, batch_size=settings.batch_size)
    if refiner.config.condition == "coarse":  # the papers' setting: the scan has no say
        return refiner.refine
    return lambda pairs: [
        replace_contradicted(coarse, scan, image) for (coarse, scan), image in zip(pairs, refiner.refine(pairs), strict=True)
    ]


def _smooth(settings):
    from geometry.refinement.baselines import smooth_refine

    return lambda pairs: [smooth_refine(coarse, scan) for coarse, scan in pairs]


def _none(settings):
    from geometry.refinement.baselines import none_refine

    return lambda pairs: [none_refine(coarse) for coarse, _ in pairs]


def _by_landmarks(scan, model, config, check, places=None):
    from pipeline.scans import landmarking

    return landmarking.locate(scan, model, config, check, places)


def _fused(evidence, settings):
    from pipeline.scans import landmarking

    return landmarking.from_both(evidence, settings)


def _heatmaps(evidence, settings):
    from pipeline.scans import landmarking

    return landmarking.from_heatmaps(evidence, settings)


def _mesh(evidence, settings):
    from pipeline.scans import landmarking

    return landmarking.from_mesh(evidence, settings)


def raw_landmarks(location, model, settings):
    """Landmarks on a located raw scan, scan mm, without a fit: a geometry.landmarks.estimate.LandmarkEstimate."""
    from pipeline.scans import landmarking

    return landmarking.on_raw_scan(location, model, settings)


LOCATORS = {"pose_search": _pose_search, "landmarks": _by_landmarks}
FITTERS = {"gauss_newton": _gauss_newton}
REFINERS = {"gan": _gan, "smooth": _smooth, "none": _none}
BATCHED = {"gan"}  # refiners that gain from batches; the others take each scan as it comes
LANDMARKERS = {"fused": _fused, "heatmaps": _heatmaps, "mesh": _mesh}
