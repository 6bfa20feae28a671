"""Training sets and example scans: splits, determinism, resuming, what the pairs hold."""

import json
import shlex
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sampled_faces import default_model as model
from scipy.spatial import cKDTree

from geometry import readers
from geometry.charts import chart as charts
from geometry.charts.chart import OrthographicChart
from geometry.charts.geometry_image import CHANNELS, GeometryImage
from geometry.errors import ConfigError, NoFaceFound
from geometry.settings import loading
from geometry.synthesis import sensors
from geometry.synthesis.faces import SynthesisOptions, sample_face
from geometry.transforms import SimilarityTransform
from pipeline import synthesize
from pipeline.execution.local import Runner
from pipeline.launch import training_set
from pipeline.launch.command import set_parser, settings_of
from pipeline.pictures import contact_sheet
from pipeline.scans.job import Job
from pipeline.store import tfrecord
from pipeline.training import example_scans, making, sampled_pairs, shards
from pipeline.training.config import PairOptions, SetOptions, SynthesisConfig
from pipeline.training.sampled_pairs import make_pair, split_of

ROOT = Path(__file__).parents[1]
CONFIG = SynthesisConfig(set=SetOptions(seed=3), pairs=PairOptions(sensor_weights={"truedepth": 1.0}))


@cache
def pair(index=0):
    return make_pair(index, CONFIG)


def depth_of(features, group):
    """(h, w) mm, NaN where it is not valid."""
    depth, valid = (np.reshape(features[f"{group}/{name}"], features["shape"]) for name in ("depth", "valid_mask"))
    return np.where(valid > 0, depth, np.nan)


def fake_pair(index, config):
    """A record as small as the schema allows, or a dropped pair for every fifth index."""
    if index % 5 == 4:
        raise NoFaceFound(f"only {index} points")
    names = [f"{group}/{name}" for group in ("coarse", "scan", "truth") for name in (*CHANNELS, "valid_mask")]
    return dict.fromkeys(names, np.full(16, index, np.float32)) | {
        "scan_id": f"{config.set.seed}-{index}",
        "shape": np.array([4, 4]),
        "chart": "{}",
        "subject": str(index),
        "split": split_of(index, config.set.split_shares),
        "sensor": "truedepth",
        "fit_residual_mm": np.array([0.1]),
    }


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(sampled_pairs, "make_pair", fake_pair)


def make_set(folder, count=40, seed=1, **options):
    config = SynthesisConfig(set=SetOptions(seed=seed, pairs_per_shard=10))
    return training_set.synthesize(making.Job(str(folder), config), count, Runner(1), **options)


