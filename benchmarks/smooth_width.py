"""Where `refine: smooth`'s width comes from: error on synthetic validation pairs for each width per mm of noise.

python benchmarks/smooth_width.py runs/pairs/validation-*.tfrecord.gz
"""

import common
import numpy as np

from geometry.charts import chart as charts
from geometry.charts.geometry_image import CHANNELS, GeometryImage, channel_normals
from geometry.refinement import baselines
from pipeline.store import tfrecord

WIDTHS = (2.0, 4.0, 6.0, 8.0, 10.0, 14.0, 20.0)


def image(example: dict, group: str, extra: tuple[str, ...] = ()) -> GeometryImage:
    """One group of a training record as a GeometryImage."""
    shape = tuple(int(side) for side in example["shape"])
    channels = {name: np.asarray(example[f"{group}/{name}"], np.float32).reshape(shape) for name in (*CHANNELS, *extra)}
    mask = np.asarray(example[f"{group}/valid_mask"]).reshape(shape) > 0.5
    chart = example["chart"][0]
    return GeometryImage(channels, mask, charts.from_json(chart.decode() if isinstance(chart, bytes) else chart))


def errors(refined: GeometryImage, truth: GeometryImage, scan: GeometryImage) -> tuple[float, float]:
    """Mean depth error (mm) and normal angle (degrees) over the pixels that the scan sees within 15 mm of the truth."""
    seen = refined.valid_mask & truth.valid_mask & scan.valid_mask & (np.abs(scan["depth"] - truth["depth"]) < 15)
    cosine = (channel_normals(refined) * channel_normals(truth)).sum(-1)[seen]
    depth = np.abs(refined["depth"] - truth["depth"])[seen]
    return float(depth.mean()), float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("records", nargs="+")
    arguments = parser.parse_args()
    table: dict[str, list[tuple[float, float]]] = {}
    for path in arguments.records:
        for data in tfrecord.read_tfrecord(path):
            example = tfrecord.decode_example(data)
            coarse, truth = image(example, "coarse"), image(example, "truth")
            scan = image(example, "scan", ("noise_sigma",))
            table.setdefault("coarse", []).append(errors(coarse, truth, scan))
            for width in WIDTHS:
                baselines.MM_PER_NOISE = width
                table.setdefault(f"{width:g} mm a mm of noise", []).append(
                    errors(baselines.smooth_refine(coarse, scan), truth, scan)
                )
    for name, rows in table.items():
        depth, angle = np.mean(rows, axis=0)
        print(f"{name:24s} {depth:8.3f} mm {angle:8.2f}°   of {len(rows)} pairs")


if __name__ == "__main__":
    main()
