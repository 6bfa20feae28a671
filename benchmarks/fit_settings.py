"""Where the fit's settings come from: truth → coarse distance on simulated scans of sampled faces, for each setting.

    python benchmarks/fit_settings.py --faces 6 --set slide_mm=1 --set slide_mm=2,noise_floor_mm=0.15

The faces and sensors are `pipeline.synthesize`'s (seed of their own), never the real scans or the bench: settings are
chosen here and reported there. Distance: vertices of the true skin that the scan could see, within 85 mm of the nose.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np

from geometry.errors import FaceReliefError
from geometry.fitting import staged_fit
from geometry.fitting.options import FittingOptions
from geometry.locating import candidates, cleaning, pose_search
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.model.registry import load_model
from geometry.surfaces import closest_point, normals
from geometry.synthesis import sensors
from geometry.synthesis.faces import generator, sample_face
from pipeline.training.sampled_pairs import PairOptions, perturbed_inverse

SENSORS = ("clean_mesh", "truedepth", "kinect_v1", "time_of_flight")
SEED = 20_000


def cases(model, faces: int):
    """(sensor, Location, the true skin in the scan's frame) of each simulated scan."""
    options = PairOptions()
    for number in range(faces):
        for sensor in SENSORS:
            rng = generator(SEED, 1, number)
            face = sample_face(model, rng, options.faces, person=generator(SEED, 0, number))
            pose = sensors.sample_pose(sensors.SENSORS[sensor], rng, options.poses)
            scan = normals.with_normals(cleaning.clean(sensors.observe(face.skin, sensors.SENSORS[sensor], pose, rng)))
            start = perturbed_inverse(pose, options, rng)
            head = candidates.cropped(scan, start, pose_search.LocatingOptions().head_radius_mm)
            yield sensor, Location(head, start, 1.0), TriangleMesh(pose.apply(face.mesh.vertices), face.mesh.triangles), pose


def error(location: Location, skin: TriangleMesh, pose, model, options: FittingOptions) -> float:
    """Mean distance in mm from the seen part of the true skin to the fitted model."""
    fit = staged_fit.fit(location, model, options)
    coarse = TriangleMesh(fit.scan_to_model.inverse().apply(fit.vertices), model.triangles)
    near = np.linalg.norm(skin.vertices - pose.apply(np.zeros((1, 3))), axis=1) < 85
    chosen = np.random.default_rng(0).choice(np.flatnonzero(near), min(4000, int(near.sum())), replace=False)
    points = skin.vertices[chosen]
    seen = closest_point.surface_distance(points, _surface(location)) < 3.0
    return float(closest_point.surface_distance(points[seen], coarse).mean())


def _surface(location: Location) -> TriangleMesh:
    from geometry.surfaces.triangulation import surface_of

    return surface_of(location.scan)


def settings_of(text: str) -> dict[str, float]:
    return {key: float(value) for key, value in (item.split("=") for item in text.split(",") if item)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=6)
    parser.add_argument("--set", action="append", default=[], dest="settings", help="key=value,… of FittingOptions; repeatable")
    arguments = parser.parse_args()
    model = load_model("default")
    prepared = list(cases(model, arguments.faces))
    print(f"{'mean mm, ' + str(arguments.faces) + ' faces':50s}" + "".join(f"{name:>16s}" for name in SENSORS))
    for text in ["", *arguments.settings]:
        options = dataclasses.replace(FittingOptions(), **settings_of(text))
        found: dict[str, list[float]] = {name: [] for name in SENSORS}
        for sensor, location, skin, pose in prepared:
            try:
                found[sensor].append(error(location, skin, pose, model, options))
            except FaceReliefError:
                found[sensor].append(20.0)
        print(f"{text or 'default':50s}" + "".join(f"{np.mean(found[name]):16.3f}" for name in SENSORS), flush=True)


if __name__ == "__main__":
    main()
