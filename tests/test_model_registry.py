"""Model files: the shipped one, round trips, quantisation, and every bad file refused with a reason."""

import hashlib
import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled_faces import SHIPPED_MODEL
from shared_files import ICT, needs

from geometry.errors import ModelError
from geometry.model import registry
from geometry.model.format_face_relief import dequantise, quantise, save_model
from geometry.model.model_file import ModelFormat
from geometry.model.morphable_model import MorphableModel
from geometry.model.registry import load_model


def small_model(n=80, seed=0):
    rng = np.random.default_rng(seed)
    return MorphableModel(
        name="small",
        mean=rng.normal(size=(n, 3)).astype(np.float32).astype(float),
        triangles=rng.integers(0, n, (50, 3)).astype(np.int32),
        identity_basis=rng.normal(size=(4, n, 3)).astype(np.float32),
        expression_basis=rng.normal(size=(2, n, 3)).astype(np.float32),
        landmarks={"ibug68": np.arange(68)},
        regions={name: rng.random(n) < 0.5 for name in ("face", "eyes", "mouth_interior")},
        expression_names=("smile", "frown"),
        expression_range=(0.0, 1.0),
        notes={"licence": "none"},
        curves={"midline": np.array([7, 3, 9])},
    )


def saved(path, model):
    save_model(path, model)
    return path


def test_default_loads_in_float32_with_what_everything_relies_on(model):
    assert model.identity_basis.dtype == model.expression_basis.dtype == np.float32 and model.mean.dtype == np.float64
    assert model.n_identity <= 100 and model.expression_range == (0.0, 1.0) and len(model.expression_names) == model.n_expression
    assert {"face", "eyes", "mouth_interior"} <= set(model.regions)
    assert np.allclose(model.mean[model.landmarks["ibug68"][30]], 0)
    assert model.sha256 == hashlib.sha256(SHIPPED_MODEL.read_bytes()).hexdigest() and SHIPPED_MODEL.stat().st_size <= 12e6
    assert "Copyright (c) 2020 USC Institute for Creative Technologies" in SHIPPED_MODEL.with_suffix(".md").read_text(
        encoding="utf-8"
    )


def test_a_saved_model_comes_back_with_its_nose_at_the_origin(tmp_path):
    model = small_model()
    again = load_model(saved(tmp_path / "m.npz", model))
    assert np.allclose(again.mean, model.mean - model.mean[30], atol=1e-6)
    assert np.array_equal(again.triangles, model.triangles) and again.expression_names == model.expression_names
    assert all(np.array_equal(again.regions[name], mask) for name, mask in model.regions.items())
    assert set(again.curves) == {"midline"} and np.array_equal(again.curves["midline"], [7, 3, 9])
    assert np.abs(again.identity_basis - model.identity_basis).max() < 1e-4
    assert (again.name, again.expression_range, again.notes) == (model.name, model.expression_range, model.notes)
    assert load_model(saved(tmp_path / "g.npz", replace(model, expression_range=None))).expression_range is None


def test_a_file_without_curves_has_none(tmp_path):
    assert load_model(edited(tmp_path, curve_midline=None)).curves == {}


def test_the_same_model_gives_the_same_bytes(tmp_path):
    first, second = saved(tmp_path / "a.npz", small_model()), saved(tmp_path / "b.npz", small_model())
    assert first.read_bytes() == second.read_bytes()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 40.0))
def test_quantisation_errs_by_at_most_half_a_step(seed, size):
    basis = np.random.default_rng(seed).normal(size=(3, 20, 3)) * size
    integers, scale = quantise(basis)
    assert integers.dtype == np.int16
    assert (np.abs(dequantise(integers, scale) - basis).max(axis=(1, 2)) <= 0.51 * scale).all()


def test_shipped_quantisation_is_below_a_hundredth_of_a_millimetre():
    with np.load(SHIPPED_MODEL) as archive:
        assert max(archive["identity_scale"].max(), archive["expression_scale"].max()) / 2 < 0.01


