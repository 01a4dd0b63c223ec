"""Evaluates a model on its validation split in JAX, as its PyTorch twin, and as ONNX.

mamkpd bench export_accuracy --checkpoint=people --calibration=PICTURES --output=benchmarks/results/int8_people.json

The model's data set must be at the paths of its config, which are relative to the working directory. Crops and metrics
are the same as in evaluation. Don't calibrate int8 on pictures of the validation split.
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.bench import measure
from mamkpd_jax.data.opening import open_evaluation_data
from mamkpd_jax.evaluation.evaluator import Evaluator, PredictCrops
from mamkpd_jax.inference.calibration import calibration_crops, find_calibration
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.program import Options, program_of

_CHECKPOINT = cli.define_checkpoint()
_CALIBRATION = flags.DEFINE_string(
    "calibration",
    None,
    "Pictures to calibrate int8 on, in any form that `mamkpd export` takes. Default: int8 is left out.",
    allow_override=True,
)
_FLIP_TEST = flags.DEFINE_bool(
    "flip_test", None, "Also predict each mirrored crop. Default: as in the model's config.", allow_override=True
)
_VALUES = 3  # how many of the metric's values are kept: the first ones, such as AP, AP50 and AP75


def _contenders(
    artifact: Artifact, calibration: np.ndarray | None, folder: Path
) -> dict[str, tuple[PredictCrops, float]]:
    """By name: a function of crops uint8 [b, h, w, 3], and the size of its weights or file in MiB."""
    import onnxruntime
    import torch

    from mamkpd_jax.artifact.torch_model import CropPredictor
    from mamkpd_jax.export.formats import onnx

    options = Options(flip_test=artifact.config.eval.flip_test)
    in_torch = CropPredictor(onnx.twin(artifact), flip_test=options.flip_test)

    @torch.inference_mode()
    def torch_predict(images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return in_torch(torch.from_numpy(images))

    def onnx_predict(path: Path) -> PredictCrops:
        session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda images: session.run(["points", "scores"], {"image": images})

    mib = sum(leaf.nbytes for leaf in jax.tree.leaves((artifact.params, artifact.batch_stats))) / 2**20
    contenders = {"jax": (jax.jit(program_of(artifact, options)), mib), "torch": (torch_predict, mib)}
    for precision in ("fp32", "fp16") if calibration is None else ("fp32", "fp16", "int8"):
        path = folder / f"{precision}.onnx"
        onnx.save(artifact, path, options, precision, calibration=calibration if precision == "int8" else None)
        contenders[f"onnx {precision}"] = (onnx_predict(path), path.stat().st_size / 2**20)
    return contenders


def main() -> None:
    pictures = find_calibration(_CALIBRATION.value) if _CALIBRATION.value else None
    artifact = read_artifact(_CHECKPOINT.value)
    if _FLIP_TEST.value is not None:
        evaluation = dataclasses.replace(artifact.config.eval, flip_test=_FLIP_TEST.value)
        artifact = dataclasses.replace(artifact, config=dataclasses.replace(artifact.config, eval=evaluation))
    calibration = calibration_crops(Predictor(artifact), pictures) if pictures else None
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        contenders = _contenders(artifact, calibration, Path(folder))
        evaluator = Evaluator(open_evaluation_data(artifact.config), artifact.config)
        for name, (predict, mib) in contenders.items():
            metrics = evaluator(predict).metrics
            rows.append({"contender": name, "mib": mib} | {value: metrics[value] for value in list(metrics)[:_VALUES]})
            print(rows[-1], flush=True)
    measure.write(
        rows,
        checkpoint=_CHECKPOINT.value,
        step=artifact.step,
        flip_test=artifact.config.eval.flip_test,
        calibration=_CALIBRATION.value,
    )
