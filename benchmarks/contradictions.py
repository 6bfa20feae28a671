"""What the do-no-harm gate does: to a surface that is true, and where the scan shows nothing.

    python benchmarks/contradictions.py --count 4

--count scans of faces by every simulated sensor, bare ones and then with hair, beards, glasses and hands as in training, are
fitted from near their true pose, encoded and refined. By sensor:

replaced: percent of what the scan shows where the gate replaces the true surface, when that claims σ = 0.05 mm: mean, most of
    a scan.
unseen: where the scan shows nothing, mm in depth along the ray and degrees between normals, of the coarse surface, the network's
    prediction and what the gate makes of it; truths more than 10 mm from the fit (another surface at a silhouette) do not count.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import common
import numpy as np

from gan.refiner.inference import Refiner
from geometry.charts.geometry_image import GeometryImage, channel_normals
from geometry.charts.rasterize import rasterize
from geometry.errors import FaceReliefError
from geometry.mesh import TriangleMesh
from geometry.refinement.contradiction_gate import replace_contradicted
from geometry.synthesis import faces, sensors
from pipeline.scans.job import Job
from pipeline.training import sampled_pairs
from pipeline.training.config import PairOptions, SynthesisConfig

SURE_MM = 0.05
OTHER_SURFACE_MM = 10.0
BARE = faces.SynthesisOptions(hair_share=0.0, beard_share=0.0, glasses_share=0.0, hand_share=0.0)


def main() -> None:
    parser = common.parser(__doc__, "--json")
    parser.add_argument("--count", type=int, default=4, help="scans of each sensor; default: %(default)s")
    parser.add_argument(
        "--seed", type=int, default=12, help="of the scans; the gate was made on 7, 11, 101; default: %(default)s"
    )
    arguments = parser.parse_args()
    refiner, kept = Refiner("default", batch_size=1), {}
    clothed = PairOptions(start="perturbed")
    bare = replace(clothed, wall_share=0.0, shoulders_share=0.0, faces=BARE)
    for name, options in (("bare faces", bare), ("as in training", clothed)):
        rows = defaultdict(list)
        for sensor, coarse, scan, truth in encoded(options, arguments.count, arguments.seed):
            refined = refiner.refine([(coarse, scan)])[0]
            rows[sensor].append([share_replaced(coarse, scan, truth), *unseen_errors(coarse, scan, refined, truth)])
        kept[name] = rows
        print(f"\n{name:16s}scans  replaced: mean, most   unseen: coarse    predicted  carried on")
        for sensor, values in [*rows.items(), ("all", sum(rows.values(), []))]:
            mean = np.nanmean(values, axis=0)
            cells = "".join(f"{mean[k]:8.3f}/{mean[k + 1]:4.1f}" for k in (1, 3, 5))
            print(f"{sensor:16s}{len(values):5d}{mean[0]:12.2f}{np.max(values, axis=0)[0]:8.1f}     {cells}")
    common.keep(kept, arguments.json)


def encoded(options: PairOptions, count: int, seed: int) -> Iterator[tuple[str, GeometryImage, GeometryImage, GeometryImage]]:
    """Sensor, coarse, scan and truth of `count` scans of each sensor."""
    job = Job(SynthesisConfig(pairs=options))
    for place, (name, sensor) in enumerate(sensors.SENSORS.items()):
        have = number = 0
        while have < count:
            number += 1
            rng = faces.generator(seed, place, number)
            face = faces.sample_face(job.model, rng, options.faces)
            pose = sensors.sample_pose(sensor, rng, options.poses)
            scan = sampled_pairs.observe(face.skin, face, sensor, pose, options, rng)
            try:
                state = sampled_pairs.fitted(scan, pose, job, rng)
            except FaceReliefError:
                continue
            vertices = state.fit.scan_to_model.compose(pose).apply(face.mesh.vertices)
            truth = rasterize(TriangleMesh(vertices, face.mesh.triangles), job.chart, face.excluded)
            have += 1
            common.say(f"{name}: {have} of {count}")
            yield name, state.encoding.coarse, state.encoding.scan, truth


def share_replaced(coarse: GeometryImage, scan: GeometryImage, truth: GeometryImage) -> float:
    """Percent of the pixels that the scan and the truth share."""
    sure = truth.with_channel("sigma_mm", np.full(truth.shape, SURE_MM))
    return 100 * float(replace_contradicted(coarse, scan, sure)["fallback"][scan.valid_mask & truth.valid_mask].mean())


def unseen_errors(coarse: GeometryImage, scan: GeometryImage, refined: GeometryImage, truth: GeometryImage) -> list[float]:
    """mm and degrees of coarse, refined, gated."""
    counted = coarse.valid_mask & truth.valid_mask & ~scan.valid_mask
    counted &= np.abs(truth["depth"] - coarse["depth"]) < OTHER_SURFACE_MM
    found = []
    for image in (coarse, refined, replace_contradicted(coarse, scan, refined)):
        cosine = (channel_normals(image) * channel_normals(truth)).sum(axis=2)[counted]
        found.append(np.abs(image["depth"] - truth["depth"])[counted].mean())
        found.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())
    return [float(value) for value in found]


if __name__ == "__main__":
    main()
