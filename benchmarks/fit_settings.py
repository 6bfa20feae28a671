"""Where the fit's settings come from: truth → coarse distance on simulated scans of sampled faces, for each setting.

    python benchmarks/fit_settings.py --faces 6 --set damping=0.007 --set damping=0.001,unshown_mm4=0.5

The faces and sensors are `pipeline.synthesize`'s (seed of their own), never the real scans or the bench: settings are
chosen here and reported there. Distance: vertices of the true skin that the scan could see, within 85 mm of the nose.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import common
import numpy as np

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.triangulation import surface_of
from geometry.synthesis import sensors
from geometry.synthesis.faces import generator, sample_face
from geometry.transforms import SimilarityTransform
from pipeline.scans import chain, config, steps
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState
from pipeline.training.config import PairOptions
from pipeline.training.sampled_pairs import perturbed_inverse

SENSORS = ("clean_mesh", "truedepth", "kinect_v1", "time_of_flight")
SEED = 20_000
FROM_ITS_START = "locate.method=pose_search"  # the start is known: no network is asked
UNFITTED_MM = 20.0  # stands for a fit that fails


@dataclass(frozen=True)
class Case:
    """A simulated scan, located where it truly is but for a few degrees and mm; skin: the truth in the scan's frame; pose: from
    the model's frame to the scan's."""

    sensor: str
    state: ScanState
    skin: TriangleMesh
    pose: SimilarityTransform


def cases(model: MorphableModel, faces: int) -> Iterator[Case]:
    options, job = PairOptions(), Job(config.load(settings=[FROM_ITS_START]))
    for number in range(faces):
        for sensor in SENSORS:
            rng = generator(SEED, 1, number)
            face = sample_face(model, rng, options.faces, person=generator(SEED, 0, number))
            pose = sensors.sample_pose(sensors.SENSORS[sensor], rng, options.poses)
            scan = sensors.observe(face.skin, sensors.SENSORS[sensor], pose, rng)
            state = ScanState.of(scan, perturbed_inverse(pose, options, rng))
            skin = TriangleMesh(pose.apply(face.mesh.vertices), face.mesh.triangles)
            yield Case(sensor, chain.through(chain.TO_THE_HEAD, state, job), skin, pose)


def error(case: Case, job: Job) -> float:
    """Mean distance in mm from the seen part of the true skin to the fitted model."""
    found = common.walk((steps.fit,), case.state, job)
    if found.reason:
        return UNFITTED_MM
    fit = found.state.fit
    coarse = TriangleMesh(fit.scan_to_model.inverse().apply(fit.vertices), job.model.triangles)
    near = np.linalg.norm(case.skin.vertices - case.pose.apply(np.zeros((1, 3))), axis=1) < 85
    chosen = np.random.default_rng(0).choice(np.flatnonzero(near), min(4000, int(near.sum())), replace=False)
    points = case.skin.vertices[chosen]
    seen = surface_distance(points, surface_of(case.state.location.scan)) < 3.0
    return float(surface_distance(points[seen], coarse).mean())


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--faces", type=int, default=6)
    parser.add_argument("--set", action="append", default=[], dest="settings", help="key=value,… of the section fit; repeatable")
    arguments = parser.parse_args()
    prepared = list(cases(Job(config.load()).model, arguments.faces))
    print(f"{'mean mm, ' + str(arguments.faces) + ' faces':50s}" + "".join(f"{name:>16s}" for name in SENSORS))
    for text in ["", *arguments.settings]:
        job = Job(config.load(settings=[f"fit.{item}" for item in text.split(",") if item]))
        means = [np.mean([error(case, job) for case in prepared if case.sensor == name]) for name in SENSORS]
        print(f"{text or 'default':50s}" + "".join(f"{mean:16.3f}" for mean in means), flush=True)


if __name__ == "__main__":
    main()
