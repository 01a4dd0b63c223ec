"""The PyTorch twin against the JAX model: parts, whole models, gradients; and the twin without the package."""

import dataclasses
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mamkpd_jax.artifact.torch_names import COUNTER, layout, torch_name
from mamkpd_jax.artifact.weight_files import save, to_torch
from mamkpd_jax.codec import decode_heatmaps, encode_heatmaps
from mamkpd_jax.config import Config, DataConfig, EvalConfig, ModelConfig
from mamkpd_jax.heads._head import head_of
from mamkpd_jax.heads.heatmap import Decoder
from mamkpd_jax.model import blocks
from mamkpd_jax.model.mamkpd import VARIANTS, abstract, normalize, variant
from mamkpd_jax.model.ss2d import SS2D
from mamkpd_jax.program import Options, program_of
from mamkpd_jax.skeletons import COCO

torch = pytest.importorskip("torch")

from mamkpd_jax.artifact import torch_model  # noqa: E402 (needs torch)

_F32 = {"dtype": jnp.dtype("float32"), "rngs": nnx.Rngs(0)}


def _config(model: ModelConfig, input_hw: tuple[int, int]) -> Config:
    return Config(model=model, data=DataConfig(dataset="synthetic_people", input_hw=input_hw))


def _twin(weights) -> "torch_model.MamKPD":
    twin = torch_model.MamKPD(weights.description())
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(weights).items()})
    return twin.eval()


def _relative_error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 77])
def test_linear_recurrence(length):
    rng = np.random.default_rng(length)
    a, x = rng.uniform(0, 1, (3, 2, 2, length, 5)), rng.normal(size=(3, 2, 2, length, 5))
    ours = torch_model.linear_recurrence(torch.from_numpy(a), torch.from_numpy(x)).numpy()
    h, states = np.zeros_like(x[:, :, :, 0]), []
    for t in range(length):
        h = a[:, :, :, t] * h + x[:, :, :, t]
        states.append(h)
    np.testing.assert_allclose(ours, np.stack(states, axis=3), rtol=0, atol=1e-12)


def test_a_decay_of_zero_forgets_the_past():
    a, x = torch.ones(1, 1, 1, 8, 1), torch.ones(1, 1, 1, 8, 1)
    a[0, 0, 0, 4] = 0.0
    assert torch_model.linear_recurrence(a, x).flatten().tolist() == [1, 2, 3, 4, 1, 2, 3, 4]


