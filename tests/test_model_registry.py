"""Model files: the shipped one, round trips, quantisation, and every bad file refused with a reason."""

import hashlib
import io
import pickle
import zipfile
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
from geometry.model.morphable_model import MARK_UP, MorphableModel
from geometry.model.registry import load_model
from geometry.model.texture_layout import TextureLayout


def small_model(n=80, seed=0):
    rng = np.random.default_rng(seed)
    triangles = np.append(np.array([[n - 1, 0, 1]]), rng.integers(0, n, (49, 3)), axis=0).astype(np.int32)
    mean = rng.normal(size=(n, 3)) * 10
    mean[[36, 45, 27, 30, 8]] = [[-45, 30, -20], [45, 30, -20], [0, 30, -5], [0, 0, 0], [0, -70, -10]]  # as a face's lie
    half = np.array([k for k in range(n // 2) if not {k, n - 1 - k} & {36, 45, 27, 30, 8}] + [36, 45, 27, 30, 8])
    mean[n - 1 - half] = mean[half] * [-1, 1, 1]
    mean = mean.astype(np.float32).astype(float)
    inward = np.cross(mean[triangles[:, 1]] - mean[triangles[:, 0]], mean[triangles[:, 2]] - mean[triangles[:, 0]])[:, 2] < 0
    triangles[inward] = triangles[inward][:, [0, 2, 1]]
    return MorphableModel(
        name="small",
        mean=mean,
        triangles=triangles,
        identity_basis=rng.normal(size=(4, n, 3)).astype(np.float32),
        expression_basis=rng.normal(size=(2, n, 3)).astype(np.float32),
        landmarks={"ibug68": np.arange(68)},
        regions={name: rng.random(n) < 0.5 for name in ("face", "eyes", "mouth_interior")},
        expression_names=("smile", "frown"),
        expression_range=(0.0, 1.0),
        notes={"licence": "none"},
        curves={"midline": np.array([7, 3, 9])},
        mirror_vertex=np.arange(n)[::-1],
        texture=small_texture(triangles),
        earlier_mark_ups={1: rng.normal(size=(68, 3)).astype(np.float32).astype(float)},
    )


def small_texture(triangles):
    """Every vertex at one place, but the first corner at two."""
    corners = np.array(triangles)
    corners[0, 0] = triangles.max() + 1
    corner_vertex = np.append(np.arange(triangles.max() + 1), triangles[0, 0])
    uv = np.random.default_rng(0).random((len(corner_vertex), 2)).astype(np.float32).astype(float)
    return TextureLayout(uv, corners.astype(np.int32), corner_vertex)


def wrapped(texture):
    """Its triangles, with the last row counted from the end."""
    return np.where(texture.triangles == len(texture.uv) - 1, -1, texture.triangles).astype(np.int32)


def saved(path, model):
    save_model(path, model)
    return path


def test_default_loads_in_float32_with_what_everything_relies_on(model):
    assert model.identity_basis.dtype == model.expression_basis.dtype == np.float32 and model.mean.dtype == np.float64
    assert model.n_identity <= 120 and model.expression_range == (0.0, 1.0) and len(model.expression_names) == model.n_expression
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


def test_a_model_without_expressions_comes_back(tmp_path):
    model = small_model()
    still = replace(model, expression_basis=np.zeros((0, *model.mean.shape), np.float32), expression_names=())
    assert load_model(saved(tmp_path / "m.npz", still)).n_expression == 0


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda model: replace(model, mean=model.mean / 1000), "not 60 to 130 mm"),
        (lambda model: replace(model, mean=model.mean * [-1, 1, 1]), "left eye"),
        (lambda model: replace(model, mean=model.mean * [1, -1, 1]), "chin is above"),
        (lambda model: replace(model, mean=model.mean * [1, 1, -1]), "nose points"),
        (lambda model: replace(model, triangles=model.triangles[:, ::-1], texture=None), "show their inside"),
        (lambda model: replace(model, regions=model.regions | {"face": np.zeros(80, bool)}), "is empty"),
        (
            lambda model: replace(model, regions={"face": model.regions["face"]}),
            "no array 'region_eyes'",
        ),
    ],
)
def test_a_mean_in_another_frame_or_unit_or_without_a_region_is_refused(tmp_path, change, reason):
    with pytest.raises(ModelError, match=reason):
        load_model(saved(tmp_path / "m.npz", change(small_model())))


