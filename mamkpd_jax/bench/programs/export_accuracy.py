"""Accuracy of a run in JAX, as the PyTorch twin and as ONNX, on its validation split.

mamkpd bench export_accuracy --checkpoint=runs/quickstart --output=benchmarks/results/accuracy_quickstart.json

The run's data set must be where its config says. Crops, flip test and metrics are those of evaluation.
"""

import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.checkpoints import read_checkpoint
from mamkpd_jax.bench import measure
from mamkpd_jax.data.opening import open_evaluation_data
from mamkpd_jax.evaluation.evaluator import Evaluator, PredictCrops
from mamkpd_jax.program import Options, program_of

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Folder of a training run.", required=True)
_VALUES = 3  # the metric's first: AP, AP50 and AP75, say


def _contenders(artifact: Artifact, folder: Path) -> dict[str, tuple[PredictCrops, float]]:
    """Functions of uint8 crops [b, h, w, 3], and the size of their weights in MiB."""
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
    for precision in ("fp32", "fp16", "int8"):
        path = folder / f"{precision}.onnx"
        onnx.save(artifact, path, options, precision)
        contenders[f"onnx {precision}"] = (onnx_predict(path), path.stat().st_size / 2**20)
    return contenders


def main() -> None:
    artifact = read_checkpoint(Path(_CHECKPOINT.value))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        contenders = _contenders(artifact, Path(folder))
        evaluator = Evaluator(open_evaluation_data(artifact.config), artifact.config)
        for name, (predict, mib) in contenders.items():
            metrics = evaluator(predict).metrics
            rows.append({"contender": name, "mib": mib} | {value: metrics[value] for value in list(metrics)[:_VALUES]})
            print(rows[-1])
    measure.write(rows, checkpoint=_CHECKPOINT.value, step=artifact.step)
