"""The template's landmarks: where the definition says, and otherwise where the source has them."""

import numpy as np
from shared_files import ICT, needs
from test_template import coarse

from geometry.model.landmark_embedding import shipped_schemes
from geometry.model.registry import load_model
from geometry.template.marking import OFFSETS_MM, marked, targets
from geometry.transforms import MIRROR


def test_a_mark_moves_by_its_offset_and_stays_on_the_midline_or_its_curve():
    """On a grid of 1 mm a vertex lies within 0.71 mm of any target, and within 0.5 of it on a straight curve."""
    grid = np.stack(np.meshgrid(np.arange(0.0, 61), np.arange(-60.0, 61), [0.0]), axis=-1).reshape(-1, 3)
    lid = np.flatnonzero(grid[:, 1] == 30)
    chains = {"lid": lid, "upper_lip": lid, "lower_lip": lid, "lip_border": np.flatnonzero(grid[:, 1] == 6)}
    marks = {23: np.array([20.2, 50, 0]), 27: np.array([0.0, 30, 0]), 46: np.array([38.0, 33, 0]), 57: np.array([0.0, 7, 0])}
    found = marked(grid, targets(marks), chains)
    dx, dy, _ = OFFSETS_MM[23]
    assert np.allclose(grid[found[23]], [round(20.2 + dx), round(50 + dy), 0])
    assert np.allclose(grid[found[27]], [0, round(30 + OFFSETS_MM[27][1]), 0])
    assert np.allclose(grid[found[46]], [round(38 + OFFSETS_MM[46][0]), 30, 0]) and np.allclose(grid[found[57]], [0, 6, 0])


@needs(ICT)
def test_the_template_s_landmarks_are_the_source_s_moved_to_the_definition():
    source, (template, mesh) = load_model(ICT), coarse()
    marks, mirror = source.mean[source.landmarks["ibug68"]], shipped_schemes()["ibug68"].mirror
    offsets = np.zeros((68, 3))
    for index, offset in OFFSETS_MM.items():
        offsets[index], offsets[mirror[index]] = offset, np.array(offset) * MIRROR
    moved = np.abs(offsets).sum(axis=1) > 0
    error = np.linalg.norm(mesh.vertices[template.landmarks] - marks - offsets, axis=1)
    assert error[~moved].max() < 0.02 and error[moved].max() < 1.0
    left, right = mesh.vertices[template.landmarks], mesh.vertices[template.landmarks[list(mirror)]]
    assert np.abs(left - right * MIRROR).max() < 0.05


@needs(ICT)
def test_they_are_what_their_definitions_say_on_the_mean():
    template, mesh = coarse()
    marks, outer = mesh.vertices[template.landmarks], mesh.vertices[~template.regions["cavities"]]
    nose_tip = outer[np.abs(outer[:, 0]) < 20][:, 2].max()
    assert nose_tip - marks[30, 2] < 0.5  # pronasale: the most protruding point of the nose
    lids = marks[42:48]
    assert lids[:, 0].argmax() == 3 and lids[:, 0].argmin() == 0  # exocanthion and endocanthion are the eye's ends
    assert np.all(np.diff(marks[17:22, 0]) > 0) and marks[17:22, 1].argmax() in (2, 3)  # a brow rises from its tail to its peak
    pupils = marks[36:48, 1].mean()
    assert 21 < marks[[19, 20, 23, 24], 1].max() - pupils < 26  # its upper edge is at most 25 mm above the pupil
    steps = np.linalg.norm(np.diff(marks[27:31], axis=0), axis=1)
    assert steps.max() < 1.25 * steps.min()  # the bridge's points divide it evenly
