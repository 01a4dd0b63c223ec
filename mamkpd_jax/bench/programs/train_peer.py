"""Trains a peer in the same way as MamKPD: the same batches, targets, loss, Adam and schedule.

mamkpd bench train_peer --config=configs/lspet.py --peer=simple_baseline --workdir=runs/lspet_simple_baseline

The only fields of the config's model that matter are those of the heatmaps' stride and the dtype. The same command
resumes from the last checkpoint; Ctrl-C and SIGTERM save one. JAX makes the targets and decodes the heatmaps: if
PyTorch uses a GPU, set JAX_PLATFORMS=cpu.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl import flags, logging
from torch import Tensor

from mamkpd_jax import cli
from mamkpd_jax.bench.peers import PEERS
from mamkpd_jax.bench.peers.networks import Peer, build, cost
from mamkpd_jax.config import Config
from mamkpd_jax.data.opening import open_dataset
from mamkpd_jax.data.pipeline import DamageGuard, train_batches
from mamkpd_jax.environment import environment
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation import report
from mamkpd_jax.evaluation.evaluator import Evaluator
from mamkpd_jax.files import atomic_write, write_json
from mamkpd_jax.heads._head import Head, head_of
from mamkpd_jax.heads.heatmap import HeatmapHead
from mamkpd_jax.training.interruption import Interrupted, Interruption
from mamkpd_jax.training.logs import ENVIRONMENT, Logger
from mamkpd_jax.training.optimizer import learning_rate
from mamkpd_jax.training.schedule import Schedule

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Run directory.", required=True, allow_override=True)
_PEER_TEXT = f"The network: {', '.join(PEERS)}; simple_baseline:0.25 has a quarter of its channels."
_PEER = flags.DEFINE_string("peer", None, _PEER_TEXT, required=True)
_COMPILE = flags.DEFINE_bool("compile", False, "Compile the network by torch.compile.", allow_override=True)

_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
_CHECKPOINT = "peer.pt"


class Training:
    """The training state of a peer: network, Adam and step."""

    def __init__(self, model: Peer, config: Config, head: Head, steps_per_epoch: int, compiled: bool):
        self.model, self.config, self.step = model.to(_DEVICE), config, 0
        self.adam = torch.optim.Adam(model.parameters())
        if compiled:
            model.compile()
        self._learning_rate = jax.jit(learning_rate(config.optim, steps_per_epoch))
        self._targets = jax.jit(head.encode)
        self._keypoints = jax.jit(lambda outputs, mirrored: head.decode((outputs + head.flip(mirrored)) / 2))

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Tensor]:
        """Takes one step on a batch of `train_batches`; returns the loss and the gradient norm."""
        for group in self.adam.param_groups:
            group["lr"] = np.asarray(self._learning_rate(self.step)).item()
        # Seeded by step, so that ViT's drop path is the same after a resume.
        torch.manual_seed((self.config.seed << 32) + self.step)
        target, weights = (_tensor(x) for x in self._targets(batch["keypoints"], batch["visible"]))
        self.model.train()
        predicted = self._predicted(_tensor(batch["image"]))
        error = (predicted - target.permute(0, 3, 1, 2)).square() * weights[:, :, None, None]
        loss = error.mean()
        self.adam.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm)
        self.adam.step()
        self.step += 1
        return {"loss": loss.detach(), "grad_norm": norm}

    def predict(self, images: np.ndarray) -> tuple[jax.Array, jax.Array]:
        """Keypoints and scores of crops uint8 [b, h, w, 3], with the flip test and decoding of eval.py."""
        self.model.eval()
        with torch.inference_mode():
            both = [self._predicted(_tensor(crops)) for crops in (images, images[:, :, ::-1])]
        return self._keypoints(*(jnp.asarray(heatmaps.permute(0, 2, 3, 1).cpu().numpy()) for heatmaps in both))

    def save(self, path: Path, batches: Any) -> None:
        """Writes a checkpoint for a bit-exact resume."""
        state = {"model": self.model.state_dict(), "adam": self.adam.state_dict(), "step": self.step}
        with atomic_write(path) as temporary:
            torch.save({**state, "batches": batches.get_state()}, temporary)

    def restore(self, path: Path, batches: Any) -> None:
        """Restores a checkpoint of `save`, and the position of `batches`."""
        state = torch.load(path, map_location=_DEVICE, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["adam"])
        self.step = state["step"]
        batches.set_state(state["batches"])

    def _predicted(self, images: Tensor) -> Tensor:
        with torch.autocast(_DEVICE, torch.bfloat16, enabled=self.config.model.dtype == "bfloat16"):
            return self.model(images)


def train(config: Config, workdir: Path, peer: str, compiled: bool) -> None:
    """Trains to the last epoch and writes the same files as train.py; resumes if `workdir` has a checkpoint.

    Raises:
        UserError: peers can't be trained with this config.
    """
    config.validate()
    if config.optim.optimizer != "adam" or config.optim.ema_decay or config.optim.accumulate != 1:
        raise UserError("config.optim: peers need plain Adam; leave out optimizer, ema_decay and accumulate")
    if config.init_from:
        raise UserError("config.init_from: peers start from random weights; leave it out")
    dataset = open_dataset(config)
    schedule = Schedule.of(config, len(dataset.train))
    batches = train_batches(dataset.train, dataset.train_crop, config)
    torch.manual_seed(config.seed)
    model = build(peer, dataset.skeleton.n_joints, config.data.input_hw)
    params, macs = cost(model, config.data.input_hw)
    head = head_of(config, dataset.skeleton)
    if not isinstance(head, HeatmapHead) or head.heatmap_stride != 4:
        raise UserError("config: expected the heatmap head and three stages, as peers give heatmaps of stride 4")
    training = Training(model, config, head, schedule.steps_per_epoch, compiled)
    checkpoint = workdir / _CHECKPOINT
    if checkpoint.exists():
        training.restore(checkpoint, batches)
        logging.info("resuming from step %d of %d", training.step, schedule.last_step)
    logger = Logger(workdir, config, schedule, training.step)
    if torch.cuda.is_available():  # environment() names JAX's device, a CPU
        write_json(workdir / ENVIRONMENT, environment() | {"device": torch.cuda.get_device_name()})
    evaluator, guard = Evaluator(dataset, config), DamageGuard(dataset.train.n_images)
    waited_s = 0.0
    with Interruption() as interruption:
        try:
            for stop in schedule.evaluations(training.step):
                while training.step < stop:
                    interruption.check(training.step)
                    start = time.monotonic()
                    batch = next(batches)
                    waited_s += time.monotonic() - start
                    guard.check(batch)
                    logger.log_step(training.step + 1, training(batch), waited_s)  # type: ignore[arg-type]
                    if training.step % config.checkpoint_every_steps == 0:
                        training.save(checkpoint, batches)
                training.save(checkpoint, batches)
                evaluation = evaluator(interruption.checked(training.predict))
                logger.log_evaluation(stop, evaluation.metrics, report.picture(evaluation.results, dataset))
        except Interrupted:
            training.save(checkpoint, batches)
            logging.info("stopped at step %d of %d and saved", training.step, schedule.last_step)
            return
        finally:
            batches.close()
            logger.close()
    about = {"peer": peer, "params": params, "macs": macs}
    report.save(workdir, evaluation, dataset, **about, step=training.step, config=dataclasses.asdict(config))
    print(report.format_table(evaluation.metrics))


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array)).to(_DEVICE, non_blocking=True)


def main() -> None:
    train(_CONFIG.value, Path(_WORKDIR.value), _PEER.value, _COMPILE.value)
