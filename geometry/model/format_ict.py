"""The ICT Face Model Light's npz as a morphable model."""

import json

import numpy as np

from geometry.model.model_file import ModelFile
from geometry.model.morphable_model import MorphableModel


def is_ict(file: ModelFile) -> bool:
    """Whether the arrays of ICT-FaceKit light are in it."""
    return {"vertices", "triangles", "identity_basis", "expression_basis", "landmarks_68", "regions"} <= file.keys


def load_ict(file: ModelFile) -> MorphableModel:
    """ICT-FaceKit light (© 2020 USC Institute for Creative Technologies, MIT): N(0, 1) identities, ARKit-like blendshapes."""
    arrays = file.arrays()
    try:
        n = len(arrays["vertices"])
        ranges = {name: _between(low, high, n) for name, (low, high) in json.loads(str(arrays["regions"])).items()}
        regions = {
            "face": ranges["narrow_face"],
            "eyes": np.any([mask for name, mask in ranges.items() if name.startswith("eye")], axis=0),
            "mouth_interior": ranges["mouth_socket"],
            "skin": ranges["face"],  # with the ears, the neck's start and the forehead up to the hairline
            "head_skin": ranges["face"] | ranges["head_neck"],  # with the rest of the head and the shoulders' beginning
            "eyeballs": ranges["eyeball_left"] | ranges["eyeball_right"],
        }
        return MorphableModel(
            name="ict_facekit_light",
            mean=arrays["vertices"].astype(np.float64),
            triangles=arrays["triangles"].astype(np.int32),
            identity_basis=arrays["identity_basis"].astype(np.float32),
            expression_basis=arrays["expression_basis"].astype(np.float32),
            landmarks={"ibug68": arrays["landmarks_68"].astype(np.int64)},
            regions=regions,
            expression_names=tuple(str(name) for name in arrays["expression_names"]),
            expression_range=(0.0, 1.0),
            mark_up=1,
            notes={"licence": "MIT, © 2020 USC Institute for Creative Technologies"},
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise file.fault(f"not the packed ICT model it looks like ({error})", "pack or copy it again") from error


def _between(low: int, high: int, n: int) -> np.ndarray:
    index = np.arange(n)
    return (index >= low) & (index < high)
