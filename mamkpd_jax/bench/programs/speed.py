"""Times the forward pass of MamKPD and of peers by batch size, all of them in turn.

mamkpd bench speed --variants=small,base,large --peers=simple_baseline,hrnet_w32,vit_s --batches=1,64,256 \
    --compile --output=benchmarks/results/speed.json

It has the flags of `mamkpd bench model`, but here all models take turns in one group: compare only rows of the same
file and batch size. On a CPU, `taskset` gives all contenders the same cores.
"""

from absl import flags

from mamkpd_jax.bench.peers import PEERS, check
from mamkpd_jax.bench.programs import model
from mamkpd_jax.skeletons import COCO

_PEERS = flags.DEFINE_list("peers", sorted(PEERS), "Networks of bench/peers; may be empty.")
_COMPILE = flags.DEFINE_bool("compile", False, "Compile the peers by torch.compile.", allow_override=True)


def _peer(name: str) -> dict[str, model.Contender]:
    import torch  # here, as `check` must first report a missing extra

    from mamkpd_jax.bench.peers.networks import build, cost

    peer = build(name, COCO.n_joints, model.INPUT_HW)
    params, macs = cost(peer, model.INPUT_HW)
    # The same memory format as the crops; otherwise each call reorders the weights.
    peer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if _COMPILE.value:
        peer.compile(dynamic=False)
    title = f"{name}, torch, {'compiled' if _COMPILE.value else 'eager'}"
    return {title: model.Contender(name, params, macs, model.in_torch(peer))}


def main() -> None:
    for name in _PEERS.value:
        check(name)
    contenders = {}
    for group in (*map(model.contenders, model.VARIANTS.value), *map(_peer, _PEERS.value)):
        contenders |= group
    model.run([contenders])
