"""Where MediaPipe's face landmarker puts the iBUG landmarks of a mesh: a second opinion on the mark-up of a model or of a run.

    python benchmarks/mediapipe_marks.py render runs/marks                        # shaded views of the default model's mean
    OTHER/bin/python benchmarks/mediapipe_marks.py detect runs/marks              # in an environment with mediapipe==0.10.21
    python benchmarks/mediapipe_marks.py compare runs/marks

MediaPipe needs another NumPy than this project, so its step imports nothing else. Points are found on 25 views (yaw to ± 40°,
pitch to ± 20°), cast back onto the mesh and averaged by their median. A difference is that of two mark-ups, and not an error of
either. The jaw is left out: MediaPipe's follows the picture's outline.
"""

import argparse
import itertools
import json
import pathlib

import numpy as np
from PIL import Image

YAWS, PITCHES = (-40, -20, 0, 20, 40), (-20, -10, 0, 10, 20)  # degrees
SIZE, PIXEL_MM = 720, 0.4
FACING = 0.35  # cosine to the view, below which a point is not asked of it
CENTRE = np.array([0.0, -5.0, -30.0])  # of the picture, model frame, mm
# MediaPipe's vertex for each iBUG landmark: the jaw's are about as far along its contour, the others of the same name
VERTICES = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 6, 195, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 81, 13, 311, 308, 402, 14, 178),
)
GROUPS = {
    "brows": range(17, 27),
    "bridge of the nose": range(27, 31),
    "base of the nose": range(31, 36),
    "upper lids": (37, 38, 43, 44),
    "lower lids": (40, 41, 46, 47),
    "eyes' outer corners": (36, 45),
    "eyes' inner corners": (39, 42),
    "mouth corners": (48, 54),
    "inner lips": range(60, 68),
}


def views() -> list[tuple[int, int]]:
    return list(itertools.product(YAWS, PITCHES))


def turned(vertices: np.ndarray, yaw: int, pitch: int) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("YX", [yaw, pitch], degrees=True).apply(vertices - CENTRE)


def rays(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (k, 2), x right and y down → origins and directions (k, 3) in the frame of a view."""
    x, y = (places[:, 0] - SIZE / 2) * PIXEL_MM, (SIZE / 2 - places[:, 1]) * PIXEL_MM
    return np.stack([x, y, np.full(len(places), 500.0)], 1), np.tile([0.0, 0.0, -1.0], (len(places), 1))


def render(folder: pathlib.Path, model_name: str) -> None:
    import common  # noqa: F401  (the project beside it on the path)

    from geometry.model.registry import load_model
    from geometry.surfaces.raycasting import first_hits, interpolate, raycasting_scene

    model = load_model(model_name)
    folder.mkdir(parents=True, exist_ok=True)
    centres = np.stack(np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5), 2).reshape(-1, 2)
    for yaw, pitch in views():
        mesh = model.mesh().with_vertices(turned(model.mean, yaw, pitch))
        _, triangle, uv, _ = first_hits(raycasting_scene(mesh), *rays(centres))
        hit = triangle >= 0
        normals = interpolate(mesh.vertex_normals, mesh.triangles[triangle[hit]], uv[hit])
        grey = np.full(len(centres), 235.0)
        grey[hit] = 40 + 190 * np.clip(normals @ np.array([0.2, 0.45, 0.87]), 0, 1)
        Image.fromarray(grey.reshape(SIZE, SIZE).astype(np.uint8)).convert("RGB").save(folder / f"view_{yaw}_{pitch}.png")
    (folder / "model.json").write_text(json.dumps({"model": model_name}))


def detect(folder: pathlib.Path) -> None:
    import mediapipe

    found = {}
    with mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True) as network:
        for yaw, pitch in views():
            name = f"view_{yaw}_{pitch}.png"
            faces = network.process(np.array(Image.open(folder / name))).multi_face_landmarks
            if faces:
                found[name] = [[faces[0].landmark[k].x * SIZE, faces[0].landmark[k].y * SIZE] for k in VERTICES]
    (folder / "detected.json").write_text(json.dumps(found))
    print(f"a face in {len(found)} of {len(views())} views")


def compare(folder: pathlib.Path) -> None:
    import common  # noqa: F401

    from geometry.model.registry import load_model
    from geometry.surfaces.raycasting import first_hits, interpolate, raycasting_scene

    model = load_model(json.loads((folder / "model.json").read_text())["model"])
    detected, places = json.loads((folder / "detected.json").read_text()), []
    for yaw, pitch in views():
        if (pixels := detected.get(f"view_{yaw}_{pitch}.png")) is None:
            continue
        mesh = model.mesh().with_vertices(turned(model.mean, yaw, pitch))
        _, triangle, uv, normals = first_hits(raycasting_scene(mesh), *rays(np.array(pixels)))
        on_mesh = interpolate(model.mean, model.triangles[np.maximum(triangle, 0)], uv)
        places.append(np.where(((triangle >= 0) & (normals[:, 2] > FACING))[:, None], on_mesh, np.nan))
    offset = np.nanmedian(places, axis=0) - model.mean[model.landmarks["ibug68"]]
    outward = offset * np.stack([np.sign(np.round(model.mean[model.landmarks["ibug68"], 0], 1)), *np.ones((2, 68))], axis=1)
    spread = np.nanmedian(np.linalg.norm(places - np.nanmedian(places, axis=0), axis=2), axis=0)
    print(f"{'MediaPipe − model, mm':24s}{'outward':>8s}{'up':>8s}{'out':>8s}{'distance':>10s}{'between views':>15s}")
    for name, members in [*GROUPS.items(), *((str(k), [k]) for k in range(17, 68))]:
        members = list(members)
        mean, distance = outward[members].mean(0), np.linalg.norm(offset[members], axis=1).mean()
        print(f"{name:24s}" + "".join(f"{x:8.2f}" for x in mean) + f"{distance:10.2f}{spread[members].mean():15.2f}")
    (folder / "offsets.json").write_text(json.dumps({"offset_mm": offset.tolist(), "spread_mm": spread.tolist()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["render", "detect", "compare"])
    parser.add_argument("folder", type=pathlib.Path, help="of pictures and answers")
    parser.add_argument("--model", default="default", help="model name or file; default: %(default)s")
    arguments = parser.parse_args()
    if arguments.step == "render":
        render(arguments.folder, arguments.model)
    else:
        {"detect": detect, "compare": compare}[arguments.step](arguments.folder)


if __name__ == "__main__":
    main()
