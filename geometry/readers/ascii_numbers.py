"""Numbers from text, by NumPy and not by a Python loop."""

import warnings

import numpy as np

from geometry.readers.scan_file import ScanFile


def parse_numbers(file: ScanFile, text: bytes, fault: str) -> np.ndarray:
    """Whitespace-separated decimal numbers (nan and inf too) of the file → (k,) float64.

    Raises ReadError, `fault` and the first of them, where anything else is among them.
    """
    if not text.strip():  # NumPy reads blank text as one number
        return np.zeros(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # older NumPy only warns of a token that is no number
        try:
            return np.fromstring(text, dtype=np.float64, sep=" ")
        except (ValueError, DeprecationWarning):
            raise file.error(f"{fault} not a number near {_first_bad_token(text)!r}") from None


def _first_bad_token(text: bytes) -> str:
    for token in text.split():
        try:
            float(token)
        except ValueError:
            return token[:40].decode("latin-1")
    return text[:40].decode("latin-1")
