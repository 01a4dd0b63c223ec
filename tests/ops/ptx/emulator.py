"""Runs the PTX of a compiled kernel on a CPU, to check its results without a GPU.

    outputs = Kernel(ptx).run(grid=(8, 4, 2), inputs=[...], outputs=[(shape, dtype), ...])

It supports what this project's kernels compile to: programs of one warp that use only global memory. All threads of all
programs run together, as arrays [programs, threads]. At a branch the programs separate, and none waits for another.

`PtxError` reports faults that a GPU would hide, and features that are not modelled: an unknown instruction; a branch
that separates the threads of a warp; a register that is read before it is written; an endless loop; and all faults that
`Memory` finds. Timing, caches, and ptxas, which compiles PTX to machine code, are not modelled.
"""

import itertools
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tests.ops.ptx.errors import PtxError
from tests.ops.ptx.instructions import WARP, Operation, operation
from tests.ops.ptx.memory import Memory

_LOAD_OR_STORE = re.compile(r"(ld|st)\.global(?:\.v[24])?\.b(16|32|64)")
_PARAMETER = re.compile(r"ld\.param(::entry)?\.[bu]64")
# After the pointers to the buffers, Triton passes pointers to scratch memory, which these kernels don't use.
_MOST_SCRATCH = 2

_Registers = dict[str, np.ndarray]


class _Instruction(NamedTuple):
    text: str
    guard: str | None
    negated: bool
    opcode: str
    operands: list[str]
    operation: Operation | None  # None: the instruction is about memory or control flow
    sources: list[str | np.ndarray]  # the operation's registers or constants

    @property
    def names(self) -> list[str]:
        """The registers of the vector operand of a load, a store or a `mov`."""
        vector = self.operands[1] if self.opcode.startswith("st.") else self.operands[0]
        return _names(vector)


