"""Interrupted runs: killed, asked to stop, out of disk space, with a non-finite loss, or with a lost process."""

import functools
import json
import os
import platform
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.commands import train
from mamkpd_jax.data.pipeline import LoadCrop
from mamkpd_jax.errors import UserError
from mamkpd_jax.training.lock import HOLDER

POISONED = 1717641  # the id of one of the real persons' annotations


def logged(workdir: Path) -> dict[int, float]:
    """The losses that a run has logged so far, by step."""
    file = workdir / "metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}


def wait_for(condition, *processes: subprocess.Popen) -> None:
    while not condition() and all(process.poll() is None for process in processes):
        time.sleep(0.02)


def is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def ended(process: subprocess.Popen) -> tuple[int, str]:
    _, err = process.communicate(timeout=300)
    return process.returncode, err


def assert_same(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def dropping(tiny):
    """A run whose second block is dropped for half of the examples, so that its result depends on the random key."""
    tiny.model.depths, tiny.model.drop_path = (2,), 0.5
    return tiny


@pytest.fixture
def own_cache(tmp_path) -> dict[str, str]:
    """A separate compilation cache for programs that are killed, as they can leave a broken entry."""
    return {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")}


def kill_at_random(start, config, workdir: Path, times: int) -> list[int]:
    """Kills a run at a random moment and starts it again, several times; returns the steps from which it resumed."""
    rng, resumed = random.Random(0), []
    for _ in range(times):
        process = start(config, workdir)
        before = len(logged(workdir))
        wait_for(lambda before=before: len(logged(workdir)) != before, process)
        time.sleep(rng.uniform(0, 1.0))
        process.send_signal(signal.SIGKILL)
        _, err = ended(process)
        resumed += [int(step) for step in re.findall("resuming from step ([0-9]+)", err)]
    return resumed


# Slow: it starts three programs that share no compiled programs with other tests.
@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.long)])
def test_resuming_after_kills_is_bit_exact(times, dropping, tmp_path, start, run, saved_state, own_cache):
    dropping.optim.epochs, dropping.checkpoint_every_steps = (3, 2) if times == 1 else (100, 2)
    last = 3 * dropping.optim.epochs
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    status, _, err = run("train.py", dropping, straight, **own_cache)
    assert status == 0, err
    resumed = kill_at_random(functools.partial(start, "train.py", **own_cache), dropping, killed, times)
    assert resumed == sorted(resumed), "no restart resumes from an earlier step than the one before"
    status, _, err = run("train.py", dropping, killed, **own_cache)
    assert status == 0, err
    assert_same(saved_state(straight, last), saved_state(killed, last))
    assert logged(straight) == logged(killed), "every step is logged once"


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stopped_run_saves_a_checkpoint_first(number, tiny, tmp_path, start):
    """The loader's processes get the signal too, as from Ctrl-C in a terminal; they don't outlive a killed run."""
    tiny.optim.epochs, tiny.checkpoint_every_steps, tiny.data.workers = 10_000, 100_000, 1
    process = start("train.py", tiny, tmp_path)
    wait_for(lambda: len(logged(tmp_path)) >= 2, process)
    os.killpg(process.pid, number)
    status, err = ended(process)
    assert status == 0, err
    step = int(re.findall("stopped at step ([0-9]+) of 30000 and saved; the same command resumes", err)[0])
    assert [int(folder.name) for folder in (tmp_path / "checkpoints").glob("[0-9]*")] == [step]
    process = start("train.py", tiny, tmp_path)
    wait_for(lambda: len(logged(tmp_path)) > step, process)
    process.send_signal(signal.SIGKILL)
    assert f"resuming from step {step}, of 30000 steps" in ended(process)[1]
    deadline = time.monotonic() + 10
    while is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(process.pid), "its workers have ended"


