"""The refiner as the pipeline uses it: images in, images out, the same bytes whatever the batch."""

import subprocess
import sys

import numpy as np
import pytest
from gan_pairs import batch, simulate
from test_refiner_networks import TINY, random_generator

from gan import export, weights
from gan.config import TrainingConfig
from gan.refiner.inference import ChartError, Refiner
from geometry.charts.chart import CylindricalChart, OrthographicChart
from geometry.charts.geometry_image import CHANNELS, GeometryImage


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    weights.save(path, random_generator(scale=0.5), TrainingConfig(generator=TINY), {}, {})
    return str(path)


@pytest.fixture(scope="module")
def refiner(weights_file):
    return Refiner(weights_file, batch_size=3)


def pair(seed: int, size: int = 64, sensor: str | None = None):
    return simulate(seed, size, sensor)[:2]


def same(a: GeometryImage, b: GeometryImage) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a.channels) and np.array_equal(a.valid_mask, b.valid_mask)


def test_a_refined_image_is_a_geometry_image_valid_where_the_coarse_one_is(refiner):
    coarse, scan = pair(0)
    refined = refiner.refine([(coarse, scan)])[0]
    assert set(refined.channels) == {*CHANNELS, "confidence", "sigma_mm"} and refined.chart == coarse.chart
    np.testing.assert_array_equal(refined.valid_mask, coarse.valid_mask)
    for name, values in refined.channels.items():
        assert values.dtype == np.float32 and values.shape == (64, 64) and np.isfinite(values).all(), name
        assert not np.any(values[~refined.valid_mask]), name
    assert refined["confidence"].min() >= 0 and refined["confidence"].max() <= 1
    flat = np.hypot(refined["normal_x"], refined["normal_y"])[refined.valid_mask]
    np.testing.assert_allclose(refined["normal_elevation"][refined.valid_mask], np.arccos(np.minimum(flat, 1)), atol=2e-3)


def test_the_output_depends_neither_on_the_place_in_the_batch_nor_on_its_mates(refiner):
    pairs = [pair(seed) for seed in range(5)]
    alone = [refiner.refine([p])[0] for p in pairs]
    together, reverse = refiner.refine(pairs), refiner.refine(pairs[::-1])[::-1]
    assert all(same(a, b) and same(a, c) for a, b, c in zip(alone, together, reverse))


def test_images_of_other_sizes_are_padded_and_do_not_mix(refiner):
    sizes = (64, 40, 64, 56)
    pairs = [pair(seed, size) for seed, size in enumerate(sizes)]
    refined = refiner.refine(pairs)
    assert [image.shape[0] for image in refined] == list(sizes)
    assert all(same(refiner.refine([p])[0], image) for p, image in zip(pairs, refined))


def test_a_clean_scan_is_kept_to_a_few_micrometres(refiner):
    coarse, scan = pair(2, sensor="clean")
    scan = scan.with_channel("noise_sigma", np.where(scan.valid_mask, 0.01, 0.0))
    refined = refiner.refine([(coarse, scan)])[0]
    seen = coarse.valid_mask & scan.valid_mask
    assert np.abs(refined["depth"] - scan["depth"])[seen].max() < 0.005
    assert refined["confidence"][seen].min() > 0.99


def test_a_hand_before_the_face_changes_nothing_beyond_its_hole(refiner):
    coarse, scan = pair(4, sensor="middle")
    hand, hole = scan["depth"].copy(), scan.valid_mask.copy()
    hand[20:40, 20:40] += 30
    hole[20:40, 20:40] = False
    before = refiner.refine([(coarse, scan.with_channel("depth", hand))])[0]
    assert same(before, refiner.refine([(coarse, GeometryImage(scan.channels, hole, scan.chart))])[0])


def test_unmeasured_pixels_have_less_confidence(refiner):
    coarse, scan = pair(5, sensor="fine")
    half = scan.valid_mask.copy()
    half[:, 32:] = False
    confidence = refiner.refine([(coarse, GeometryImage(scan.channels, half, scan.chart))])[0]["confidence"]
    assert confidence[half].mean() > 2 * confidence[:, 48:][coarse.valid_mask[:, 48:]].mean()


def test_a_foreign_chart_is_refused(refiner):
    coarse, scan = pair(0, 32)
    for chart in (CylindricalChart(height=32, width=32), OrthographicChart(height=32, width=32, pixel_mm=1.5)):
        images = [GeometryImage(image.channels, image.valid_mask, chart) for image in (coarse, scan)]
        with pytest.raises(ChartError, match="trained on an orthographic chart of 0.75 mm"):
            refiner.refine([tuple(images)])
    with pytest.raises(ChartError, match="different charts"):
        refiner.refine([(coarse, images[1])])


def test_nothing_to_refine_is_nothing(refiner):
    assert refiner.refine([]) == []


def test_importing_the_refiner_or_its_card_imports_no_tensorflow():
    code = "import sys, gan.inference, gan.weights, gan.config, gan.train\n"
    code += "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_mirrored_scan_gives_the_mirrored_surface(refiner):
    coarse, scan = pair(3)
    mirrored_pair = tuple(mirrored_image(image) for image in (coarse, scan))
    refined, other = refiner.refine([(coarse, scan)])[0], refiner.refine([mirrored_pair])[0]
    np.testing.assert_allclose(other["depth"][:, ::-1], refined["depth"], atol=2e-5)
    np.testing.assert_allclose(other["normal_x"][:, ::-1], -refined["normal_x"], atol=2e-5)


def mirrored_image(image: GeometryImage) -> GeometryImage:
    channels = {name: (-1 if name == "normal_x" else 1) * values[:, ::-1] for name, values in image.channels.items()}
    return GeometryImage(channels, image.valid_mask[:, ::-1], image.chart)


def test_the_saved_model_computes_what_the_refiner_does(weights_file, refiner, tmp_path):
    import tensorflow as tf

    coarse, scan = pair(4)
    folder = export.export(weights_file, tmp_path / "frozen")
    frozen = tf.saved_model.load(str(folder)).signatures[export.SIGNATURE]
    found = frozen(**{name: tf.constant(values) for name, values in batch(4)[0].items()})
    refined = refiner.refine([(coarse, scan)])[0]
    valid = coarse.valid_mask
    np.testing.assert_allclose((coarse["depth"] + found["depth"].numpy()[0, ..., 0])[valid], refined["depth"][valid], atol=1e-4)
    np.testing.assert_allclose(found["sigma"].numpy()[0, ..., 0][valid], refined["sigma_mm"][valid], rtol=1e-3)
    assert (folder / "card.json").exists() and (folder / "card.md").exists()
    assert export.main(["--weights", weights_file, "--output", str(folder)]) == 2, "a folder in use is refused"
    assert export.main(["--weights", weights_file, "--output", weights_file]) == 2, "a file in its place is refused"
