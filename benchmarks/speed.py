"""The forward pass of MamKPD and of peers by batch size, all in turn in one process, on this machine's device.

python -m benchmarks.speed --variants=small,base,large --peers=simple_baseline,hrnet_w32,vit_s --batches=1,64,256 \
    --compile --output=benchmarks/results/speed.json

Bytes on the device go in and heatmaps of 17 joints come out, at 256x192; weights are random. MamKPD runs by each scan
that runs here; --torch=eager --torch=compiled add its PyTorch twin. --compile gives the peers to torch.compile. On a
CPU: --dtype=float32 --batches=1,8, and `taskset` gives all contenders the same cores. A row is compared with those of
its own batch in one file: they took turns.
"""

from importlib.util import find_spec
from typing import Any

import torch
from absl import flags

from benchmarks.peers.networks import PEERS, build, cost
from mamkpd_jax import cli
from mamkpd_jax.bench import measure, model
from mamkpd_jax.complexity import costs
from mamkpd_jax.environment import environment
from mamkpd_jax.errors import UserError
from mamkpd_jax.models.mamkpd import variant

_PEERS = flags.DEFINE_list("peers", sorted(PEERS), "Networks of benchmarks.peers; none if empty.")
_COMPILE = flags.DEFINE_bool("compile", False, "The peers by torch.compile.", allow_override=True)

_N_JOINTS = 17


def contenders() -> tuple[dict[str, model.Forward], dict[str, dict[str, Any]]]:
    """Forward passes by name, and what else their rows tell."""
    forwards, about = {}, {}
    for name in model.VARIANTS.value:
        parts = costs(variant(name), _N_JOINTS, model.INPUT_HW).values()
        size = {"parameters": sum(part.params for part in parts), "GMACs": sum(part.macs for part in parts) / 1e9}
        for how, forward in model.contenders(model.random_weights(name)).items():
            forwards[f"{name}, {how}"], about[f"{name}, {how}"] = forward, {"model": name, **size}
    for name in _PEERS.value:
        peer = build(name, _N_JOINTS, model.INPUT_HW)
        params, macs = cost(peer, model.INPUT_HW)
        title = f"{name}, torch, {'compiled' if _COMPILE.value else 'eager'}"
        if _COMPILE.value:
            peer.compile(dynamic=False)
        forwards[title] = model.in_torch(peer)
        about[title] = {"model": name, "parameters": params, "GMACs": macs / 1e9}
    return forwards, about


def main() -> None:
    for name in _PEERS.value:
        if name not in PEERS:
            raise UserError(f"--peers names {name!r}; expected of {', '.join(PEERS)}")
    forwards, about = contenders()
    packages, rows = ("torch", "timm") if find_spec("timm") else ("torch",), []
    for batch in map(int, model.BATCHES.value):
        rows += [about[row["contender"]] | row for row in model.timed(forwards, batch)]
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        settings = {"dtype": model.DTYPE.value, "torch_device": gpu, "torch_threads": torch.get_num_threads()}
        measure.write({"environment": environment(packages), **settings, "rows": rows})


if __name__ == "__main__":
    cli.run(main)
