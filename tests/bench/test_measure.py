"""Timing takes turns, and the record says where it was."""

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
    # Two calls each, of which the second is timed, and one round that is not.
    assert calls == [(name, 2 * i + call) for i in range(5) for name in "ab" for call in (0, 1)]
    assert {name: len(values) for name, values in times.items()} == {"a": 4, "b": 4}


def test_summary():
    found = measure.summary_ms([1.0, 2.0, 3.0, 10.0])
    assert found == {"median_ms": 2.5, "first_half_ms": 1.5, "second_half_ms": 6.5, "p95_ms": 3.0}


def test_environment_names_device_versions_variables_and_command(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    monkeypatch.setattr("sys.orig_argv", ["/somewhere/bin/python3", "-m", "a.program", "--flag"])
    found = environment()
    assert found["device"] == "cpu" and found["versions"]["jax"] and found["command"] == "python -m a.program --flag"
    assert found["variables"]["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"


def test_commit_is_that_of_the_package(tmp_path):
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
    assert commit(installed) is None, "untracked: installed inside another repository"
    result.write_text("[1]", encoding="utf-8")
    assert now() == clean, "results are no code"
    code.write_text("1", encoding="utf-8")
    assert commit(code.parent) == clean, "as it was when first asked"
    changed = now()
    assert changed and changed.startswith(f"{clean}-dirty.")
    code.write_text("2", encoding="utf-8")
    assert now() not in (clean, changed)


def test_rows_of_the_same_place_and_setting_are_kept(tmp_path, monkeypatch):
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
def test_a_file_that_is_no_result_is_left_as_it_is(content, tmp_path, monkeypatch):
    path = tmp_path / "README.md"
    path.write_text(content, encoding="utf-8")
    monkeypatch.setattr(measure, "_OUTPUT", type("Flag", (), {"value": str(path)}))
    with pytest.raises(UserError, match="README.md is not a benchmark result; give another file"):
        measure.rows_so_far({})
    assert path.read_text(encoding="utf-8") == content


def test_lines_have_a_header_and_columns_in_line(capsys):
    lines = measure.Lines("name", "forward.median_ms", "mfu", "error")
    lines.print({"name": "a long one", "forward": {"median_ms": 1.23456, "unseen": 0}, "mfu": None})
    lines.print({"name": "b", "error": measure.reason(MemoryError("too large\nby far"))})
    told = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].strip() for line in told] == ["name", "a long one", "b"]
    assert [line.split()[-3:] for line in told[1:]] == [["1.235", "-", "-"], ["-", "too", "large"]]
    assert told[0].index("forward") == told[1].index("1.235") == told[2].index("-")


def test_an_error_without_a_message_has_its_name_for_a_reason():
    assert measure.reason(MemoryError()) == "MemoryError()"
