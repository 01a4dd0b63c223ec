"""`mamkpd bench`: a name chooses the bench; without a name, all are listed."""

import subprocess
import sys

from mamkpd_jax.registry import BENCHES


def _bench(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "mamkpd_jax", "bench", *command], capture_output=True, text=True)


def test_no_name_lists_the_benches():
    done = _bench()
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  ")]
    listed = {name.replace("-", "_"): text for name, text in lines}
    assert list(listed) == BENCHES.names() and "kernel_report" in listed
    assert all(len(text) > 20 for text in listed.values())


def test_a_bench_takes_its_flags():
    done = _bench("table", "--result=benchmarks/results/export_cpu.json", "--columns=contender,batch")
    assert done.returncode == 0 and done.stdout.startswith("| contender | batch |"), done.stderr


def test_an_unknown_name_is_refused_in_one_line():
    done = _bench("tables")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: there is no bench 'tables'; did you mean 'table'?")
