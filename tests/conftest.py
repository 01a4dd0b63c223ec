"""Fixtures of the whole suite; array annotations of the package are checked while it is tested."""

import json
import os
import shutil
import zipfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
import pytest
from jaxtyping import install_import_hook

install_import_hook("mamkpd_jax", "beartype.beartype")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images with keypoints: MAMKPD_TEST_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("MAMKPD_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found: {folder}")
    return folder


@pytest.fixture(scope="session")
def coco_mini_root(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO's official layout: four real images with 12 labelled persons, the same in both splits."""
    source, root = shared_data / "coco_mini", tmp_path_factory.mktemp("coco_mini")
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        shutil.copytree(source, root / f"{split}2017", ignore=shutil.ignore_patterns("*.json"))
        shutil.copy(source / "test_coco.json", root / "annotations" / f"person_keypoints_{split}2017.json")
    return root


@pytest.fixture(scope="session")
def lspet(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked annotations and images of Leeds Sports Pose Extended."""
    return _unpacked(shared_data / "lspet" / "lspet.zip", tmp_path_factory)


@pytest.fixture(scope="session")
def animalpose(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked annotations and images of Animal-Pose."""
    return _unpacked(shared_data / "animalpose" / "animalpose.zip", tmp_path_factory)


@pytest.fixture(scope="session")
def mpii_root(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MPII in HRNet's layout: the persons of the five real images, the same in both splits."""
    from scipy.io import loadmat, savemat

    source, root = shared_data / "mpii", tmp_path_factory.mktemp("mpii")
    shutil.copytree(source / "images", root / "images")
    (root / "annot").mkdir()
    shutil.copy(source / "test_mpii.json", root / "annot" / "train.json")
    persons = json.loads((source / "mpii_valid.json").read_bytes())
    rows = [i for i, person in enumerate(persons) if (root / "images" / person["image"]).exists()]
    (root / "annot" / "valid.json").write_text(json.dumps([persons[i] for i in rows]))
    truth = loadmat(source / "gt_valid.mat")
    names = ("jnt_missing", "pos_gt_src", "headboxes_src")
    savemat(root / "annot" / "gt_valid.mat", {name: np.take(truth[name], rows, axis=-1) for name in names})
    return root


@pytest.fixture(scope="session")
def ap10k_root(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AP-10K in its official layout: the two real images, the same in all parts."""
    source, root = shared_data / "ap10k", tmp_path_factory.mktemp("ap10k")
    shutil.copytree(source / "images", root / "data")
    (root / "annotations").mkdir()
    for part in ("train", "val", "test"):
        shutil.copy(source / "test_ap10k.json", root / "annotations" / f"ap10k-{part}-split1.json")
    return root


def _unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder)
    return folder / archive.stem
