"""Numbers from text, by NumPy and not by a Python loop."""

import warnings

import numpy as np


def parse_numbers(text: bytes) -> np.ndarray:
    """Whitespace-separated decimal numbers (nan and inf too) → (k,) float64.

    Raises ValueError where anything else is among them.
    """
    if not text.strip():  # NumPy reads blank text as one number
        return np.zeros(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # older NumPy only warns of a token that is no number
        try:
            return np.fromstring(text, dtype=np.float64, sep=" ")
        except (ValueError, DeprecationWarning):
            raise ValueError(f"not a number near {_first_bad_token(text)!r}") from None


def _first_bad_token(text: bytes) -> str:
    for token in text.split():
        try:
            float(token)
        except ValueError:
            return token[:40].decode("latin-1")
    return text[:40].decode("latin-1")
