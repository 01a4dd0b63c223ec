"""The program `mamkpd COMMAND`: its help, and the names of commands and configs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mamkpd_jax import __version__
from mamkpd_jax.registry import COMMANDS

_ROOT = Path(__file__).parents[1]
_SHOW = """
import sys
from mamkpd_jax import cli
config = cli.define_config()
cli.run(lambda: print(config.value.model.depths, config.value.data.root, config.value.optim.epochs))
"""


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=_ROOT, capture_output=True, text=True)


def _mamkpd(*arguments: str) -> subprocess.CompletedProcess[str]:
    return _run("-m", "mamkpd_jax", *arguments)


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_all_commands(arguments):
    done = _mamkpd(*arguments)
    listed = re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE)
    assert done.returncode == 0 and listed == [name.replace("_", "-") for name in COMMANDS]
    assert {"train", "show-data", "mpii-release"} <= set(listed)


def test_command_help_shows_docstring_and_flags():
    text = _mamkpd("predict", "--help").stdout
    assert (
        text.startswith("Finds the poses of people or animals") and "--box_threshold" in text and "--[no]best" in text
    )


def test_train_py_is_the_train_command():
    by_file, by_name = _run("train.py", "--help").stdout, _mamkpd("train", "--help").stdout
    assert by_file.replace("train.py:", "") == by_name.replace(f"{_ROOT / 'mamkpd_jax' / '__main__.py'}:", "")
    assert "--config: " in by_name and "--workdir: " in by_name


def test_version_is_printed():
    assert _mamkpd("--version").stdout == f"mamkpd_jax {__version__}\n"


def test_one_process_imports_all_commands():
    assert all(COMMANDS[name] for name in COMMANDS)


@pytest.mark.parametrize(("typed", "near"), [("trian", "train"), ("showdata", "show-data")])
def test_unknown_command_names_the_nearest(typed, near):
    done = _mamkpd(typed)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"error: there is no command {typed!r}; did you mean {near!r}? (--help lists all)\n"


@pytest.mark.parametrize("typed", ["demo", "-x"])
def test_unknown_command_lists_all_if_none_is_near(typed):
    done = _mamkpd(typed)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: there is no command {typed!r}; expected one of bench, check-data, ")
    assert done.stderr.count("\n") == 1 and "train" in done.stderr


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ("coco_base", "(2, 4, 6) x 210"),
        ("coco_ablation:ablation_a", "(1, 2, 3) x 210"),
        ("configs/coco_base.py", "(2, 4, 6) x 210"),
        (f"{_ROOT}/configs/coco_ablation.py:ablation_a", "(1, 2, 3) x 210"),
    ],
)
def test_config_by_name_or_path_takes_overrides(config, shown):
    done = _run("-c", _SHOW, f"--config={config}", "--config.data.root=x")
    assert done.stdout == f"{shown}\n", done.stderr


def test_unknown_config_lists_the_names():
    done = _mamkpd("train", "--config=coco", "--workdir=x")
    names = ", ".join(sorted(path.stem for path in (_ROOT / "configs").glob("*.py")))
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: --config=coco: there is no config of this name; expected one of {names}, ")
