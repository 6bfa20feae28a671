"""What a model cannot show, as a random field over the face."""

import numpy as np
from sampled_faces import default_model as model
from scipy.spatial import cKDTree

from geometry.fitting.discrepancy import discrepancy_basis


def inner():
    """(n,) bool: vertices well within the face."""
    face = model().regions["face"]
    return face & (cKDTree(model().mean[~face]).query(model().mean)[0] > 15)


def test_its_covariance_is_the_kernels_over_the_face():
    basis, rng = discrepancy_basis(model(), (0.6, 0.4), (9.0, 20.0)), np.random.default_rng(0)
    skin = rng.choice(np.flatnonzero(inner()), 200, replace=False)
    found = basis[skin] @ basis[skin].T
    squared = ((model().mean[skin][:, None] - model().mean[skin]) ** 2).sum(axis=2)
    wanted = 0.36 * np.exp(-squared / 162) + 0.16 * np.exp(-squared / 800)
    assert np.abs(found - wanted).max() < 0.12 and np.abs(np.diag(found) / 0.52 - 1).mean() < 0.08


def test_it_fades_beside_the_face():
    basis = discrepancy_basis(model(), (0.5,), (9.0,))
    away = cKDTree(model().mean[model().regions["face"]]).query(model().mean)[0]
    assert (basis[away > 40] ** 2).sum(axis=1).max() < 0.01 * 0.25
