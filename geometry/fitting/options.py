"""What a user can set of the fit: the stages and the options."""

from pydantic import Field

from geometry.settings.options import AtLeast0, Count, Positive, Seed, Share, options


@options
class Stage:
    """A run of iterations under the same settings."""

    iterations: Count
    """How many Gauss–Newton steps."""
    identity: Share
    """Identity modes in play, as a fraction of those that the model has and the options allow; the first ones come first."""
    expression: Share
    """The same of the expression modes."""
    prior: AtLeast0
    """Weight of the priors relative to the last stage's."""
    gate_mm: Positive
    """A scan point and a model vertex farther apart than this are no pair."""
    points: Count
    """How many of the scan's samples take part."""


STAGES = (
    Stage(5, 0.0, 0.0, 1.0, 20.0, 2500),
    Stage(6, 0.15, 0.0, 10.0, 14.0, 3500),
    Stage(6, 0.4, 1.0, 4.0, 9.0, 5000),
    Stage(6, 1.0, 1.0, 2.0, 6.0, 9000),
    Stage(6, 1.0, 1.0, 1.0, 4.0, 16000),
)


@options
class FittingOptions:
    """Settings of the fit, chosen on simulated scans (benchmarks/fit_settings.py) where nothing else is said."""

    identity_modes: Count = 120
    """At most so many identity modes."""
    expression_modes: int = Field(default=60, ge=0)
    """At most so many expression modes."""
    regularization_weight: AtLeast0 = 1.0
    """Scales the priors of identity and expression."""
    expression_sigma: Positive = 0.05
    """Prior standard deviation of blendshape weights. Found on the six meshes of the bench, before simulated scans existed."""
    noise_floor_mm: Positive = 0.25
    """Standard deviation of what the model cannot show: it is never fitted away."""
    noise_inflation: AtLeast0 = 2.0
    """The scan's estimated noise counts with so many times its standard deviation."""
    landmark_sigma_mm: Positive = 2.0
    """Standard deviation of landmarks that come with the scan."""
    found_sigma_factor: AtLeast0 = 1.0
    """Landmarks that a network found on the scan count with so many times their own standard deviation, or `landmark_sigma_mm`
    where that is larger; 0: not at all."""
    found_confidence: Share = 0.5
    """Found landmarks of less confidence do not count."""
    surround_weight: AtLeast0 = 0.05
    """Weight of model vertices outside the face region (ears, neck), which help the pose and matter little. Neutral on simulated
    scans; lowered after that helped on the bench."""
    trust_radius_mm: Positive = 3.0
    """Motion of the face that the damping of one step allows for. On simulated scans 3 gave smaller errors than 1."""
    independent_area_mm2: Positive = 9.0
    """Area of the face that counts as one independent measurement."""
    normal_cosine: float = Field(default=0.5, ge=-1, le=1)
    """Least cosine between the normals of a scan point and of a model vertex that are a pair."""
    normal_weight_mm: AtLeast0 = 6.0
    """What a difference of normals of length 1 counts in the search for the nearest vertex, in mm."""
    stages: tuple[Stage, ...] = Field(default=STAGES, min_length=1)
    """Run one after the other, coarse to fine."""
    seed: Seed = 0
    """Of the choice of samples."""
