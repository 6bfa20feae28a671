"""How far registered vertices move when the surface that they are registered to is shaken by less than anyone would notice.

    python benchmarks/registration_stability.py examples/scans

Every vertex of the refined surface gets noise along the view, 0.0001 mm by default: so much may another solver, library or
machine make of it. A registration that turns on thresholds moves single vertices by hundredths of a millimetre.
"""

import common
import numpy as np

from geometry.mesh import TriangleMesh
from geometry.reconstruction.template_registration import register_to_surface
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
    arguments = parser.parse_args()
    job = Job(config.load(settings=arguments.settings))
    print(f"{'scan':44s}{'largest mm':>12s}{'mean mm':>12s}{'vertices > 0.001 mm':>21s}   turned beyond 75°")
    chain = (steps.load, *TO_THE_FIT, lambda state, job: steps.refine([state], job)[0], steps.lift)
    for source in (source for given in arguments.scans for source in listing.list_sources(given)):
        walked = common.walk(chain, ScanState(source), job)
        state, moved = walked.state, []
        if walked.reason:
            print(f"{source.name[-43:]:44s}  {walked.reason[:80]}")
            continue
        for seed in range(arguments.repeat):
            noise = np.random.default_rng(seed).normal(size=state.surface.mesh.vertices.shape) * [0, 0, arguments.noise_mm]
            shaken = state.surface.mesh.with_vertices(state.surface.mesh.vertices + noise)
            again = register_to_surface(job.model, state.fit.vertices, shaken, state.surface.observed, state.refined.chart)
            moved.append(np.linalg.norm(again - state.registered, axis=1))
        shapes = (TriangleMesh(vertices, job.model.triangles) for vertices in (state.fit.vertices, state.registered))
        before, after = (mesh.triangle_area_vectors for mesh in shapes)
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        turned = ((before * after).sum(1) < np.cos(np.radians(75)) * lengths).sum()
        far = np.mean([(distance > 1e-3).sum() for distance in moved])
        print(f"{source.name[-43:]:44s}{np.max(moved):12.5f}{np.mean(moved):12.6f}{far:21.1f}   {turned}", flush=True)


if __name__ == "__main__":
    main()
