"""face-relief in ten lines: a raw 3D face scan in, registered and refined geometry out.

    import face_relief

    # a file, or what `face_relief.read` gave; then settings: "refine=smooth"
    result = face_relief.process("scan.ply")
    result.registered.vertices  # (n, 3), in the scan's own coordinates
    result.model.triangles      # the triangles of registered and coarse
    result.landmarks.points     # (68, 3), with .covariance, .confidence and .seen
    result.save("out")          # the files that a run writes for one scan

Archives are for the command line (`face-relief run`), which resumes, spreads over cores and reports.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from face_relief.api import FaceReliefError, Model, NoFaceFound, Result, load_model, process, read

__all__ = ["FaceReliefError", "Model", "NoFaceFound", "Result", "load_model", "process", "read"]

# The names of the packages beneath are common ones. `pipeline` looks after the others; who looks after it stands here.
_spec = importlib.util.find_spec("pipeline")
if Path(_spec and _spec.origin or "").resolve() != Path(__file__).resolve().parents[1] / "pipeline" / "__init__.py":
    raise ImportError(
        f"face-relief needs its own package 'pipeline' beside {Path(__file__).parent}, "
        f"and Python finds {_spec and _spec.origin}; "
        "rename that file or folder, or run from another folder and without PYTHONPATH"
    )
importlib.import_module("pipeline")


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: the command line must not wait for them."""
    if name not in __all__:
        raise AttributeError(f"module 'face_relief' has no attribute {name!r}")
    return getattr(importlib.import_module("face_relief.api"), name)
