"""Names and layouts of weights in PyTorch: names are unique, and conversions have inverses."""

import jax
import numpy as np
import pytest

from mamkpd_jax.artifact.artifact import by_name
from mamkpd_jax.artifact.torch_names import layout, torch_name
from mamkpd_jax.config import Config
from mamkpd_jax.model.mamkpd import VARIANTS, abstract, split
from mamkpd_jax.skeletons import COCO


def _leaves(variant: str) -> dict[str, jax.ShapeDtypeStruct]:
    return by_name(split(abstract(Config(model=VARIANTS[variant]), COCO))[1:])


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_differ(variant):
    names = _leaves(variant)
    assert len({torch_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("variant", ["base", "small", "patch_merging"])
def test_from_torch_is_the_inverse_of_to_torch(variant):
    rng = np.random.default_rng(0)
    for name, leaf in _leaves(variant).items():
        to_torch, from_torch = layout(name, leaf.ndim)
        x = rng.normal(size=leaf.shape)
        np.testing.assert_array_equal(from_torch(to_torch(x)), x, err_msg=name)


def test_a_kernel_without_a_rule_is_refused():
    with pytest.raises(ValueError, match="no conversion rule matches the kernel 'encoder.new_layer.kernel' of 5 axes"):
        layout("encoder.new_layer.kernel", 5)
