"""Saved configs: reading them back, unknown fields of other versions, and differences."""

import dataclasses
import json

import pytest

from mamkpd_jax.config import Config, differences, from_dict
from mamkpd_jax.errors import UserError
from mamkpd_jax.model.mamkpd import variant


def test_a_saved_config_round_trips():
    config = Config(model=variant("ablation_b"))
    assert from_dict(Config, json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_missing_fields_get_their_defaults():
    assert from_dict(Config, {"optim": {"epochs": 3}}).optim.ema_decay == Config().optim.ema_decay


def test_a_field_of_another_version_is_named():
    with pytest.raises(
        UserError, match=r"config.optim.momentum is 0.9, which this version of mamkpd_jax does not know"
    ):
        from_dict(Config, {"optim": {"momentum": 0.9}})


def test_differences_are_listed_by_field():
    now = Config(seed=3)
    now.optim.epochs = 100
    assert differences(Config(), now) == {"optim.epochs": "210 -> 100", "seed": "0 -> 3"}
