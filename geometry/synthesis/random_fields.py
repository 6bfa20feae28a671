"""Smooth random fields on the vertices of a mesh."""

import numpy as np


def smooth_noise(
    points: np.ndarray, wavelengths_mm: tuple[float, float], rng: np.random.Generator, waves: int = 48, slope: float = 1.0
) -> np.ndarray:
    """Points (n, 3) → (n,) a random field of unit variance: plane waves of random direction and phase.

    Wavelengths are log-uniform in the band; amplitudes are wavelength^slope (1: equally steep at every scale).
    """
    low, high = np.log(wavelengths_mm)
    wavelength = np.exp(rng.uniform(low, high, waves))
    direction = rng.normal(size=(3, waves))
    wave_vectors = direction / np.linalg.norm(direction, axis=0) * (2 * np.pi / wavelength)
    # float32: the cosines are the cost of a face, and 1e-6 of a millimetre is no loss
    phase = points.astype(np.float32) @ wave_vectors.astype(np.float32) + rng.uniform(0, 2 * np.pi, waves).astype(np.float32)
    amplitude = wavelength**slope
    return np.cos(phase).astype(np.float64) @ (amplitude * np.sqrt(2 / (amplitude**2).sum()))
