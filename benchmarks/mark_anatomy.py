"""Measures the points of the scheme `caple_stephan` on a head model's mean, and writes them into the scheme's file.

python benchmarks/mark_anatomy.py [MODEL]     prints how far each point moved; without MODEL, the shipped one
"""

import json

import common
import numpy as np

from geometry.model.registry import load_model
from geometry.template.anatomical_marks import anatomical_marks

SCHEME = common.ROOT / "geometry/data/schemes/caple_stephan.json"


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("model", nargs="?", default="default")
    marks = anatomical_marks(load_model(parser.parse_args().model))
    scheme = json.loads(SCHEME.read_text(encoding="utf-8"))
    for entry in scheme["points"]:
        if "point" in entry:
            place = np.round(marks[entry["name"]], 2) + 0.0  # no −0.0
            print(f"{entry['name']:28s} {np.linalg.norm(place - entry['point']):7.2f} mm")
            entry["point"] = place.tolist()
    SCHEME.write_text(text_of(scheme), encoding="utf-8")


def text_of(scheme: dict) -> str:
    """One line a point and a group, as the other schemes' files have them."""
    points = ",\n".join(f"  {json.dumps(entry, ensure_ascii=False)}" for entry in scheme["points"])
    groups = ",\n".join(f'  "{name}": {json.dumps(members)}' for name, members in scheme["groups"].items())
    head = "".join(f' "{key}": {json.dumps(scheme[key], ensure_ascii=False)},\n' for key in ("name", "model", "description"))
    return f'{{\n{head} "points": [\n{points}\n ],\n "groups": {{\n{groups}\n }}\n}}\n'


if __name__ == "__main__":
    main()
