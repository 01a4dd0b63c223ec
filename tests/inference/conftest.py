"""A tiny model as a training run's folder, and real images with their boxes."""

import json
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.artifact.checkpoints import write_checkpoint
from mamkpd_jax.config import Config, DataConfig, EvalConfig, ModelConfig
from mamkpd_jax.inference.predictor import Predictor
from tests.artifact.conftest import random_weights

__all__ = ["random_weights"]

BATCH = 4


@pytest.fixture(scope="session")
def config(coco_mini_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return Config(
        model=ModelConfig(stem=False, depths=(1, 1), dims=(8, 16), decoder_dim=8),
        data=DataConfig(root=str(coco_mini_root), build_dir=str(tmp_path_factory.mktemp("build")), input_hw=(64, 48)),
        eval=EvalConfig(batch_size=BATCH),
    )


@pytest.fixture(scope="session")
def workdir(config: Config, random_weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    write_checkpoint(random_weights(config), folder)
    return folder


@pytest.fixture(scope="session")
def predictor(workdir: Path) -> Predictor:
    """A predictor without the flip test, with batches of `BATCH`."""
    return Predictor.from_pretrained(workdir, flip_test=False, batch_size=BATCH)


@pytest.fixture(scope="session")
def pictures(shared_data: Path) -> list[tuple[Path, np.ndarray]]:
    """The images of coco_mini with the boxes of their 14 people."""
    folder = shared_data / "coco_mini"
    content = json.loads((folder / "test_coco.json").read_bytes())
    boxes = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        boxes[annotation["image_id"]].append(annotation["bbox"])
    return [(folder / image["file_name"], np.array(boxes[image["id"]])) for image in content["images"]]
