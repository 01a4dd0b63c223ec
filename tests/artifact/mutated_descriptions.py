"""Reads the weights in the file argv[1] with hundreds of changed descriptions.

Each is refused with a UserError, or read back unchanged. test_weight_files.py runs this in a new process, where no test
tool checks types for the package.
"""

import copy
import json
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from mamkpd_jax.artifact.weight_files import METADATA_KEY, from_torch
from mamkpd_jax.errors import UserError

SOURCE = Path(sys.argv[1])
with safe_open(SOURCE, framework="numpy") as file:
    STATE = {name: file.get_tensor(name) for name in file.keys()}
    ABOUT = json.loads(file.metadata()[METADATA_KEY])
READ = ("config", "skeleton", "step", "mean", "std")  # nothing reads the rest


def _places(fields: Any, *parents: Any) -> list[tuple]:
    """The paths of all fields in the description; of a list, only that of the first entry."""
    inner = fields.items() if isinstance(fields, dict) else enumerate(fields[:1]) if isinstance(fields, list) else ()
    return [parents] * bool(parents) + [place for name, value in inner for place in _places(value, *parents, name)]


# Readers ignore the scan in the file.
PLACES = [place for place in _places({name: ABOUT[name] for name in READ}) if place[-1] != "scan"]


def _holds(found: Any, given: Any) -> bool:
    """Whether `found` has every given value. It has more fields: those that were not given have their defaults."""
    if isinstance(given, dict):
        return all(name in found and _holds(found[name], value) for name, value in given.items())
    return found == given


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
@example(("config", "model", "d_state"), 2.0)
@example(("config", "model", "dims"), [32, 1_000_000_000])
@example(("config", "model", "dims"), [16, 24, 1_000_000_000])
@example(("config", "model", "depths"), [1, 1, 10**9])
@example(("config", "model", "stem"), 1)
@example(("config", "data", "input_hw"), [64.0, 32])
@example(("config", "data", "input_hw"), "64")
@example(("skeleton", "joints"), "nose")
@example(("skeleton", "joints"), list(range(17)))
@example(("skeleton", "edges"), 3)
@example(("skeleton", "edges"), [["0", "1"]])
@example(("skeleton", "flip_pairs"), [[0, 17]])
@example(("skeleton", "flip_pairs"), "mirrored")
@example(("config", "head", "kind"), "os")
@example(("config", "head"), {"kind": "heatmap", "bins": 2})
@example(("config", "optim"), None)
@example(("skeleton", "sigmas"), [float("nan")] * 17)
@example(("config", "head", "sigma_px"), 10**400)
@example(("config", "model", "depths"), [10**400, 1, 1])
@settings(max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
def check(place: tuple, value: Any) -> None:
    about = copy.deepcopy(ABOUT)
    *parents, last = place
    fields = about
    for name in parents:
        fields = fields[name]
    fields[last] = value
    try:
        weights = from_torch(STATE, about)
    except UserError:
        return
    again = json.loads(json.dumps(weights.description()))
    assert _holds(again, {name: about[name] for name in READ})
    assert type(weights.step) is int and 0 <= weights.step < 2**31
    assert type(weights.config.model.d_state) is int


check()
