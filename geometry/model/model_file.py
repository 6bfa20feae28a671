"""A model file whose content is not trusted yet, and what a format has to offer to be read."""

import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from tokenize import TokenError

import numpy as np

from geometry.errors import ModelError
from geometry.model.morphable_model import MorphableModel


@dataclass(frozen=True)
class ModelFile:
    """The bytes of a file that may hold a model, and where they came from (for messages)."""

    source: str
    data: bytes

    @cached_property
    def keys(self) -> frozenset[str]:
        """Array names where this is a .npz archive, else empty."""
        try:
            with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
                return frozenset(name.removesuffix(".npy") for name in archive.namelist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
            return frozenset()

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays of the .npz; pickled ones are refused. Raises ModelError."""
        try:
            with np.load(io.BytesIO(self.data), allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
        except (
            ValueError,
            OSError,
            EOFError,
            KeyError,
            MemoryError,
            NotImplementedError,
            zipfile.BadZipFile,
            zlib.error,
            SyntaxError,  # a .npy whose header is no Python
            TokenError,
        ) as error:
            raise self.fault(f"its arrays cannot be read ({error})", "copy the file again, it is damaged or truncated") from error
        if others := [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]:
            raise self.fault(f"its member {others[0]!r} is no array", "copy the file again, it is damaged")
        return arrays

    def fault(self, fault: str, remedy: str) -> ModelError:
        return ModelError(f"{self.source}: {fault}; {remedy}")


@dataclass(frozen=True)
class ModelFormat:
    """name: shown to users; sniff(file): is it this format?; load(file): the model, not yet centred or hashed."""

    name: str
    sniff: Callable[[ModelFile], bool]
    load: Callable[[ModelFile], MorphableModel]
