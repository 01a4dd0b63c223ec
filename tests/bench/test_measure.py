"""Contenders take turns, and a result records its environment."""

import json
import subprocess

import jax.numpy as jnp
import pytest

from mamkpd_jax.bench import measure
from mamkpd_jax.environment import commit, environment
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import write_json


def test_contenders_take_turns_and_warm_up():
    calls = []

    def contender(name):
        return lambda i: (calls.append((name, i)), jnp.zeros(()))[1]

    times = measure.times_ms({"a": contender("a"), "b": contender("b")}, repeats=4, warmups=1)
    # Two calls each, the second one timed, and one untimed round.
    assert calls == [(name, 2 * i + call) for i in range(5) for name in "ab" for call in (0, 1)]
    assert {name: len(values) for name, values in times.items()} == {"a": 4, "b": 4}


def test_summary_of_times():
    found = measure.summary_ms([1.0, 2.0, 3.0, 10.0])
    assert found == {"median_ms": 2.5, "first_half_ms": 1.5, "second_half_ms": 6.5, "p95_ms": 3.0}


def test_environment_names_device_versions_and_command(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    monkeypatch.setattr("sys.orig_argv", ["/somewhere/bin/python3", "-m", "a.program", "--flag"])
    found = environment()
    assert found["device"] == "cpu" and found["versions"]["jax"] and found["command"] == "python -m a.program --flag"
    assert found["variables"]["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"


def test_commit_is_the_package_commit(tmp_path):
    result, code = tmp_path / "benchmarks" / "results" / "speed.json", tmp_path / "package" / "__init__.py"
    installed = tmp_path / "venv" / "package"
    for folder in (result.parent, code.parent, installed):
        folder.mkdir(parents=True)
    code.touch()
    assert commit(code.parent) is None

    def now() -> str | None:
        commit.cache_clear()
        return commit(code.parent)

    result.write_text("[]", encoding="utf-8")
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (["init", "-q"], ["add", "benchmarks", "package"], [*author, "commit", "-qm", "a result"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    clean = now()
    assert clean and len(clean) == 40
    (installed / "__init__.py").touch()
    assert commit(installed) is None, "an untracked package is installed inside another repository"
    result.write_text("[1]", encoding="utf-8")
    assert now() == clean, "changed results don't count as changed code"
    code.write_text("1", encoding="utf-8")
    assert commit(code.parent) == clean, "the first answer is cached"
    changed = now()
    assert changed and changed.startswith(f"{clean}-dirty.")
    code.write_text("2", encoding="utf-8")
    assert now() not in (clean, changed)


def test_rows_of_same_environment_and_setting_are_kept(tmp_path, monkeypatch):
    path, setting, rows = tmp_path / "result.json", {"dtype": "float32"}, [{"batch": 1}]
    monkeypatch.setattr(measure, "_OUTPUT", type("Flag", (), {"value": str(path)}))
    assert measure.rows_so_far(setting) == []
    measure.write(rows, **setting)
    assert measure.rows_so_far(setting) == rows
    assert measure.rows_so_far({"dtype": "bfloat16"}) == []
    for other in ({"commit": "c3d4"}, {"processor": "another"}, {"cores": 1000}):
        write_json(path, {"environment": environment() | other, **setting, "rows": rows})
        assert measure.rows_so_far(setting) == []


@pytest.mark.parametrize("content", ["", "# Read me", "[]", "{}", json.dumps({"rows": 1, "environment": {}})])
def test_other_files_are_not_overwritten(content, tmp_path, monkeypatch):
    path = tmp_path / "README.md"
    path.write_text(content, encoding="utf-8")
    monkeypatch.setattr(measure, "_OUTPUT", type("Flag", (), {"value": str(path)}))
    with pytest.raises(UserError, match="README.md is not a benchmark result; give another file"):
        measure.rows_so_far({})
    assert path.read_text(encoding="utf-8") == content


def test_lines_have_header_and_aligned_columns(capsys):
    lines = measure.Lines("name", "forward.median_ms", "mfu", "error")
    lines.print({"name": "a long one", "forward": {"median_ms": 1.23456, "unseen": 0}, "mfu": None})
    lines.print({"name": "b", "error": measure.reason(MemoryError("too large\nby far"))})
    out = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].strip() for line in out] == ["name", "a long one", "b"]
    assert [line.split()[-3:] for line in out[1:]] == [["1.235", "-", "-"], ["-", "too", "large"]]
    assert out[0].index("forward") == out[1].index("1.235") == out[2].index("-")


def test_reason_of_error_without_message_is_its_name():
    assert measure.reason(MemoryError()) == "MemoryError()"
