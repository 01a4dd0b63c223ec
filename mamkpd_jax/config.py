"""The configuration of a run: typed fields with the paper's values as defaults, derived values, validation.

A file of `configs/` returns a `Config`; the command line overrides single fields with `--config.data.root=...`.
The dataclasses are mutable because the overrides are applied after construction; `Config.validate` runs after them.
"""

import dataclasses
import math
import typing
from typing import Any

from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import DATASETS, HEADS, METRICS, SCANS

OPTIMIZERS = ("adam", "adamw")
AUGMENTATIONS = ("mmpose", "hrnet", "mmpose_mpii", "hrnet_mpii", "flip", "none")


@dataclasses.dataclass(kw_only=True, slots=True)
class ModelConfig:
    """Sizes of the network; the defaults are Base. Source: MamKPD table 1."""

    stem: bool = True
    depths: tuple[int, ...] = (2, 4, 6)
    dims: tuple[int, ...] = (96, 192, 384)
    downsampling: str = "cmm"  # "cmm", "conv" (figure 3, w/o CMM) or "merging" (figure 3, w-PM)
    decoder_dim: int = 96  # of the head's layers
    d_state: int = 1
    drop_path: float = 0.1
    scan: str = "auto"  # an implementation of ops/selective_scan, or the best one for the device
    dtype: str = "float32"  # of activations; parameters, state and loss stay float32
    remat_stages: tuple[int, ...] = ()  # stages computed again in the backward pass, for less memory: 0 is the first

    @property
    def stride(self) -> int:
        """Input pixels a side of an encoder feature."""
        return 4 * 2 ** (len(self.depths) - 1)

    def validate(self) -> None:
        if len(self.depths) != len(self.dims):
            raise UserError(
                f"config.model.depths names {len(self.depths)} stages and config.model.dims {len(self.dims)}; "
                "give both one number a stage"
            )
        _one_of("model.downsampling", self.downsampling, ("cmm", "conv", "merging"))
        _one_of("model.dtype", self.dtype, ("float32", "bfloat16"))
        _one_of("model.scan", self.scan, ("auto", *SCANS.names()))
        _in_range("model.d_state", self.d_state, 1, 16)
        _at_least("model.decoder_dim", self.decoder_dim, 1)
        for name in ("depths", "dims"):
            _at_least(f"model.{name}", min(getattr(self, name), default=0), 1)
        _in_range("model.drop_path", self.drop_path, 0.0, 1.0)
        for stage in self.remat_stages:
            _in_range("model.remat_stages", stage, 0, len(self.depths) - 1)


@dataclasses.dataclass(kw_only=True, slots=True)
class HeadConfig:
    """What lies between features and keypoints; each kind of head has a subclass with its own fields."""

    kind: str

    @property
    def udp(self) -> bool:
        """Whether crops are measured from the first pixel's centre to the last one's (UDP, arXiv 1911.07524)."""
        return False

    def validate(self) -> None:
        HEADS.check(self.kind)


@dataclasses.dataclass(kw_only=True, slots=True)
class HeatmapConfig(HeadConfig):
    """A heatmap for each joint (MamKPD sec. 3.1)."""

    kind: str = "heatmap"
    codec: str = "plain"  # of keypoints and heatmaps: "plain", "dark" or "udp"
    sigma_px: float = 8.0  # of the target Gaussians, in input pixels; the literature takes 12 at 384x288

    @property
    def udp(self) -> bool:
        return self.codec == "udp"

    def validate(self) -> None:
        HeadConfig.validate(self)
        _one_of("head.codec", self.codec, ("plain", "dark", "udp"))
        _in_range("head.sigma_px", self.sigma_px, 1e-3, math.inf)


