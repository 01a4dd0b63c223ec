"""The configuration of a run: typed fields with the paper's values as defaults, derived values, validation.

A file of `configs/` returns a `Config`; the command line overrides single fields with `--config.data.root=...`.
The dataclasses are mutable because the overrides are applied after construction; `Config.validate` runs after them.
"""

import dataclasses
import math
import typing
from typing import Any

from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import DATASETS, HEADS, METRICS, SCANS, Registry


def _number(default: Any, low: int | float, high: int | float = math.inf) -> Any:
    """A field for a finite number from `low` to `high`, or for a tuple of such numbers."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


def _choice(*choices: str) -> Any:
    """A field for one of the names, by default the first."""
    return dataclasses.field(default=choices[0], metadata={"choices": choices})


def _named(default: Any, registry: Registry, *others: str) -> Any:
    """A field for a name in a registry, or for one of `others`."""
    return dataclasses.field(default=default, metadata={"registry": registry, "others": others})


@dataclasses.dataclass(kw_only=True, slots=True)
class ModelConfig:
    """Sizes of the network; the defaults are Base. Source: MamKPD table 1."""

    stem: bool = True
    depths: tuple[int, ...] = _number((2, 4, 6), 1)
    dims: tuple[int, ...] = _number((96, 192, 384), 1)
    downsampling: str = _choice("cmm", "conv", "merging")  # figure 3: "conv" is w/o CMM, "merging" w-PM
    decoder_dim: int = _number(96, 1)  # channels of the head's layers
    d_state: int = _number(1, 1, 16)
    drop_path: float = _number(0.1, 0.0, 1.0)
    scan: str = _named("auto", SCANS, "auto")  # an implementation in ops/selective_scan; auto: the best for the device
    dtype: str = _choice("float32", "bfloat16")  # of activations; parameters, state and loss stay float32
    remat_stages: tuple[int, ...] = ()  # stages, from 0, that the backward pass recomputes to save memory

    @property
    def stride(self) -> int:
        """The stride of the encoder's features, in input pixels."""
        return 4 * 2 ** (len(self.depths) - 1)

    def validate(self) -> None:
        """Raises UserError if `depths` and `dims` differ in length, or `remat_stages` are not among the stages."""
        if len(self.depths) != len(self.dims) or not self.dims:
            raise UserError(
                f"config.model.depths names {len(self.depths)} stages and config.model.dims {len(self.dims)}; "
                "give both one number per stage"
            )
        if not set(self.remat_stages) <= set(range(len(self.dims))):
            raise UserError(
                f"config.model.remat_stages is {self.remat_stages}; expected stages of 0 to {len(self.dims) - 1}"
            )


@dataclasses.dataclass(kw_only=True, slots=True)
class HeadConfig:
    """The head, between features and keypoints; each kind of head has a subclass with its own fields."""

    kind: str = _named("", HEADS)

    @property
    def udp(self) -> bool:
        """Whether crops are measured from the first pixel's centre to the last one's (UDP, arXiv 1911.07524)."""
        return False


@dataclasses.dataclass(kw_only=True, slots=True)
class HeatmapConfig(HeadConfig):
    """A heatmap for each joint (MamKPD sec. 3.1)."""

    kind: str = _named("heatmap", HEADS)
    codec: str = _choice("plain", "dark", "udp")  # of keypoints and heatmaps
    sigma_px: float = _number(8.0, 1e-3)  # of the target Gaussians, in input pixels; the literature uses 12 at 384x288

    @property
    def udp(self) -> bool:
        return self.codec == "udp"


