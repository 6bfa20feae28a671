"""Where `refine: smooth`'s width comes from: error on synthetic validation pairs for each width per mm of noise, over
the pixels that the fit knows and that the scan sees within 15 mm of the truth.

python benchmarks/smooth_width.py runs/pairs/validation-*.tfrecord.gz
"""

from collections import defaultdict
from dataclasses import replace

import common
import numpy as np
from refinement_cases import near_fit, pair_error, pairs_of

from geometry.charts.geometry_image import channel_normals
from geometry.refinement import baselines

WIDTHS = (2.0, 4.0, 6.0, 8.0, 10.0, 14.0, 20.0)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("records", nargs="+")
    table = defaultdict(list)
    for pair in pairs_of(parser.parse_args().records):
        pair = replace(pair, observed=pair.coarse.valid_mask & near_fit(pair.truth, pair.scan))
        surfaces = {"coarse": pair.coarse}
        for width in WIDTHS:
            baselines.MM_PER_NOISE = width
            surfaces[f"{width:g} mm a mm of noise"] = baselines.smooth_refine(pair.coarse, pair.scan)
        for name, image in surfaces.items():
            table[name].append(pair_error(image["depth"], channel_normals(image), pair))
    for name, rows in table.items():
        depth, angle = np.mean(rows, axis=0)
        print(f"{name:24s} {depth:8.3f} mm {angle:8.2f}°   of {len(rows)} pairs")


if __name__ == "__main__":
    main()