def test_softplus_is_pytorchs():
    x = torch.tensor([-80.0, -20, -7, 0, 3, 20, 79.9, 80, 81, 1000], requires_grad=True)
    ours = torch_model.softplus(x)
    torch.testing.assert_close(ours, torch.nn.functional.softplus(x), rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(ours.sum(), x)
    torch.testing.assert_close(gradient, torch.sigmoid(x), rtol=1e-6, atol=0)


_DESCRIPTION = {
    "config": dataclasses.asdict(Config(model=ModelConfig(dims=(16,), depths=(1,), decoder_dim=12))),
    "flip_indices": COCO.flip_indices,
}
_STAGE, _BLOCK = "encoder.stages.0.down.", "encoder.stages.0.blocks.0."
_PARTS = {
    "stem": ("encoder.stem.", lambda: blocks.Stem(12, **_F32), lambda: torch_model.Stem(12), "cc", 3),
    "cmm": (_STAGE, lambda: blocks.CMM(8, 12, 2, **_F32), lambda: torch_model.CMM(8, 12, 2), "cl", 8),
    "cmm of an image": (_STAGE, lambda: blocks.CMM(3, 12, 4, **_F32), lambda: torch_model.CMM(3, 12, 4), "cl", 3),
    "conv": (_STAGE, lambda: blocks.PatchConv(8, 12, 2, **_F32), lambda: torch_model.PatchConv(8, 12, 2), "cl", 8),
    "merging": (
        *(_STAGE, lambda: blocks.PatchMerging(8, 12, 2, **_F32), lambda: torch_model.PatchMerging(8, 12, 2)),
        *("cl", 8),
    ),
    "ss2d": (
        *(f"{_BLOCK}ss2d.", lambda: SS2D(24, d_state=1, scan=None, **_F32), lambda: torch_model.SS2D(24, 1)),
        *("ll", 24),
    ),
    "ss2d of three states": (
        *(f"{_BLOCK}ss2d.", lambda: SS2D(24, d_state=3, scan=None, **_F32), lambda: torch_model.SS2D(24, 3)),
        *("ll", 24),
    ),
    "block": (
        _BLOCK,
        lambda: blocks.VSSBlock(24, d_state=1, drop_path=0.1, scan=None, **_F32),
        lambda: torch_model.VSSBlock(24, 1, 0.1),
        *("ll", 24),
    ),
    "decoder": (
        "decoder.",
        lambda: Decoder(16, 12, 17, **_F32),
        lambda: torch_model.HeatmapHead(_DESCRIPTION),
        "cc",
        16,
    ),
}


@pytest.mark.parametrize("part", _PARTS)
def test_part(part):
    """`channels` is the place of PyTorch's channels in input and output: "c" for first, "l" for last."""
    prefix, make_ours, make_theirs, channels, c_in = _PARTS[part]
    ours, theirs = make_ours(), make_theirs().eval()
    rng = np.random.default_rng(0)
    ours.eval()
    graphdef, state = nnx.split(ours)
    state = jax.tree.map(lambda x: jnp.asarray(rng.uniform(0.1, 0.6, x.shape), jnp.float32), state)
    ours = nnx.merge(graphdef, state)

    paths = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(state))
    converted = {}
    for path, leaf in paths:
        name = prefix + ".".join(str(key.key) for key in path)
        array = layout(name, leaf.ndim).to_torch(np.asarray(leaf))
        converted[torch_name(name).removeprefix(prefix)] = torch.from_numpy(np.array(array, order="C"))
    missing, extra = theirs.load_state_dict(converted, strict=False)
    assert not extra and all(name.endswith(COUNTER) for name in missing)

    x = rng.normal(size=(2, 6 if channels == "ll" else 8, 4, c_in)).astype(np.float32)
    expected = np.asarray(ours(jnp.asarray(x)))
    with torch.inference_mode():
        tensor = torch.from_numpy(x)
        y = theirs(tensor.permute(0, 3, 1, 2) if channels[0] == "c" else tensor)
        y = y.permute(0, 2, 3, 1) if channels[1] == "c" else y
    assert _relative_error(y.numpy(), expected) < 1e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_whole_model_on_real_crops(name, random_weights, heatmaps, crops):
    """Small, Base and Large in full; the ablations with one block a stage, to save compile time."""
    model, input_hw = variant(name), (256, 192)
    if name not in ("small", "base", "large"):
        model, input_hw = dataclasses.replace(model, depths=(1,) * len(model.depths)), (128, 96)
    weights = random_weights(_config(model, input_hw))
    images = np.array(normalize(jnp.asarray(crops(input_hw))))
    with torch.inference_mode():
        ours = _twin(weights)(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    expected = heatmaps(weights)(images)
    assert np.std(expected, axis=(1, 2)).min() > 1e-3 * np.abs(expected).max()
    assert _relative_error(ours, expected) < 1e-5


_NARROW = ModelConfig(depths=(1, 1), dims=(32, 48), decoder_dim=16)


@pytest.mark.parametrize(
    "model",
    [
        dataclasses.replace(_NARROW, d_state=2),
        dataclasses.replace(_NARROW, stem=False),
        dataclasses.replace(_NARROW, downsampling="merging"),
        dataclasses.replace(_NARROW, stem=False, downsampling="conv"),
        variant("small"),
    ],
    ids=["three states", "without stem", "patch merging", "without stem and CMM", "small"],
)
def test_gradients_of_the_training_loss(model, random_weights, crops):
    compiled_in_haste = {"xla_backend_optimization_level": 0}
    check_gradients(model, (64, 48), random_weights, crops, compiled_in_haste)


@pytest.mark.long
def test_gradients_of_large_at_its_size(random_weights, crops):
    print(check_gradients(variant("large"), (256, 192), random_weights, crops, {}))


def check_gradients(
    model: ModelConfig, input_hw: tuple[int, int], random_weights, crops, compiler_options: dict[str, int]
) -> float:
    """Checks gradients in training mode, with batch statistics in BatchNorm, as fine-tuning in PyTorch computes them.

    Returns the largest difference, relative to the largest gradient.
    """
    model = dataclasses.replace(model, drop_path=0.0)
    weights = random_weights(_config(model, input_hw))
    for norm in weights.params["decoder"]["norms"].values():
        # Opens or closes each ReLU for a whole channel. One input in a million near 0 would change
        # gradients by 2e-4 of the largest, and which one depends on the processor.
        norm["bias"] = np.where(np.arange(len(norm["bias"])) % 2, -10, 10).astype(np.float32)
    images = np.array(normalize(jnp.asarray(crops(input_hw))))
    graphdef, head = nnx.graphdef(abstract(weights.config, COCO)), head_of(weights.config, COCO)
    rng = np.random.default_rng(0)
    heatmap_hw = input_hw[0] // head.heatmap_stride, input_hw[1] // head.heatmap_stride
    target = rng.uniform(size=(len(images), *heatmap_hw, COCO.n_joints)).astype(np.float32)
    visible = rng.integers(0, 2, (len(images), COCO.n_joints)).astype(np.float32)

    def loss(params):
        model = nnx.merge(graphdef, params, jax.tree.map(jnp.asarray, weights.batch_stats), copy=True)
        model.train()
        return head.loss(model(jnp.asarray(images)), jnp.asarray(target), jnp.asarray(visible))

    value, grads = jax.jit(jax.value_and_grad(loss), compiler_options=compiler_options)(weights.params)
    twin = _twin(weights).train()
    error = (twin(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1) - torch.from_numpy(target)) ** 2
    theirs = (error * torch.from_numpy(visible)[:, None, None]).mean()
    theirs.backward()

    assert theirs.item() == pytest.approx(float(value), rel=1e-5)
    expected = to_torch(dataclasses.replace(weights, params=jax.tree.map(np.asarray, grads), batch_stats={}))
    found = {name: parameter.grad.numpy() for name, parameter in twin.named_parameters()}
    assert found.keys() == expected.keys()
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    errors = {name: np.abs(found[name] - gradient).max() / largest for name, gradient in expected.items()}
    worst = max(errors, key=errors.__getitem__)
    assert errors[worst] < 1e-4, worst
    return float(errors[worst])


def test_keypoints_match_the_package(random_weights, crops):
    config = _config(dataclasses.replace(_NARROW, depths=(1, 1, 1), dims=(16, 24, 32)), (128, 96))
    weights = random_weights(dataclasses.replace(config, eval=EvalConfig(flip_test=True)))
    images = crops((128, 96))
    points, scores = program_of(weights, Options())(images)
    with torch.inference_mode():
        theirs = torch_model.CropPredictor(_twin(weights))(torch.from_numpy(images))
    np.testing.assert_allclose(theirs[0].numpy(), np.asarray(points), rtol=0, atol=1e-3)
    assert _relative_error(theirs[1].numpy(), np.asarray(scores)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_near_fp32(dtype, random_weights, crops, tmp_path):
    """Rounding errors of a dozen layers add up: to 3% of the largest value in bfloat16, and 0.3% in float16."""
    save(random_weights(_config(variant("small"), (128, 96))), tmp_path / "model.safetensors")
    model = torch_model.MamKPD.from_safetensors(tmp_path / "model.safetensors")
    images = crops((128, 96))
    normalised = torch.from_numpy(np.array(normalize(jnp.asarray(images)))).permute(0, 3, 1, 2)
    predictor = torch_model.CropPredictor(model)
    with torch.inference_mode():
        expected = model(normalised)
        expected_points, expected_scores = predictor(torch.from_numpy(images))
        model.to(dtype)
        found = model(normalised.to(dtype))
        points, scores = predictor(torch.from_numpy(images))
        converted = predictor.to(dtype)(torch.from_numpy(images))
    tolerance = 12 * torch.finfo(dtype).eps
    assert found.dtype == dtype and points.dtype == scores.dtype == torch.float32
    assert _relative_error(found.float().numpy(), expected.numpy()) < tolerance
    assert _relative_error(scores.numpy(), expected_scores.numpy()) < tolerance
    assert (points - expected_points).abs().median() < 1  # px; random weights' peaks may move to equals far away
    assert torch.equal(converted[0], points) and torch.equal(converted[1], scores)


def test_a_foreign_file_is_refused(tmp_path):
    import safetensors.torch

    weight = {"weight": torch.zeros(3)}
    torch.save(weight, tmp_path / "model.pth")
    safetensors.torch.save_file(weight, tmp_path / "model.safetensors")
    for suffix in ("pth", "safetensors"):
        with pytest.raises(ValueError, match=rf"model.{suffix} has no description under the key 'mamkpd'"):
            getattr(torch_model.MamKPD, f"from_{suffix}")(tmp_path / f"model.{suffix}")


@pytest.mark.parametrize("codec", ["plain", "dark", "udp"])
def test_decoding_matches_the_package(codec):
    rng = np.random.default_rng(0)
    points = jnp.asarray(rng.uniform(-4, 100, (8, 17, 2)), jnp.float32)
    heatmaps, _ = encode_heatmaps(points, jnp.ones((8, 17)), (128, 96), (32, 24), 8.0, codec)
    heatmaps = np.float32(np.asarray(heatmaps) + 0.02 * rng.uniform(size=heatmaps.shape))
    expected = decode_heatmaps(jnp.asarray(heatmaps), codec, 2.0)
    found = torch_model.decode_heatmaps(torch.from_numpy(heatmaps.transpose(0, 3, 1, 2).copy()), codec, 2.0)
    np.testing.assert_allclose(found[0].numpy(), np.asarray(expected[0]), rtol=0, atol=1e-3)
    np.testing.assert_array_equal(found[1].numpy(), np.asarray(expected[1]))


def test_drop_path_drops_examples_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(4000, 1, 1, 3)
    dropped = torch_model.DropPath(0.25).train()(x)
    kept = dropped[:, 0, 0, 0] != 0
    assert torch.equal(dropped, torch.where(kept[:, None, None, None], x / 0.75, 0))
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert torch.equal(torch_model.DropPath(0.25).eval()(x), x)


def test_blocks_of_equal_shapes_are_compiled_once(random_weights, crops, tmp_path):
    """Each block is one graph: after a graph break the scan would run in the interpreter."""
    spec = importlib.util.spec_from_file_location("alone", torch_model.__file__)
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)  # without the tests' type checks, which dynamo can't trace
    graphs = []

    def count(graph: torch.fx.GraphModule, _) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    weights = random_weights(_config(dataclasses.replace(_NARROW, depths=(2, 3)), (64, 48)))
    save(weights, tmp_path / "model.pth")
    model = alone.MamKPD.from_pth(tmp_path / "model.pth")
    images = torch.from_numpy(np.array(normalize(jnp.asarray(crops((64, 48)))))).permute(0, 3, 1, 2)
    with torch.inference_mode():
        eager = model(images)
        model.compile(backend=count, fullgraph=True, dynamic=False)
        torch.testing.assert_close(model(images), eager)
    assert len(graphs) == 2


_ALONE = """
import sys
import numpy as np
import torch
from torch_model import CropPredictor, MamKPD
points, scores = CropPredictor(MamKPD.from_pth("model.pth"))(torch.from_numpy(np.load("images.npy")))
np.savez("found.npz", points=points.detach(), scores=scores.detach())
assert not any(name.split(".")[0] in ("mamkpd_jax", "jax", "flax", "safetensors") for name in sys.modules)
"""


def test_works_with_torch_and_numpy_alone(tmp_path, random_weights, crops):
    """Runs the file on a .pth file in a Python that has only torch, numpy and their requirements."""
    weights = random_weights(_config(dataclasses.replace(_NARROW, depths=(1, 1, 1), dims=(16, 24, 32)), (128, 96)))
    save(weights, tmp_path / "model.pth")
    (tmp_path / "torch_model.py").write_text(Path(torch_model.__file__).read_text(encoding="utf-8"))
    np.save(tmp_path / "images.npy", crops((128, 96)))
    packages = tmp_path / "packages"
    packages.mkdir()
    _link_distribution("torch", packages)
    _link_distribution("numpy", packages)
    script = f"import sys; sys.path[:0] = [{str(packages)!r}, {str(tmp_path)!r}]\n{_ALONE}"
    subprocess.run([sys.executable, "-I", "-S", "-c", script], cwd=tmp_path, check=True)

    found = np.load(tmp_path / "found.npz")
    points, scores = program_of(weights, Options())(crops((128, 96)))
    np.testing.assert_allclose(found["points"], np.asarray(points), rtol=0, atol=1e-3)
    assert _relative_error(found["scores"], np.asarray(scores)) < 1e-5


def _link_distribution(name: str, folder: Path) -> None:
    """Links the top-level files of an installed distribution and its requirements into `folder`."""
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return  # a requirement of another platform
    for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
        target = folder / top
        if not target.exists():
            target.symlink_to(Path(str(distribution.locate_file(top))))
    for requirement in distribution.requires or []:
        if "extra ==" not in requirement:
            _link_distribution(re.split(r"[^\w.-]", requirement)[0], folder)
