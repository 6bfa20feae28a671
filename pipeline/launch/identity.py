"""What decides the results of a run: versions, and the hashes of model, weights, scheme and calibration."""

import hashlib
import json
from dataclasses import asdict

from geometry.landmarks.calibration import shipped_calibration
from geometry.model import landmark_embedding
from pipeline.scans import config
from pipeline.scans.job import model_of

VERSIONED = ("face-relief", "apache-beam", "tensorflow", "keras", "numpy", "scipy", "open3d", "open3d-cpu")


def identify(resolved: config.Config) -> dict[str, dict[str, str]]:
    """Name and SHA-256 of the model, the landmark scheme and of the weights of each network that is used.

    Raises ModelError or ConfigError."""
    scheme, model = landmark_embedding.scheme(resolved.landmarks.scheme), model_of(resolved.model.name)
    landmark_embedding.embedding(scheme, model)  # before any work: is it of this model?
    identities = {
        "model": {"name": resolved.model.name, "sha256": model.sha256},
        "landmark_scheme": {"name": scheme.name, "sha256": hashlib.sha256(repr(scheme).encode()).hexdigest()},
    }
    networks = {
        "weights": ("refiner", resolved.refine.weights, resolved.refine.method == "gan" and resolved.output.stages == "all"),
        "landmark_weights": ("landmarks", resolved.landmarks.weights, resolved.uses_landmark_network),
    }
    for role, (network, name, is_used) in networks.items():
        if is_used:
            from gan import weights

            identities[role] = {"name": name, "sha256": weights.read_card(name, network)["sha256"]}
    measured = json.dumps(asdict(shipped_calibration()), sort_keys=True).encode()
    return identities | {"landmark_calibration": {"name": "shipped", "sha256": hashlib.sha256(measured).hexdigest()}}
