"""Reads the weights of the file argv[1] by hundreds of wrong descriptions: each is refused in a line, or stays true.

Run by test_save_and_load.py in a process of its own, where nothing but the package checks types.
"""

import copy
import json
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from mamkpd_jax.convert.save import METADATA_KEY
from mamkpd_jax.convert.weights import from_torch, metadata
from mamkpd_jax.errors import UserError

SOURCE = Path(sys.argv[1])
with safe_open(SOURCE, framework="numpy") as file:
    STATE = {name: file.get_tensor(name) for name in file.keys()}
    ABOUT = json.loads(file.metadata()[METADATA_KEY])
# What is only told, and not read.
READ = [name for name in ABOUT if name not in ("variant", "version", "commit")]
PLACES = [(name,) for name in READ] + [("model", name) for name in ABOUT["model"]]
PLACES += [(name, 0) for name, value in ABOUT.items() if name in READ and isinstance(value, list) and value]
PLACES += [("model", "dims", 1), ("model", "depths", 1), ("edges", 0, 1)]

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS | st.sampled_from([-1, 0, 10**9, 2**31, 10**400, 1.0, 2.0, "abc", "coco", [], {}, [2, 10**9]]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(st.sampled_from(PLACES), VALUES)
@example(("step",), "abc")
@example(("step",), None)
@example(("step",), -1)
@example(("step",), 2**31)
@example(("model", "d_state"), 2.0)
@example(("model", "dims"), [32, 1_000_000_000])
@example(("model", "dims"), [16, 24, 1_000_000_000])
@example(("model", "depths"), [1, 1, 10**9])
@example(("model", "stem"), 1)
@example(("input_hw",), [64.0, 32])
@example(("input_hw",), "64")
@example(("joints",), "nose")
@example(("joints",), list(range(17)))
@example(("edges",), 3)
@example(("edges",), [["0", "1"]])
@example(("flip_indices",), ABOUT["flip_indices"][:-1])
@example(("flip_indices",), list(range(1, 18)))
@example(("flip_indices",), "mirrored")
@example(("sigmas",), [float("nan")] * 17)
@example(("sigma_px",), 10**400)
@settings(max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
def check(place: tuple, value: Any) -> None:
    about = copy.deepcopy(ABOUT)
    *parents, last = place
    fields = about
    for name in parents:
        fields = fields[name]
    fields[last] = value
    try:
        weights = from_torch(STATE, about, SOURCE)
    except UserError as error:
        assert str(SOURCE) in str(error)
        return
    again = metadata(weights)
    assert {name: again[name] for name in READ} == {name: about[name] for name in READ}
    assert type(weights.step) is int and 0 <= weights.step < 2**31
    assert type(weights.config.model.d_state) is int


check()