def test_pairing_texture_and_earlier_mark_ups_come_back(tmp_path):
    model = small_model()
    again = load_model(saved(tmp_path / "m.npz", model))
    assert np.array_equal(again.mirror_vertex, model.mirror_vertex)
    assert np.array_equal(again.texture.uv, model.texture.uv) and np.array_equal(again.texture.triangles, model.texture.triangles)
    assert np.array_equal(again.texture.corner_vertex[again.texture.triangles], again.triangles)
    assert again.earlier_mark_ups.keys() == {1}
    assert np.allclose(again.earlier_mark_ups[1], model.earlier_mark_ups[1] - model.mean[30], atol=1e-6), (
        "they move with the mean"
    )
    assert again.mark_up == MARK_UP and load_model(saved(tmp_path / "old.npz", replace(model, mark_up=1))).mark_up == 1


def test_the_shipped_model_brings_pairing_texture_curves_and_the_earlier_mark_up(model):
    pair, texture = model.mirror_vertex, model.texture
    assert np.array_equal(pair[pair], np.arange(model.n_vertices)) and len(model.curves) > 20
    assert np.array_equal(texture.corner_vertex[texture.triangles], model.triangles)
    assert texture.uv.min() >= 0 and texture.uv.max() <= 1 and len(texture.uv) >= model.n_vertices
    offset = np.linalg.norm(model.mean[model.landmarks["ibug68"]] - model.earlier_mark_ups[1], axis=1)
    assert offset.max() < 8 and 1 < offset[30] < 3 and (offset < 0.1).sum() > 20, (
        "some points moved, the others are where they were"
    )


@pytest.mark.parametrize(
    "key, empty",
    [
        ("curve_midline", lambda model: model.curves == {}),
        ("mirror_vertex", lambda model: model.mirror_vertex is None),
        ("uv", lambda model: model.texture is None),
        ("mark_up_1", lambda model: model.earlier_mark_ups == {}),
    ],
)
def test_what_a_file_may_lack_it_may_lack(tmp_path, key, empty):
    assert empty(load_model(edited(tmp_path, **dict.fromkeys((key, "uv_triangles") if key == "uv" else (key,)))))


