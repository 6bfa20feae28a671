"""From a source to the shipped model in one command: template, learning, figures, card, pictures."""

import argparse
import json
import os
from pathlib import Path

from geometry.errors import ConfigError
from geometry.learning.card_pictures import draw_pictures, pictures_section
from geometry.learning.model_card import model_card
from geometry.learning.model_figures import expression_changes, figures, warp_spreads
from geometry.learning.model_learning import LearningOptions, learn
from geometry.model.format_face_relief import save_model
from geometry.model.registry import load_model
from geometry.settings import loading
from geometry.settings.commands import writable_folder
from geometry.settings.options import to_dict
from geometry.template.template import build_template


def run(arguments: argparse.Namespace) -> None:
    """The documented command: learn, save, measure, draw, write the card. Raises ModelError, ConfigError."""
    chosen = loading.load(LearningOptions, arguments.config, arguments.settings)
    path, output = Path(arguments.source), Path(arguments.output)
    if output.suffix != ".npz":
        raise ConfigError(f"--output {output}: a model's file ends in .npz")
    source = load_model(path)
    for folder in filter(None, (output.parent, arguments.pictures)):
        writable_folder(folder)  # before minutes of work
    template = build_template(source)
    model = learn(source, template, chosen)
    save_model(output, model)
    stored = load_model(output)
    measured = figures(source, template, stored, seed=1) | {"bytes": output.stat().st_size}
    spreads, changes = warp_spreads(source, template, model), expression_changes(source, template, stored)
    card = model_card(model, measured, _command(arguments, chosen), spreads, changes)
    if arguments.pictures:
        draw_pictures(stored, arguments.pictures)
        card += "\n" + pictures_section(stored, Path(os.path.relpath(arguments.pictures, output.parent)).as_posix())
    output.with_suffix(".md").write_text(card, encoding="utf-8")
    print(json.dumps(measured, indent=2))


def _command(arguments: argparse.Namespace, chosen: LearningOptions) -> str:
    defaults, given = to_dict(LearningOptions()), to_dict(chosen)
    changed = "".join(f" --set {key}={value}" for key, value in given.items() if value != defaults[key])
    pictures = f" --pictures {arguments.pictures}" if arguments.pictures else ""
    return f"python -m geometry.model_learning --source {arguments.source} --output {arguments.output}{pictures}{changed}"
