"""Short distances across the skin vary in proportion."""

import numpy as np
from sampled_faces import SHIPPED_MODEL
from test_learning_contact import grid

from geometry.learning.steady_distances import STEADY, short_distances, steadied
from geometry.model.registry import load_model


def modes_on(x, y):
    """One that shifts half of a grid within 4 mm against the other, one that bends it, and one that stretches it a little."""
    near = np.exp(-((y / 12) ** 2)) * np.exp(-((x / 20) ** 2))
    pressed = -2 * (np.tanh(x / 4) * near)[:, None] * [1.0, 0, 0]
    return np.stack([pressed, 3 * np.exp(-((x / 30) ** 2))[:, None] * [0, 0, 1.0], 0.05 * x[:, None] * [1.0, 0, 0]])


def test_the_variation_is_that_of_sampled_distances():
    mesh, x, y = grid(30)
    modes = 0.01 * modes_on(x, y)
    distances = short_distances([mesh.vertices, mesh.vertices * [1, 2, 1]], np.ones(len(x), bool))
    assert distances.length.max() < 10 and len(distances.length) > 1000
    flat = distances.chosen(np.arange(len(distances.length)) < len(distances.length) // 2)
    first = flat.length == np.linalg.norm(mesh.vertices[flat.other] - mesh.vertices[flat.one], axis=1)
    flat = flat.chosen(first)
    drawn = mesh.vertices + np.tensordot(np.random.default_rng(0).standard_normal((2000, 3)), modes, axes=1)
    sampled = np.linalg.norm(drawn[:, flat.other] - drawn[:, flat.one], axis=2).std(axis=0) / flat.length
    assert np.abs(sampled - flat.variation(modes)).max() < 0.1 * flat.variation(modes).max()
    change = ((modes[0][flat.other] - modes[0][flat.one]) * flat.along).sum(axis=1)
    assert np.allclose(flat.rows(len(x)) @ modes[0].ravel(), change)


def test_a_distance_that_varies_too_much_is_steadied_and_the_rest_left_alone():
    mesh, x, y = grid()
    modes, skin = modes_on(x, y), np.ones(len(x), bool)
    distances = short_distances([mesh.vertices], skin)
    assert distances.variation(modes).max() > 2 * STEADY
    steady = steadied(modes, mesh, skin, [mesh.vertices])
    assert distances.variation(steady).max() < 1.1 * STEADY
    change = np.linalg.norm(steady - modes, axis=2)
    assert change[0].max() < 1.5 and not change[:, np.hypot(x, y) > 50].any()
    assert change[1].max() < 0.2 * change[0].max()


def test_a_fold_of_another_shape_counts_and_other_skin_does_not():
    mesh, x, y = grid()
    modes, skin = 0.3 * modes_on(x, y), np.ones(len(x), bool)
    assert np.array_equal(steadied(modes, mesh, skin, [mesh.vertices]), modes)
    narrow = mesh.vertices * [0.4, 1, 1]
    steady = steadied(modes, mesh, skin, [mesh.vertices, narrow])
    assert not np.array_equal(steady, modes)
    assert short_distances([narrow], skin).variation(steady).max() < 1.1 * STEADY
    assert np.array_equal(steadied(modes, mesh, skin & (np.abs(x) > 25), [mesh.vertices, narrow]), modes)


def test_the_shipped_model_has_no_distance_that_varies_out_of_proportion():
    """In the first model of the whole head the columella's breadth varied by 0.3 of itself, an eye's corner by 0.4."""
    model = load_model(SHIPPED_MODEL)
    opened = model.mean + model.expression_basis[model.expression_names.index("jawOpen")]
    distances = short_distances([model.mean, opened], ~model.regions["cavities"])
    assert distances.variation(model.identity_basis).max() < 1.2 * STEADY