@dataclasses.dataclass(kw_only=True, slots=True)
class DataConfig:
    """The data set, its crops and their augmentation."""

    dataset: str = _named("coco_keypoints", DATASETS)
    root: str = "data/coco"  # the official files (annotations/, train2017/, val2017/); not read by synthetic_people
    ap10k_fold: int = _number(1, 1, 3)  # which of AP-10K's three splits into train, val and test
    train_annotations: str = "train.json"  # of custom_coco, relative to root, like the next three
    train_images: str = "images"
    val_annotations: str = "val.json"
    val_images: str = "images"
    skeleton: str = ""  # of custom_coco: a ready skeleton's name or a skeleton file; empty: that of the categories
    # Whether to apply the EXIF rotation to images whose labelled size fits both ways; auto: only in custom_coco.
    exif: str = _choice("auto", "upright", "stored")
    build_dir: str = "data/tfds"  # the folder in which the data set is built
    input_hw: tuple[int, int] = (256, 192)
    augmentation: str = _choice("mmpose", "hrnet", "mmpose_mpii", "hrnet_mpii", "light", "flip", "none")
    erasing_p: float = _number(0.0, 0.0, 1.0)  # the probability that a random rectangle covers part of a training crop
    workers: int = _number(4, 0)  # loader processes; 0 loads in threads of the training process
    synthetic_train_images: int = _number(4000, 1)
    synthetic_val_images: int = _number(400, 1)

    def validate(self) -> None:
        """Raises UserError if `input_hw` is not a pair."""
        if len(self.input_hw) != 2:
            raise UserError(f"config.data.input_hw is {self.input_hw}; expected (height, width) in pixels")


@dataclasses.dataclass(kw_only=True, slots=True)
class OptimConfig:
    """Adam with warm-up and step decay.

    Source: MamKPD sec. 4.1. Choice: the paper gives no batch size, warm-up or gradient clip. Batch size (128 on each of
    the paper's two GPUs) and warm-up are those of MMPose's heatmap configs; the clip is a safety net.
    """

    optimizer: str = _choice("adam", "adamw")
    weight_decay: float = _number(0.0, 0.0)  # of adamw, on kernels; none on norms, biases, or a scan's A, D, delta bias
    batch_size: int = _number(256, 1)  # per step, over all devices
    accumulate: int = _number(1, 1)  # sequential parts of the batch, each with its own BatchNorm statistics
    epochs: int = _number(210, 1)
    learning_rate: float = _number(1e-3, 0.0)
    learning_rate_batch_size: int = _number(0, 0)  # the batch size that learning_rate is for; 0: batch_size
    decay_epochs: tuple[int, ...] = (170, 200)
    decay_factor: float = _number(0.1, 0.0, 1.0)
    warmup_steps: int = _number(500, 0)
    warmup_factor: float = _number(1e-3, 0.0, 1.0)
    clip_norm: float = _number(1.0, 1e-12)  # of the gradient's global norm
    ema_decay: float = _number(0.0, 0.0, 0.9999999)  # of the parameters' moving average, which is evaluated; 0: none
    on_nonfinite: str = _choice("stop", "skip")  # on a non-finite loss or gradient: stop, or skip the step
    max_skipped: int = _number(10, 1)  # the run stops after this many skipped steps in a row

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate, scaled linearly to the batch size. Source: Goyal et al., arXiv 1706.02677."""
        return self.learning_rate * self.batch_size / (self.learning_rate_batch_size or self.batch_size)

    def validate(self) -> None:
        """Raises UserError if `weight_decay` is set without adamw, or `accumulate` does not divide `batch_size`."""
        if self.weight_decay and self.optimizer != "adamw":
            raise UserError(
                f"config.optim.weight_decay is {self.weight_decay}, which {self.optimizer} does not use; "
                "set --config.optim.optimizer=adamw, or no decay"
            )
        if self.batch_size % self.accumulate:
            raise UserError(
                f"config.optim.accumulate={self.accumulate} does not divide config.optim.batch_size={self.batch_size}; "
                "set a divisor"
            )


@dataclasses.dataclass(kw_only=True, slots=True)
class EvalConfig:
    """How the validation split is scored; the first value of the first metric chooses the best checkpoint."""

    metrics: tuple[str, ...] = _named(("coco",), METRICS)  # "coco", "pck_torso@0.2" and the like
    split: str = "val"  # AP-10K has "test" too
    batch_size: int = _number(256, 1)
    flip_test: bool = True
    soft_nms: bool = False  # among the poses of detected boxes
    detections: str = ""  # a detections file in COCO's form; empty: ground-truth boxes
    every_epochs: int = _number(10, 1)

    def validate(self) -> None:
        """Raises UserError if there is no metric."""
        if not self.metrics:
            raise UserError("config.eval.metrics is empty; give at least one, such as ('coco',)")


@dataclasses.dataclass(kw_only=True, slots=True)
class Config:
    """Everything that defines a run."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    head: HeadConfig = dataclasses.field(default_factory=HeatmapConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    seed: int = 0
    log_every_steps: int = _number(50, 1)
    checkpoint_every_steps: int = _number(1000, 1)
    keep_checkpoints: int = _number(3, 1)  # the newest ones; the best by the first metric is kept too
    fsdp: int = _number(1, 1)  # devices that share one copy of the parameters and of the optimizer's state
    init_from: str = ""  # weights to start from: a model's name, a run directory, a .safetensors, .pth or .pt file

    def validate(self) -> None:
        """Raises UserError for the first field with an invalid value."""
        _check_fields(self, "config")
        for section in (self.model, self.data, self.optim, self.eval):
            section.validate()
        if type(self.head) is not HEADS[self.head.kind].config:
            raise UserError(
                f"config.head.kind is {self.head.kind!r}, and config.head is {type(self.head).__name__}; set "
                f"head={HEADS[self.head.kind].config.__name__}() in a config file"
            )
        if any(size % self.model.stride or size <= 0 for size in self.data.input_hw):
            raise UserError(
                f"config.data.input_hw is {tuple(self.data.input_hw)}; the {len(self.model.depths)}-stage model "
                f"needs positive multiples of {self.model.stride}"
            )


