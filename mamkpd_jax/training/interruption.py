"""SIGTERM and SIGINT end a run between two steps, so that it can save."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import jax
from absl import logging
from jax.experimental import multihost_utils

_In, _Out = TypeVar("_In"), TypeVar("_Out")


class Interrupted(Exception):
    """Somebody asked the run to end."""


class Interruption:
    """While it is entered, the first SIGTERM or SIGINT is noted, and a second one ends the program at once.

    Where a run has several processes, all of them end at the same step, whichever of them was asked.
    """

    def __enter__(self) -> "Interruption":
        self._asked = False
        self._several = jax.process_count() > 1
        # JAX listens to SIGTERM itself there, and tells the other processes.
        numbers = [signal.SIGINT] if self._several else [signal.SIGINT, signal.SIGTERM]
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self, step: int) -> None:
        """Raises Interrupted if the run was asked to end, after `step` for all of its processes."""
        if self._several and multihost_utils.reached_preemption_sync_point(step):
            raise Interrupted
        self._check_alone()

    def checked(self, function: Callable[[_In], _Out]) -> Callable[[_In], _Out]:
        """The function, which raises Interrupted once the run was asked to end, if no other process has to agree."""

        def unless_interrupted(argument: _In) -> _Out:
            self._check_alone()
            return function(argument)

        return unless_interrupted

    def _check_alone(self) -> None:
        if self._asked and not self._several:
            raise Interrupted

    def _note(self, number: int, _: FrameType | None) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        logging.info("%s: saving first; once more ends the run at once", signal.Signals(number).name)
        self._asked = True
        if self._several:
            signal.raise_signal(signal.SIGTERM)
