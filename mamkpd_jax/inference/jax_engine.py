"""The engine that runs an artifact in JAX."""

import contextlib
import dataclasses
import hashlib
from typing import Any

import jax
import numpy as np

from mamkpd_jax import compilation_cache
from mamkpd_jax.artifact.artifact import Artifact, Description
from mamkpd_jax.compilation import jit
from mamkpd_jax.heads._head import head_of
from mamkpd_jax.inference.engine import Batch, Engine, padded, with_flip_test
from mamkpd_jax.program import Options, Program, cast_once, compiled, make_program
from mamkpd_jax.sharding import data_mesh, replicated


class JaxEngine(Engine):
    """Runs an artifact on JAX's first device. It compiles two shapes on first use: one crop, and a full batch.

    Compiled programs are cached as in `compilation_cache.default`.

    Args:
        flip_test: whether to apply the flip test; None: as in the model's evaluation.
        batch_size: the number of crops in a full batch.
    """

    def __init__(self, artifact: Artifact, *, flip_test: bool | None, batch_size: int):
        config, skeleton = artifact.config, artifact.skeleton
        flip_test = config.eval.flip_test if flip_test is None else flip_test
        self.model = Description(config=with_flip_test(config, flip_test), skeleton=skeleton, step=artifact.step)
        self.batch_size = batch_size
        mesh = data_mesh(jax.devices()[:1])
        self._head = head_of(config, skeleton)
        params = cast_once(artifact.params, config, skeleton)
        self._params, self._batch_stats = jax.device_put((params, artifact.batch_stats), replicated(mesh))
        options = Options(flip_test=flip_test)
        self._predict = compiled(make_program(config, skeleton, options), mesh)
        self._outputs = compiled(make_program(config, skeleton, dataclasses.replace(options, decode=False)), mesh)
        self._decode: Any = jit(self._head.decode)
        self._called: set[tuple[Program, int]] = set()  # functions and the numbers of crops they are compiled for

    def predict(self, crops: Batch, *, alone: bool) -> tuple[Any, Any]:
        # Another shape may round differently, so a last crop after full batches is padded, as in eval.py.
        return self._run(self._predict, crops if alone else padded(crops, self.batch_size))

    def outputs(self, crops: Batch) -> Any:
        return self._run(self._outputs, crops if len(crops) == 1 else padded(crops, self.batch_size))

    def _run(self, program: Program, crops: Batch) -> Any:
        call = program, len(crops)
        with contextlib.nullcontext() if call in self._called else compilation_cache.default():
            result = program(self._params, self._batch_stats, crops)
        self._called.add(call)
        return result

    def decode(self, outputs: Any) -> tuple[Any, Any]:
        return self._decode(outputs)

    def maps(self, outputs: Any) -> Any:
        return self._head.maps(outputs)

    def digest(self) -> str:
        """SHA-256 of the weights, the skeleton and the config except the flip test, whatever their source.

        Choice: the whole config counts. A change without effect only costs another prediction.
        """
        described = with_flip_test(self.model.config, True), self.model.skeleton
        digest = hashlib.sha256(repr(described).encode())
        for leaf in jax.tree.leaves((self._params, self._batch_stats)):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()
