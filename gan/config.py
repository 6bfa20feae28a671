"""Training configurations: sections of options (`geometry.settings`), checked before anything heavy is imported."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from geometry.settings import loading
from geometry.settings.options import AtLeast0, Count, CountRange, Seed, Share, Texts, options

Norm = Literal["pixel", "group", "none"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
Counts = Annotated[tuple[Count, ...], Field(min_length=1)]


@options
class GeneratorConfig:
    """The U-Net and its kernel-prediction head (`gan.refiner.networks.Generator`)."""

    condition: Literal["coarse+scan", "coarse"] = "coarse+scan"
    """What the network sees; "coarse" is the papers' setting."""
    head: Literal["kernels", "residual"] = "kernels"
    """kernels: weights over smoothings of the scan; residual: depth is painted, as pix2pix does."""
    filters: Count = 24
    """Of the first level (pix2pix's ngf), doubled at each level up to 8 times."""
    levels: int = Field(default=5, ge=1, le=16)
    """Levels of the U-Net; images are padded to a multiple of 2^levels."""
    norm: Norm = "pixel"
    """Normalization after each convolution."""
    head_filters: Count = 16
    """Channels of the head at full resolution."""
    stem: bool = True
    """A 3 × 3 convolution before the first stride."""
    mix_layers: Count = 2
    """3 × 3 convolutions at full resolution after the last level."""
    precision: Precision = "float32"
    """Of the convolutions; the mixed ones are for a GPU. Geometry stays float32."""
    pixel_mm: float = Field(default=0.75, gt=0)
    """Of the chart; the predicted normals need it."""
    residual_limit_mm: float = Field(default=15.0, gt=0)
    """A scan farther from the coarse surface is hair, a hand, another object."""
    correction_limit_mm: float = Field(default=3.0, gt=0)
    """Bound of the extra residual δ."""
    clean_noise_mm: float = Field(default=0.012, ge=0)
    """Noise at and below which the scan passes through untouched."""
    noisy_noise_mm: float = Field(default=0.03, ge=0)
    """Noise at and above which the network alone decides."""
    widths_per_mm: float = Field(default=8.0, ge=0)
    """The prior: noise of 1 mm wants a smoothing of this many pixels."""


@options
class DiscriminatorConfig:
    """The PatchGAN; three strided levels give the published 70 × 70 field."""

    filters: Count = 16
    """Of the first level."""
    levels: Count = 3
    """Strided levels."""
    norm: Norm = "pixel"
    """Normalization after each convolution."""


@options
class LossConfig:
    """Weights of the generator's losses; 0 leaves a term out, adversarial 0 the whole discriminator."""

    depth: AtLeast0 = 20.0
    """Of the depth error, per mm."""
    normal: AtLeast0 = 20.0
    """Of the predicted normals."""
    depth_normal: AtLeast0 = 10.0
    """Of the normals of the predicted depth."""
    adversarial: AtLeast0 = 0.1
    """Of the discriminator's judgement."""
    adversarial_kind: Literal["bce", "lsgan", "hinge"] = "bce"
    """bce is as published."""
    uncertainty: AtLeast0 = 0.1
    """Of the predicted σ; it sees the error as a constant, so it does not trade accuracy for it."""
    feature: AtLeast0 = 3.0
    """Extra weight of strongly curved pixels (lids, lips, nostrils), where people look and errors live."""
    normal_kind: Literal["chord", "cosine"] = "chord"
    """chord: |n − n′|; cosine: 1 − n·n′."""
    depth_epsilon_mm: float = Field(default=0.02, ge=0)
    """Of the Charbonnier penalty: quadratic below, L1 above."""
    depth_saturation_mm: float = Field(default=2.0, ge=0)
    """Larger errors (occluders, the unseen) pull ever less."""
    unobserved: AtLeast0 = 0.05
    """Weight of pixels that the scan does not see: half an image, with errors that no one can know."""
    noise_balance: AtLeast0 = 0.5
    """Losses are divided by (noise + 0.1 mm) to this power: coarse sensors shall not drown fine ones."""


@options
class LandmarkNetConfig:
    """The heatmap network of `gan.landmarks.network`, its loss weights and the changes made to views as it is trained."""

    widths: Counts = (48, 96, 128, 160)
    """Channels at 1/2, 1/4, … of the input's resolution."""
    stacks: Count = 1
    """Hourglasses after one another, each seeing the heatmaps of the one before."""
    landmarks: Literal[68] = 68
    """Of the scheme."""
    scheme: Literal["ibug68"] = "ibug68"
    """Of the records."""
    precision: Precision = "float32"
    """Of the convolutions; the mixed ones are for a GPU."""
    shift_px: int = Field(default=6, ge=0)
    """Random offset of the picture."""
    shift_mm: float = Field(default=12.0, ge=0)
    """Random offset of its depth."""
    hole_share: Share = 0.3
    """Of pictures with a rectangle cut out."""
    hole_px: CountRange = (6, 36)
    """The least and the largest side of that rectangle."""
    hidden: AtLeast0 = 0.15
    """Weight of landmarks that the scan does not show."""
    target_mm: float = Field(default=3.0, gt=0)
    """Width of the heatmaps' target."""
    coordinate: AtLeast0 = 1.0
    """Weight of the loss on coordinates."""
    heatmap: AtLeast0 = 1.0
    """Weight of the loss on heatmaps."""
    spread: AtLeast0 = 0.2
    """Weight of the loss on covariances."""
    visibility: AtLeast0 = 0.5
    """Weight of the loss on visibility."""