@dataclasses.dataclass(kw_only=True, slots=True)
class DataConfig:
    """The data set and what a crop of it looks like."""

    dataset: str = "coco_keypoints"  # a module of data/datasets
    root: str = "data/coco"  # the official files (annotations/, train2017/, val2017/); not read by synthetic_people
    ap10k_fold: int = 1  # which of AP-10K's three splits into train, val and test
    train_annotations: str = "train.json"  # of custom_coco, below root, like the next three
    train_images: str = "images"
    val_annotations: str = "val.json"
    val_images: str = "images"
    skeleton: str = ""  # of custom_coco: a ready one by name, a skeleton file, or empty: that of the categories
    build_dir: str = "data/tfds"  # where the data set is built
    input_hw: tuple[int, int] = (256, 192)
    augmentation: str = "mmpose"  # one of AUGMENTATIONS
    erasing_p: float = 0.0  # how often a training crop is covered by a random rectangle
    workers: int = 4  # loader processes; 0 loads in threads of the training process
    synthetic_train_images: int = 4000
    synthetic_val_images: int = 400

    def validate(self) -> None:
        _in_range("data.erasing_p", self.erasing_p, 0.0, 1.0)
        DATASETS.check(self.dataset)
        _one_of("data.augmentation", self.augmentation, AUGMENTATIONS)
        _in_range("data.ap10k_fold", self.ap10k_fold, 1, 3)
        _at_least("data.workers", self.workers, 0)
        _at_least("data.synthetic_train_images", self.synthetic_train_images, 1)
        _at_least("data.synthetic_val_images", self.synthetic_val_images, 1)
        if len(self.input_hw) != 2:
            raise UserError(f"config.data.input_hw is {self.input_hw}; expected (height, width) in pixels")


@dataclasses.dataclass(kw_only=True, slots=True)
class OptimConfig:
    """Adam with warm-up and step decay.

    Source: MamKPD sec. 4.1. Choice: the batch (128 on each of the paper's two GPUs), the warm-up and the clip are not
    in the paper; they are those of MMPose's heatmap configs, but for the clip, a safety net.
    """

    optimizer: str = "adam"  # one of OPTIMIZERS
    weight_decay: float = 0.0  # of adamw, on kernels alone: not on norms, biases and the scan's A, D and delta bias
    batch_size: int = 256  # over all devices, a step
    accumulate: int = 1  # parts of the batch, one after the other; each has its own BatchNorm statistics
    epochs: int = 210
    learning_rate: float = 1e-3
    learning_rate_batch_size: int = 0  # the batch that learning_rate is meant for, scaled to batch_size; 0: as it is
    decay_epochs: tuple[int, ...] = (170, 200)
    decay_factor: float = 0.1
    warmup_steps: int = 500
    warmup_factor: float = 1e-3
    clip_norm: float = 1.0  # of the gradient's global norm
    ema_decay: float = 0.0  # of the parameters' moving average, which is then evaluated; 0: none
    on_nonfinite: str = "stop"  # at a loss or gradient that is not finite: "stop", or "skip" the step
    max_skipped: int = 10  # steps in a row, after which the run stops

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate for this batch. Source of the scaling: Goyal et al., arXiv 1706.02677."""
        return self.learning_rate * self.batch_size / (self.learning_rate_batch_size or self.batch_size)

    def validate(self) -> None:
        _one_of("optim.optimizer", self.optimizer, OPTIMIZERS)
        _one_of("optim.on_nonfinite", self.on_nonfinite, ("stop", "skip"))
        _at_least("optim.max_skipped", self.max_skipped, 1)
        _in_range("optim.weight_decay", self.weight_decay, 0.0, math.inf)
        if self.weight_decay and self.optimizer != "adamw":
            raise UserError(
                f"config.optim.weight_decay is {self.weight_decay}, which {self.optimizer} does not use; "
                "set --config.optim.optimizer=adamw, or no decay"
            )
        _at_least("optim.batch_size", self.batch_size, 1)
        _at_least("optim.accumulate", self.accumulate, 1)
        _at_least("optim.learning_rate_batch_size", self.learning_rate_batch_size, 0)
        _in_range("optim.ema_decay", self.ema_decay, 0.0, 0.9999999)
        _at_least("optim.epochs", self.epochs, 1)
        _at_least("optim.warmup_steps", self.warmup_steps, 0)
        _in_range("optim.learning_rate", self.learning_rate, 0.0, math.inf)
        _in_range("optim.decay_factor", self.decay_factor, 0.0, 1.0)
        _in_range("optim.warmup_factor", self.warmup_factor, 0.0, 1.0)
        _in_range("optim.clip_norm", self.clip_norm, 1e-12, math.inf)


@dataclasses.dataclass(kw_only=True, slots=True)
class EvalConfig:
    """How the validation split is scored; the first value of the first metric chooses the best checkpoint."""

    metrics: tuple[str, ...] = ("coco",)  # modules of evaluation/metrics: "coco", "pck_torso@0.2" and the like
    split: str = "val"  # AP-10K has "test" too
    batch_size: int = 256
    flip_test: bool = True
    soft_nms: bool = False  # among the poses of detected boxes
    detections: str = ""  # a detections file in COCO's form; empty: ground-truth boxes
    every_epochs: int = 10

    def validate(self) -> None:
        _at_least("eval.batch_size", self.batch_size, 1)
        _at_least("eval.every_epochs", self.every_epochs, 1)
        if not self.metrics:
            raise UserError("config.eval.metrics is empty; give at least one, such as ('coco',)")
        for name in self.metrics:
            METRICS.check(name)


@dataclasses.dataclass(kw_only=True, slots=True)
class Config:
    """Everything that defines a run."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    head: HeadConfig = dataclasses.field(default_factory=HeatmapConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    seed: int = 0
    log_every_steps: int = 50
    checkpoint_every_steps: int = 1000
    keep_checkpoints: int = 3  # the newest ones; the best by the first metric is kept besides
    fsdp: int = 1  # devices that share one copy of the parameters and of the optimizer's state
    init_from: str = ""  # weights to start from: a training run's folder, or a .safetensors or .pth file

    def validate(self) -> None:
        """Raises UserError with the first field that can't be right."""
        for section in (self.model, self.head, self.data, self.optim, self.eval):
            section.validate()
        for name in ("log_every_steps", "checkpoint_every_steps", "keep_checkpoints", "fsdp"):
            _at_least(name, getattr(self, name), 1)
        if self.optim.batch_size % self.optim.accumulate:
            raise UserError(
                f"config.optim.accumulate={self.optim.accumulate} does not divide config.optim.batch_size="
                f"{self.optim.batch_size}; set a divisor"
            )
        if any(size % self.model.stride or size <= 0 for size in self.data.input_hw):
            raise UserError(
                f"config.data.input_hw is {tuple(self.data.input_hw)}; the {len(self.model.depths)}-stage model "
                f"needs positive multiples of {self.model.stride}"
            )