class Kernel:
    """The only kernel of a PTX module."""

    def __init__(self, ptx: str):
        ptx = re.sub(r"//.*|^\s*\.(loc|file|pragma)\b.*", "", ptx, flags=re.M)
        entry = re.search(r"\.entry\s+(\w+)\s*\((.*?)\)(.*?)\{(.*?)^\}", ptx, re.S | re.M)
        if not entry:
            raise PtxError("no kernel in the module")
        self.name, parameters, directives, body = entry.groups()
        threads = re.search(r"\.reqntid\s+(\d+)(?:,\s*1)*\s*$", directives)
        if not threads or int(threads[1]) != WARP or ".shared" in ptx:
            raise PtxError(f"{self.name}: shared memory, or programs that are not one warp")
        self._parameters = re.findall(r"(\w+)\s*(?:,|$)", parameters.strip())
        self._code: list[_Instruction] = []
        self._labels: dict[str, int] = {}
        for label, text in re.findall(r"\s*(?:([$\w]+):(?!:)|([^;]+);)", body):
            if label:
                self._labels[label] = len(self._code)
            elif not text.startswith(".reg"):
                self._code.append(_decode(" ".join(text.split())))
        self.instructions = 0.0  # the number that a program of the latest run executed, on average

    def run(
        self,
        grid: Sequence[int],
        inputs: Sequence[np.ndarray],
        outputs: Sequence[tuple[Sequence[int], np.dtype]],
        most_steps: int = 10**6,
    ) -> list[np.ndarray]:
        """The outputs, with the shapes and dtypes of `outputs`."""
        memory, programs = Memory(inputs, outputs), math.prod(grid)
        pointers = memory.pointers
        if not 0 <= len(self._parameters) - len(pointers) <= _MOST_SCRATCH:
            raise PtxError(f"{self.name}: {len(self._parameters)} parameters for {len(pointers)} buffers")
        parameters = dict(itertools.zip_longest(self._parameters, pointers, fillvalue=0))
        waiting, executed, steps = [(0, _special_registers(grid))], 0, itertools.count(1)
        with np.errstate(all="ignore"):
            while waiting:
                at, registers = waiting.pop()
                while at is not None:
                    one = self._code[at]
                    executed += len(registers["program"])
                    if next(steps) > most_steps:
                        raise PtxError(f"{self.name}: more than {most_steps} steps")
                    try:
                        at = self._step(one, at, registers, memory, parameters, waiting)
                    except KeyError as error:
                        raise PtxError(f"{self.name}: {one.text}: {error} has no value") from error
                    except PtxError as error:
                        raise PtxError(f"{self.name}: {one.text}: {error}") from error
        self.instructions = executed / programs
        return memory.results()

    def _step(
        self,
        one: _Instruction,
        at: int,
        registers: _Registers,
        memory: Memory,
        parameters: dict[str, int],
        waiting: list[tuple[int, _Registers]],
    ) -> int | None:
        """Executes an instruction and returns the place of the next one, None at the end."""
        guard = None if one.guard is None else registers[one.guard] ^ one.negated
        name = one.opcode.partition(".")[0]
        if name == "bra":
            return self._branch(self._labels[one.operands[0]], guard, at, registers, waiting)
        if name == "ret":
            if guard is not None:
                raise PtxError("a return under a condition is not modelled")
            return None
        if name == "st":
            mask = np.ones_like(registers["program"], bool) if guard is None else guard
            if mask.any():
                values = [registers[x][mask] for x in one.names]
                if any(value.dtype.itemsize != _size(one.opcode) for value in values):
                    raise PtxError("a register of another width")
                memory.store(_address(one.operands[0], registers)[mask], values, registers["program"][mask])
        elif one.opcode.startswith("ld.global"):
            _load(one, guard, registers, memory)
        elif name == "ld":
            value = np.uint64(parameters[one.operands[1].strip("[] ")])
            _write(registers, one.operands[0], np.full(registers["program"].shape, value), guard)
        elif one.operation:
            dtypes = one.operation.operands
            sources = [registers[x] if isinstance(x, str) else x for x in one.sources]
            value = one.operation.function(*(x.view(dtype) for x, dtype in zip(sources, dtypes, strict=True)))
            _write(registers, one.operands[0], _bits(value, one.operation, registers["program"].shape), guard)
        elif name == "mov":
            _pack_or_unpack(one, guard, registers)
        return at + 1  # griddepcontrol.wait needs nothing: the previous kernel has ended here

    @staticmethod
    def _branch(target: int, guard: np.ndarray | None, at: int, registers: _Registers, waiting: list) -> int:
        """The next place of some programs; the others are added to `waiting`."""
        if guard is None:
            return target
        taken = guard[:, 0]
        if (guard != taken[:, None]).any():
            raise PtxError("the branch separates the threads of a warp")
        if taken.all() or not taken.any():
            return target if taken[0] else at + 1
        waiting.append((target, {name: x[taken] for name, x in registers.items()}))
        registers |= {name: x[~taken] for name, x in registers.items()}
        return at + 1


