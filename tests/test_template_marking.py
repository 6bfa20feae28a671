"""The template's landmarks: where the definition says, and otherwise where the source has them."""

import numpy as np
from shared_files import ICT, needs
from test_template import coarse

from geometry.model.landmark_embedding import shipped_schemes
from geometry.model.registry import load_model
from geometry.template.marking import OFFSETS_MM, marked
from geometry.transforms import MIRROR


def test_a_mark_moves_by_its_offset_and_stays_on_the_midline_or_its_curve():
    """On a grid of 1 mm a vertex lies within 0.71 mm of any target, and within 0.5 of it on a straight curve."""
    grid = np.stack(np.meshgrid(np.arange(0.0, 61), np.arange(-60.0, 61), [0.0]), axis=-1).reshape(-1, 3)
    line = np.flatnonzero(grid[:, 1] == 30)
    marks = {23: (20.0, 50, 0), 27: (0.0, 30, 0), 43: (20.0, 33, 0), 46: (38.0, 33, 0), 57: (0.0, 7, 0), 62: (0.0, 28, 0)}
    found = marked(
        grid, {index: np.array(mark) for index, mark in marks.items()}, dict.fromkeys(("lid", "upper_lip", "lower_lip"), line)
    )
    place = {index: grid[vertex] for index, vertex in found.items()}
    target = {index: np.add(mark, OFFSETS_MM.get(index, (0, 0, 0))) for index, mark in marks.items()}
    off = {index: np.abs(place[index] - target[index]) for index in marks}
    assert max(off[23][:2]) <= 0.5, "free on the skin"
    assert place[27][0] == place[57][0] == 0 and off[27][1] <= 0.5 and np.array_equal(place[57], marks[57]), "the midline"
    assert place[43][1] == place[46][1] == place[62][1] == 30 and off[43][0] <= 0.5 and off[46][0] <= 0.5, "their curves"


def test_only_lids_and_inner_lips_are_kept_on_curves():
    """A corner of the eye is where the skin's folds meet, beyond the visible eye: it may leave the lids' rim."""
    grid = np.stack(np.meshgrid(np.arange(0.0, 61), np.arange(-60.0, 61), [0.0]), axis=-1).reshape(-1, 3)
    line, mark = np.flatnonzero(grid[:, 1] == 30), np.array([30.0, -10, 0])
    chains = dict.fromkeys(("lid", "upper_lip", "lower_lip"), line)
    vertices = {index: marked(grid, {index: mark}, chains)[index] for index in range(22, 68)}
    assert {index for index, vertex in vertices.items() if vertex in line} == {43, 44, 46, 47, 62, 63, 64, 65, 66}


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
