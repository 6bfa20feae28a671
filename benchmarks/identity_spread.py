"""How far the identity shapes of several scans of one person differ, in mm.

    python -m pipeline.run --input ../shared/scans/truedepth_mannequin --output runs/mannequin
    python benchmarks/identity_spread.py runs/mannequin

The shape of a scan is model.instance(identity_coefficients) without expression; the spread is, per vertex of the
model's face region, the root mean square distance from the mean shape over the scans. Given are the raw figure, in
the model frame, and the figure after a rigid alignment of each shape to their mean: the first also holds rotations
that the identity modes take from the pose. Where the run holds scans of other people
(`--people`; a run of ../shared/scans does), their shapes' spread is given beside it, so that a fit that answers the mean
face to everyone does not shine.
"""

import fnmatch
import pathlib

import common
import numpy as np

from geometry.model.registry import load_model
from geometry.transforms import SimilarityTransform

PEOPLE = ["*single/*", "*registered_arbitrary_pose/*", "*kinect_000.png", "*fused_reference.ply"]  # of ../shared/scans


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("output", type=pathlib.Path, help="a run's OUT")
    parser.add_argument("--model", help="model name or file (default: the run's)")
    sources = "glob of the sources to compare (default: the mannequin's frames)"
    parser.add_argument("--sources", default="*frame-*.png", help=sources)
    parser.add_argument("--people", nargs="*", default=PEOPLE, help="globs of the sources of different people, one scan of each")
    arguments = parser.parse_args()
    lines = [line for line in common.manifest(arguments.output) if fnmatch.fnmatch(line["source"], arguments.sources)]
    fits = {line["source"]: common.fit_of(arguments.output, line) for line in lines if line["status"] == "ok"}
    missing = [f"{line['source']} ({line['status']})" for line in lines if line["status"] != "ok"]
    if len(fits) < 2:
        raise SystemExit(f"{len(fits)} ok scans under {arguments.output}; a spread needs at least 2")
    model = load_model(arguments.model) if arguments.model else common.model_of(arguments.output)
    shapes = np.stack([model.instance(np.array(fit["identity_coefficients"])) for fit in fits.values()])
    face = model.regions["face"]
    raw, aligned = deviations(shapes, face), deviations(aligned_shapes(shapes, face), face)
    print(f"{'scan':44s}{'deviation mm':>14s}{'aligned mm':>12s}{'fit quality':>13s}   (RMS over the face region)")
    for row, (source, fit) in enumerate(fits.items()):
        rms = [np.sqrt((part[row] ** 2).mean()) for part in (raw, aligned)]
        print(f"{source[-43:]:44s}{rms[0]:14.3f}{rms[1]:12.3f}{fit['fit_quality']:13.2f}")
    for name, part in (("spread", raw), ("spread, aligned", aligned)):
        per_vertex = np.sqrt((part**2).mean(0))
        mean, ninety, largest = per_vertex.mean(), np.percentile(per_vertex, 90), per_vertex.max()
        print(f"{name}: mean {mean:.3f} mm, 90 % {ninety:.3f} mm, largest {largest:.3f} mm")
    among = people(arguments.output, arguments.people)
    if len(among) > 2:
        others = np.stack([model.instance(np.array(fit["identity_coefficients"])) for fit in among])
        wide = root_mean_square(deviations(aligned_shapes(others, face), face))
        own = root_mean_square(aligned)
        print(f"spread, aligned, RMS {own:.3f} mm; of {len(among)} people {wide:.3f} mm: {own / wide:.2f} of it")
    from_mean = np.linalg.norm(shapes.mean(0) - model.mean, axis=1)[face].mean()
    print(f"for comparison, their mean shape lies {from_mean:.3f} mm from the model's mean ({len(fits)} scans)")
    if missing:
        print("without: " + ", ".join(missing))


def people(output: pathlib.Path, globs: list[str]) -> list[dict]:
    """The fits of a run's scans that end ok and match one of the globs."""
    lines = [line for line in common.manifest(output) if line["status"] == "ok"]
    return [common.fit_of(output, line) for line in lines if any(fnmatch.fnmatch(line["source"], glob) for glob in globs)]


def root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def deviations(shapes: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Shapes (k, n, 3) → distance of each from their mean, (k, f) over the face region's vertices."""
    return np.linalg.norm(shapes - shapes.mean(0), axis=2)[:, face]


def aligned_shapes(shapes: np.ndarray, face: np.ndarray, rounds: int = 3) -> np.ndarray:
    """Each shape moved rigidly onto the mean, fitted over the face region (generalized Procrustes without scale)."""
    for _ in range(rounds):
        mean = shapes.mean(0)
        shapes = np.stack(
            [SimilarityTransform.umeyama(shape[face], mean[face], with_scale=False).apply(shape) for shape in shapes]
        )
    return shapes


if __name__ == "__main__":
    main()
