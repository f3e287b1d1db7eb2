"""Configuration: frozen dataclasses that validate themselves and travel as JSON.

The docstring under each field is the command line's help. A value comes from a recipe (TOML tables `[model]`
and `[train]`) or a flag; an unknown key or an invalid value is an error that names the field.
"""

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from vae_core.errors import UserError

FILTER_BANK = "filter-bank"
SMALLEST_SIDE, LARGEST_SIDE = 8, 256  # pixels, of the images of any model
Precision = Literal["auto", "fp32", "bf16"]
Optimiser = Literal["adamw", "muon"]

# Where the number of epochs, the batch size or the warm-up is not given: see their descriptions.
_LEAST_EPOCHS, _LEAST_STEPS, _LEAST_STEPS_AN_EPOCH = 20, 2000, 20
_SMALLEST_BATCH, _LARGEST_BATCH = 16, 128
_MOST_WARMUP_STEPS = 200

T = TypeVar("T")


def require(condition: bool, field: str, value: object, expected: str) -> None:
    """Raise a UserError that says what `field` must be, unless the condition holds."""
    if not condition:
        raise UserError(f"{field} must be {expected}, got {value!r:.200}")


@dataclass(frozen=True)
class ModelConfig:
    """Configuration that all model families share; each family adds its own fields."""

    family: str = ""
    """The model family."""
    image_shape: tuple[int, int, int] = (0, 0, 0)
    """Channels, height and width of the images; 0 0 0: those of most training images."""
    classes: int = 0
    """Number of classes that the model learns; set from --label, not to be given."""

    def __post_init__(self) -> None:
        channels, height, width = self.image_shape
        if self.image_shape != (0, 0, 0):
            require(1 <= channels <= 4, "image_shape", self.image_shape, "1 to 4 channels first")
            sides_fit = all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (height, width))
            expected = f"{SMALLEST_SIDE} to {LARGEST_SIDE} pixels high and wide"
            require(sides_fit, "image_shape", self.image_shape, expected)
        require(self.classes >= 0, "classes", self.classes, "zero or more")

    @property
    def dimensions(self) -> int:
        """C·H·W, the number of values that p(x|z) is of."""
        channels, height, width = self.image_shape
        return channels * height * width

    @property
    def input_bytes(self) -> int:
        """Size in memory of what the model takes of one image."""
        return self.dimensions


@dataclass(frozen=True)
class FeatureModelConfig(ModelConfig):
    """What every family of models of features is configured by."""

    backbone: str = FILTER_BANK
    """What computes the features: `filter-bank`, which is built in; an ONNX file whose outputs are feature maps; or
    torchvision:NAME. A run keeps a copy."""
    maps: tuple[int, int, int] = (0, 0, 0)
    """Channels, height and width of the feature maps; 0 0 0: those that the backbone computes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.backbone), "backbone", self.backbone, f"{FILTER_BANK}, an ONNX file or torchvision:NAME")
        known = self.maps == (0, 0, 0) or all(1 <= number <= 4096 for number in self.maps)
        require(known, "maps", self.maps, "three numbers between 1 and 4096, or 0 0 0")

    @property
    def dimensions(self) -> int:
        """F·h·w, the number of values in an image's feature maps."""
        return math.prod(self.maps)

    @property
    def input_bytes(self) -> int:
        """Feature maps are kept in half precision."""
        return 2 * self.dimensions


