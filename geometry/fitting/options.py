"""What a user can set of the fit: the stages and the options."""

from pydantic import Field, model_validator

from geometry.settings.options import AtLeast0, Count, Positive, Seed, Share, options


@options
class Stage:
    """A run of iterations under the same settings."""

    iterations: Count
    """At most so many Gauss–Newton steps."""
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
    evidence: bool = False
    """Whether the scan's noise is measured before the stage, and what the model cannot show is in play."""


STAGES = (
    Stage(5, 0.0, 0.0, 1.0, 20.0, 2500),
    Stage(6, 0.15, 0.0, 10.0, 14.0, 3500),
    Stage(6, 0.4, 1.0, 4.0, 9.0, 5000),
    Stage(6, 1.0, 1.0, 2.0, 6.0, 16000, True),
    Stage(12, 1.0, 1.0, 1.0, 4.0, 32000, True),
)


@options
class FittingOptions:
    """Settings of the fit, chosen on simulated scans of the validation split (docs/experiments/fit.md)."""

    identity_modes: Count = 120
    """At most so many identity modes."""
    expression_modes: int = Field(default=60, ge=0)
    """At most so many expression modes."""
    regularization_weight: AtLeast0 = 1.0
    """Scales the priors of identity and expression."""
    discrepancy_mm: tuple[Positive, ...] = Field(default=(0.6, 0.4), min_length=1)
    """Standard deviations of what the model cannot show of a face, one for each of `discrepancy_length_mm`. Their common scale is
    found anew for each scan."""
    discrepancy_length_mm: tuple[Positive, ...] = Field(default=(9.0, 20.0), min_length=1)
    """Correlation lengths of what the model cannot show."""
    unshown_mm4: Positive = 1.0
    """Spectral density of what is finer than that and no noise: its mean over an area A has a variance of this over A."""
    unshown_features_mm4: AtLeast0 = 5.0
    """The same, added on eyes, brows, nostrils, lips and within 5 mm of them, whose lines a model misses."""
    first_density_mm4: Positive = 0.56
    """The spectral density of everything that the model cannot show, in stages without evidence."""
    landmark_sigma_mm: Positive = 2.0
    """Standard deviation of landmarks that come with the scan."""
    found_sigma_factor: AtLeast0 = 1.0
    """Landmarks that a network found on the scan count with so many times their own standard deviation, or `landmark_sigma_mm`
    where that is larger; 0: not at all."""
    found_confidence: Share = 0.5
    """Found landmarks of less confidence do not count."""
    surround_weight: AtLeast0 = 0.4
    """Weight of model vertices outside the face region: ears, the sides behind the cheeks, the nape. On simulated validation
    scans vertices keep their points of skin better the more it is, up to 0.4; 1.0 is the same."""
    scalp_weight: AtLeast0 = 0.0
    """Factor on `surround_weight` for the scalp's vertices; 0: they take no part. On people hair lies there. Simulated validation
    scans, a quarter of which have some, are fitted as well with 0 as with 0.125, and worse with 1."""
    neck_weight: AtLeast0 = 0.15
    """Factor on the weight of the neck's vertices: a neck bends with the head's pose, and shoulders, collars and hair lie over
    it."""
    damping: AtLeast0 = 0.007
    """Damping of one step's motion, relative to the weight of the data. With 0.001 one simulated scan of 23 slid into a wrong
    minimum."""
    still_mm: Positive = 0.02
    """A stage ends where a step moves the face by less than this on average."""
    normal_cosine: float = Field(default=0.5, ge=-1, le=1)
    """Least cosine between the normals of a scan point and of a model vertex that are a pair."""
    normal_weight_mm: AtLeast0 = 6.0
    """What a difference of normals of length 1 counts in the search for the nearest vertex, in mm."""
    stages: tuple[Stage, ...] = Field(default=STAGES, min_length=1)
    """Run one after the other, coarse to fine."""
    seed: Seed = 0
    """Of the choice of samples."""

    @model_validator(mode="after")
    def _one_length_for_each(self) -> "FittingOptions":
        if len(self.discrepancy_mm) != len(self.discrepancy_length_mm):
            raise ValueError("discrepancy_length_mm has one length for each of discrepancy_mm")
        return self
