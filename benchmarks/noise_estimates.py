"""The noise that is measured of a simulated scan, from what a fit leaves, against its noise about the true face.

    python benchmarks/noise_estimates.py --cache DIR --count 544                       # the test split
    python benchmarks/noise_estimates.py --cache DIR --count 330 --split validation    # on which its constants were chosen

Located scans of subjects that no training saw (benchmarks/located_scans.py) are fitted, as by benchmarks/acceptance.py, and
measured (geometry/fitting/measured_noise.py). The truth is what the same estimator (geometry/surfaces/noise_spectrum.py) finds in
the same points' distances to the face that was simulated, without points of what hides it; left out are fits of which less than
half of the points are of that. By sensor, medians in mm: standard deviation and correlation length, estimate and truth, and
estimate ÷ truth with the 10 % and 90 % quantiles, the truth's length at least 0.3 mm; `none`: scans of which no noise at all was
measured; `alone`: σ from the scan alone ÷ truth (geometry/surfaces/noise_estimation.py).
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import common
import located_scans
import numpy as np
from acceptance import fit_of, fits_folder, kept
from judged_fits import RUN

from geometry.fitting.measured_noise import measured_noise, residuals_on_smooth_skin, signed_distances
from geometry.fitting.result import FitResult
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.noise_spectrum import NoiseSpectrum, noise_spectrum
from pipeline.scans import config
from pipeline.scans.job import Job

OCCLUDER_MM = 2.0  # a point nearer by this to what hides a face than to the face is not of it
ON_FACE_MM = 12.0
OF_FACE = 0.5  # least share of the points that are of the face


def main() -> None:
    parser = common.parser(__doc__, "--set", "--json")
    located_scans.add_choice(parser)
    arguments = parser.parse_args()
    rows = defaultdict(list)
    job = Job(config.load(settings=arguments.settings))
    for sensor, *row in measured(arguments.cache, arguments.split, located_scans.chosen(arguments), job):
        rows[sensor].append(row)
    common.keep(rows, arguments.json)
    heads = (("scans", 6), ("σ", 8), ("true", 8), ("÷", 7), ("", 14), ("ℓ", 6), ("true", 6), ("÷", 7), ("", 14), ("none", 6))
    print(f"{'sensor':16s}" + "".join(f"{head:>{width}s}" for head, width in (*heads, ("alone ÷", 9))))
    for sensor, values in sorted(rows.items()):
        sigma, true_sigma, length, true_length, alone = np.array(values).T
        print(
            f"{sensor:16s}{len(values):6d}{np.median(sigma):8.3f}{np.median(true_sigma):8.3f}{spread(sigma / true_sigma)}"
            f"{np.median(length):6.2f}{np.median(true_length):6.2f}{spread(length / np.maximum(true_length, 0.3))}"
            f"{(sigma == 0).sum():6d}{np.median(alone / true_sigma):9.2f}"
        )


def spread(ratios: np.ndarray) -> str:
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
    return f"{middle:7.2f} {f'({low:.2f}–{high:.2f})':13s}"


def measured(cache: Path, split: str, numbers: list[int], job: Job) -> Iterator[tuple[str, float, float, float, float, float]]:
    """Of the scans of these numbers that have a fit: sensor; σ, true σ, ℓ, true ℓ, σ of the scan alone."""
    folder = cache / fits_folder(job, split)
    folder.mkdir(parents=True, exist_ok=True)
    for done, number in enumerate(numbers):
        if done % 20 == 19:
            common.say(f"{done + 1} of {len(numbers)} scans")
        scan = located_scans.generated(cache, split, number, job)
        if scan.location is None:
            continue
        made = kept(folder / f"{number:05d}_{RUN}.pkl", partial(fit_of, scan, RUN, job))
        if isinstance(made, str):
            continue
        fit, located = made[0], scan.location.scan
        found = measured_noise(located, fit.scan_to_model, fit.vertices, job.model, fit.noise_mm)
        truth = true_noise(scan, split, fit, job)
        if found is not None and truth is not None:
            yield scan.truth.sensor, found.sigma_mm, truth.sigma_mm, found.correlation_mm, truth.correlation_mm, fit.noise_mm


def true_noise(scan: located_scans.LocatedScan, split: str, fit: FitResult, job: Job) -> NoiseSpectrum | None:
    """Of the points that the fit's noise is measured from, about the true face; None where too few of them are of it."""
    face, _ = located_scans.face_of(scan.truth.number, split, job)
    points = residuals_on_smooth_skin(scan.location.scan, fit.scan_to_model, fit.vertices, job.model).points
    points = scan.truth.pose.inverse().apply(fit.scan_to_model.inverse().apply(points))
    distance, _ = signed_distances(points, face.skin)
    own = np.abs(distance) < ON_FACE_MM
    for other in face.surroundings:
        own &= surface_distance(points, other) > np.abs(distance) + OCCLUDER_MM
    return noise_spectrum(points[own], distance[own]) if own.any() and own.mean() > OF_FACE else None


if __name__ == "__main__":
    main()
