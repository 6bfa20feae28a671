"""The noise that is measured of a simulated scan, from what a fit leaves, against its noise about the true face.

    python benchmarks/noise_estimates.py --count 6 --split test

--count scans of every simulated sensor, of a split of the landmarks' set (the estimator's lengths and what it takes for the fit's
own error were chosen on the first six of the validation split), are located, fitted and measured
(geometry/fitting/measured_noise.py). The truth is what the same estimator (geometry/surfaces/noise_spectrum.py) finds in the same
points' distances to the face that was simulated, without points of what hides it. By sensor, medians in mm: standard deviation
and correlation length, estimate and truth, and estimate ÷ truth with the least and the most; `alone`: the same of the estimate
from the scan alone (geometry/surfaces/noise_estimation.py), which the refiner goes on being told.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

import common
import numpy as np
from landmarks import simulated

from geometry.fitting.measured_noise import measured_noise, residuals_on_smooth_skin, signed_distances
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.noise_spectrum import NoiseSpectrum, noise_spectrum
from geometry.synthesis.sensors import SENSORS
from pipeline.scans import chain, config, steps
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState
from pipeline.training.landmark_views import SimulatedScan

SUBJECTS = 1500
OCCLUDER_MM = 2.0  # a point nearer by this to what hides a face than to the face is not of it
ON_FACE_MM = 12.0


def main() -> None:
    parser = common.parser(__doc__, "--set", "--json")
    parser.add_argument("--count", type=int, default=6, help="scans of each sensor; default: %(default)s")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="of the subjects; default: %(default)s")
    arguments = parser.parse_args()
    rows = defaultdict(list)
    for sensor, *row in measured(Job(config.load(settings=arguments.settings)), arguments.count, arguments.split):
        rows[sensor].append(row)
    common.keep(rows, arguments.json)
    heads = (("scans", 6), ("σ", 8), ("true", 8), ("÷", 7), ("", 14), ("ℓ", 6), ("true", 6), ("÷", 7), ("", 14), ("alone ÷", 9))
    print(f"{'sensor':16s}" + "".join(f"{head:>{width}s}" for head, width in heads))
    for sensor, values in sorted(rows.items()):
        sigma, true_sigma, length, true_length, alone = np.array(values).T
        print(
            f"{sensor:16s}{len(values):6d}{np.median(sigma):8.3f}{np.median(true_sigma):8.3f}{spread(sigma / true_sigma)}"
            f"{np.median(length):6.2f}{np.median(true_length):6.2f}{spread(length / np.maximum(true_length, 0.3))}"
            f"{np.median(alone / true_sigma):9.2f}"
        )


def spread(ratios: np.ndarray) -> str:
    return f"{np.median(ratios):7.2f} {f'({ratios.min():.2f}–{ratios.max():.2f})':13s}"


def measured(job: Job, count: int, split: str) -> Iterator[tuple[str, float, float, float, float, float]]:
    """Of the first `count` scans of every sensor that are fitted: sensor; σ, true σ, ℓ, true ℓ, σ of the scan alone."""
    have: Counter[str] = Counter()
    for made in simulated(SUBJECTS, split):
        if have[made.sensor] >= count:
            continue
        walk = common.walk((*chain.TO_THE_HEAD, steps.fit), ScanState.of(made.scan), job)
        if walk.reason:
            continue
        scan, fit = walk.state.location.scan, walk.state.fit
        found = measured_noise(scan, fit.scan_to_model, fit.vertices, job.model, fit.noise_mm)
        points = residuals_on_smooth_skin(scan, fit.scan_to_model, fit.vertices, job.model).points
        truth = true_noise(made, fit.scan_to_model.inverse().apply(points))
        if found is None or truth is None:
            continue
        have[made.sensor] += 1
        common.say(f"{made.sensor}: {have[made.sensor]} of {count}")
        yield made.sensor, found.sigma_mm, truth.sigma_mm, found.correlation_mm, truth.correlation_mm, fit.noise_mm
        if len(have) == len(SENSORS) and min(have.values()) >= count:
            return


def true_noise(made: SimulatedScan, points: np.ndarray) -> NoiseSpectrum | None:
    """Of points (p, 3) in the sensor's frame."""
    points = made.pose.inverse().apply(points)
    distance, _ = signed_distances(points, made.face.skin)
    own = np.abs(distance) < ON_FACE_MM
    for other in made.face.surroundings:
        own &= surface_distance(points, other) > np.abs(distance) + OCCLUDER_MM
    return noise_spectrum(points[own], distance[own])


if __name__ == "__main__":
    main()