def _decode(text: str) -> _Instruction:
    match = re.fullmatch(r"(?:@(!?)(%\w+) )?([\w.:]+)(?: (.*))?", text)
    if not match:
        raise PtxError(f"not understood: {text}")
    negated, guard, opcode, rest = match.groups()
    operands = [x.strip() for x in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", rest or "")]
    special = opcode in ("bra", "bra.uni", "ret", "griddepcontrol.wait") or _PARAMETER.fullmatch(opcode)
    if special or _LOAD_OR_STORE.fullmatch(opcode) or (re.fullmatch(r"mov\.b(32|64)", opcode) and "{" in text):
        return _Instruction(text, guard, negated == "!", opcode, operands, None, [])
    what = operation(opcode)
    if len(what.operands) != len(operands) - 1:
        raise PtxError(f"number of operands: {text}")
    sources = [
        x if x.startswith("%") else _constant(x, dtype) for x, dtype in zip(operands[1:], what.operands, strict=True)
    ]
    return _Instruction(text, guard, negated == "!", opcode, operands, what, sources)


def _constant(text: str, dtype: np.dtype) -> np.ndarray:
    if re.fullmatch(r"0[fF][0-9a-fA-F]{8}", text) and dtype.itemsize == 4:
        return np.array([[int(text[2:], 16)]], np.uint32)
    if dtype.kind == "b" and text in ("0", "1", "-1"):
        return np.array([[text != "0"]])
    if dtype.kind not in "iu" or not re.fullmatch(r"-?(0x[0-9a-fA-F]+|\d+)", text):
        raise PtxError(f"constant {text} of type {dtype}")
    return np.array([[int(text, 0) % (1 << 8 * dtype.itemsize)]], f"u{dtype.itemsize}")


def _special_registers(grid: Sequence[int]) -> _Registers:
    sizes = [*grid, 1, 1][:3]
    program = np.arange(math.prod(grid), dtype=np.uint32)[:, None].repeat(WARP, 1)
    thread = np.arange(WARP, dtype=np.uint32)[None].repeat(len(program), 0)
    registers = {"program": program, "%tid.x": thread, "%laneid": thread}
    for i, axis in enumerate("xyz"):
        registers[f"%ctaid.{axis}"] = program // np.uint32(math.prod(sizes[:i])) % np.uint32(sizes[i])
        registers[f"%nctaid.{axis}"] = np.full_like(program, sizes[i])
    return registers


def _write(registers: _Registers, name: str, value: np.ndarray, guard: np.ndarray | None) -> None:
    registers[name] = value if guard is None else np.where(guard, value, registers[name])


def _bits(value: np.ndarray, what: Operation, shape: tuple[int, ...]) -> np.ndarray:
    """A result as a register holds it: a predicate, or an unsigned integer of the same width."""
    if value.dtype != what.result:
        raise PtxError(f"a result of type {value.dtype}, and not {what.result}")
    return np.broadcast_to(value if value.dtype == bool else value.view(f"u{value.dtype.itemsize}"), shape)


def _load(one: _Instruction, guard: np.ndarray | None, registers: _Registers, memory: Memory) -> None:
    mask = np.ones_like(registers["program"], bool) if guard is None else guard
    if not mask.any():
        return
    size = _size(one.opcode)
    loaded = memory.load(_address(one.operands[1], registers)[mask], size, len(one.names))
    for name, words in zip(one.names, loaded, strict=True):
        value = np.zeros(mask.shape, words.dtype)
        value[mask] = words
        _write(registers, name, value, guard)


def _pack_or_unpack(one: _Instruction, guard: np.ndarray | None, registers: _Registers) -> None:
    """A `mov` between a register and the registers of its parts, the lowest part first."""
    target, source = one.operands
    if target.startswith("{"):
        names, value = _names(target), registers[source]
        parts = np.ascontiguousarray(value)[..., None].view(f"u{value.dtype.itemsize // len(names)}")
        for i, name in enumerate(names):
            _write(registers, name, parts[..., i].copy(), guard)
    else:
        parts = np.stack([registers[name] for name in _names(source)], axis=-1)
        _write(registers, target, parts.view(f"u{int(one.opcode[5:]) // 8}")[..., 0].copy(), guard)


def _size(opcode: str) -> int:
    """The number of bytes in a word."""
    return int(opcode.rpartition("b")[2]) // 8


def _address(operand: str, registers: _Registers) -> np.ndarray:
    match = re.fullmatch(r"\[\s*(%\w+)\s*(?:\+\s*(-?\w+)\s*)?\]", operand)
    if not match:
        raise PtxError(f"address {operand}")
    return registers[match[1]] + np.uint64(int(match[2] or "0", 0) % (1 << 64))


def _names(operand: str) -> list[str]:
    return [name.strip() for name in operand.strip("{} ").split(",")]