@options
class OptimizerConfig:
    """Adam for both networks; the learning rate falls to `final_fraction` over all steps by a cosine."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """At its highest."""
    warmup_steps: int = Field(default=200, ge=0)
    """Steps in which it rises linearly."""
    final_fraction: Share = 0.02
    """Of the learning rate, at the last step."""
    beta_1: Share = 0.5
    """Decay of the first moment."""
    beta_2: Share = 0.99
    """Decay of the second moment."""
    clip_norm: float = Field(default=0.0, ge=0)
    """Largest norm of the whole gradient; 0: no clipping."""
    ema_momentum: Share = 0.998
    """Of the moving average of the weights, which is what is validated and shipped."""


@options
class DataConfig:
    """Training records (docs/how_to/training.md)."""

    train: Texts = ("runs/pairs/*.tfrecord*",)
    """TFRecord files (globs)."""
    validation: Texts = ()
    """TFRecord files; empty: the validation split of `train`."""
    crop: Count = 128
    """Side of a training crop in pixels, a multiple of 2^generator.levels."""
    batch_size: Count = 4
    """Crops in a step."""
    crops_per_image: Count = 1
    """Consecutive crops of one decoded image; raise it with `cache: none`."""
    mirror: bool = True
    """Half of the crops are mirrored."""
    cache: Literal["memory", "none"] = "memory"
    """memory keeps decoded pairs, about 2.4 MB each at 256²; none decodes again every epoch."""
    shuffle_buffer: Count = 4096
    """Images among which the next one is drawn."""
    max_pairs: int = Field(default=0, ge=0)
    """At most so many; 0: all."""


@options
class ScheduleConfig:
    """Steps and what happens between them."""

    steps: Count = 16000
    """The learning rate falls to its end here."""
    validate_every: Count = 1000
    """Steps."""
    validation_images: int = Field(default=48, ge=0)
    """0: all."""
    checkpoint_every: Count = 500
    """Steps."""
    log_every: Count = 50
    """Steps."""
    samples_every: int = Field(default=2000, ge=0)
    """Steps; 0: no pictures."""
    sample_images: Count = 4
    """Images in a picture."""
    keep_checkpoints: Count = 2
    """The newest are kept."""
    growing: Texts = ()
    """Phases "factor:steps" of lower resolution first, such as ["4:1000", "2:3000"]."""
    patience: int = Field(default=0, ge=0)
    """Stop after so many validations without a better one; 0: never."""


@options
class TrainingConfig:
    """Everything that `gan.train` needs."""

    network: str = "refiner"
    """Which network: a name in `gan.train.TRAINERS`."""
    output: str = "runs/refiner"
    """Folder of the run (also --output)."""
    seed: Seed = 1
    """Of the weights and the order of the data."""
    threads: Count = 1
    """Of one TensorFlow operation; part of the result's last bits."""
    generator: GeneratorConfig = GeneratorConfig()
    """The refiner's generator."""
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    """The refiner's discriminator."""
    loss: LossConfig = LossConfig()
    """The refiner's losses."""
    landmarks: LandmarkNetConfig = LandmarkNetConfig()
    """The landmark network."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Of either network."""
    data: DataConfig = DataConfig()
    """Training records."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Steps and what happens between them."""

    @model_validator(mode="after")
    def _crop_fits_the_levels(self) -> "TrainingConfig":
        multiple = 2**self.generator.levels
        if self.data.crop % multiple:
            fitting = multiple * max(1, self.data.crop // multiple)
            raise ValueError(f"data.crop: {self.data.crop} is no multiple of {multiple} = 2^generator.levels; take {fitting}")
        return self


def load(file: str | None = None, settings: Iterable[str] = ()) -> TrainingConfig:
    """Defaults, then the YAML `file`, then `settings` such as "loss.depth=10". Raises ConfigError."""
    return loading.load(TrainingConfig, file, settings)


def config_from_dict(fields: Mapping) -> TrainingConfig:
    """Nested mapping → TrainingConfig; missing keys take their defaults. Raises ConfigError."""
    return loading.from_dict(TrainingConfig, fields)
