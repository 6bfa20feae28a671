"""The same weights give the same surface under TensorFlow, JAX and PyTorch."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_refiner_networks import inputs, outputs, random_generator

from gan.inference import start_tensorflow
from geometry.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import sys
import numpy as np
from gan.config import GeneratorConfig
from gan.refiner.networks import build_generator
given = np.load(sys.argv[1])
generator = build_generator(GeneratorConfig(filters=4, levels=4, head_filters=4))
for number, variable in enumerate(generator.variables):
    variable.assign(given[f"weight-{number}"])
found = generator({"coarse": given["coarse"], "scan": given["scan"]})
from keras import ops
np.savez(sys.argv[2], **{name: ops.convert_to_numpy(value) for name, value in found.items()})
"""


@pytest.mark.parametrize("backend, fault", [("tensorflw", "is none of tensorflow, jax, torch"), ("jax", "is not installed")])
def test_a_backend_that_cannot_run_is_named(monkeypatch, backend, fault):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"KERAS_BACKEND is '{backend}', which {fault}; unset it"):
        start_tensorflow(1)


NEUTRAL = [f"refiner/{name}.py" for name in ("bank", "growing", "losses", "networks", "pix2pix", "surface", "validation")]


@pytest.mark.parametrize("file", [*NEUTRAL, "landmarks/network.py", "training/optimizer.py"])
def test_networks_losses_and_steps_name_no_backend(file):
    """What can be checked where TensorFlow alone is installed: they compute in keras.ops."""
    nodes = list(ast.walk(ast.parse((ROOT / "gan" / file).read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {"tensorflow", "jax", "torch"}


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_agrees_to_a_tenth_of_a_micrometre(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed, and no extra installs it: pip install {backend} to compare")
    x, generator = inputs(1), random_generator(seed=2)
    weights = {f"weight-{number}": np.asarray(variable) for number, variable in enumerate(generator.variables)}
    np.savez(tmp_path / "given.npz", **weights, **x)
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "given.npz"), str(tmp_path / "found.npz")]
    subprocess.run(command, env=environment, check=True, cwd=tmp_path)
    with np.load(tmp_path / "found.npz") as there:
        for name, values in outputs(generator, x).items():
            np.testing.assert_allclose(there[name], values, atol=1e-4, err_msg=name)
