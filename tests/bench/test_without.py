"""A model without a part lacks the operations of that part and of no other, and only inside the context."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from mamkpd_jax.bench.without import PARTS, by_part, without
from mamkpd_jax.config import Config, ModelConfig
from mamkpd_jax.model.mamkpd import MamKPD
from mamkpd_jax.skeletons import COCO

_OPERATIONS = {"scan": "name=ss2d", "depth-wise": "_depthwise", "norms": "rsqrt", "activations": "logistic"}


def _traced(part, training):
    config = Config(model=ModelConfig(depths=(1,), dims=(8,), decoder_dim=8))

    def heatmaps(image):
        model = MamKPD(config, COCO, rngs=nnx.Rngs(0))
        model.train() if training else model.eval()
        return model(image)

    with without(part):
        return str(jax.make_jaxpr(heatmaps)(jnp.zeros((1, 32, 32, 3)))), jax.eval_shape(
            heatmaps, jnp.zeros((1, 32, 32, 3))
        )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("part", PARTS)
def test_only_the_named_part_is_left_out(part, training):
    text, shape = _traced(part, training)
    assert {name for name, operation in _OPERATIONS.items() if operation not in text} == {part}
    whole, whole_shape = _traced(None, training)
    assert all(operation in whole for operation in _OPERATIONS.values())
    assert shape == whole_shape


def test_parts_add_up_to_the_whole():
    assert by_part(10.0, {"scan": 7.0, "norms": 9.0}) == {"scan": 3.0, "norms": 1.0, "dense": 6.0}
