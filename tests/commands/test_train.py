"""Training and evaluating on real images: fitting, resuming, and mistakes."""

import dataclasses
import functools
import json
import re
from unittest import mock

import jax
import numpy as np
import pytest

from mamkpd_jax.commands import train
from mamkpd_jax.config import Config, DataConfig, EvalConfig, HeatmapConfig, ModelConfig, OptimConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.training.dry_run import dry_run
from mamkpd_jax.training.state import TrainState


@pytest.mark.slow  # a minute; with XLA's optimizations, because it has many steps
def test_a_narrow_model_fits_the_real_persons(coco_mini_root, build_dir, tmp_path, run):
    """The geometry is right: crop, heatmap, flip test, decoding and COCOeval recover the labels."""
    config = Config(
        model=ModelConfig(stem=False, depths=(1, 2), dims=(32, 64), decoder_dim=32, drop_path=0.0),
        head=HeatmapConfig(sigma_px=3.0),
        data=DataConfig(
            root=str(coco_mini_root),
            build_dir=str(build_dir),
            input_hw=(96, 64),
            augmentation="flip",
            workers=0,
        ),
        optim=OptimConfig(batch_size=12, epochs=200, learning_rate=3e-3, decay_epochs=(150, 180), warmup_steps=10),
        eval=EvalConfig(batch_size=12, every_epochs=1000),
    )
    status, _, err = run("train.py", config, tmp_path, XLA_FLAGS="")
    assert status == 0, err
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["coco/AP"] >= 0.9 and report["step"] == 200


