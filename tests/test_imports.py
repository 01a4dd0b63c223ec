"""Imports run one way; the numerical core needs no data, the data side no network."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import mamkpd_jax

PACKAGE = Path(mamkpd_jax.__file__).parent
ROOT = Path(__file__).resolve().parents[1]

# What each part of the package may import of it, besides itself; a part that is not here is a tool or a program.
_CORE = {"config", "errors", "registry", "skeletons"}
ALLOWED = {
    "errors": set(),
    "files": set(),
    "environment": set(),
    "registry": {"errors"},
    "processes": {"errors"},
    "sharding": {"errors"},
    "compilation": set(),
    "compilation_cache": {"errors"},
    "skeletons": {"errors"},
    "config": {"errors", "registry"},
    "codec": set(),
    "losses": set(),
    "ops": {"errors", "registry"},
    "model": {"ops", "config", "errors"},
    "visualize": {"skeletons"},
    "data": _CORE,
    "evaluation": _CORE | {"data", "files", "processes", "visualize"},
    "inference": _CORE
    | {"codec", "compilation", "convert", "data", "evaluation", "files", "model", "sharding", "visualize"},
    "training": _CORE | {"codec", "compilation", "environment", "files", "losses", "model", "processes", "sharding"},
    "convert": _CORE | {"data", "files", "model", "training"},
    "export": _CORE | {"codec", "convert", "data", "files", "model"},
}


def _imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{a.name}" for a in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("mamkpd_jax.")}
    return parts


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_it_may(part):
    files = list((PACKAGE / part).rglob("*.py")) or [PACKAGE / f"{part}.py"]
    for path in files:
        assert _imported_parts(path) <= ALLOWED[part] | {part}, path


def test_only_the_entry_point_imports_commands():
    for path in PACKAGE.rglob("*.py"):
        if path.parent != PACKAGE / "commands" and path != PACKAGE / "__main__.py":
            assert "commands" not in _imported_parts(path), path


def test_torch_stays_in_conversion_and_export():
    """It is an extra; so is onnx. TensorFlow is nothing that is needed at all."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import tensorflow as" not in text, path
        extra = path.is_relative_to(PACKAGE / "convert") or path.is_relative_to(PACKAGE / "export")
        assert extra or path.is_relative_to(PACKAGE / "bench") or "import torch" not in text, path


# Modules of another name than their distribution's; jax pins the jaxlib and the plugins that it needs.
_DISTRIBUTIONS = {"absl": "absl-py", "cv2": "opencv-python-headless", "jaxlib": "jax", "orbax": "orbax-checkpoint"}
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
