"""Imports run one way; the numerical core needs no data, the data side no network."""

import ast
from pathlib import Path

import pytest

import mamkpd_jax

PACKAGE = Path(mamkpd_jax.__file__).parent

# What each part of the package may import of it, besides itself; a part that is not here is a tool or a program.
_CORE = {"config", "errors", "skeletons"}
ALLOWED = {
    "errors": set(),
    "files": set(),
    "environment": set(),
    "processes": {"errors"},
    "skeletons": {"errors"},
    "config": {"errors"},
    "codec": set(),
    "losses": set(),
    "ops": set(),
    "nn": {"ops"},
    "models": {"nn", "ops", "config", "errors"},
    "visualize": {"skeletons"},
    "data": _CORE,
    "evaluation": _CORE | {"data", "files", "processes", "visualize"},
    "inference": _CORE | {"codec", "convert", "data", "evaluation", "files", "models", "training", "visualize"},
    "training": _CORE | {"codec", "environment", "files", "losses", "models", "processes"},
    "convert": _CORE | {"cli", "data", "files", "models", "training"},
    "export": _CORE | {"cli", "codec", "convert", "data", "files", "models"},
}


def _imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
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


def test_torch_stays_in_conversion_and_export():
    """It is an extra; so is onnx. TensorFlow is nothing that is needed at all."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert "import tensorflow as" not in text, path
        extra = path.is_relative_to(PACKAGE / "convert") or path.is_relative_to(PACKAGE / "export")
        assert extra or path.is_relative_to(PACKAGE / "bench") or "import torch" not in text, path