def _check_fields(section: Any, name: str) -> None:
    """Raises UserError for the first field whose value its declaration does not allow."""
    for field in dataclasses.fields(section):
        where, rule, value = f"{name}.{field.name}", field.metadata, getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            _check_fields(value, where)
        values: Any = value if isinstance(value, tuple | list) else (value,)
        for one in values:
            if "choices" in rule and one not in rule["choices"]:
                raise UserError(f"{where} is {one!r}; expected one of {', '.join(rule['choices'])}")
            if "registry" in rule and one not in rule["others"]:
                rule["registry"].check(one)
            if "low" in rule and not (rule["low"] <= one <= rule["high"] and -math.inf < one < math.inf):
                most = "" if math.isinf(rule["high"]) else f" and at most {rule['high']}"
                raise UserError(f"{where} is {one}; expected a finite number of at least {rule['low']}{most}")


T = typing.TypeVar("T")


def from_dict(kind: type[T], saved: Any, name: str = "config") -> T:
    """A dataclass from its dict or JSON form, whose values must have exactly the types of the fields.

    Missing fields get their defaults. The field `kind` of a `HeadConfig` selects the subclass.

    Args:
        name: the prefix of field names in messages.

    Raises:
        UserError: a field is unknown or of another type, or one without a default is missing.
    """
    if not isinstance(saved, dict):
        raise UserError(f"{name} is {saved!r}; expected a table of fields")
    if kind is HeadConfig:
        kind = HEADS[_typed(str, saved.get("kind"), f"{name}.kind")].config
    hints = typing.get_type_hints(kind)
    if unknown := saved.keys() - hints.keys():
        field = min(unknown)
        raise UserError(
            f"{name}.{field} is {saved[field]!r}, which this version of mamkpd_jax does not know; use the version that "
            "wrote it"
        )
    try:
        return kind(**{field: _typed(hints[field], value, f"{name}.{field}") for field, value in saved.items()})
    except TypeError as error:  # a field without a default is missing
        raise UserError(f"{name} is incomplete: {error}") from error


def _typed(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, name)  # type: ignore[arg-type]  # a hint is a class, never an instance
    kinds = typing.get_args(hint)
    if kinds and isinstance(value, list | tuple):
        kinds = kinds[:1] * len(value) if Ellipsis in kinds else kinds
        if len(kinds) == len(value):
            return tuple(_typed(kind, entry, name) for kind, entry in zip(kinds, value, strict=True))
    elif type(value) is hint or (hint is float and type(value) is int and abs(value) < 2**53):
        return hint(value)
    raise UserError(f"{name} is {value!r}; expected {hint if kinds else hint.__name__}")


def fields(section: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a config's fields by dotted name, such as "optim.epochs"."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            values |= fields(value, f"{prefix}{field.name}.")
        else:
            values[prefix + field.name] = value
    return values


def differences(was: Config, now: Config) -> dict[str, str]:
    """The fields that differ, by dotted name, such as "optim.epochs", each with a text such as "210 -> 100"."""
    before, after = fields(was), fields(now)
    names = [*before, *(name for name in after if name not in before)]  # heads of two kinds have different fields
    return {
        name: f"{before.get(name)!r} -> {after.get(name)!r}" for name in names if before.get(name) != after.get(name)
    }