@dataclass(frozen=True)
class TrainConfig:
    """The optimisation of the ELBO, or of the importance-weighted bound."""

    epochs: int | None = None
    """Passes over the training images; default 20, or as many as take 2,000 steps."""
    batch_size: int | None = None
    """Images per optimisation step, over all workers together; default 128, or fewer, down to 16, for 20 steps an
    epoch."""
    optimiser: Optimiser = "adamw"
    """adamw, or muon: weights take steps of orthogonalised momentum, biases those of AdamW. A step takes
    longer and learns much more."""
    learning_rate: float = 1e-3
    """The step size at its peak: AdamW's; Muon's is 20 times that."""
    warmup_steps: int | None = None
    """Steps over which the learning rate rises linearly from zero, to fall to zero along a cosine; default a twentieth
    of all steps, at most 200."""
    weight_decay: float = 1e-4
    """Decoupled weight decay, relative to the step size."""
    kl_warmup_epochs: float = 2.0
    """Epochs over which the weight of the KL term rises linearly from zero to one."""
    iwae_samples: int = 1
    """Samples K of the importance-weighted bound that is maximised (Burda et al. 2016), each with a decode of its own.
    1: the ELBO."""
    free_bits: float = 0.0
    """Free bits: nats of KL per latent variable and image that are not penalised (Kingma et al. 2016, per image)."""
    class_weight: float = 100.0
    """With --label, the weight α of log p(y|z), a classifier of the latent vector that is trained along: the larger,
    the better classes lie apart there, and the less of the latent space is left to the pixels. 0: training does not see
    the labels, and classes are fitted when the bundle is made."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient of the bound that is maximised, in nats per pixel."""
    ema_decay: float = 0.999
    """Decay per step of the averaged weights, which are validated and exported."""
    precision: Precision = "auto"
    """fp32, bf16 (autocast of the networks; the likelihood stays in fp32), or auto: bf16 on a GPU or CPU that has
    instructions for it."""
    seed: int = 0
    """Seed of the initial weights, the splits, the order of the images and the noise."""
    validation_images: int = 6000
    """Images held out to choose the best epoch and to fit the outlier score; at most a tenth of the data,
    or a quarter if that is fewer than 20."""
    calibration_images: int = 6000
    """Images held out for calibration only; at most a tenth of the data,
    or a quarter if that is fewer than 20."""
    importance_samples: int = 16
    """Samples of the importance-weighted bound reported each epoch."""

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "batch_size",
            "iwae_samples",
            "importance_samples",
            "validation_images",
            "calibration_images",
        ):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "at least 1")
        require(self.warmup_steps is None or self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "zero or more")
        for name in ("weight_decay", "kl_warmup_epochs", "free_bits", "seed"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "zero or more")
        for name in ("learning_rate", "gradient_clip"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than zero")
        require(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "at least 0 and below 1")
        require(self.seed < 2**63, "seed", self.seed, "below 2^63")
        alone = "0 where iwae_samples is above 1, whose KL is not known for each latent variable"
        require(self.iwae_samples == 1 or self.free_bits == 0, "free_bits", self.free_bits, alone)
        optimisers = typing.get_args(Optimiser)
        require(self.class_weight >= 0, "class_weight", self.class_weight, "zero or more")
        require(self.optimiser in optimisers, "optimiser", self.optimiser, f"one of {', '.join(optimisers)}")
        known = typing.get_args(Precision)
        require(self.precision in known, "precision", self.precision, f"one of {', '.join(known)}")

    def for_images(self, images: int) -> "TrainConfig":
        """The configuration with the defaults that depend on the number of training images, which are fixed by it."""
        batch_size = self.batch_size
        if batch_size is None:
            enough = max(1, images // _LEAST_STEPS_AN_EPOCH)
            batch_size = min(max(1 << (enough.bit_length() - 1), _SMALLEST_BATCH), _LARGEST_BATCH)  # a power of two
        filled = dataclasses.replace(self, batch_size=batch_size)
        return filled.for_steps(max(1, images // batch_size))

    def for_steps(self, steps_per_epoch: int) -> "TrainConfig":
        """The configuration with the defaults of `epochs` and `warmup_steps` for epochs of so many steps."""
        epochs, warmup_steps = self.epochs, self.warmup_steps
        if epochs is None:
            epochs = max(_LEAST_EPOCHS, math.ceil(_LEAST_STEPS / steps_per_epoch))
        if warmup_steps is None:
            warmup_steps = min(_MOST_WARMUP_STEPS, epochs * steps_per_epoch // 20)
        return dataclasses.replace(self, epochs=epochs, warmup_steps=warmup_steps)

    @property
    def selected_by(self) -> str:
        """The metric of an epoch by which the best one is chosen: an estimate of what is maximised."""
        return "validation_elbo" if self.iwae_samples == 1 else "validation_iwae"


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained."""

    model: ModelConfig
    train: TrainConfig


def to_json(config: object) -> dict[str, Any]:
    """A configuration as JSON values; tuples become lists. `from_json` is its inverse."""
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def from_json(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A configuration of type `kind` from JSON or TOML values; keys left out take their defaults.

    Args:
        kind: the dataclass to make.
        values: its fields.
        where: what the values were read from, named in errors.

    Raises:
        UserError: a key is unknown, a value has the wrong type, or a value is invalid.
    """
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        known = ", ".join(hints)
        raise UserError(f"{where}: unknown key '{unknown[0]}'; the keys of {kind.__name__} are {known}")
    try:
        return kind(**{name: _convert(value, hints[name], name) for name, value in values.items()})
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def recipe_from_toml(text: str, where: str) -> Recipe:
    """A recipe from the TOML text of a file; `where` names it in errors.

    Raises:
        UserError: it is not TOML, has an unknown table or key, or an invalid value.
    """
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{where} is not valid TOML: {error}") from error
    for name, table in tables.items():
        if name not in ("model", "train") or not isinstance(table, dict):
            raise UserError(f"{where}: unknown key '{name}'; a recipe has the tables [model] and [train]")
    from vae_core.models import model_config  # late: it imports this module

    model = model_config(tables.get("model", {}), f"{where} [model]")
    return Recipe(model, from_json(TrainConfig, tables.get("train", {}), f"{where} [train]"))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _convert(value: Any, hint: Any, name: str) -> Any:
    """`value` as the type `hint`; only unambiguous conversions are made (1 → 1.0, list → tuple)."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        require(isinstance(value, list | tuple), name, value, "a list")
        if arguments[-1] is not Ellipsis:
            require(len(value) == len(arguments), name, value, f"a list of {len(arguments)} values")
        return tuple(_convert(item, arguments[0], name) for item in value)
    if origin is Literal:
        return value  # the dataclass checks it and names the choices
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _convert(value, arguments[0], name)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        require(abs(value) < 1 << 1023, name, value, "within the limits of a number")
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        article = {"int": "an integer", "float": "a number", "str": "a text", "bool": "true or false"}
        raise UserError(f"{name} must be {article.get(hint.__name__, hint.__name__)}, got {value!r}")
    return value