def test_a_workdir_allows_one_training_at_a_time(tiny, tmp_path, start, run):
    """The loader's process, which outlives the killed one for a moment, does not hold the lock."""
    tiny.optim.epochs, tiny.eval.every_epochs, tiny.data.workers = 10_000, 10_000, 1
    first = start("train.py", tiny, tmp_path)
    wait_for(lambda: len(logged(tmp_path)) >= 2, first)
    who = f"(process {first.pid} on host {platform.node()}, started 20"
    status, _, err = run("train.py", tiny, tmp_path)
    first.kill()
    assert ended(first)[0] == -signal.SIGKILL, "it ran on"
    last = err.splitlines()[-1]
    assert status == 1 and last.startswith(f"error: {tmp_path} is in use by another training {who}"), err
    tiny.optim.epochs = max(logged(tmp_path)) // 3 + 2
    status, _, err = run("train.py", tiny, tmp_path)
    assert status == 0 and f"an earlier training in {tmp_path} {who}" in err and "resuming from step" in err, err
    assert not (tmp_path / HOLDER).exists(), "a finished training removes its note"


@pytest.fixture
def poisoned(monkeypatch, white_is_nan):
    """Turns the crop of one of the real persons into NaN."""
    load = LoadCrop.__call__

    def poisoned_load(self, item, rng=None):
        example = load(self, item, rng)
        if item["annotation_id"] == POISONED:
            example["image"] = np.full_like(example["image"], 255)
        return example

    monkeypatch.setattr(LoadCrop, "__call__", poisoned_load)


def test_nan_batch_stops_the_run_and_is_named(tiny, tmp_path, poisoned):
    with pytest.raises(UserError, match="the loss is nan.*resumes from the newest checkpoint") as stop:
        train.train(tiny, tmp_path)
    step = int(re.findall("step ([0-9]):", str(stop.value))[0])
    named = [int(i) for i in re.findall(r"are ([0-9, ]+)\.", str(stop.value))[0].split(",")]
    assert len(named) == 4 and POISONED in named
    saved = [int(folder.name) for folder in (tmp_path / "checkpoints").glob("[0-9]*")]
    assert max(saved, default=0) < step, "no later step is saved"


def test_nan_batch_is_skipped_on_request(tiny, tmp_path, poisoned, caplog):
    tiny.optim.on_nonfinite, tiny.optim.epochs = "skip", 2
    train.train(tiny, tmp_path)
    skipped = [message for message in caplog.messages if "The step is skipped" in message]
    assert [message.rpartition(", ")[2] for message in skipped] == ["1 so far", "2 so far"], "one per epoch"
    losses = logged(tmp_path)
    assert sum(np.isnan(loss) for loss in losses.values()) == 2 and len(losses) == 6


def test_too_many_skipped_steps_stop_the_run(tiny, tmp_path, poisoned):
    tiny.optim.on_nonfinite, tiny.optim.max_skipped, tiny.optim.batch_size = "skip", 2, 12
    with pytest.raises(
        UserError, match="step 3: .* 3 steps in a row are not finite, more than config.optim.max_skipped=2"
    ):
        train.train(tiny, tmp_path)


