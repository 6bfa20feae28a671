"""The errors a user can meet, in one place."""

from geometry.errors import FaceReliefError, FitError, MirroredScan, ModelError, NoFaceFound, ReadError


class ConfigError(FaceReliefError):
    """A wrong option, key or value; found before any work starts."""


class TimeLimitExceeded(FaceReliefError):
    """One scan took longer than `limits.seconds_per_scan`; it fails alone."""


__all__ = [
    "ConfigError",
    "FaceReliefError",
    "FitError",
    "MirroredScan",
    "ModelError",
    "NoFaceFound",
    "ReadError",
    "TimeLimitExceeded",
]