def test_a_model_of_the_old_topology_is_refused_with_the_reason(tmp_path):
    path = edited(tmp_path, version=np.array(1), mirror_vertex=None, uv=None, uv_triangles=None, mark_up_1=None)
    with pytest.raises(ModelError, match="version 1, this program reads .* version 2") as caught:
        load_model(path)
    text = str(caught.value)
    assert "bad.npz" in text and "ended at the hairline" in text and "whole head" in text and "learn the model again" in text


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
        (
            {"identity_basis": np.zeros((4, 79, 3), np.int16)},
            "'identity_basis' is int16 of shape .4, 79, 3., not .*(K|any|4), 80, 3",
        ),
        ({"identity_scale": np.full(4, np.nan, np.float32)}, "NaN or infinite"),
        ({"identity_scale": np.ones(1, np.float32)}, "'identity_scale' is float32 of shape .1,., not .* of shape .4"),
        ({"mean": None}, "no array 'mean'"),
        ({"mean": np.full((80, 3), np.nan, np.float32)}, "mean holds NaN"),
        ({"mean": np.zeros((80, 3), np.float32)}, "eyes are 0 wide"),
        ({"landmarks_ibug68": None}, "no array 'landmarks_ibug68'"),
        ({"landmarks_ibug68": np.full(68, 80, np.int32)}, "landmark is outside the 80 vertices"),
        ({"landmarks_mine": np.array([3, 80])}, "landmark is outside the 80 vertices"),
        ({"landmarks_mine": np.array([3.5])}, "'landmarks_mine' is float64"),
        ({"triangles": np.full((3, 3), -1, np.int32), "uv": None, "uv_triangles": None}, "triangle is outside"),
        ({"triangles": np.zeros((3, 3), np.int32), "uv": None, "uv_triangles": None}, "or nothing"),
        ({"triangles": np.zeros((3, 4), np.int32), "uv": None, "uv_triangles": None}, "'triangles' is int32 of shape .3, 4."),
        ({"version": np.array(99)}, "version 99"),
        ({"version": np.array(np.nan)}, "'version' is float64"),
        ({"version": np.array([2])}, "'version' is int64 of shape .1,., not integers of shape .."),
        ({"format": None}, "not a known morphable-model format"),
        ({"region_face": np.zeros(2, np.uint8)}, "region has 2 bytes"),
        ({"region_eyes": None}, "no array 'region_eyes'"),
        ({"mirror_vertex": np.zeros(80, np.int32)}, "mirror_vertex pairs no vertices"),
        ({"mirror_vertex": np.arange(79, dtype=np.int32)}, "'mirror_vertex' is int32 of shape .79"),
        ({"mirror_vertex": np.append(np.arange(79), 80).astype(np.int32)}, "mirror_vertex pairs no vertices"),
        ({"mirror_vertex": np.arange(80)}, "mirror_vertex pairs vertices .* mm from each other's mirror image"),
        ({"uv": None}, "no array 'uv'"),
        ({"uv_triangles": None}, "no array 'uv_triangles'"),
        ({"uv_triangles": np.zeros((3, 3), np.int32)}, "'uv_triangles' is int32 of shape .3, 3., not integers of shape .50, 3."),
        ({"uv_triangles": np.full((50, 3), 10**6, np.int32)}, "not what it says"),
        ({"uv_triangles": np.zeros((50, 3), np.int32)}, "uv_triangles do not match the triangles"),
        ({"uv_triangles": wrapped(small_model().texture)}, "uv_triangles do not match the triangles"),
        ({"uv": np.full((81, 2), np.nan, np.float32)}, "uv is no list of"),
        ({"uv": np.full((81, 2), 1.5, np.float32)}, "uv is no list of"),
        ({"uv": np.zeros((81, 3), np.float32)}, "'uv' is float32 of shape .81, 3."),
        ({"mark_up": np.array(np.inf)}, "'mark_up' is float64"),
        ({"mark_up_1": np.full((68, 3), np.inf, np.float32)}, "earlier mark-up does not have 68 points"),
        ({"mark_up_1": np.zeros((51, 3), np.float32)}, "'mark_up_1' is float32 of shape .51, 3."),
        ({"mark_up_x": np.zeros((68, 3), np.float32)}, "not what it says"),
        ({"curve_midline": np.array([0, 80], np.int32)}, "curve 'midline' is no list of vertices below 80"),
        ({"curve_upper_lip_rim": np.array(3)}, "'curve_upper_lip_rim' is int64 of shape .., not integers of shape .any."),
        ({"expression_names": np.array(["one"])}, "differ in number"),
        ({"expression_names": np.array([["a"], ["b"]])}, "'expression_names' is <U1 of shape .2, 1."),
        ({"expression_range": np.array([1.0, 0.0])}, "weights' range is .1.0, 0.0."),
        ({"expression_range": np.array([np.nan, 1.0])}, "weights' range is"),
        ({"expression_range": np.array([0.0, 1.0, 2.0])}, "0 or 2 numbers"),
        ({"notes": np.array("{not json")}, "not what it says"),
        ({"notes": np.array("[1]")}, "JSON of an object"),
        ({"notes": np.array("[" * 10**5)}, "not what it says"),
    ],
)
def test_an_inconsistent_file_is_refused_with_its_fault(tmp_path, changes, words):
    with pytest.raises(ModelError, match=words) as caught:
        load_model(edited(tmp_path, **changes))
    assert "bad.npz" in str(caught.value)


def test_a_member_that_is_no_array_is_refused(tmp_path):
    path = saved(tmp_path / "good.npz", small_model())
    for content in (b"", b"not an array", b"\x93NUMPY\x01\x00\x10\x00{'descr: broken   "):
        with zipfile.ZipFile(path) as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
            for name in good.namelist():
                bad.writestr(name, content if name == "mean.npy" else good.read(name))
        with pytest.raises(ModelError, match="bad.npz"):
            load_model(tmp_path / "bad.npz")


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
