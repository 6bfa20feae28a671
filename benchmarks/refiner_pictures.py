"""Pictures of good, typical and worst refinements: scan | coarse | refined | truth | error, a row per test pair.

    python benchmarks/refiner_pictures.py --pairs 'runs/pairs/test-*.tfrecord.gz' --output docs/images/refiner.png

Pairs are ordered by the refined surface's mean depth error over the observed pixels, relative to the better of scan and coarse:
the first two, the two about the median and the last two are shown, with their figures on standard output.
"""

import pathlib

import common
import numpy as np
from PIL import Image
from refinement_cases import Pair, pairs_of

from gan import layout
from gan.refiner import samples
from gan.refiner.inference import Refiner
from geometry.charts.geometry_image import GeometryImage, channel_normals
from geometry.refinement.contradiction_gate import replace_contradicted


def row(pair: Pair, refined: GeometryImage) -> np.ndarray:
    """(h, 5 w, 3) uint8."""
    x = {"coarse": layout.pack_coarse(pair.coarse)[None], "scan": layout.pack_scan(pair.coarse, pair.scan)[None]}
    truth = layout.pack_truth(pair.coarse, pair.truth)[None]
    predicted = {
        "depth": (refined["depth"] - pair.coarse["depth"])[None, ..., None] * x["coarse"][..., -1:],
        "normals": channel_normals(refined)[None].astype(np.float32),
    }
    return np.concatenate(samples.panels(x, truth, predicted, pair.coarse.chart.pixel_mm), axis=1)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--pairs", required=True, help="glob of test records")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--output", type=pathlib.Path, default=common.ROOT / "docs" / "images" / "refiner.png")
    arguments = parser.parse_args()
    refiner, found = Refiner(arguments.weights, batch_size=1), []
    for pair in pairs_of([arguments.pairs], arguments.limit):
        refined = replace_contradicted(pair.coarse, pair.scan, refiner.refine([(pair.coarse, pair.scan)])[0])
        errors = {
            name: float(np.abs(image["depth"] - pair.truth["depth"])[pair.observed].mean())
            for name, image in (("coarse", pair.coarse), ("scan", pair.scan), ("refined", refined))
        }
        ratio = errors["refined"] / min(errors["coarse"], errors["scan"])
        found.append((ratio, pair.name, pair.sensor, errors, row(pair, refined)))
    found.sort(key=lambda item: item[0])
    middle = len(found) // 2
    chosen = [found[k] for k in (0, 1, middle - 1, middle, -2, -1)]
    for ratio, name, sensor, errors, _ in chosen:
        figures = "  ".join(f"{key} {value:.3f} mm" for key, value in errors.items())
        print(f"{name} {sensor:16s} {figures}  ratio {ratio:.2f}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([picture for *_, picture in chosen])).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
