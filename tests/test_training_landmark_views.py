"""Views with landmarks: exact, repeatable, and of the sides that they say."""

import json
from dataclasses import replace

import numpy as np
import pytest

from geometry.charts.chart import from_json
from geometry.errors import NoFaceFound
from geometry.landmarks.views import view_of_pose
from geometry.locating.cleaning import CleaningOptions
from geometry.synthesis.sensors import SENSORS, PoseRange, sample_pose
from pipeline import synthesize
from pipeline.store import tfrecord
from pipeline.training import landmark_views
from pipeline.training.config import SetOptions, SynthesisConfig, ViewOptions
from pipeline.training.landmark_views import ASTRAY, KINDS, make_views, view_pose

SEED = 21
CONFIG = SynthesisConfig(set=SetOptions(seed=SEED))


@pytest.fixture(scope="module")
def made():
    return [view for index in range(2) for view in make_views(index, CONFIG)]


def test_a_visible_landmark_lies_on_the_surface_that_the_view_shows(made):
    assert {view["kind"] for view in made} <= {*KINDS, ASTRAY}
    for view in made:
        chart, shape = from_json(view["chart"]), tuple(view["shape"])
        seen = view["visible"] > 0
        if view["kind"] == ASTRAY:
            assert not seen.any()
            continue
        assert seen.sum() >= landmark_views.LEAST_SEEN
        pixels, depth = chart.project(view["landmarks"].reshape(68, 3).astype(float)[seen])
        column, row = np.clip(np.floor(pixels).astype(int), 1, shape[0] - 2).T
        image, valid = (view[f"view/{name}"].reshape(shape) for name in ("depth", "valid_mask"))
        nearest = np.stack(
            [
                np.where(valid[row + i, column + j] > 0, np.abs(image[row + i, column + j] - depth), np.inf)
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
            ]
        ).min(0)
        assert nearest.max() <= 4.0


def test_a_scan_s_views_follow_from_seed_and_index(made):
    mine = [view for view in made if view["scan_id"].startswith(f"synthetic-{SEED}-000001")]
    assert [tfrecord.encode_example(view) for view in make_views(1, CONFIG)] == [tfrecord.encode_example(view) for view in mine]


def test_a_scan_is_cleaned_as_the_configuration_says():
    only = replace(CONFIG.pairs, sensor_weights={"kinect_v1": 1.0})
    with pytest.raises(NoFaceFound, match="only 0 usable points"):
        make_views(0, replace(CONFIG, pairs=only, clean=CleaningOptions(max_distance_mm=1.0)))


def test_views_astray_come_after_the_others_and_leave_them_as_they_are(made):
    without = make_views(0, replace(CONFIG, views=ViewOptions(astray_per_scan=0)))
    mine = [view for view in made if view["scan_id"].startswith(f"synthetic-{SEED}-000000")]
    assert [tfrecord.encode_example(view) for view in without] == [tfrecord.encode_example(view) for view in mine[: len(without)]]
    assert [view["kind"] for view in mine[len(without) :]] == [ASTRAY]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_looks_from_where_it_should(kind):
    """The face's z axis in the view: toward the viewer when aligned, and within the ranges of yaw and pitch otherwise."""
    options, rng = ViewOptions(), np.random.default_rng(0)
    for _ in range(40):
        pose = sample_pose(SENSORS["truedepth"], rng, PoseRange(60.0, 40.0, 45.0, 0.2))
        rotation = view_pose(kind, pose, rng, options).rotation @ pose.rotation
        forward, up = rotation[:, 2], rotation[:, 1]
        angle = np.degrees(np.arccos(np.clip(forward[2], -1, 1)))
        roll = np.degrees(np.arctan2(up[0], up[1]))
        assert angle < (35 if kind == "aligned" else 75) and abs(roll) < (30 if kind == "aligned" else 100)


def test_a_view_astray_never_looks_at_the_face_as_it_should_be_looked_at():
    rng = np.random.default_rng(1)
    for _ in range(60):
        pose = sample_pose(SENSORS["truedepth"], rng)
        # from the view straight at the face; its translation is where the face's middle comes to lie in the picture
        off = landmark_views.astray_pose(pose, rng).compose(view_of_pose(pose.inverse()).inverse())
        assert off.angle_deg > 45 or np.hypot(*off.translation[:2]) > 60


def test_a_hole_takes_points_away_about_a_landmark():
    made = landmark_views.simulate(0, CONFIG)
    centre = made.landmarks[30]
    cut = landmark_views.with_hole(made.scan, centre, 20.0)
    assert np.linalg.norm(cut.points - centre, axis=1).min() > 20.0 and len(cut.points) < len(made.scan.points)


def test_the_command_makes_a_set_with_a_card(tmp_path):
    out = tmp_path / "views"
    assert synthesize.main(["--landmarks", "--output", str(out), "--count", "2", "--workers", "1", "--seed", str(SEED)]) == 0
    card = json.loads((out / "card.json").read_text())
    assert (
        card["what"].startswith("views of simulated raw scans") and card["pairs"] >= 10 and (out / "contact_sheet.png").exists()
    )
    first = tfrecord.decode_example(next(tfrecord.read_tfrecord(str(out / "train-00000.tfrecord.gz"))))
    assert {"landmarks", "visible", "view/depth", "kind"} <= set(first)


def test_the_command_refuses_what_does_not_go_together(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        synthesize.main(["--landmarks", "--output", str(tmp_path), "--pixel-mm", "0.5"])
    assert ended.value.code == 2 and "--pixel-mm" in capsys.readouterr().err


def test_every_subject_is_in_one_split():
    assert {landmark_views.split_of(subject, CONFIG.set.split_shares) for subject in range(60)} == {"train", "validation", "test"}
