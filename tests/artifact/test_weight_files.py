"""Weights files: bit-exact round trips, and which files are refused."""

import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.artifact.weight_files import METADATA_KEY, load, save, to_torch
from mamkpd_jax.config import Config, DataConfig, ModelConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.model.mamkpd import VARIANTS
from mamkpd_jax.skeletons import COCO

torch = pytest.importorskip("torch")

_CONFIG = Config(
    model=ModelConfig(depths=(1, 1, 1), dims=(16, 24, 32), decoder_dim=16, d_state=2),
    data=DataConfig(dataset="synthetic_people", input_hw=(64, 32)),
)


@pytest.fixture
def weights(random_weights) -> Artifact:
    return random_weights(_CONFIG)


def _same(a: Artifact, b: Artifact) -> None:
    for x, y in zip(*(jax.tree.leaves((w.params, w.batch_stats)) for w in (a, b)), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype
    assert jax.tree.structure((a.params, a.batch_stats)) == jax.tree.structure((b.params, b.batch_stats))
    assert (a.config, a.skeleton, a.step) == (b.config, b.skeleton, b.step)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_round_trip_is_bit_exact(tmp_path, random_weights, name, suffix):
    depths = (1,) * len(VARIANTS[name].depths)
    model = dataclasses.replace(VARIANTS[name], depths=depths)
    weights = random_weights(dataclasses.replace(_CONFIG, model=model))
    path = tmp_path / f"model{suffix}"
    save(weights, path)
    _same(weights, load(path))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_through_pytorch_is_bit_exact(tmp_path, weights, suffix):
    from mamkpd_jax.artifact.torch_model import MamKPD

    save(weights, tmp_path / f"model{suffix}")
    read = MamKPD.from_pth if suffix == ".pth" else MamKPD.from_safetensors
    twin = read(tmp_path / f"model{suffix}")
    twin.save_pth(tmp_path / "tuned.pth")
    _same(weights, load(tmp_path / "tuned.pth"))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_weights_of_a_wrapped_model_are_read(tmp_path, weights, prefix):
    """torch.nn.DataParallel and torch.compile put a prefix before each name."""
    from mamkpd_jax.artifact.torch_model import MamKPD

    arrays = {prefix + name: array for name, array in to_torch(weights).items()}
    about = json.dumps(weights.description())
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save({"state_dict": tensors, METADATA_KEY: about}, tmp_path / "model.pt")
    (tmp_path / "model.safetensors").write_bytes(safetensors.numpy.save(arrays, {METADATA_KEY: about}))
    for path in tmp_path.iterdir():
        _same(weights, read_artifact(path))
    MamKPD.from_pth(tmp_path / "model.pt").save_pth(tmp_path / "alone.pth")
    _same(weights, load(tmp_path / "alone.pth"))


def test_a_mixture_of_prefixed_names_is_refused(tmp_path, weights):
    state = to_torch(weights)
    state["module.decoder.head.bias"] = state.pop("decoder.head.bias")
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save(state, {METADATA_KEY: json.dumps(weights.description())}))
    _refused(path, "decoder.head.bias is missing", "module.decoder.head.bias is not of this model")


def test_safetensors_needs_no_torch(tmp_path, weights):
    save(weights, tmp_path / "model.safetensors")
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from mamkpd_jax.artifact.weight_files import load\nfrom mamkpd_jax.artifact.weight_files import save\n"
        "save(load(Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    paths = [str(tmp_path / "model.safetensors"), str(tmp_path / "copy.safetensors")]
    subprocess.run([sys.executable, "-c", script, *paths], check=True, cwd=Path(__file__).parents[2])
    _same(weights, load(tmp_path / "copy.safetensors"))


def test_metadata_suffices_to_predict(weights):
    about = json.loads(json.dumps(weights.description()))
    assert about["variant"] == "custom"
    assert about["config"]["model"]["dims"] == [16, 24, 32]
    assert about["skeleton"]["joints"][0] == "nose" and about["flip_indices"][1] == 2
    assert about["config"]["data"]["input_hw"] == [64, 32] and about["mean"][0] == 123.675 and about["std"][0] == 58.395
    assert about["box_padding"] == 1.25
    base = Artifact(config=Config(), skeleton=COCO, step=1, params={}, batch_stats={})
    assert base.description()["variant"] == "base"


def _refused(path: Path, *parts: str) -> None:
    with pytest.raises(UserError) as error:
        load(path)
    for part in (*parts, str(path)):
        assert part in str(error.value)


def test_differing_keys_and_shapes_are_named(tmp_path, weights):
    state, about = to_torch(weights), json.dumps(weights.description())
    name = "encoder.stages.0.blocks.0.ss2d.D"
    state["decoder.head.bias"] = np.zeros(3, np.float32)
    state["encoder.extra"] = state.pop(name)
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save(state, {METADATA_KEY: about}))
    _refused(path, f"{name} is missing", "encoder.extra is not of this model", "decoder.head.bias is float32 (3,)")


def test_only_this_models_batch_counters_are_optional(tmp_path, weights):
    state, about = to_torch(weights), json.dumps(weights.description())
    path, counter = tmp_path / "model.safetensors", "decoder.norms.1.num_batches_tracked"
    without = {name: array for name, array in state.items() if name != counter}
    path.write_bytes(safetensors.numpy.save(without, {METADATA_KEY: about}))
    _same(weights, load(path))
    path.write_bytes(safetensors.numpy.save(state | {f"neck.{counter}": state[counter]}, {METADATA_KEY: about}))
    _refused(path, f"neck.{counter} is not of this model")


