"""Draw the pictures of a model's template: `python -m geometry.learning.card_pictures --model default --output FOLDER`.

The same model gives the same bytes with the same versions of Open3D and Pillow.
"""

import io
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

# Nothing that takes time to import stands here: --help and a typing error answer at once.
from geometry.settings.commands import command_parser, exit_code, writable_folder

if TYPE_CHECKING:
    from PIL import Image

    from geometry.model.morphable_model import MorphableModel

_MOST_BYTES = 240_000  # of one picture
_QUALITIES = range(82, 38, -4)
_TEXTS = {
    "wire": "The mean's triangles, whole and enlarged",
    "regions": "Regions: those that lie beside each other by number, those made of others below",
    "curves": "Named curves; the two sides of a pair share a colour",
    "texture": "The texture layout with its borders, and a checker of it on the mean with its seams, in red",
    "stretch": "How much the texture layout shears, and how many texels it gives a square millimetre",
    "modes": "The first identity modes at -2.5 and +2.5 standard deviations, and expressions at weight 1",
}


def card_pages(model: "MorphableModel") -> "dict[str, tuple[str, Callable[[], Image.Image]]]":
    """File name without ending → (what the picture shows, what draws it), of all pictures that the model has the data for."""
    from geometry.model.landmark_embedding import shipped_schemes
    from geometry.pictures.landmark_page import landmark_page
    from geometry.pictures.template_pages import curves_page, modes_page, regions_page, wire_page
    from geometry.pictures.texture_pages import checker_page, stretch_page

    pages: dict[str, Callable[[], Image.Image]] = {"wire": partial(wire_page, model), "regions": partial(regions_page, model)}
    if model.curves:
        pages["curves"] = partial(curves_page, model, model.curves)
    if (texture := model.texture) is not None:
        pages["texture"] = partial(checker_page, model, texture.uv, texture.triangles, texture.corner_vertex)
        pages["stretch"] = partial(stretch_page, model, texture.uv, texture.triangles)
    if model.n_identity or model.n_expression:
        pages["modes"] = partial(modes_page, model)
    titled = {name: (_TEXTS[name], page) for name, page in pages.items()}
    for name, scheme in shipped_schemes().items():
        text = f"Landmark scheme {name}: {len(scheme)} points on the mean, counted from 0"
        titled[f"landmarks_{name}"] = (text, partial(landmark_page, model, scheme))
    return titled


def draw_pictures(model: "MorphableModel", folder: str | Path) -> dict[str, int]:
    """Write every page as FOLDER/NAME.webp → name: bytes. Raises ConfigError where the folder cannot be written."""
    folder, sizes = writable_folder(folder), {}
    for name, (_, page) in card_pages(model).items():
        data = compressed(page())
        (folder / f"{name}.webp").write_bytes(data)
        sizes[name] = len(data)
    return sizes


def compressed(image: "Image.Image", most_bytes: int = _MOST_BYTES) -> bytes:
    """The image as WebP of the best of a few qualities that fits into so many bytes, or else of the least."""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=6, use_sharp_yuv=True)
        if buffer.tell() <= most_bytes:
            break
    return buffer.getvalue()


def pictures_section(model: "MorphableModel", folder: str) -> str:
    """Markdown: the section "Pictures" of a page from which the pictures lie in `folder`, a relative path."""
    shown = (f"**{text}.**\n\n![{text}]({folder}/{name}.webp)\n" for name, (text, _) in card_pages(model).items())
    return "\n".join(["## Pictures\n", *shown])


def main(argv: Sequence[str] | None = None, program: str = "python -m geometry.learning.card_pictures") -> int:
    """0 done, 2 a wrong command or model."""
    parser = command_parser(program, "Draws the pictures of a model's template: triangles, regions, curves, texture, landmarks.")
    parser.add_argument("--model", default="default", metavar="NAME_OR_FILE", help="the morphable model")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="the folder that is written, one .webp a picture")
    arguments = parser.parse_args(argv)

    def run() -> int:
        from geometry.model.registry import load_model

        for name, size in draw_pictures(load_model(arguments.model), arguments.output).items():
            print(f"{name}.webp {size}")
        return 0

    return exit_code(program, run)


if __name__ == "__main__":
    sys.exit(main())
