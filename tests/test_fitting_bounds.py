"""Coefficients as large as they may be are named; those at rest are not."""

from types import SimpleNamespace

import numpy as np

from geometry.fitting.bounds import at_bounds, note_of_bounds
from geometry.model.expression_prior import expression_prior


def fitted(model, identity=(), expression=()):
    coefficients = np.zeros(model.n_identity), np.zeros(model.n_expression)
    for values, (place, value) in [(coefficients[0], one) for one in identity] + [(coefficients[1], one) for one in expression]:
        values[place] = value
    return SimpleNamespace(identity_coefficients=coefficients[0], expression_coefficients=coefficients[1])


def test_what_lies_at_a_bound_is_named_and_rest_is_not(model):
    jaw = model.expression_names.index("jawOpen")
    assert note_of_bounds(fitted(model), model) == ()
    assert at_bounds(fitted(model, [(3, 3.9)], [(jaw, 1.0)]), model) == []
    wide = fitted(model, [(3, -4.0)], [(jaw, expression_prior(model).high[jaw])])
    assert at_bounds(wide, model) == ["identity mode 3", "jawOpen"]
    assert "2 of the fit's coefficients are as large as they may be (identity mode 3, jawOpen)" in note_of_bounds(wide, model)[0]
    many = fitted(model, [(k, 4.0) for k in range(9)])
    assert "(identity mode 0, identity mode 1, identity mode 2, identity mode 3, …)" in note_of_bounds(many, model)[0]
