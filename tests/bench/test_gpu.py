"""The driver of `make gpu` with short fake parts, and the CUDA version that the Makefile installs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mamkpd_jax.bench.gpu_parts import ALL, PEERS, Part, Setting, Step, fitted, schedule
from mamkpd_jax.bench.gpu_summary import summary
from mamkpd_jax.bench.programs import gpu
from mamkpd_jax.errors import UserError

_ROOT = Path(__file__).resolve().parents[2]
# Fake programs: each writes a result as a benchmark does, then ends, fails or sleeps.
_ROWS = "import json, sys; open(sys.argv[1], 'w').write(json.dumps({'rows': [{'batch': 1}]}))"
_FAILS = _ROWS + "; sys.exit('no such kernel')"
_SLEEPS = _ROWS + (
    "; import os, subprocess, time; child = subprocess.Popen(['sleep', '60'])"
    "; open(sys.argv[1] + '.pids', 'w').write(f'{os.getpid()} {child.pid}'); time.sleep(60)"
)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    for name, seconds in {"_GRACE_S": 0.5, "_LEAST_S": 0.05, "_TICK_S": 0.2}.items():
        monkeypatch.setattr(gpu, name, seconds)


@pytest.fixture
def setting(tmp_path) -> Setting:
    return Setting(tmp_path / "data", tmp_path / "work", tmp_path / "out")


def _part(name: str, program: str, limit_s: float | None = None) -> Part:
    def steps(at: Setting):
        yield Step(["-c", program, str(at.work / f"{name}.json")])

    return Part(name, steps, limit_s)


def _run(setting: Setting, *parts: Part, seconds: float = 540.0) -> dict:
    driver = gpu.Driver(setting, seconds, time.time())
    for part in parts:
        driver.run(part)
    driver.collect()
    return json.loads((setting.output / gpu.RESULTS).read_bytes())


def _gone(pid: int) -> bool:
    """Whether a process ends within five seconds."""
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z"):
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_failing_part_does_not_stop_others(setting):
    def broken(at: Setting):
        raise UserError("lspet.zip is missing")
        yield

    found = _run(setting, _part("a", _FAILS), Part("b", broken), _part("c", _ROWS))
    assert [about["state"] for about in found["parts"].values()] == [gpu.FAILED, gpu.FAILED, gpu.DONE]
    assert found["parts"]["b"]["reason"] == "lspet.zip is missing"
    assert found["results"]["a.json"] == found["results"]["c.json"] == {"rows": [{"batch": 1}]}
    assert "no such kernel" in (setting.output / gpu.LOG).read_text(encoding="utf-8")


def test_part_over_its_limit_is_killed(setting):
    start = time.monotonic()
    found = _run(setting, _part("slow", _SLEEPS, limit_s=2.0), _part("next", _ROWS))
    assert time.monotonic() - start < 30
    assert [about["state"] for about in found["parts"].values()] == [gpu.UNFINISHED, gpu.DONE]
    assert found["results"]["slow.json"]["rows"], "its rows must be kept"
    assert all(_gone(int(pid)) for pid in (setting.work / "slow.json.pids").read_text().split())


def test_reserve_lets_later_steps_run(setting):
    def steps(at: Setting):
        yield Step(["-c", _SLEEPS, str(at.work / "a.json")], reserve_s=at.left_s - 1.0)
        yield Step(["-c", _ROWS, str(at.work / "b.json")])

    found = _run(setting, Part("both", steps, 20.0))
    assert found["parts"]["both"]["state"] == gpu.UNFINISHED and set(found["results"]) == {"a.json", "b.json"}


def test_part_limits_scale_with_total_time(setting, capsys):
    _run(setting, _part("a", _ROWS, limit_s=60.0), _part("b", _ROWS), seconds=54.0)
    out = capsys.readouterr().out
    assert "a: at most 6 s" in out and "b: at most 5" in out


def test_nothing_starts_without_time(setting):
    found = _run(setting, _part("late", _ROWS), seconds=0.5)
    assert found == {"rehearsal": False, "parts": {}, "results": {}}


def test_second_call_resumes_unfinished_parts(setting):
    unfinished = "import os, sys; sys.exit(not os.path.exists('{0}') and open('{0}', 'w') and 1)"
    parts = _part("done", _ROWS), _part("later", unfinished.format(setting.work / "seen"))
    assert [about["state"] for about in _run(setting, *parts)["parts"].values()] == [gpu.DONE, gpu.FAILED]
    assert [about["state"] for about in _run(setting, *parts)["parts"].values()] == [gpu.DONE, gpu.DONE]
    log = (setting.output / gpu.LOG).read_text(encoding="utf-8")
    assert log.count("done.json") == 1 and log.count("later.json") == 2


def test_rehearsal_and_measurement_are_not_mixed(setting):
    _run(setting, _part("a", _ROWS))
    with pytest.raises(UserError, match="is not from a rehearsal; give another OUT=FOLDER"):
        gpu.Driver(setting, 540.0, time.time(), rehearsal=True)


def test_resume_needs_only_the_output_folder(setting):
    _run(setting, _part("a", _ROWS))
    elsewhere = Setting(setting.data, setting.work.parent / "fresh", setting.output)
    found = _run(elsewhere, _part("a", _FAILS), _part("b", _ROWS))
    assert [about["state"] for about in found["parts"].values()] == [gpu.DONE, gpu.DONE]
    assert (elsewhere.work / "a.json").exists() and len(found["results"]) == 2


def test_killed_driver_keeps_results_and_ends_program(setting):
    driver = (
        "import sys; sys.path[:0] = ['tests/bench']; import test_gpu as t; from pathlib import Path\n"
        "t.gpu._TICK_S = 0.2\n"
        f"t._run(t.Setting(*map(Path, {[str(setting.data), str(setting.work), str(setting.output)]!r})),"
        " t._part('a', t._ROWS), t._part('b', t._SLEEPS))"
    )
    process = subprocess.Popen([sys.executable, "-c", driver], cwd=_ROOT, start_new_session=True)
    pids = setting.work / "b.json.pids"
    while not pids.exists() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    found = json.loads((setting.output / gpu.RESULTS).read_bytes())
    assert {name: about["state"] for name, about in found["parts"].items()} == {"a": gpu.DONE, "b": gpu.UNFINISHED}
    program, its_child = map(int, pids.read_text().split())
    assert _gone(program)
    os.kill(its_child, signal.SIGKILL)  # only the program itself ends with the driver


def test_output_has_few_small_files(setting, monkeypatch):
    monkeypatch.setattr(gpu, "_MAX_BYTES", 4096)
    _run(setting, _part("noisy", "print('x' * 10_000); print('the end')"))
    assert sorted(path.name for path in setting.output.iterdir()) == [gpu.LOG, gpu.RESULTS, gpu.SUMMARY]
    log = (setting.output / gpu.LOG).read_text(encoding="utf-8")
    assert len(log) <= 4096 and log.endswith("the end\n")


def test_summary_shows_which_goals_are_met(tmp_path):
    row = {"model": "base", "contender": "base, jax, kernels", "batch": 256, "median_ms": 12.0, "crops_per_s": 21_333.0}
    about = {"device": "NVIDIA H200", "driver": "580.1", "commit": "abc"}
    (tmp_path / "speed_gpu.json").write_text(json.dumps({"environment": about, "rows": [row]}), encoding="utf-8")
    checked = [{"workload": "s", "batch": n, "correct": n == 1, "gradient_error": 1e-3 * n} for n in (1, 64)]
    kernels = {"dtype": "bfloat16", "rows": checked}
    (tmp_path / "kernels_bfloat16.json").write_text(json.dumps(kernels), encoding="utf-8")
    page = summary({"model": {"state": "done", "seconds": 9.0, "reason": ""}}, tmp_path, rehearsal=False)
    assert "NVIDIA H200, driver 580.1, commit abc" in page and "rehearsal" not in page
    assert "| Base: crops/s at batch 256 | at least 20,000 | 21,333 | yes |" in page
    assert "| training Base: crops/s | at least 5,000 | not measured |  |" in page
    assert "bfloat16: 1 of 2 within the limits, largest error of a gradient 6.4e-02; wrong" in page
    rehearsed = summary({}, tmp_path, rehearsal=True)
    assert "A rehearsal on a CPU" in rehearsed and "Goals" not in rehearsed


def test_schedule_fits_the_time_left():
    fields = fitted(images_per_s=5000.0, seconds=200.0, instances=8491, batch=256)
    assert fields["optim.epochs"] == 100  # 0.85 of 200 s at 5,000 images/s; 33 steps of 256 per epoch
    assert fields["optim.decay_epochs"] == (81, 95) and fields["optim.warmup_steps"] == 165
    assert fitted(1e9, 200.0, 8491, 256)["optim.epochs"] == 210
    short = fitted(100.0, 60.0, 8491, 256)
    assert short["optim.epochs"] == 1 and short["optim.decay_epochs"] == (1, 1) and short["log_every_steps"] == 3


def test_schedule_is_kept_for_resume(setting):
    (setting.data / "lspet").mkdir(parents=True)
    annotations = json.dumps({"annotations": [{}] * 1000})
    (setting.data / "lspet" / "lspet_train.json").write_text(annotations, encoding="utf-8")
    setting.deadline_s = time.monotonic() + 400
    first = schedule(setting, "lspet")
    setting.deadline_s = time.monotonic() + 4000
    assert schedule(setting, "lspet") == first
    (setting.work / "lspet" / "schedule.json").unlink()
    setting.deadline_s = time.monotonic() + 100
    with pytest.raises(UserError, match="are left to train"):
        schedule(setting, "lspet")


@pytest.mark.parametrize("correct", [True, False, None])
def test_training_avoids_wrong_kernels(setting, correct):
    setting.work.mkdir()
    if correct is not None:
        rows = {"rows": [{"correct": True}, {"correct": correct}]}
        (setting.work / "kernels_bfloat16.json").write_text(json.dumps(rows), encoding="utf-8")
    assert setting.scan == ("pallas_triton" if correct else "associative")


def test_missing_data_is_named(setting):
    with pytest.raises(UserError, match=r"lspet/lspet\.zip is missing; give DATA=FOLDER"):
        setting.unpacked("lspet")


def test_parts_are_chosen_by_name():
    assert gpu.chosen("all") is ALL and gpu.chosen("peers") is PEERS
    assert [part.name for part in gpu.chosen("lspet")] == ["lspet"]
    with pytest.raises(UserError, match="--part is 'fast'; expected one of all, peers, kernels"):
        gpu.chosen("fast")


@pytest.mark.parametrize(
    ("header", "extra"),
    [
        ("| NVIDIA-SMI 580.95.05    Driver Version: 580.95.05    CUDA Version: 13.0     |", "cuda13"),
        ("| NVIDIA-SMI 590.1    KMD Version: 590.1    CUDA UMD Version: 13.1     |", "cuda13"),
        ("| NVIDIA-SMI 550.54.14    Driver Version: 550.54.14    CUDA Version: 12.4     |", "cuda12"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", ""),
        (None, ""),
    ],
)
def test_make_picks_cuda_by_the_driver(tmp_path, header, extra):
    if header is not None:  # a fake of NVIDIA's program
        (tmp_path / "nvidia-smi").write_text(f'#!/bin/sh\necho "{header}"\n', encoding="utf-8")
        (tmp_path / "nvidia-smi").chmod(0o755)
    command = ["make", "--no-print-directory", "--eval=shown: ; @echo '$(GPU)'", "shown"]
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(command, cwd=_ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, extra), done.stderr


def test_broken_summary_does_not_stop_parts(setting):
    setting.work.mkdir()
    (setting.work / "kernels_float32.json").write_text('{"rows": [{}]}', encoding="utf-8")
    found = _run(setting, _part("a", _ROWS))
    assert found["parts"]["a"]["state"] == gpu.DONE
    assert (setting.output / gpu.SUMMARY).read_text(encoding="utf-8").startswith("no summary (KeyError")
