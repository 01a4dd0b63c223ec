"""The cache of compiled programs: reuse, repair after a kill, and unwritable folders."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_ENABLED = "compilation_cache.enable(sys.argv[1] if len(sys.argv) > 1 else None); block = contextlib.nullcontext()"
_BLOCK = "block = compilation_cache.default()"
_PROGRAM = """
import contextlib, sys
from mamkpd_jax import compilation_cache
{how}
import jax
ones = jax.numpy.ones((3, 3))  # before hits are counted: a slow machine caches this program too
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.endswith("/cache_hits")))

@jax.jit
def slow_to_compile(x):
    for _ in range(300):
        x = jax.numpy.sin(x @ x)
    return x

with block:
    slow_to_compile(ones)
print("read" if any(hits) else "compiled")
"""


def _start(
    cache_home: Path, *arguments: str, program: str = _PROGRAM.replace("{how}", _ENABLED), **variables: str
) -> tuple[str, str]:
    """Runs a program that compiles; returns its output and errors. `cache_home` is the user's cache folder."""
    of_tests = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(of_tests)}
    variables = inherited | {"XDG_CACHE_HOME": str(cache_home), "JAX_PLATFORMS": "cpu"} | variables
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    return done.stdout.strip(), done.stderr


def test_interrupted_write_is_repaired(tmp_path):
    assert _start(tmp_path) == ("compiled", "")
    assert _start(tmp_path) == ("read", "")
    (entry,) = (tmp_path / "mamkpd_jax" / "compiled").glob("jit_slow_to_compile-*-cache")
    used = entry.with_name(f"{entry.name.removesuffix('-cache')}-atime")
    # The state after a kill: a truncated entry without an access time.
    entry.write_bytes(entry.read_bytes()[:1000])
    used.unlink()
    assert _start(tmp_path) == ("compiled", "")
    assert _start(tmp_path) == ("read", "")


def test_entries_of_jax_itself_are_kept(tmp_path):
    (tmp_path / "jit_other-cache").write_bytes(b"without an access time")
    assert _start(tmp_path, str(tmp_path)) == ("compiled", "")
    assert (tmp_path / "jit_other-cache").exists() and list((tmp_path / "mamkpd_jax").glob("*-cache"))


def test_off_writes_nothing(tmp_path):
    assert _start(tmp_path, "off") == ("compiled", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "printed", "message"),
    [
        (
            (),
            "compiled",
            "compiled again at each start; choose another folder by --compilation_cache or ",
        ),
        (
            ("{file}/named",),
            "",
            "UserError: --compilation_cache: {file}/named/mamkpd_jax can't be written (Not a directory); ",
        ),
    ],
)
def test_unwritable_folder(arguments, printed, message, tmp_path):
    file = tmp_path / "file"
    file.touch()
    out, err = _start(file, *(argument.format(file=file) for argument in arguments))
    assert out == printed and message.format(file=file) in err, err


_OF_A_BLOCK = _PROGRAM.replace("{how}", _BLOCK)


def test_block_caches_its_own_programs_only(tmp_path):
    later = "\njax.jit(lambda x: slow_to_compile(x + 1))(ones)"  # compiled after the block
    assert _start(tmp_path, program=_OF_A_BLOCK + later) == ("compiled", "")
    assert len(list((tmp_path / "mamkpd_jax" / "compiled").glob("*-cache"))) == 1
    assert _start(tmp_path, program=_OF_A_BLOCK) == ("read", "")


@pytest.mark.parametrize(
    ("name", "value", "folders"),
    [("JAX_ENABLE_COMPILATION_CACHE", "false", []), ("JAX_COMPILATION_CACHE_DIR", "{home}/mine", ["mine"])],
)
def test_block_respects_jax_settings(name, value, folders, tmp_path):
    chosen = {name: value.format(home=tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
    assert _start(tmp_path, program=_OF_A_BLOCK, **chosen) == ("compiled", "")
    assert [folder.name for folder in tmp_path.iterdir()] == folders
    assert _start(tmp_path, program=_OF_A_BLOCK, **chosen)[0] == ("read" if folders else "compiled")


def test_block_without_a_writable_folder(tmp_path):
    (tmp_path / "file").touch()
    out, err = _start(tmp_path / "file", program=_OF_A_BLOCK)
    assert out == "compiled" and "everything is compiled again at each start" in err
