"""Batches the crops of many callers. A single thread runs the batches, so only it uses the device."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mamkpd_jax.inference.engine import Batch, Engine


class CropResult(NamedTuple):
    """The keypoints of a crop, as the network predicts them."""

    points: Float[np.ndarray, "j 2"]  # in pixels of the crop
    scores: Float[np.ndarray, " j"]
    maps: Float[np.ndarray, "h2 w2 j"] | None  # from `Head.maps`; None unless requested


class _Waiting(NamedTuple):
    crop: UInt8[np.ndarray, "h w 3"]
    maps: bool
    due_s: float  # the time.monotonic() at which it runs even if its batch is not full
    future: Future[CropResult]


class _Running(NamedTuple):
    batch: list[_Waiting]
    points: Any
    scores: Any
    maps: Any


class MicroBatcher:
    """Runs an engine on crops from many threads, in batches and in their order of arrival.

    A batch runs when `batch_size` crops wait, or when the first has waited `max_wait_ms` and the device is idle. While
    it runs, the next full batch is already sent to the device, and further crops are collected.

    Choice: an incomplete batch runs crop by crop where that is faster than padding it. On CPUs it is: eight crops take
    eight times as long as one. The constructor measures both.

    Args:
        max_wait_ms: how long the first crop of a batch waits for others; 0: not at all.
        observe: called with the number of crops in each batch that is sent to the device; must not raise.
    """

    def __init__(self, engine: Engine, *, max_wait_ms: float, observe: Callable[[int], Any] = lambda _: None):
        self._engine, self._max_wait_s, self._observe = engine, max_wait_ms / 1e3, observe
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # Incomplete batches of at most this many crops run crop by crop.
        self._split_up_to = int(self._time_s(engine.batch_size) / self._time_s(1)) if engine.batch_size > 1 else 1
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of crops that are not yet in a batch."""
        return len(self._waiting)

    def submit(self, crops: Batch, *, maps: bool = False) -> list[Future[CropResult]]:
        """Queues crops, and returns a future for each.

        A crop does not run if its future is cancelled before the batch is sent to the device. If a batch fails, its
        futures raise the engine's exception; later batches still run.

        Args:
            maps: whether results include heatmaps.

        Raises:
            RuntimeError: the batcher is closed.
        """
        waiting = _all_waiting(crops, maps, time.monotonic() + self._max_wait_s)
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._waiting += waiting
            self._changed.notify()
        return [each.future for each in waiting]

    def close(self) -> None:
        """Runs the waiting crops, then ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        running = None
        while (batch := self._take(device_is_idle=running is None)) is not None:
            if batch:
                self._observe(len(batch))
            started = self._start(batch) if batch else None
            if running:
                self._finish(running)
            running = started
            if running and isinstance(running.points, np.ndarray):  # the engine is synchronous
                self._finish(running)
                running = None

    def _take(self, *, device_is_idle: bool) -> list[_Waiting] | None:
        """The next batch; empty while the device is busy and no batch is full; None once closed and finished."""
        with self._changed:
            while not (n := self._n_ready(device_is_idle)):
                if not device_is_idle:
                    return []
                if self._closed:
                    return None
                self._changed.wait(self._waiting[0].due_s - time.monotonic() if self._waiting else None)
            batch = [self._waiting.popleft() for _ in range(n)]
        return [each for each in batch if each.future.set_running_or_notify_cancel()]

    def _n_ready(self, device_is_idle: bool) -> int:
        """The number of waiting crops that should run now."""
        n = len(self._waiting)
        if n >= self._engine.batch_size:
            return self._engine.batch_size
        if not n or not device_is_idle or (self._waiting[0].due_s > time.monotonic() and not self._closed):
            return 0
        return 1 if n <= self._split_up_to else n

    def _start(self, batch: list[_Waiting]) -> _Running | None:
        """Sends a batch to the device, and may return before it is done."""
        try:
            outputs = self._engine.outputs(np.stack([each.crop for each in batch]))
            points, scores = self._engine.decode(outputs)
            maps = self._engine.maps(outputs) if any(each.maps for each in batch) else None
        except Exception as error:
            _fail(batch, error)
            return None
        return _Running(batch, points, scores, maps)

    def _finish(self, running: _Running) -> None:
        """Waits for a batch, and sets the results of its futures."""
        try:
            points, scores = (np.asarray(values, np.float64) for values in (running.points, running.scores))
            maps = None if running.maps is None else np.asarray(running.maps)
        except Exception as error:
            _fail(running.batch, error)
            return
        for i, each in enumerate(running.batch):
            maps_of_crop = maps[i] if each.maps and maps is not None else None
            each.future.set_result(CropResult(points[i], scores[i], maps_of_crop))

    def _time_s(self, n: int) -> float:
        """The time for `n` crops in seconds: the shorter of two runs, after one that compiles."""
        times = []
        for _ in range(3):
            start = time.perf_counter()
            blank = np.zeros((n, *self._engine.model.config.data.input_hw, 3), np.uint8)
            waiting = _all_waiting(blank, True, 0.0)
            if running := self._start(waiting):
                self._finish(running)
            waiting[0].future.result()  # raises the error of a failed batch
            times.append(time.perf_counter() - start)
        return min(times[1:])


def _all_waiting(crops: Iterable[UInt8[np.ndarray, "h w 3"]], maps: bool, due_s: float) -> list[_Waiting]:
    return [_Waiting(crop, maps, due_s, Future()) for crop in crops]


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for each in batch:
        each.future.set_exception(error)
