"""Checkpoints of a training run: every variable bit for bit, and where the run stood, in one atomic file each."""

import json
import os
from pathlib import Path

import numpy as np

from geometry.errors import FaceReliefError


class CheckpointError(FaceReliefError):
    """A checkpoint that does not belong to the run."""


class Checkpoints:
    """`folder`/step-NNNNNNNN.npz, the newest `keep` of them."""

    def __init__(self, folder: Path, keep: int = 2):
        self.folder, self.keep = Path(folder), max(1, keep)

    def paths(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.folder.glob("step-*.npz"))

    def save(self, step: int, variables: list, state: dict) -> None:
        """variables: Keras variables, in an order that `restore` repeats; state: JSON."""
        path = self.folder / f"step-{step:08d}.npz"
        arrays = {f"{number:04d}": np.asarray(variable) for number, variable in enumerate(variables)}
        save_arrays(path, arrays | {"state": np.frombuffer(json.dumps(state, sort_keys=True).encode(), np.uint8)})
        for old in self.paths()[: -self.keep]:
            old.unlink()

    def restore(self, variables: list) -> dict | None:
        """Assign the newest checkpoint's values; its state, or None where there is no checkpoint."""
        paths = self.paths()
        if not paths:
            return None
        with np.load(paths[-1]) as arrays:
            if len(arrays.files) != len(variables) + 1:
                held = len(arrays.files) - 1
                raise CheckpointError(
                    f"{paths[-1]}: holds {held} variables, the model has {len(variables)}; start in another output"
                )
            for number, variable in enumerate(variables):
                values = arrays[f"{number:04d}"]
                if values.shape != tuple(variable.shape):
                    expected = f"the model's {variable.path} {tuple(variable.shape)}; start in another output"
                    raise CheckpointError(f"{paths[-1]}: variable {number} has shape {values.shape}, {expected}")
                variable.assign(values)
            return json.loads(arrays["state"].tobytes())


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An .npz that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # NumPy's stub takes them for allow_pickle
    os.replace(temporary, path)
