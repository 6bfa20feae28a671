"""How far registered vertices move when the surface that they are registered to is shaken by less than anyone would notice.

    python benchmarks/registration_stability.py examples/scans

Every vertex of the refined surface gets noise along the view, 0.0001 mm by default: so much may another solver, library or
machine make of it. A registration that turns on thresholds moves single vertices by hundredths of a millimetre.
"""

from dataclasses import replace
from functools import partial

import common
import numpy as np

from geometry.mesh import TriangleMesh
from geometry.reconstruction.reconstruct import image_target
from geometry.reconstruction.template_registration import RegistrationOptions, register_to_targets
from pipeline.inputs import listing
from pipeline.scans import config, steps
from pipeline.scans.chain import TO_THE_FIT
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState


def main() -> None:
    parser = common.parser(__doc__, "--set")
    parser.add_argument("scans", nargs="*", default=[str(common.ROOT / "examples" / "scans")], help="files or folders")
    parser.add_argument("--noise-mm", type=float, default=1e-4)
    parser.add_argument("--repeat", type=int, default=6)
    parser.add_argument(
        "--facing", type=float, nargs=2, default=RegistrationOptions().facing, help="cosines; default: %(default)s"
    )
    parser.add_argument(
        "--turned", type=float, nargs=2, default=RegistrationOptions().turned_deg, help="degrees; default: %(default)s"
    )
    arguments = parser.parse_args()
    options = RegistrationOptions(facing=tuple(arguments.facing), turned_deg=tuple(arguments.turned))
    job = Job(config.load(settings=arguments.settings))
    print(f"{'scan':44s}{'largest mm':>12s}{'mean mm':>12s}{'vertices > 0.001 mm':>21s}   turned beyond 75°")
    everywhere: list[np.ndarray] = []
    chain = (steps.load, *TO_THE_FIT, lambda state, job: steps.refine([state], job)[0], steps.lift)
    for source in (source for given in arguments.scans for source in listing.list_sources(given)):
        walked = common.walk(chain, ScanState(source), job)
        state, moved = walked.state, []
        if walked.reason:
            print(f"{source.name[-43:]:44s}  {walked.reason[:80]}")
            continue
        front, chart = image_target(state.surfaces.lifted, state.refined, state.fit), state.refined.chart
        register = partial(register_to_targets, job.model, state.fit.vertices, chart=chart, options=options)
        still = register(front=front)
        for seed in range(arguments.repeat):
            noise = np.random.default_rng(seed).normal(size=front.mesh.vertices.shape) * [0, 0, arguments.noise_mm]
            shaken = replace(front, mesh=front.mesh.with_vertices(front.mesh.vertices + noise))
            moved.append(np.linalg.norm(register(front=shaken) - still, axis=1))
        shapes = (TriangleMesh(vertices, job.model.triangles) for vertices in (state.fit.vertices, still))
        before, after = (mesh.triangle_area_vectors for mesh in shapes)
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        turned = ((before * after).sum(1) < np.cos(np.radians(75)) * lengths).sum()
        far, everywhere = (np.array(moved) > 1e-3).sum(), everywhere + moved
        print(f"{source.name[-43:]:44s}{np.max(moved):12.5f}{np.mean(moved):12.6f}{far:21d}   {turned}", flush=True)
    if everywhere:
        far = (np.concatenate(everywhere) > 1e-3).sum()
        print(f"{f'all {len(everywhere)} registrations':44s}{max(map(np.max, everywhere)):12.5f}{'':12s}{far:21d}")


if __name__ == "__main__":
    main()
