"""Ends a run between two steps on SIGTERM or SIGINT, so that it can save."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import jax
from absl import logging
from jax.experimental import multihost_utils

_In, _Out = TypeVar("_In"), TypeVar("_Out")


class Interrupted(Exception):
    """The run was asked to end."""


class Interruption:
    """A context that records the first SIGTERM or SIGINT; a second signal ends the program at once.

    In a run of several processes, all of them end at the same step, whichever got the signal.
    """

    def __enter__(self) -> "Interruption":
        self._asked = False
        self._several = jax.process_count() > 1
        # There JAX handles SIGTERM itself, and notifies the other processes.
        numbers = [signal.SIGINT] if self._several else [signal.SIGINT, signal.SIGTERM]
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self, step: int) -> None:
        """Raises Interrupted if the run was asked to end; with several processes, in all of them at the same `step`."""
        if self._several and multihost_utils.reached_preemption_sync_point(step):
            raise Interrupted
        self._check_alone()

    def checked(self, function: Callable[[_In], _Out]) -> Callable[[_In], _Out]:
        """Wraps a function to raise Interrupted once the run was asked to end, in a run of one process only."""

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
        logging.info("%s: saving before the run ends; a second signal ends it at once", signal.Signals(number).name)
        self._asked = True
        if self._several:
            signal.raise_signal(signal.SIGTERM)
