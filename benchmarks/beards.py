"""Whether a fit tells a thick beard from a chin.

    python benchmarks/beards.py --count 200                     # the shipped weights, on faces that chose nothing
    python benchmarks/beards.py --count 200 --calibrate         # weights anew, on other faces; prints them

--count scans of simulated faces, every second with a beard or stubble of 0.3 to 6 mm, by all sensors amid hair, glasses, hands
and walls as in training, are fitted from near their true pose. A beard is thick where it raises the chin by 2 mm or more; scans
that do not show the chin do not count, nor do refused fits. Shares are weighted as if one face in seven had a beard, as in
training data. The last table is of beards by thickness: how far the fit's chin stands before the true skin, and what it states
for that.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import common
import numpy as np
from judged_fits import most_likely
from located_scans import seen
from scipy.spatial import cKDTree

from geometry.errors import FaceReliefError
from geometry.fitting.beard import THICK_MM, BeardSigns, beard_terms, thick_beard_probability
from geometry.mesh import TriangleMesh
from geometry.synthesis import faces, sensors
from pipeline.scans.job import Job
from pipeline.training import sampled_pairs
from pipeline.training.config import PairOptions, SynthesisConfig

CALIBRATION, REPORTED = 41, 42  # seeds: of the faces that the weights are made of, and of those that are reported
HALF = 0.5  # share of the simulated faces with a beard
USUAL = faces.SynthesisOptions().beard_share
CHIN = slice(6, 11)  # of ibug68
RIDGE = np.array([1.0, 1.0, 1.0, 1e-3])
EDGES = (0.0, 0.3, 1.0, 2.0, 3.0, 4.0, 20.0)


@dataclass(frozen=True)
class Judged:
    """A fit's signs of a beard; raised_mm: the true chin by a beard; before_mm: the fit's chin before the true skin below it,
    mean over the chin's landmarks along the fit's normals; sigma_mm: what the fit states there."""

    signs: BeardSigns
    raised_mm: float
    before_mm: float
    sigma_mm: float

    @property
    def weight(self) -> float:
        """By which bearded faces become as rare as they are."""
        return USUAL / HALF if self.raised_mm > 0 else (1 - USUAL) / (1 - HALF)

    @property
    def thick(self) -> bool:
        return self.raised_mm >= THICK_MM


def main() -> None:
    parser = common.parser(__doc__, "--json")
    parser.add_argument("--count", type=int, default=200, help="scans; default: %(default)s")
    parser.add_argument("--calibrate", action="store_true", help="fit the weights anew, on other faces, and print them")
    arguments = parser.parse_args()
    rows = list(judged(arguments.count, CALIBRATION if arguments.calibrate else REPORTED))
    if arguments.calibrate:
        weights = calibrated(rows)
        thick = np.array([row.raised_mm for row in rows if row.thick])
        print(f"BIAS, WEIGHTS = {weights[-1]:.3f}, {np.round(weights[:-1], 3).tolist()}")
        print(f"root mean square of what thick beards raise: {np.sqrt((thick**2).mean()):.2f} mm")
        found = 1 / (1 + np.exp(-design(rows) @ weights))
    else:
        found = np.array([thick_beard_probability(row.signs) for row in rows])
    print("\n".join([*called(rows, found), "", *by_thickness(rows, found)]))
    common.keep([[row.raised_mm, float(p)] for row, p in zip(rows, found)], arguments.json)


def judged(count: int, seed: int) -> Iterator[Judged]:
    """Of `count` faces, those whose chin the scan shows and whose fit a run accepts."""
    options = PairOptions(start="perturbed", faces=replace(faces.SynthesisOptions(), beard_share=HALF))
    job = Job(SynthesisConfig(pairs=options))
    chin = job.model.landmarks["ibug68"][CHIN]
    for number in range(count):
        common.say(f"{number + 1} of {count}")
        rng = faces.generator(seed, 0, number)
        face = faces.sample_face(job.model, rng, options.faces)
        sensor = sampled_pairs.choose_sensor(options, rng)
        pose = sensors.sample_pose(sensor, rng, options.poses)
        scan = sampled_pairs.observe(face.skin, face, sensor, pose, options, rng)
        shown = seen(pose.apply(face.landmarks[CHIN]), face, pose, scan)
        if shown.sum() < 3:
            continue
        try:
            fit = sampled_pairs.fitted(scan, pose, job, rng).fit
        except FaceReliefError:
            continue
        near = cKDTree(face.mesh.vertices).query(face.mesh.vertices[chin], k=60)[1]
        raised = face.displacement[near].mean(axis=1)
        skin = fit.scan_to_model.apply(pose.apply(face.landmarks[CHIN]))
        normals = TriangleMesh(fit.vertices, job.model.triangles).vertex_normals[chin]
        before = ((fit.vertices[chin] - skin) * normals).sum(axis=1) + raised
        yield Judged(fit.beard, float(raised.mean()), float(before[shown].mean()), float(fit.posterior.sigma_mm[chin].mean()))


def design(rows: list[Judged]) -> np.ndarray:
    """(n, 4) the terms and 1."""
    return np.array([[*beard_terms(row.signs), 1.0] for row in rows])


def calibrated(rows: list[Judged]) -> np.ndarray:
    """(4,) weights of the terms, each of the sign that speaks for a beard, and the bias."""
    weight = np.array([row.weight for row in rows])
    outcomes = np.array([row.thick for row in rows])
    bounds = [(0, None)] * 3 + [(None, None)]
    return most_likely(design(rows), outcomes, RIDGE, bounds, weight)


def called(rows: list[Judged], found: np.ndarray) -> list[str]:
    """Of scans called so likely bearded, how many are."""
    thick, weight = np.array([row.thick for row in rows]), np.array([row.weight for row in rows])
    lines = [f"{'called with':16s}{'scans':>7s}{'mean p':>9s}{'thick':>9s}"]
    for low, high in ((0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        part = (found >= low) & (found < high + 1e-9 * (high >= 1))
        if part.any():
            means = [np.average(values[part], weights=weight[part]) for values in (found, thick)]
            lines.append(f"{f'{low:.2f} to {high:.2f}':16s}{part.sum():7d}{means[0]:9.2f}{means[1]:9.2f}")
    sure = found >= 0.5
    told, right = weight[thick & sure].sum() / weight[thick].sum(), weight[thick & sure].sum() / max(weight[sure].sum(), 1e-9)
    return [*lines, f"called bearded from 0.5: {100 * told:.0f} % of thick beards; {100 * right:.0f} % of what is called is one"]


def by_thickness(rows: list[Judged], found: np.ndarray) -> list[str]:
    """Of beards by thickness: how many are told, and how far the fit's chin is off."""
    lines = [f"{'raised mm':12s}{'scans':>7s}{'told':>8s}{'chin before skin, mm':>24s}{'stated':>9s}"]
    raised = np.array([row.raised_mm for row in rows])
    for low, high in [(-1.0, 1e-9), *zip(EDGES, EDGES[1:])]:
        part = (raised > low) & (raised <= high)
        if part.any():
            before = np.array([row.before_mm for row in rows])[part]
            stated = np.mean([row.sigma_mm for row, own in zip(rows, part) if own])
            told = (found[part] >= 0.5).mean()
            name = "none" if high < 1e-6 else f"{low:g} to {high:g}"
            lines.append(f"{name:12s}{part.sum():7d}{100 * told:6.0f} %{np.sqrt((before**2).mean()):24.2f}{stated:9.2f}")
    return lines


if __name__ == "__main__":
    main()