def test_splits_are_disjoint_in_subjects_have_the_stated_shares_and_grow_without_changing():
    shares = Counter(split_of(subject) for subject in range(2000))
    assert shares["train"] == pytest.approx(1800, abs=5) and shares["validation"] == pytest.approx(100, abs=5)
    options = SetOptions(views_per_subject=3, pairs_per_shard=7)
    by_split: dict[str, set[int]] = {}
    for shard in shards.plan_shards(300, options):
        by_split.setdefault(shard.name.split("-")[0], set()).update(index // 3 for index in shard.indices)
    assert sum(map(len, by_split.values())) == len(set().union(*by_split.values())) == 100
    assert all(len(shard.indices) <= 7 for shard in shards.plan_shards(300, options))


def test_a_pair_holds_the_schema_and_a_truth_that_the_coarse_image_approximates():
    features = pair()
    assert {f"{g}/{c}" for g in ("coarse", "scan", "truth") for c in (*CHANNELS, "valid_mask")} <= set(features)
    assert "scan/noise_sigma" in features and features["sensor"] == "truedepth" and features["split"] in sampled_pairs.SPLITS
    chart = charts.from_json(features["chart"])
    assert tuple(features["shape"]) == (chart.height, chart.width)
    coarse, scan, truth = (depth_of(features, group) for group in ("coarse", "scan", "truth"))
    x, y = np.meshgrid(np.arange(256) - 128, np.arange(256) - 128)
    face = np.isfinite(coarse + scan + truth) & (x**2 + (y / 1.2) ** 2 < 70**2)
    assert face.sum() > 5000
    assert 0.1 < np.median(np.abs(truth - coarse)[face]) < 1.5, "the truth is beyond the model's span, and near it"


def test_the_scan_scatters_about_the_truth_in_the_fits_frame():
    difference = depth_of(pair(), "scan") - depth_of(pair(), "truth")
    assert np.isfinite(difference).sum() > 5000
    assert abs(np.nanmedian(difference)) < 0.3 and np.nanmedian(np.abs(difference)) < 1.0


def test_a_pair_follows_from_seed_and_index_alone():
    assert tfrecord.encode_example(make_pair(0, CONFIG)) == tfrecord.encode_example(pair())


def test_a_warm_start_ends_where_the_search_does():
    """The pose is given to the chain within a few degrees and mm; locating by search leads to the same surface where the scan
    shows the face, and elsewhere, as at the neck, which weighs little, to one that differs by a part of the fit's own σ."""
    rng = np.random.default_rng(21)
    face = sample_face(model(), rng, SynthesisOptions(hair_share=0, hand_share=0))
    pose = SimilarityTransform(sensors.head_rotation(10, 5, 3), np.array([5.0, 5, 330]))
    scan = sensors.observe(face.skin, sensors.SENSORS["truedepth"], pose, rng, face.surroundings, strength=1.0)
    jobs = [Job(replace(CONFIG, pairs=replace(CONFIG.pairs, start=start))) for start in ("perturbed", "located")]
    warm, cold = (sampled_pairs.fitted(scan, pose, job, rng).fit for job in jobs)
    one, other = (model().mesh().with_vertices(fit.scan_to_model.inverse().apply(fit.vertices)) for fit in (warm, cold))
    apart, face = np.abs(np.einsum("ij,ij->i", one.vertices - other.vertices, one.vertex_normals)), model().regions["face"]
    shown = face & (cKDTree(scan.points).query(one.vertices)[0] < 3.0)
    assert apart[shown].mean() < 0.15
    assert (apart / warm.posterior.sigma_mm)[face].mean() < 0.3


def test_rounding_moves_a_channel_by_half_a_step_at_most_and_leaves_zero_bits():
    rng, names = np.random.default_rng(0), sampled_pairs.STEPS
    channels = {name: rng.uniform(-1, 1, (8, 8)).astype(np.float32) for name in (*names, "untouched")}
    found = sampled_pairs.rounded(GeometryImage(channels, np.ones((8, 8), bool), OrthographicChart(8, 8)))
    np.testing.assert_array_equal(found["untouched"], channels["untouched"])
    for name in names:
        assert 0 < np.abs(found[name] - channels[name]).max() <= names[name] / 2
        assert not (found[name].view(np.uint32) & 0xFF).any(), f"{name}: gzip finds no zero byte"
    assert np.abs(found["depth"] - channels["depth"]).max() <= 0.001


def test_a_set_counts_what_it_dropped_by_reason_and_describes_itself(fast, tmp_path):
    card = make_set(tmp_path)
    assert card["attempted"] == 40 and card["pairs"] == 32 and card["dropped"] == {"NoFaceFound: only # points": 8}
    assert sum(card["pairs_by_split"].values()) == 32
    assert json.loads((tmp_path / "card.json").read_text()) == card
    held: dict[str, set[str]] = {}
    for path in sorted(tmp_path.glob("*.tfrecord.gz")):
        assert path.read_bytes()[:2] == b"\x1f\x8b"
        for record in tfrecord.read_tfrecord(str(path)):
            features = tfrecord.decode_example(record)
            assert features["split"][0].decode() == path.name.split("-")[0]
            held.setdefault(features["split"][0].decode(), set()).add(features["subject"][0].decode())
    assert not held["train"] & held.get("validation", set())


def test_a_killed_job_goes_on_with_the_shards_that_are_missing(fast, tmp_path, monkeypatch):
    make_set(tmp_path)
    kept = tmp_path / "train-00000.tfrecord.gz"
    before, stamp = {path.name: path.read_bytes() for path in tmp_path.iterdir()}, kept.stat().st_mtime_ns
    (tmp_path / "train-00001.tfrecord.gz").unlink()
    (tmp_path / "train-00002.json").unlink()
    (tmp_path / "train-00003.tfrecord.gz.0123456789ab.partial").write_bytes(b"half a file")
    make_set(tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith(".partial")}
    of_shard = lambda name: name.startswith(("train", "test", "valid")) and name.endswith(".json")  # it holds the seconds taken
    without_clock = lambda files: {name: data for name, data in files.items() if not of_shard(name)}
    assert without_clock(after) == without_clock(before) and kept.stat().st_mtime_ns == stamp


def test_a_set_grows_and_shrinks_with_its_count(fast, tmp_path):
    make_set(tmp_path / "grown", 40)
    kept = (tmp_path / "grown" / "train-00000.tfrecord.gz").stat().st_mtime_ns
    assert make_set(tmp_path / "grown", 60) == make_set(tmp_path / "large", 60)
    assert (tmp_path / "grown" / "train-00000.tfrecord.gz").stat().st_mtime_ns == kept
    assert make_set(tmp_path / "grown", 20)["attempted"] == 20 and not (tmp_path / "grown" / "train-00003.json").exists()


def test_a_set_that_differs_in_everything_is_refused_in_few_words(tmp_path):
    shards.check_plan(str(tmp_path), {f"key{number:02}": 0 for number in range(20)}, force=False)
    with pytest.raises(ConfigError, match="another key00, .*key07 and 12 more; give another --output"):
        shards.check_plan(str(tmp_path), {f"key{number:02}": 1 for number in range(20)}, force=False)


def test_a_folder_with_another_set_is_refused_and_replaced_on_demand(fast, tmp_path):
    make_set(tmp_path)
    with pytest.raises(ConfigError, match="another config.set.seed"):
        make_set(tmp_path, seed=2)
    assert make_set(tmp_path, seed=2, force=True)["plan"]["config"]["set"]["seed"] == 2


def test_the_command_refuses_what_it_does_not_know(capsys):
    to_x = ["--output", "x"]
    for arguments in ([], [*to_x, "--examples", "y"], [*to_x, "--cuont", "3"]):
        with pytest.raises(SystemExit) as ended:
            synthesize.main(arguments)
        assert ended.value.code == 2
    assert "--cuont" in capsys.readouterr().err
    assert synthesize.main([*to_x, "--count", "0"]) == 2 and "set.count" in capsys.readouterr().err


def test_the_contact_sheet_shows_five_pictures_a_pair():
    features = tfrecord.decode_example(tfrecord.encode_example(pair()))
    assert contact_sheet.sheet([features, features]).size == (5 * 260, 2 * 260)


def test_the_shipped_example_scans_are_many_formats_and_small():
    shipped = [path for path in (ROOT / "examples" / "scans").iterdir() if path.name != "README.md"]
    assert {path.stem for path in shipped} == {example.name for example in example_scans.EXAMPLES} | {"not_a_face_vase"}
    assert len({path.suffix for path in shipped} - {".json"}) >= 5
    assert sum(path.stat().st_size for path in shipped) <= 6_000_000


def test_example_scans_are_written_the_same_again(tmp_path):
    chosen = [example for example in example_scans.EXAMPLES if example.name in ("kinect_in_a_room", "truedepth_on_its_side")]
    for name in example_scans.write_examples(str(tmp_path), model(), chosen):
        shipped, written = ROOT / "examples" / "scans" / name, tmp_path / name
        if written.read_bytes() == shipped.read_bytes():
            continue
        # another machine's arithmetic may end in other bits, and a threshold fall the other way in a few pixels
        load = {".png": Image.open, ".ply": lambda path: readers.read(path).points}[written.suffix]
        found, expected = (np.asarray(load(path)).astype(float) for path in (written, shipped))
        assert found.shape == expected.shape and (np.abs(found - expected) <= 1).mean() > 0.99, name
    kinect = np.asarray(Image.open(tmp_path / "kinect_in_a_room.png"))
    assert kinect.dtype == np.uint16 and (kinect > 1500).any() and (kinect[kinect > 0] > 500).all()


def config_of(flags):
    return loading.load(SynthesisConfig, settings=settings_of(set_parser("").parse_args(["--output", "x", *shlex.split(flags)])))


def test_a_command_chooses_sensors_strength_and_resolution():
    config = config_of("--views 2 --sensors time_of_flight=2 stereo --strength 0.8 2 --pixel-mm 0.375")
    assert config.pairs.sensor_weights == {"time_of_flight": 2.0, "stereo": 1.0} and config.pairs.strength == (0.8, 2.0)
    assert (config.chart.height, config.chart.width, config.set.views_per_subject) == (512, 512, 2)
    assert config_of("") == SynthesisConfig() and config_of("--seed 3 --set pairs.sensor_weights={truedepth:\\ 1}") == CONFIG


@pytest.mark.parametrize(
    "wrong",
    [
        "--sensors webcam",
        "--sensors stereo=-1",
        "--sensors stereo=much",
        "--strength 2 1",
        "--strength 0 1",
        "--pixel-mm 0.7",
        "--pixel-mm 0",
        "--views 0",
    ],
)
def test_a_wrong_choice_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match="--(set|pixel-mm) .*(expected|must)"):
        config_of(wrong)


def test_the_asked_noise_reaches_the_sensor(monkeypatch):
    seen = []
    monkeypatch.setattr(sampled_pairs.sensors, "observe", lambda *given, strength=None, **options: seen.append(strength))
    face = sample_face(model(), np.random.default_rng(0))
    sensor = sensors.SENSORS["truedepth"]
    for strength in (None, (3.0, 3.0)):
        options = replace(PairOptions(), strength=strength)
        sampled_pairs.observe(face.skin, face, sensor, SimilarityTransform.identity(), options, np.random.default_rng(0))
    assert seen == [None, pytest.approx(3.0)]
