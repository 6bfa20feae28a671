"""Count triangles of a model's faces that pass through each other, over its blendshapes and over sampled faces.

    python benchmarks/self_intersections.py --model default --faces 500 --seed 1

Counted are pairs of triangles without a common vertex, in and about the face: within the skin (of these, at the mouth, at the
eyes, and elsewhere); of the eyeballs with the skin or themselves; and of the linings of mouth and nostrils, with the pits that
close these, with any of all. The first table is of the mean: neutral, then every blendshape at weight 1, alone and with
`jawOpen`. The second is of sampled faces, each with every expression named at its left: the mean count, and below it how many
faces have any. Identities are N(0, 1) in every mode. A sampled expression is one of synthesis (geometry/synthesis/faces.py): as
drawn, but only as far as skin meets skin, under `jawOpen` = 1 with the jaw held. So its rows say that the sampler keeps skin from
skin; what the model does of itself is in the rows of expressions as drawn.
`mouthClose` means something only on top of `jawOpen`; synthesis holds it to at most jawOpen's weight.
"""

import common
import numpy as np
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.model.registry import load_model
from geometry.surfaces.self_intersection import intersecting_triangles
from geometry.synthesis.faces import SynthesisOptions, drawn_expression
from geometry.synthesis.skin_contact import until_skin_meets

SKIN, BALL, LINING = range(3)
EYE_MM = 12.0  # from the eyes' landmarks
HEAD = f"{'':34s}{'skin':>8s}{'mouth':>8s}{'eyes':>8s}{'other':>8s}{'eyeball':>9s}{'lining':>8s}"


class Counter:
    """Counts pairs of a model's triangles, in and about its face, that intersect."""

    def __init__(self, model: MorphableModel) -> None:
        near = np.zeros(model.n_vertices, bool)
        for name in ("face", "eyes", "mouth", "nostrils", "mouth_interior", "eyeballs", "cavities"):
            near |= model.regions.get(name, near)
        triangles = model.triangles[near[model.triangles].any(axis=1)]
        first, inverse = np.unique(np.round(model.mean, 4), axis=0, return_index=True, return_inverse=True)[1:]
        self.triangles = first[inverse.ravel()][triangles]  # rims of linings and eyeballs repeat those of lips and lids
        none = np.zeros(model.n_vertices, bool)
        balls = model.regions.get("eyeballs", none)
        lining = (model.regions.get("cavities", none) & ~balls) | model.regions.get("nostrils", none)
        self.kind = np.where(balls[triangles[:, 0]], BALL, np.where(lining[triangles].all(axis=1), LINING, SKIN))
        at_eye = cKDTree(model.mean[model.landmarks["ibug68"][36:48]]).query(model.mean[triangles].mean(axis=1))[0] < EYE_MM
        self.place = np.where(model.regions["mouth"][triangles].any(axis=1), 0, np.where(at_eye, 1, 2))

    def __call__(self, vertices: np.ndarray) -> np.ndarray:
        """(6,) counts, in the table's order."""
        pairs = intersecting_triangles(TriangleMesh(vertices, self.triangles))
        kind = self.kind[pairs].max(axis=1)
        place = self.place[pairs[kind == SKIN]].min(axis=1)
        return np.array([(kind == SKIN).sum(), *np.bincount(place, minlength=3), (kind == BALL).sum(), (kind == LINING).sum()])


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--model", default="default", help="model name or file; default: %(default)s")
    parser.add_argument("--faces", type=int, default=500, help="how many faces are sampled")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    count = Counter(model)
    print(f"pairs of triangles that intersect, on the mean\n{HEAD}")
    print_row("neutral", count(model.mean))
    for name in model.expression_names:
        print_row(name, count(model.instance(None, weights(model, name))))
        if name != "jawOpen":
            print_row(f"{name} + jawOpen", count(model.instance(None, weights(model, name, "jawOpen"))))
    print(f"\nand over {arguments.faces} sampled faces: pairs a face, and how many faces have any\n{HEAD}")
    rng = np.random.default_rng(arguments.seed)
    found: dict[str, list[np.ndarray]] = {}
    for number in range(arguments.faces):
        identity = rng.standard_normal(model.n_identity)
        for label, expression in expressions(model, identity, number, rng).items():
            found.setdefault(label, []).append(count(model.instance(identity, expression)))
    for label, counts in found.items():
        print_row(label, np.mean(counts, axis=0))
        print_row("", (np.array(counts) > 0).sum(axis=0))


def weights(model: MorphableModel, *names: str) -> np.ndarray:
    """(E,) 1 for the blendshapes named."""
    return np.isin(model.expression_names, names).astype(float)


def expressions(model: MorphableModel, identity: np.ndarray, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """label → (E,) of the face of that number."""
    jaw = weights(model, "jawOpen")
    one = weights(model, model.expression_names[number % model.n_expression])
    drawn = drawn_expression(model, rng, SynthesisOptions())
    opened = until_skin_meets(model, identity, np.maximum(jaw, drawn), held=jaw > 0)
    return {
        "neutral": 0 * jaw,
        "jawOpen = 1": jaw,
        "jawOpen = 1 and one other = 1": np.maximum(jaw, one),
        "jawOpen = 1 and sampled": opened,
        "sampled": until_skin_meets(model, identity, drawn),
        "jawOpen = 1 and as drawn": np.maximum(jaw, drawn),
        "as drawn": drawn,
    }


def print_row(label: str, counts: np.ndarray) -> None:
    cells = [f"{value:{width}.2f}".rstrip("0").rstrip(".").rjust(width) for value, width in zip(counts, (8, 8, 8, 8, 9, 8))]
    print(f"{label:34s}{''.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
