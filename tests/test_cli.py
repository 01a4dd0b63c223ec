"""What all command-line programs share."""

import os
import signal
import subprocess
import sys


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
