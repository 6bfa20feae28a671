"""A frozen refiner for other programs: `python -m gan.export --weights default --output DIR` writes a TensorFlow SavedModel.

    DIR/saved_model.pb, variables/   signature `refine`: coarse (b, h, w, 6), scan (b, h, w, 7) float32 in the layout of
                                     `gan.layout`, h and w multiples of 32 → depth (residual to the coarse depth, mm), normals,
                                     confidence and sigma (mm, calibrated), each (b, h, w, ·)
    DIR/card.json, card.md           the weights' card: data, configuration, figures, hash

It computes what `gan.refiner.inference.Refiner` does, mirrored average and calibration included, and needs nothing of this
project.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

# Nothing that takes time to import stands here: --help and a typing error answer at once.
from geometry.errors import ConfigError
from geometry.settings.commands import command_parser, exit_code, writable_folder

SIGNATURE = "refine"


def export(name_or_path: str, output: Path | str) -> Path:
    """Writes the SavedModel and the card; returns the folder. Raises WeightsError; ConfigError where it holds something."""
    import tensorflow as tf

    from gan import layout, weights
    from gan.refiner.inference import averaged_function
    from gan.refiner.networks import build_generator

    output = Path(output)
    if output.exists() and (output.is_file() or any(output.iterdir())):
        raise ConfigError(f"{output} is not empty; choose another --output")
    generator, card = weights.load(name_or_path, build_generator)
    writable_folder(output)
    spec = [
        tf.TensorSpec((None, None, None, len(names)), tf.float32, name)
        for name, names in (("coarse", layout.COARSE), ("scan", layout.SCAN))
    ]
    module = tf.Module()
    module.generator = generator
    module.refine = tf.function(
        averaged_function(generator, mirror=True, sigma_scale=card.get("sigma_scale", 1.0)), input_signature=spec
    )
    tf.saved_model.save(module, str(output), signatures={SIGNATURE: module.refine})
    weights.write_json(output / "card.json", card)
    shutil.copyfile(weights.card_path(weights.locate(name_or_path), ".md"), output / "card.md")
    return output


def main(argv: Sequence[str] | None = None, program: str = "python -m gan.export") -> int:
    """0 done, 2 a wrong command."""
    parser = command_parser(program, "Writes a refiner as a TensorFlow SavedModel.")
    parser.add_argument("--weights", default="default", help="a shipped name or a weights file; default: %(default)s")
    parser.add_argument("--output", required=True, metavar="OUT", help="an empty or new folder")
    arguments = parser.parse_args(argv)

    def run() -> int:
        print(export(arguments.weights, arguments.output))
        return 0

    return exit_code(program, run)


if __name__ == "__main__":
    sys.exit(main())