def test_instances_are_linear_in_the_coefficients(model):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, model.n_identity)).astype(np.float32)
    e = rng.random(model.n_expression).astype(np.float32)
    both = model.instance(a + b, e) - model.mean
    assert np.allclose(both, (model.instance(a) - model.mean) + (model.instance(b, e) - model.mean), atol=1e-3)


@needs(ICT)
def test_the_ict_model_loads_in_the_model_frame():
    model = load_model(ICT)
    assert (model.n_vertices, model.n_identity, model.n_expression) == (17202, 100, 55)
    assert np.allclose(model.mean[model.landmarks["ibug68"][30]], 0)
    assert model.regions["face"].sum() == 6706 and not (model.regions["face"] & model.regions["mouth_interior"]).any()
    assert model.regions["eyeballs"][model.regions["eyes"]].any() and not model.regions["face"][model.regions["eyes"]].any()


def edited(tmp_path, **changes):
    with np.load(saved(tmp_path / "good.npz", small_model())) as archive:
        arrays = {**archive, **changes}
    np.savez_compressed(tmp_path / "bad.npz", **{key: value for key, value in arrays.items() if value is not None})
    return tmp_path / "bad.npz"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"identity_basis": np.zeros((4, 79, 3), np.int16)}, "identity basis has shape"),
        ({"identity_scale": np.full(4, np.nan, np.float32)}, "NaN or infinite"),
        ({"mean": None}, "missing"),
        ({"landmarks_ibug68": None}, "0 ibug68 landmarks"),
        ({"landmarks_ibug68": np.full(68, 80, np.int32)}, "landmark is outside the 80 vertices"),
        ({"triangles": np.full((3, 3), -1, np.int32)}, "triangle is outside"),
        ({"triangles": np.zeros((3, 4), np.int32)}, "not .m, 3."),
        ({"version": np.array(99)}, "version 99"),
        ({"region_face": np.zeros(2, np.uint8)}, "region has 2 bytes"),
        ({"curve_midline": np.array([0, 80], np.int32)}, "curve 'midline' is no list of vertices below 80"),
        ({"expression_names": np.array(["one"])}, "differ in number"),
        ({"notes": np.array("{not json")}, "missing or has the wrong shape"),
    ],
)
def test_an_inconsistent_file_is_refused_with_its_fault(tmp_path, changes, words):
    with pytest.raises(ModelError, match=words) as caught:
        load_model(edited(tmp_path, **changes))
    assert "bad.npz" in str(caught.value)


def _object_npz():
    buffer = io.BytesIO()
    np.savez(buffer, format=np.array([{}], object), version=np.array(1), identity_scale=np.ones(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (pickle.dumps({"v_template": 1}), "known:.*ICT"),
        (b"ply\nformat ascii 1.0\n", "not a known"),
        (b"PK\x03\x04 rubbish", "not a known"),
        (_object_npz(), "cannot be read"),
    ],
)
def test_a_file_of_no_known_format_is_refused(tmp_path, data, words):
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(ModelError, match=words) as caught:
        load_model(tmp_path / "model.bin")
    assert "model.bin" in str(caught.value)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_truncated_or_corrupted_file_never_escapes_as_another_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("m")
    whole = bytearray(saved(folder / "m.npz", small_model()).read_bytes())
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / "m.npz").write_bytes(whole)
    try:
        load_model(folder / "m.npz")
    except ModelError as error:
        assert "m.npz" in str(error)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ModelError, match="no such morphable model.*known names: default"):
        load_model("defualt")


def test_another_format_is_one_more_entry(tmp_path, monkeypatch):
    entry = ModelFormat("toy", lambda file: file.data.startswith(b"toy"), lambda file: small_model())
    monkeypatch.setattr(registry, "FORMATS", (*registry.FORMATS, entry))
    (tmp_path / "x").write_bytes(b"toy 1")
    assert load_model(tmp_path / "x").name == "small"
