"""What a user can set of the fit: the stages and the options."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage: iterations, modes in play (a fraction of those the model has), prior weight relative to the last
    stage's, distance gate (mm), and how many scan points take part."""

    iterations: int
    identity: float
    expression: float
    prior: float
    gate_mm: float
    points: int


STAGES = (
    Stage(5, 0.0, 0.0, 1.0, 20.0, 2500),
    Stage(6, 0.15, 0.0, 10.0, 14.0, 3500),
    Stage(6, 0.4, 1.0, 4.0, 9.0, 5000),
    Stage(6, 1.0, 1.0, 2.0, 6.0, 9000),
    Stage(6, 1.0, 1.0, 1.0, 4.0, 16000),
)


@dataclass(frozen=True)
class FittingOptions:
    """identity_modes, expression_modes: at most so many; regularization_weight scales both priors;
    expression_sigma: prior standard deviation of blendshape weights; noise_floor_mm: model misfit that is
    never fitted away; landmark_sigma_mm: trust in given landmarks; found_sigma_factor: those that a network found on the scan, where
    surer than found_confidence, count with so many times their standard deviation (0: not at all); surround_weight: weight of model vertices
    outside the face region (ears, neck), which help the pose and matter little."""

    identity_modes: int = 100
    expression_modes: int = 60
    regularization_weight: float = 1.0
    expression_sigma: float = 0.05
    noise_floor_mm: float = 0.25
    noise_inflation: float = 2.0
    landmark_sigma_mm: float = 2.0
    found_sigma_factor: float = 1.0
    found_confidence: float = 0.5
    surround_weight: float = 0.05
    trust_radius_mm: float = 3.0
    independent_area_mm2: float = 9.0
    normal_cosine: float = 0.5
    normal_weight_mm: float = 6.0
    stages: tuple[Stage, ...] = STAGES
    seed: int = 0
