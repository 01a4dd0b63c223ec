"""A head defined only in this file is trained, used, converted and exported like the package's heads."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mamkpd_jax import Predictor
from mamkpd_jax.artifact.checkpoints import read_checkpoint, write_checkpoint
from mamkpd_jax.artifact.weight_files import load, save
from mamkpd_jax.commands.eval import evaluate
from mamkpd_jax.commands.show_data import show_data
from mamkpd_jax.commands.train import train
from mamkpd_jax.complexity import costs
from mamkpd_jax.config import Config, HeadConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.export.formats import stablehlo
from mamkpd_jax.heads._head import Head
from mamkpd_jax.model.layers import Linear
from mamkpd_jax.program import Options, program_of
from mamkpd_jax.registry import HEADS
from mamkpd_jax.skeletons import COCO


@dataclasses.dataclass(kw_only=True, slots=True)
class CoordinatesConfig(HeadConfig):
    """Coordinates by a linear layer on the mean of the features."""

    kind: str = "coordinates"
    score: float = 0.5  # the same for every joint


class Decoder(nnx.Module):
    """From features to coordinates, as fractions of the crop's width and height."""

    def __init__(self, c_in: int, n_joints: int, *, rngs: nnx.Rngs):
        self.linear = Linear(c_in, 2 * n_joints, dtype=jnp.dtype("float32"), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.linear(x.astype(jnp.float32).mean(axis=(1, 2)))
        return jax.nn.sigmoid(y).reshape(x.shape[0], -1, 2)


class CoordinatesHead(Head):
    config = CoordinatesConfig
    output = "coordinates"
    joint_layers = ("linear",)

    def __init__(self, config: Config, skeleton):
        super().__init__(config, skeleton)
        self._score = config.head.score
        self._size = jnp.array(config.data.input_hw[::-1])

    def decoder(self, *, rngs: nnx.Rngs) -> Decoder:
        return Decoder(self.model.dims[-1], self.skeleton.n_joints, rngs=rngs)

    def encode(self, keypoints_px, visible):
        return keypoints_px / self._size, jnp.where(visible > 0, 1.0, 0.0)

    def loss(self, outputs, targets, weights):
        return jnp.mean(jnp.abs(outputs - targets) * weights[..., None])

    def flip(self, outputs):
        return jnp.array([1.0, 0.0]) + jnp.array([-1.0, 1.0]) * outputs[:, jnp.array(self.skeleton.flip_indices)]

    def decode(self, outputs):
        return outputs * self._size, jnp.full(outputs.shape[:2], self._score)

    @classmethod
    def twin(cls):
        import torch

        class Coordinates(torch.nn.Module):
            def __init__(self, description: dict[str, Any]):
                super().__init__()
                config, self.flip_indices = description["config"], list(description["flip_indices"])
                self.score = config["head"]["score"]
                self.linear = torch.nn.Linear(config["model"]["dims"][-1], 2 * len(self.flip_indices))

            def forward(self, x):
                return torch.sigmoid(self.linear(x.mean((2, 3)))).unflatten(1, (-1, 2))

            def flip(self, outputs):
                x, y = outputs[:, self.flip_indices].split(1, dim=2)
                return torch.cat([1 - x, y], dim=2)

            def decode(self, outputs, image_hw):
                height, width = image_hw
                return outputs * torch.tensor([width, height]), torch.full_like(outputs[..., 0], self.score)

        return Coordinates


HEADS.add("coordinates", CoordinatesHead)


@pytest.fixture(scope="module")
def config(coco_mini_root: Path, build_dir: Path) -> Config:
    """A config of 40 epochs on 12 real persons, which fit into one batch."""
    from mamkpd_jax.config import DataConfig, EvalConfig, ModelConfig, OptimConfig

    return Config(
        model=ModelConfig(stem=False, depths=(1,), dims=(16,), decoder_dim=8, drop_path=0.0),
        head=CoordinatesConfig(score=0.9),
        data=DataConfig(
            root=str(coco_mini_root), build_dir=str(build_dir), input_hw=(64, 48), augmentation="none", workers=0
        ),
        optim=OptimConfig(batch_size=12, epochs=40, decay_epochs=(), warmup_steps=0, learning_rate=1e-2),
        eval=EvalConfig(batch_size=4, every_epochs=40),
    )


@pytest.fixture(scope="module")
def run(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(config, folder)
    return folder


@pytest.fixture(scope="module")
def picture(shared_data: Path) -> Path:
    return shared_data / "coco_mini" / "000000000785.jpg"


def test_training_lowers_the_loss_and_evaluation_scores_it(config, run, tmp_path):
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8")
    assert "eval/coco/AP" in lines
    again = evaluate(config, read_checkpoint(run), tmp_path, source=run)
    assert again["coco/AP50"] > 0.1, "the mean pose alone has some persons right"
    assert show_data(config, tmp_path).stat().st_size > 1000


def test_resuming_continues_the_run(config, run):
    longer = dataclasses.replace(config, optim=dataclasses.replace(config.optim, epochs=41))
    train(longer, run)
    artifact = read_checkpoint(run)
    assert artifact.step == 41 and artifact.config.head == CoordinatesConfig(score=0.9)
    heatmaps = dataclasses.replace(longer, head=Config().head)
    with pytest.raises(UserError, match="config.head.kind: 'coordinates' -> 'heatmap'"):
        train(heatmaps, run)


def test_the_predictor_uses_the_head(run, picture):
    predictor = Predictor.from_pretrained(run)
    (result,) = predictor(picture, "whole")
    assert result.scores == pytest.approx(np.full((1, 17), 0.9))
    crop = predictor.crops(picture, "whole").images
    points, _ = program_of(read_checkpoint(run), Options())(crop)
    inside = (np.asarray(points) >= 0).all() and (np.asarray(points) <= [48, 64]).all()
    assert inside and np.ptp(result.keypoints) > 10
    assert predictor.heatmaps(picture, "whole").heatmaps.shape == (1, 1, 1, 17)


def test_files_and_exports_give_the_same_keypoints(run, picture, tmp_path):
    artifact = read_checkpoint(run)
    save(artifact, tmp_path / "model.safetensors")
    write_checkpoint(load(tmp_path / "model.safetensors"), tmp_path / "back")
    for a, b in zip(*(jax.tree.leaves(x.params) for x in (artifact, read_checkpoint(tmp_path / "back"))), strict=True):
        np.testing.assert_array_equal(a, b)

    crops = Predictor(artifact).crops(picture, "whole").images
    expected = np.asarray(program_of(artifact, Options())(crops)[0])
    stablehlo.save(artifact, tmp_path / "model.stablehlo", Options())
    exported = jax.export.deserialize(bytearray((tmp_path / "model.stablehlo").read_bytes()))
    np.testing.assert_allclose(exported.call(crops)[0], expected, atol=1e-3)


def test_the_twin_and_onnx_give_the_same_keypoints(run, picture, tmp_path):
    torch = pytest.importorskip("torch")
    onnxruntime = pytest.importorskip("onnxruntime")
    from mamkpd_jax.artifact.torch_model import CropPredictor
    from mamkpd_jax.export.formats import onnx

    artifact = read_checkpoint(run)
    crops = Predictor(artifact).crops(picture, "whole").images
    expected = np.asarray(program_of(artifact, Options())(crops)[0])
    with torch.inference_mode():
        found = CropPredictor(onnx.twin(artifact))(torch.from_numpy(crops))[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)
    onnx.save(artifact, tmp_path / "model.onnx", Options(decode=False))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["coordinates"]
    np.testing.assert_allclose(session.run(None, {"image": crops})[0] * [48, 64], expected, atol=1e-3)


@pytest.mark.parametrize("decode", [False, True])
def test_the_predictor_takes_its_onnx_files(run, picture, tmp_path, decode):
    pytest.importorskip("torch")
    onnx = pytest.importorskip("mamkpd_jax.export.formats.onnx")
    artifact = read_checkpoint(run)
    onnx.save(artifact, tmp_path / "model.onnx", Options(flip_test=decode, decode=decode))
    (found,) = Predictor.from_pretrained(tmp_path / "model.onnx", flip_test=True)(picture, "whole")
    (expected,) = Predictor(artifact, flip_test=True)(picture, "whole")
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=1e-2)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_another_kinds_fields_are_refused(config):
    wrong = dataclasses.replace(config, head=dataclasses.replace(Config().head, kind="coordinates"))
    with pytest.raises(
        UserError, match=r"config.head is HeatmapConfig; set head=CoordinatesConfig\(\) in a config file"
    ):
        wrong.validate()


def test_the_heads_cost_is_counted(config):
    assert costs(config, COCO)["decoder"].params == 16 * 34 + 34
