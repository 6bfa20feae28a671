"""Archives of many small scans, for benchmarks of the run itself: most are rejected in no time, every so-many-th shows a face."""

import json
import pathlib

import common
import numpy as np
from PIL import Image

from geometry.mesh import TriangleMesh
from geometry.readers.ply_writer import ply_bytes

FRAME = common.ROOT / "examples" / "scans" / "truedepth_frontal.png"
OPTIONS = ("--stages", "landmarks", "--no-previews", "--set", "locate=pose_search")


def make(folder: pathlib.Path, count: int, face_every: int, seed: int = 0) -> None:
    """`count` scans below `folder`: clouds of 90 points, too few for a face, and depth frames of a face of which each differs in
    one pixel."""
    rng, frame, sidecar = np.random.default_rng(seed), np.asarray(Image.open(FRAME)), FRAME.with_suffix(".json").read_bytes()
    for number in range(count):
        below = folder / f"{number // 1000:03d}"
        below.mkdir(parents=True, exist_ok=True)
        if number % face_every == 0:
            changed = frame.copy()
            changed[0, number % frame.shape[1]] = 1 + number
            Image.fromarray(changed).save(below / f"{number:05d}.png")
            (below / f"{number:05d}.json").write_bytes(sidecar)
        else:
            points = rng.normal(size=(90, 3)) * (60.0, 90.0, 70.0)
            (below / f"{number:05d}.ply").write_bytes(ply_bytes(TriangleMesh(points, np.zeros((0, 3), int))))
    (folder / "made.txt").write_text(json.dumps({"count": count, "face_every": face_every, "seed": seed}))