def test_train_and_eval_leave_the_same_report(tiny, tmp_path, run):
    metrics = train.train(tiny, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["coco/AP"] == metrics["coco/AP"] and report["step"] == 9
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert len(results) == 12 and {"image_id", "category_id", "keypoints", "score"} <= set(results[0])
    assert (tmp_path / "predictions.png").stat().st_size > 10_000 and list((tmp_path / "tensorboard").iterdir())

    status, out, err = run("eval.py", tiny, tmp_path)
    assert status == 0, err
    again = json.loads((tmp_path / "eval" / "report.json").read_text(encoding="utf-8"))
    assert again["coco/AP"] == pytest.approx(metrics["coco/AP"], abs=0.01) and f"{again['coco/AP']:.3f}" in out
    # After nine steps no pose is near its label, so equal scores alone prove little.
    evaluated = json.loads((tmp_path / "eval" / "results.json").read_text(encoding="utf-8"))
    for one, other in zip(results, evaluated, strict=True):
        np.testing.assert_allclose(other["keypoints"], one["keypoints"], atol=0.01)


def test_a_run_of_two_devices_resumes_on_one(tiny, tmp_path, run, devices, caplog):
    tiny.optim.epochs = 1
    status, _, err = run("train.py", tiny, tmp_path, "--config.fsdp=2", **devices(2))
    assert status == 0 and "I config.optim.decay_epochs=(2,): there is no decay at 2" in err, err
    tiny.optim.epochs = 2
    status, _, err = run("train.py", tiny, tmp_path)
    assert status == 0 and "resuming from step 3, of 6 steps" in err, err
    assert "since step 3: config.optim.epochs: 1 -> 2, config.fsdp: 2 -> 1" in err, "changed fields are reported"

    caplog.set_level("INFO", logger="absl")
    train.train(tiny, tmp_path)
    assert "training is complete (6 steps)" in caplog.text


def test_a_checkpoint_of_another_variant_is_refused(tiny, tmp_path, run):
    tiny.optim.epochs = 1
    train.train(tiny, tmp_path)
    for program in ("train.py", "eval.py"):
        status, _, err = run(program, tiny, tmp_path, "--config.model.dims=(24,)", "--config.head.codec=udp")
        line = err.splitlines()[-1]
        assert status == 1 and "config.model.dims: (8,) -> (24,), config.head.codec: 'plain' -> 'udp'" in line, err


def test_dry_run_prints_costs_and_writes_nothing(tiny, tmp_path, run):
    tiny.data.workers = 1
    status, out, err = run("train.py", tiny, tmp_path / "new", "--dry_run")
    assert status == 0 and not (tmp_path / "new").exists(), err
    assert "leaked" not in err, "stopping the loader processes gives no warning"
    assert [line.split()[0] for line in out.splitlines()] == [
        "devices",
        "parameters",
        "compiling",
        "a",
        "memory",
        "the",
    ]
    assert "9 steps" in out


@pytest.mark.parametrize(
    ("message", "raised", "line"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory", UserError, "batch_size=4: a step needs 3.00 GiB a device"),
        ("INTERNAL: other", jax.errors.JaxRuntimeError, "INTERNAL: other"),
    ],
)
def test_dry_run_out_of_memory_names_the_need(message, raised, line, tiny):
    """The step is a mock: a real one would have to exhaust the memory of the machine that runs the tests."""
    step = mock.Mock(side_effect=jax.errors.JaxRuntimeError(message))
    step.lower.return_value.compile.return_value = step
    step.memory_analysis.return_value = mock.Mock(temp_size_in_bytes=2**31, argument_size_in_bytes=2**30)
    with pytest.raises(raised, match=line):
        dry_run(tiny, step, mock.Mock(spec=TrainState), {}, 9)


@pytest.mark.parametrize(
    ("program", "flags", "line"),
    [
        ("train.py", ["--config.optim.epoch=1"], "no such config field; did you mean --config.optim.epochs?"),
        ("train.py", ["--config.data.root=/nowhere"], "/nowhere does not exist"),
        ("train.py", ["--config.optim.learning_rate=nan"], "config.optim.learning_rate is nan; expected a finite"),
        ("train.py", ["--coordinator=localhost:1"], "--num_processes, --process_id is missing"),
        ("train.py", ["--workdir=/proc/none"], "can't be written"),
        ("train.py", ["extra"], "unexpected argument 'extra'"),
        ("eval.py", [], "new is no model, folder or file; expected the folder of a training run"),
        ("eval.py", ["--config.eval.detections=/nowhere.json"], "new is no model, folder or file"),
    ],
)
def test_mistakes_print_one_line(program, flags, line, tiny, tmp_path, run):
    status, _, err = run(program, tiny, tmp_path / "new", *flags)
    assert status == 1 and line in err.splitlines()[-1] and err.splitlines()[-1].startswith("error: "), err
    assert "Traceback" not in err
    assert not (tmp_path / "new").exists(), "nothing is left behind"


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("optim.batch_size", 13, "12 instances, fewer than config.optim.batch_size=13"),
        ("data.input_hw", (65, 48), "config.data.input_hw is (65, 48)"),
        ("optim.weight_decay", 0.1, "set --config.optim.optimizer=adamw, or no decay"),
        ("optim.accumulate", 3, "config.optim.accumulate=3 does not divide config.optim.batch_size=4"),
        ("model.scan", "pallas_triton", "'pallas_triton', which runs on cuda alone, and this is cpu"),
        ("fsdp", 2, "config.fsdp is 2, which does not divide the 1 devices"),
        (
            "init_from",
            "/nowhere",
            "/nowhere is no model, folder or file; expected animals, people, hf://OWNER/NAME, the folder of",
        ),
    ],
)
def test_invalid_config_is_refused(field, value, line, tiny, tmp_path):
    *parts, name = field.split(".")
    setattr(functools.reduce(getattr, parts, tiny), name, value)
    with pytest.raises(UserError, match=re.escape(line)) as refused:
        train.train(tiny, tmp_path / "new")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "new").exists(), "nothing is left behind"


def test_indivisible_batch_size_is_refused(tiny, tmp_path, run, devices):
    config = dataclasses.replace(tiny, optim=dataclasses.replace(tiny.optim, batch_size=3))
    status, _, err = run("train.py", config, tmp_path / "new", **devices(2))
    assert status == 1 and "which the 2 devices do not divide; set --config.optim.batch_size=" in err, err
