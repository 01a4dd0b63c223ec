"""The log lines before a run's first step, on the 12 real persons."""

import dataclasses

import pytest
from absl import logging

from mamkpd_jax.config import OptimConfig
from mamkpd_jax.data.opening import open_dataset
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeleton_files import make_skeleton
from mamkpd_jax.training.remarks import remarks
from mamkpd_jax.training.schedule import Schedule


@pytest.fixture
def remarks_on(tiny):
    """Returns the remarks on a run with this `optim`, and this skeleton."""
    dataset = open_dataset(tiny)

    def lines(optim: OptimConfig, skeleton=dataset.skeleton) -> list[tuple[int, str]]:
        config = dataclasses.replace(tiny, optim=optim)
        schedule = Schedule.of(config, len(dataset.train))
        return list(remarks(config, schedule, dataclasses.replace(dataset, skeleton=skeleton)))

    return lines


_PLAIN = OptimConfig(batch_size=4, epochs=10, decay_epochs=(5, 7), warmup_steps=3)
_NEVER = "(config.optim.warmup_steps): the learning rate never reaches its peak; set --config.optim.warmup_steps"


@pytest.mark.parametrize(
    ("changed", "level", "line"),
    [
        (
            {"warmup_steps": 100, "epochs": 100},
            logging.WARNING,
            "config.optim.decay_epochs=(5, 7) decays at step 15 and 21, inside the warm-up of 100 steps "
            f"{_NEVER} below 15, or later decay epochs",
        ),
        (
            {"warmup_steps": 16},
            logging.WARNING,
            "config.optim.decay_epochs=(5, 7) decays at step 15, inside the warm-up of 16 steps "
            f"{_NEVER} below 15, or later decay epochs",
        ),
        (
            {"warmup_steps": 100, "decay_epochs": ()},
            logging.WARNING,
            f"the run ends at step 30, inside the warm-up of 100 steps {_NEVER} below that, or more epochs",
        ),
        (
            {"epochs": 7},
            logging.INFO,
            "config.optim.decay_epochs=(5, 7): there is no decay at 7, as the run ends with epoch 7",
        ),
        (
            {"batch_size": 7},
            logging.WARNING,
            "each epoch leaves out 5 of 12 instances, the last incomplete batch of config.optim.batch_size=7; set "
            "--config.optim.batch_size=6 or less",
        ),
    ],
)
def test_fields_that_do_not_fit_are_logged(changed, level, line, remarks_on):
    assert remarks_on(dataclasses.replace(_PLAIN, **changed)) == [(level, line)]


@pytest.mark.parametrize("changed", [{}, {"warmup_steps": 15}, {"batch_size": 8}, {"batch_size": 12}])
def test_ordinary_runs_log_nothing(changed, remarks_on):
    assert remarks_on(dataclasses.replace(_PLAIN, **changed)) == []


def test_a_skeleton_without_halves_is_logged(remarks_on):
    halves = {"upper_body": [0, 1]}
    for fields, logged in (({}, True), ({"upper_body": [0]}, True), (halves, False)):
        lines = remarks_on(_PLAIN, make_skeleton("bird", {"joints": [f"joint_{i}" for i in range(17)], **fields}))
        assert [level for level, _ in lines] == [logging.INFO] * logged
        assert not logged or "makes no half-body crops here: too few keypoints of the skeleton 'bird'" in lines[0][1]


def test_a_batch_that_is_never_full_is_refused(tiny):
    tiny.optim.batch_size = 13
    message = (
        "12 instances, fewer than config.optim.batch_size=13, so that no batch is full; set .*batch_size=12 or less"
    )
    with pytest.raises(UserError, match=message):
        Schedule.of(tiny, 12)
