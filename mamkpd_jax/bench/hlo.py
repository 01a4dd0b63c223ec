"""Parses the HLO text of a compiled program: the kernels that it launches and the bytes that each one moves."""

import math
import re
from typing import NamedTuple

_SIZES = {"pred": 1, "bf16": 2, "token": 0}  # the names of other types contain their bits
# These launch no kernel: they refer to existing memory, or wait.
_FREE = ("bitcast", "get-tuple-element", "parameter", "tuple", "constant", "after-all", "partition-id", "replica-id")
_SLICES = "slice", "dynamic-slice"
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ([a-z][a-z\d\-]*)\((.*)")


class Kernel(NamedTuple):
    """A kernel launch: its name in the program, its origin in the model, and its memory traffic."""

    name: str
    origin: str  # the name of the operation in JAX; empty if unknown
    moved_bytes: int  # read and written, as if there were no cache


class _Instruction(NamedTuple):
    name: str
    n_bytes: int
    operation: str
    operands: list[str]
    rest: str  # of the line


def kernels(text: str) -> list[Kernel]:
    """The kernels of a program in HLO, in launch order; those in the body of a loop count once."""
    computations = _computations(text)
    (entry,) = re.findall(r"^ENTRY %?([\w.\-]+)", text, re.M)
    return _kernels(entry, computations)


def _kernels(name: str, computations: dict[str, dict[str, _Instruction]]) -> list[Kernel]:
    found, instructions = [], computations[name]
    for one in instructions.values():
        if one.operation in _FREE or one.operation.endswith("-done"):
            continue
        called = re.findall(r"(?:calls|to_apply|body)=%?([\w.\-]+)", one.rest)
        if one.operation in ("call", "while"):
            found += _kernels(called[0], computations)
            continue
        read = [instructions[operand].n_bytes for operand in one.operands]
        if one.operation == "fusion":
            read = [_read_bytes(computations[called[0]], i, n_bytes) for i, n_bytes in enumerate(read)]
        origin = re.search(r'op_name="([^"]*)"', one.rest)
        found.append(Kernel(one.name, origin[1] if origin else "", sum(read) + one.n_bytes))
    return found


def _read_bytes(fused: dict[str, _Instruction], number: int, n_bytes: int) -> int:
    """The bytes that a fusion reads of its operand `number`: only the slices that it takes."""
    (parameter,) = (x.name for x in fused.values() if x.operation == "parameter" and x.rest.startswith(f"{number})"))

    def taken(name: str) -> int:
        users = [x for x in fused.values() if name in x.operands]
        parts = (
            x.n_bytes if x.operation in _SLICES else taken(x.name) if x.operation == "bitcast" else n_bytes
            for x in users
        )
        return min(n_bytes, sum(parts))

    return taken(parameter)


def _computations(text: str) -> dict[str, dict[str, _Instruction]]:
    found: dict[str, dict[str, _Instruction]] = {}
    for line in text.splitlines():
        if start := re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", line):
            found[start[1]] = {}
        elif match := _INSTRUCTION.match(line):
            name, shape, operation, rest = match.groups()
            operands = re.findall(r"%([\w.\-]+)", rest.split(")")[0])
            if operation == "custom-call":  # the library's workspace does not count
                shape = re.sub(r"[su]8\[\d+\]", "", shape)
            list(found.values())[-1][name] = _Instruction(name, _bytes(shape), operation, operands, rest)
    return found


def _bytes(shape: str) -> int:
    """The size of a shape, such as "(bf16[64,32]{1,0}, s32[])"."""
    found = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", shape)
    sizes = {kind: _SIZES.get(kind) or max(1, int(re.sub(r"\D", "", kind)) // 8) for kind, _ in found}
    return sum(sizes[kind] * math.prod(map(int, filter(None, dims.split(",")))) for kind, dims in found)
