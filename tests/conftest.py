"""Fixtures for all tests. The package's array annotations are checked at run time."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
import pytest
from jaxtyping import install_import_hook

# Compiling takes a third of the time; the slower programs run only a few times each.
_QUICK = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
_QUICK += ["--xla_cpu_parallel_codegen_split_count=1"]
if version("jax").startswith("0.10."):  # its older code generator compiles faster by another third
    _QUICK += ["--xla_cpu_use_fusion_emitters=false"]
os.environ.setdefault("XLA_FLAGS", " ".join(_QUICK))

install_import_hook("mamkpd_jax", "beartype.beartype")

from mamkpd_jax.config import Config, DataConfig, EvalConfig, ModelConfig, OptimConfig  # noqa: E402 (hook first)
from tests.copying import copy_folder  # noqa: E402

_LONGEST = (
    "test_blocks.py",
    "test_compiled_kernels.py",
    "test_install.py",
    "test_selective_scan.py",
    "test_train.py",
    "test_interruptions.py",
    "test_devices.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the longest files first, so that no process waits for one that started last."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session", autouse=True)
def compiled_once(request: pytest.FixtureRequest) -> None:
    """Shares compiled programs among all tests, processes and later runs: compiling takes most of their time."""
    import jax

    from mamkpd_jax import compilation_cache

    compilation_cache.use(request.config.cache.mkdir("compiled"))
    # Programs that tests start use the same cache.
    for name in ("compilation_cache_dir", "compilation_cache_max_size", "persistent_cache_min_compile_time_secs"):
        os.environ[f"JAX_{name.upper()}"] = str(getattr(jax.config, f"jax_{name}"))


@pytest.fixture(scope="session")
def devices() -> Callable[[int], dict[str, str]]:
    """Returns the environment variables of a process with n CPU devices."""
    flags = os.environ["XLA_FLAGS"]
    return lambda n: {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={n}"}


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
        copy_folder(source, root / f"{split}2017", ignore=shutil.ignore_patterns("*.json"))
        shutil.copyfile(source / "test_coco.json", root / "annotations" / f"person_keypoints_{split}2017.json")
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
    copy_folder(source / "images", root / "images")
    (root / "annot").mkdir()
    shutil.copyfile(source / "test_mpii.json", root / "annot" / "train.json")
    persons = json.loads((source / "mpii_valid.json").read_bytes())
    rows = [i for i, person in enumerate(persons) if (root / "images" / person["image"]).exists()]
    (root / "annot" / "valid.json").write_text(json.dumps([persons[i] for i in rows]), encoding="utf-8")
    truth = loadmat(source / "gt_valid.mat")
    names = ("jnt_missing", "pos_gt_src", "headboxes_src")
    savemat(root / "annot" / "gt_valid.mat", {name: np.take(truth[name], rows, axis=-1) for name in names})
    return root


@pytest.fixture(scope="session")
def ap10k_root(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AP-10K in its official layout: the two real images, the same in all parts."""
    source, root = shared_data / "ap10k", tmp_path_factory.mktemp("ap10k")
    copy_folder(source / "images", root / "data")
    (root / "annotations").mkdir()
    for part in ("train", "val", "test"):
        shutil.copyfile(source / "test_ap10k.json", root / "annotations" / f"ap10k-{part}-split1.json")
    return root


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which data sets are built, once for all tests."""
    return tmp_path_factory.mktemp("build")


@pytest.fixture
def tiny(coco_mini_root: Path, build_dir: Path) -> Config:
    """A run of nine steps on real images, three per epoch, with a checkpoint after each step."""
    return Config(
        model=ModelConfig(stem=False, depths=(1,), dims=(8,), decoder_dim=8),
        data=DataConfig(root=str(coco_mini_root), build_dir=str(build_dir), input_hw=(64, 48), workers=0),
        optim=OptimConfig(batch_size=4, epochs=3, decay_epochs=(2,), warmup_steps=2),
        eval=EvalConfig(batch_size=4, every_epochs=10),
        checkpoint_every_steps=1,
        log_every_steps=1,
    )


@pytest.fixture
def white_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns white crops into NaN in the training step, because images of bytes can't hold NaN."""
    import jax.numpy as jnp

    from mamkpd_jax.training import step

    normalize = step.normalize

    def poisoned(image):
        white = jnp.all(image == 255, axis=(1, 2, 3), keepdims=True)
        return jnp.where(white, jnp.nan, normalize(image))

    monkeypatch.setattr(step, "normalize", poisoned)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.Popen]:
    """Starts a program with a config, as a user does: "train.py", for example, or "-m mamkpd_jax bench train_peer"."""
    folder = tmp_path_factory.mktemp("run")
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}

    def program(name: str, config: Config, workdir: Path, *flags: str, **more: str) -> subprocess.Popen:
        file = folder / f"{abs(hash(repr(config)))}.py"
        file.write_text(
            f"from mamkpd_jax.config import *\n\ndef get_config():\n    return {config!r}\n", encoding="utf-8"
        )
        command = [sys.executable, *name.split(), f"--config={file}", f"--workdir={workdir}", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        root = Path(__file__).resolve().parents[1]
        return subprocess.Popen(command, cwd=root, env=environment | more, start_new_session=True, **pipes)

    return program


@pytest.fixture(scope="session")
def run(start) -> Callable[..., tuple[int, str, str]]:
    """Runs a program as `start` does; returns its exit status, standard output and errors."""

    def program(*args, **more) -> tuple[int, str, str]:
        process = start(*args, **more)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err

    return program


@pytest.fixture(scope="session")
def saved_state() -> Callable[[Path, int], list[np.ndarray]]:
    """Reads all arrays of the training state in the checkpoint of a step."""
    import jax
    import orbax.checkpoint as ocp

    def read(workdir: Path, step: int) -> list[np.ndarray]:
        folder = (workdir / "checkpoints" / str(step) / "state").absolute()
        with ocp.PyTreeCheckpointer() as checkpointer:
            saved = checkpointer.metadata(folder).item_metadata.tree
            # As NumPy arrays, whatever devices wrote them.
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
            return [np.asarray(leaf) for leaf in jax.tree.leaves(checkpointer.restore(folder, restore_args=as_numpy))]

    return read


def _unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder)
    return folder / archive.stem
