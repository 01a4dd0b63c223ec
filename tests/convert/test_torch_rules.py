"""The table of conversion rules."""

import re

import jax
import numpy as np
import pytest

from mamkpd_jax.convert.torch_rules import RULES, rule
from mamkpd_jax.model.mamkpd import VARIANTS, abstract, split


def _names(name: str) -> dict[str, jax.ShapeDtypeStruct]:
    trees = split(abstract(VARIANTS[name], 17))[1:]
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    return {".".join(str(key.key) for key in path[1:]): leaf for path, leaf in leaves}


def test_every_rule_is_needed_and_no_two_weights_get_one_name():
    used = set()
    for variant in VARIANTS:
        names = _names(variant)
        paths = [rule(name)[0] for name in names]
        assert len(set(paths)) == len(paths)
        used |= {next(i for i, row in enumerate(RULES) if re.fullmatch(row[0], name)) for name in names}
    assert used == set(range(len(RULES)))


@pytest.mark.parametrize("variant", ["base", "small", "patch_merging"])
def test_back_is_the_inverse_of_there(variant):
    rng = np.random.default_rng(0)
    for name, leaf in _names(variant).items():
        _, there, back = rule(name)
        x = rng.normal(size=leaf.shape)
        np.testing.assert_array_equal(back(there(x)), x, err_msg=name)


def test_unknown_weight():
    with pytest.raises(ValueError, match="no conversion rule"):
        rule("encoder.new_layer.gamma")