T = typing.TypeVar("T")


def from_dict(kind: type[T], saved: Any, name: str = "config") -> T:
    """A dataclass from its dict or JSON form, of exactly the types of its fields.

    A field that is not there has its default. The class of a `HeadConfig` is that of its `kind`.

    Args:
        name: what messages call the whole.

    Raises:
        UserError: a field is unknown or of another type, or one without a default is missing.
    """
    if not isinstance(saved, dict):
        raise UserError(f"{name} is {saved!r}; expected a table of fields")
    if kind is HeadConfig:
        kind = HEADS[from_dict(_Kind, {"kind": saved.get("kind")}, name).kind].config
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


@dataclasses.dataclass
class _Kind:
    kind: str


def _typed(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, name)  # type: ignore[arg-type]  # no instance is a hint
    kinds = typing.get_args(hint)
    if kinds and isinstance(value, list | tuple):
        kinds = kinds[:1] * len(value) if Ellipsis in kinds else kinds
        if len(kinds) == len(value):
            return tuple(_typed(kind, entry, name) for kind, entry in zip(kinds, value, strict=True))
    elif type(value) is hint or (hint is float and type(value) is int and abs(value) < 2**53):
        return hint(value)
    raise UserError(f"{name} is {value!r}; expected {hint if kinds else hint.__name__}")


def fields(section: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a config's fields by their dotted names, such as "optim.epochs"."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            values |= fields(value, f"{prefix}{field.name}.")
        else:
            values[prefix + field.name] = value
    return values


def differences(was: Config, now: Config) -> dict[str, str]:
    """The fields that differ, as "optim.epochs", with "210 -> 100"."""
    before, after = fields(was), fields(now)
    names = [*before, *(name for name in after if name not in before)]  # heads of two kinds have different fields
    return {
        name: f"{before.get(name)!r} -> {after.get(name)!r}" for name in names if before.get(name) != after.get(name)
    }


def _one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"config.{field} is {value!r}; expected one of {', '.join(choices)}")


def _at_least(field: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"config.{field} is {value}; expected at least {least}")


def _in_range(field: str, value: int | float, low: int | float, high: int | float) -> None:
    if not low <= value <= high or math.isinf(value):
        raise UserError(f"config.{field} is {value}; expected a finite number from {low} to {high}")
