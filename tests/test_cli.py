"""What all command-line programs share."""

import os
import signal
import subprocess
import sys

import pytest

from mamkpd_jax.cli import _guarded
from mamkpd_jax.files import write_json


def test_a_reader_that_leaves_ends_the_program_without_a_word():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "mamkpd_jax.bench", "table", "--result=benchmarks/results/export_cpu.json"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert done.stderr == "" and done.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (".", "error: {folder} can't be written (Is a directory); give the name of a file"),
        ("file/out.json", "error: {folder}/file can't be written (File exists); a file is where a folder should be: "),
        ("file/a/out.json", "error: {folder}/file/a can't be written (Not a directory); a file is where a folder "),
    ],
)
def test_an_output_in_the_wrong_place_is_told_in_one_line(output, line, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        _guarded(lambda: write_json(tmp_path / output, {}))
    assert end.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith(line.format(folder=tmp_path)) and told.count("\n") == 1