def test_another_variants_weights_are_refused(tmp_path, weights, random_weights):
    wide = random_weights(dataclasses.replace(_CONFIG, model=dataclasses.replace(_CONFIG.model, dims=(16, 32, 48))))
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save(to_torch(wide), {METADATA_KEY: json.dumps(weights.description())}))
    _refused(path, "expected float32", "more")


def test_half_precision_is_refused(tmp_path, weights):
    state = {name: array.astype(np.float16) for name, array in to_torch(weights).items()}
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save(state, {METADATA_KEY: json.dumps(weights.description())}))
    _refused(path, "is float16", "expected float32")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_truncated_file_is_refused(tmp_path, weights, suffix):
    path = tmp_path / f"model{suffix}"
    save(weights, path)
    path.write_bytes(path.read_bytes()[:-1000])
    _refused(path, "damaged")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_foreign_file_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    _refused(path, "damaged")


def test_safetensors_of_another_project_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save({"weight": np.zeros(3, np.float32)}))
    _refused(path, "no description of its model")


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": 1}}, {"weight": torch.zeros(3)}])
def test_pth_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "model.pth")
    _refused(tmp_path / "model.pth", "state_dict")


def test_a_bare_state_dict_names_save_pth(tmp_path, weights):
    tensors = {name: torch.from_numpy(array) for name, array in to_torch(weights).items()}
    torch.save({"state_dict": tensors}, tmp_path / "model.pth")
    _refused(tmp_path / "model.pth", "MamKPD.save_pth")


class _Code:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_is_not_run(tmp_path, legacy):
    ran, path = tmp_path / "ran", tmp_path / "model.pth"
    if legacy:
        path.write_bytes(pickle.dumps({"state_dict": _Code(ran)}, protocol=2))
    else:
        torch.save({"state_dict": _Code(ran)}, path)
    _refused(path, "run code")
    assert not ran.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.pop("config"),
        lambda about: about["config"]["model"].update(size=3),
        lambda about: about["config"]["model"].update(downsampling="pool"),
        lambda about: about["config"]["head"].update(kind="os"),
        lambda about: about["config"]["data"].update(input_hw=[256]),
        lambda about: about["config"]["data"].update(input_hw=[100, 100]),
        lambda about: about["config"]["data"].update(dataset="birds"),
        lambda about: about["skeleton"].update(joints=["nose"]),
        lambda about: about.update(mean=[0.0, 0.0, 0.0]),
        lambda about: about.update(std=[1.0, 1.0, 1.0]),
    ],
)
def test_invalid_descriptions_are_refused(tmp_path, weights, change):
    about = weights.description()
    change(about)
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save(to_torch(weights), {METADATA_KEY: json.dumps(about)}))
    _refused(path)


def test_mutated_descriptions_are_read_or_refused(tmp_path, weights):
    """Runs without the suite's type checks, which would refuse some descriptions before the package does."""
    save(weights, tmp_path / "model.safetensors")
    command = [sys.executable, "-m", "tests.artifact.mutated_descriptions", str(tmp_path / "model.safetensors")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_non_finite_weights_are_refused(tmp_path, weights, number):
    state = to_torch(weights)
    state["decoder.norms.1.running_var"][3] = number
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save(state, {METADATA_KEY: json.dumps(weights.description())}))
    _refused(path, "decoder.norms.1.var has NaN or infinity")


def test_bfloat16_files_read_rounded(tmp_path, weights):
    for dtype in ("float32", "bfloat16"):
        save(weights, tmp_path / f"{dtype}.safetensors", dtype)
    read = load(tmp_path / "bfloat16.safetensors")
    assert (read.config.model, read.skeleton, read.step) == (weights.config.model, weights.skeleton, weights.step)
    expected, found = to_torch(weights), to_torch(read)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        if name.endswith(("weight", "x_proj")):
            np.testing.assert_allclose(found[name], array, rtol=2**-8)
        else:
            np.testing.assert_array_equal(found[name], array)
    with safetensors.safe_open(tmp_path / "bfloat16.safetensors", "numpy") as file:
        assert file.get_slice("decoder.head.weight").get_dtype() == "BF16"


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".safetensors", "float8_e4m3fn"), (".pth", "bfloat16"), (".pth", "float8_e4m3fn")]
)
def test_types_that_numpy_lacks_are_refused(tmp_path, weights, dtype, suffix):
    import safetensors.torch

    tensors = {name: torch.from_numpy(array) for name, array in to_torch(weights).items()}
    tensors["decoder.head.bias"] = tensors["decoder.head.bias"].to(getattr(torch, dtype))
    path, about = tmp_path / f"model{suffix}", json.dumps(weights.description())
    if suffix == ".pth":
        torch.save({"state_dict": tensors, METADATA_KEY: about}, path)
    else:
        safetensors.torch.save_file(tensors, path, {METADATA_KEY: about})
    _refused(path, "decoder.head.bias is ", "expected float32")


def test_state_dicts_from_pytorch_training(tmp_path, weights):
    """`nn.Parameter`s are read; a sparse tensor and a key that is no string are refused."""
    tensors = {name: torch.from_numpy(array) for name, array in to_torch(weights).items()}
    path, about = tmp_path / "model.pth", json.dumps(weights.description())
    bias = tensors["decoder.head.bias"]
    torch.save(
        {"state_dict": tensors | {"decoder.head.bias": bias.clone().requires_grad_()}, METADATA_KEY: about}, path
    )
    _same(weights, load(path))
    torch.save({"state_dict": tensors | {"decoder.head.bias": bias.to_sparse()}, METADATA_KEY: about}, path)
    _refused(path, "decoder.head.bias is torch.float32 (torch.sparse_coo", "expected float32, dense")
    torch.save({"state_dict": tensors | {3: bias}, METADATA_KEY: about}, path)
    _refused(path, "no `state_dict` of tensors by name")