class SmallDisk:
    """A file system of 3 MiB in a new mount namespace, which needs no root."""

    def __init__(self, folder: Path):
        folder.mkdir()
        where = shlex.quote(str(folder))
        small, large = (f"mount -t tmpfs -o {option} tmpfs {where}" for option in ("size=3m", "remount,size=64m"))
        script = f"{small} && echo small && read _ && {large} && echo large && read _"
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self._process = subprocess.Popen(command, text=True, **pipes)
        if self._process.stdout.readline() != "small\n":
            pytest.skip(f"no file system can be mounted here: {self._process.communicate()[1].strip()}")
        self.folder = Path(f"/proc/{self._process.pid}/root{folder}")

    def fill(self) -> None:
        (self.folder / "filler").write_bytes(bytes(max(0, shutil.disk_usage(self.folder).free - 2**15)))

    def grow(self) -> None:
        """Makes room for the rest of the run, whose length depends on the machine's speed."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "large\n"

    def close(self) -> None:
        self._process.communicate()  # closes its standard input, which ends the process


@pytest.fixture
def small_disk(tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("a small file system needs Linux's unshare")
    disk = SmallDisk(tmp_path / "small")
    yield disk
    disk.close()


def test_full_disk_leaves_last_good_checkpoint(tiny, small_disk, run, start, saved_state):
    tiny.optim.epochs, tiny.checkpoint_every_steps = 1000, 5
    workdir = small_disk.folder / "run"
    process = start("train.py", tiny, workdir)
    wait_for(lambda: (workdir / "checkpoints" / "5").is_dir(), process)
    process.send_signal(signal.SIGSTOP)  # so that it does not write while the disk is filled
    try:
        small_disk.fill()
    finally:
        process.send_signal(signal.SIGCONT)
    status, err = ended(process)
    line = next((line for line in err.splitlines() if line.startswith("error: ")), "")
    assert status == 1 and "No space left on device" in line, err
    good = int(re.findall("the last good checkpoint, of step ([0-9]+), is intact", line)[0])
    assert len(saved_state(workdir, good)) > 50

    small_disk.grow()
    tiny.optim.epochs = good // 3 + 1
    status, _, err = run("train.py", tiny, workdir)
    assert status == 0 and f"resuming from step {good}" in err, err


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def start_two(start, config, workdir: Path) -> list[subprocess.Popen]:
    where = [f"--coordinator=localhost:{free_port()}", "--num_processes=2"]
    return [start("train.py", config, workdir, *where, f"--process_id={i}") for i in range(2)]


def test_damaged_checkpoint_is_named_and_can_be_removed(tiny, tmp_path, run):
    tiny.checkpoint_every_steps, tiny.optim.epochs = 2, 2
    train.train(tiny, tmp_path)
    before, newest = sorted((tmp_path / "checkpoints").glob("[0-9]*"), key=lambda folder: int(folder.name))[-2:]
    shutil.rmtree(newest / "state")
    status, _, err = run("train.py", tiny, tmp_path)
    assert status == 1 and f"error: checkpoint {newest} is damaged (" in err and "Traceback" not in err, err
    shutil.rmtree(newest)
    status, _, err = run("train.py", tiny, tmp_path)
    assert status == 0 and f"resuming from step {before.name}," in err, err


@pytest.mark.slow  # each process compiles separately
def test_two_processes_train_as_one_does(dropping, tmp_path, start, run, saved_state):
    status, _, err = run("train.py", dropping, tmp_path / "one")
    assert status == 0, err
    for process in start_two(start, dropping, tmp_path / "two"):
        status, err = ended(process)
        assert status == 0 and "of 2, with 1 of 2 devices" in err, err
    one, two = logged(tmp_path / "one"), logged(tmp_path / "two")
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-5)
    for a, b in zip(saved_state(tmp_path / "one", 9), saved_state(tmp_path / "two", 9), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)
    poses = [json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")) for name in ("one", "two")]
    assert [pose["image_id"] for pose in poses[0]] == [pose["image_id"] for pose in poses[1]]


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1])
def test_killed_process_ends_the_other_with_a_message(victim, tiny, tmp_path, start, own_cache):
    tiny.optim.epochs, start = 10_000, functools.partial(start, **own_cache)
    processes = start_two(start, tiny, tmp_path)
    wait_for(lambda: len(logged(tmp_path)) >= 3, *processes)
    processes[victim].kill()
    processes[victim].communicate()
    status, err = ended(processes[1 - victim])
    # If the failed exchange is not seen first, JAX itself ends the process once another one is lost.
    assert status != 0 and re.search("another (process of this run has ended|task died)", err), err

    again = start_two(start, tiny, tmp_path)
    step = max(logged(tmp_path))
    wait_for(lambda: max(logged(tmp_path)) > step, *again)
    again[0].send_signal(signal.SIGTERM)
    for process in again:
        status, err = ended(process)
        assert status == 0 and "resuming from step" in err and "and saved; the same command resumes" in err, err
