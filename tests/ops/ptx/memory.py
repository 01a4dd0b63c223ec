"""The global memory of an emulated kernel: inputs are read only, and each output element is written exactly once."""

import math
from collections.abc import Sequence

import numpy as np

from tests.ops.ptx.errors import PtxError

# An address has a buffer's number and a byte's place in it, so that no overflow leads from one buffer into another.
_NUMBER_AT = 40


class _Buffer:
    def __init__(self, array: np.ndarray, *, is_output: bool):
        self.bytes = np.frombuffer(bytearray(np.ascontiguousarray(array).tobytes()), np.uint8)
        self.kind = "an output" if is_output else "an input"
        self.writer = np.full(self.bytes.size, -1, np.int32) if is_output else None


class Memory:
    """Raises `PtxError` for an access that is outside of all buffers, misaligned, or not allowed for the buffer."""

    def __init__(self, inputs: Sequence[np.ndarray], outputs: Sequence[tuple[Sequence[int], np.dtype]]):
        self._outputs = [(shape, np.dtype(dtype)) for shape, dtype in outputs]
        sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in self._outputs]
        self._buffers = [_Buffer(array, is_output=False) for array in inputs]
        self._buffers += [_Buffer(np.zeros(size, np.uint8), is_output=True) for size in sizes]

    @property
    def pointers(self) -> list[int]:
        """The buffers' addresses, inputs first. Address 0 is in none."""
        return [number + 1 << _NUMBER_AT for number in range(len(self._buffers))]

    def load(self, address: np.ndarray, size: int, count: int) -> list[np.ndarray]:
        """`count` consecutive words of `size` bytes, as unsigned integers."""
        buffer, offset = self._locate(address, size * count)
        if buffer.writer is not None:
            raise PtxError("load from an output")
        words = buffer.bytes[: buffer.bytes.size // size * size].view(f"u{size}")
        return [words[offset // size + i] for i in range(count)]

    def store(self, address: np.ndarray, values: Sequence[np.ndarray], program: np.ndarray) -> None:
        """Writes consecutive words; `program` has the number of the program that writes each of them."""
        size = values[0].dtype.itemsize
        buffer, offset = self._locate(address, size * len(values))
        if buffer.writer is None:
            raise PtxError("store to an input")
        for i, value in enumerate(values):
            places = offset[:, None] + np.arange(i * size, (i + 1) * size)
            content, by = value[:, None].view(np.uint8), program[:, None]
            if (buffer.writer[places] >= 0).any():
                raise PtxError("store to an address that was written before")
            buffer.bytes[places], buffer.writer[places] = content, by
            if (buffer.writer[places] != by).any():
                raise PtxError("two programs write one address")
            if (buffer.bytes[places] != content).any():
                raise PtxError("threads write different values to one address")

    def results(self) -> list[np.ndarray]:
        """The outputs, after all programs have ended."""
        written = [buffer for buffer in self._buffers if buffer.writer is not None]
        for number, buffer in enumerate(written):
            missing = int((buffer.writer < 0).sum())
            if missing:
                raise PtxError(f"{missing} of {buffer.writer.size} bytes of output {number} were never written")
        return [
            buffer.bytes.view(dtype).reshape(shape)
            for buffer, (shape, dtype) in zip(written, self._outputs, strict=True)
        ]

    def _locate(self, address: np.ndarray, width: int) -> tuple[_Buffer, np.ndarray]:
        """The buffer that has all addresses, and their places in it."""
        numbers, offset = (address >> np.uint64(_NUMBER_AT)).astype(np.int64) - 1, address % np.uint64(1 << _NUMBER_AT)
        number = int(numbers.flat[0])
        if (numbers != number).any() or not 0 <= number < len(self._buffers):
            raise PtxError(f"addresses in no buffer, or in several: {set(numbers.flat)}")
        buffer = self._buffers[number]
        if (offset % np.uint64(width)).any():
            raise PtxError(f"address misaligned for {width} bytes")
        if (offset > buffer.bytes.size - width).any():
            size = buffer.bytes.size
            raise PtxError(f"byte {offset.max()} of buffer {number}, which is {buffer.kind} and has {size} bytes")
        return buffer, offset.astype(np.int64)
