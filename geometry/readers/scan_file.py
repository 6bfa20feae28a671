"""A file handed to a reader: its name, its bytes, the neighbours that may belong to it, and the numbers and JSON in them."""

import contextlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from geometry.errors import ReadError

EXPORT_AGAIN = "copy or export the file again"
_OLD_SPELLINGS = (  # of C libraries and of Fortran, which NumPy does not know → as it knows them
    (re.compile(rb"([-+]?)\b1[.,]#INF\w*", re.IGNORECASE), rb"\1inf"),
    (re.compile(rb"[-+]?\b1[.,][#$]\w*", re.IGNORECASE), rb"nan"),  # 1.#QNAN, -1.#IND, rounded 1.#R or 1.$
    (re.compile(rb"[-+]?\bnan[qs]\b", re.IGNORECASE), rb"nan"),
    (re.compile(rb"(?<!\S)(?:null|none|n/?a|#n/a|\*+)(?!\S)", re.IGNORECASE), rb"nan"),
    (re.compile(rb"(?<=[\d.])d(?=[-+]?\d)", re.IGNORECASE), rb"e"),  # 1.0D+02
)


@dataclass(frozen=True)
class ScanFile:
    """source: how messages name the file (a path, `archive.zip!member`); sidecars: file name → bytes of its neighbours."""

    source: str
    data: bytes
    sidecars: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's own name, without folders or archive."""
        return file_name(self.source)

    def sidecar_name(self, suffix: str) -> str:
        """NAME.json for NAME.png and ".json"."""
        return self.name.rpartition(".")[0] + suffix if "." in self.name else self.name + suffix

    def sidecar(self, *names: str) -> bytes | None:
        """The neighbour of the first of those file names that there is, or None."""
        return next((data for name in names for path, data in self.sidecars.items() if file_name(path) == name), None)

    def error(self, fault: str, remedy: str = EXPORT_AGAIN) -> ReadError:
        return ReadError(self.source, fault, remedy)

    def json_object(self, text: bytes, what: str, remedy: str = EXPORT_AGAIN) -> dict:
        """What a JSON text of the file holds; `what` begins the message: "its metadata are". Raises ReadError."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.error(f"{what} not JSON ({error})", remedy) from None
        if not isinstance(values, dict):
            raise self.error(f"{what} not a JSON object", remedy)
        return values

    def number(self, values: Mapping[str, object], key: str, what: str, remedy: str) -> float:
        """The number, below 1e9, under a key of what the file holds; `what` begins the message: "its metadata give"."""
        value = values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:  # also refuses NaN
            raise self.error(f"{what} {key} as {str(value)[:40]!r}, expected a number", remedy)
        return value

    def numbers_in(self, text: bytes, fault: str) -> np.ndarray:
        """Whitespace-separated decimal numbers (nan and inf too, as 1.#QNAN as well) → (k,) float64, by NumPy and not by a loop.

        Raises ReadError, `fault` and the first of them, where anything else is among them.
        """
        if not text.strip():  # NumPy reads blank text as one number
            return np.zeros(0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # older NumPy only warns of a token that is no number
            for spelled in (lambda: text, lambda: _in_new_spellings(text)):
                with contextlib.suppress(ValueError, DeprecationWarning):
                    return np.fromstring(spelled(), dtype=np.float64, sep=" ")
        raise self.error(f"{fault} not a number near {_first_bad_token(_in_new_spellings(text))!r}")


def _in_new_spellings(text: bytes) -> bytes:
    for pattern, spelling in _OLD_SPELLINGS:
        text = pattern.sub(spelling, text)
    return text


def _first_bad_token(text: bytes) -> str:
    for token in text.split():
        try:
            float(token)
        except ValueError:
            return token[:40].decode("latin-1")
    return text[:40].decode("latin-1")


def file_name(source: str) -> str:
    """The last part of a path, a URL or an `archive.zip!member`."""
    return re.split(r"[/\\!]", source)[-1]
