"""Imports follow the layers in the diagram of docs/architecture.md, and their packages are declared."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import mamkpd_jax

PACKAGE = Path(mamkpd_jax.__file__).parent
ROOT = Path(__file__).resolve().parents[1]

_DIAGRAM = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
# The parts of the package in each layer, from the top.
LAYERS = [line.split() for line in _DIAGRAM.splitlines()[1:]]
LAYER_OF = {part: layer for layer, parts in enumerate(LAYERS) for part in parts}
# The part that defines each name of the package itself.
_EXPORTED = {"Predictor": "inference", "__version__": "errors"}


def _imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{a.name}" for a in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("mamkpd_jax.")}
    return {_EXPORTED.get(part, part) for part in parts}


@pytest.mark.parametrize("part", LAYER_OF)
def test_a_part_imports_only_from_layers_below(part):
    files = list((PACKAGE / part).rglob("*.py")) or [PACKAGE / f"{part}.py"]
    below = {other for other, layer in LAYER_OF.items() if layer > LAYER_OF[part]}
    for path in files:
        assert _imported_parts(path) <= below | {part}, path


def test_the_diagram_has_every_part():
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} == set(LAYER_OF)


def test_only_some_parts_import_torch():
    """torch is an extra, and the package does not need TensorFlow."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import tensorflow as" not in text, path
        extra = any(path.is_relative_to(PACKAGE / part) for part in ("artifact", "export", "bench", "heads"))
        assert extra or "import torch" not in text, path


# Modules whose name differs from their distribution's; jax pins jaxlib and its plugins.
_DISTRIBUTIONS = {"absl": "absl-py", "cv2": "opencv-python-headless", "jaxlib": "jax", "orbax": "orbax-checkpoint"}
_DISTRIBUTIONS |= {"PIL": "pillow"}
_DISTRIBUTIONS |= {"yaml": "PyYAML"}
_DISTRIBUTIONS |= {"jax_plugins": "jax", "nvidia": "nvidia-cuda-nvcc"}


def _third_party_modules() -> set[str]:
    names = set()
    for path in (*PACKAGE.rglob("*.py"), *ROOT.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").partition(".")[0])
    return names - sys.stdlib_module_names - {"mamkpd_jax"}


def test_every_import_is_declared():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    declared = {re.split("[<>=[ #]", line)[0] for line in (*lines, *sum(extras.values(), []))}
    modules = _third_party_modules()
    assert {"jax", "torch", "anyio"} <= modules
    assert {_DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in modules} <= {
        name.replace("_", "-") for name in declared
    }
