"""Parameters and multiply-accumulates (MACs) of every variant, beside the paper's values (tables 1 and 5)."""

import dataclasses
import math

import jax
from flax import nnx

from mamkpd_jax.config import Config
from mamkpd_jax.heads._head import Head, head_of
from mamkpd_jax.model.mamkpd import VARIANTS, abstract
from mamkpd_jax.skeletons import COCO, Skeleton

# Source: MamKPD tables 1 and 5, (parameters, GFLOPs); the ablations of figure 3 have no values in the paper.
PAPER = {
    "small": (6.3e6, 0.5),
    "base": (7.1e6, 3.0),
    "large": (12.4e6, 4.3),
    "ablation_a": (4.0e6, 2.9),
    "ablation_b": (8.9e6, 2.1),
    "ablation_c": (3.2e6, 2.0),
    "ablation_d": (27.9e6, 7.1),
}


@dataclasses.dataclass(kw_only=True, slots=True)
class Cost:
    """Numbers of parameters, and of MACs for one crop."""

    params: int = 0
    macs: int = 0

    def add(self, params: int, macs: int) -> None:
        """Adds to both counts."""
        self.params += params
        self.macs += macs


def costs(config: Config, skeleton: Skeleton) -> dict[str, Cost]:
    """The cost of each part of a model, in the order of the forward pass.

    The MACs of a weight are its size times the number of positions it is applied to. Norms, biases and activations
    cost nothing. The scan costs 9 L d N / 2 per direction, as VMamba counts it (arXiv 2401.10166).
    """
    model, head = abstract(config, skeleton), head_of(config, skeleton)
    parts = {"stem": Cost()} if config.model.stem else {}
    for i in range(len(config.model.depths)):
        parts |= {
            f"stage {i + 1} down": Cost(),
            f"stage {i + 1} blocks": Cost(),
            f"stage {i + 1} norm": Cost(),
        }
    parts["decoder"] = Cost()
    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model, nnx.Param))):
        names = [key.key for key in path]
        size = math.prod(leaf.shape)
        parts[_part(names)].add(size, _macs(names, size, config, head))
    return parts


def _part(names: list) -> str:
    if names[:2] == ["encoder", "stages"]:
        return f"stage {names[2] + 1} {names[3]}"
    return "stem" if names[:2] == ["encoder", "stem"] else "decoder"


def _macs(names: list, size: int, config: Config, head: Head) -> int:
    positions = math.prod(config.data.input_hw) // _stride(names, config, head) ** 2
    if names[-1] == "A_log":
        return 9 * size * positions // 2
    return size * positions if names[-1] in ("kernel", "x_proj", "dt_weight") else 0


def _stride(names: list, config: Config, head: Head) -> int:
    """The distance in input pixels between the positions that a weight is applied to."""
    match names:
        case ["encoder", "stem", *_]:
            return 2
        case ["encoder", "stages", 0, "down", "inter", *_] if not config.model.stem:
            return 1
        case ["encoder", "stages", stage, *_]:
            return 4 * 2**stage
        case _:
            return head.stride(names[1:])


def total(parts: dict[str, Cost]) -> Cost:
    """The cost of all parts together."""
    return Cost(params=sum(part.params for part in parts.values()), macs=sum(part.macs for part in parts.values()))


def rows() -> list[dict]:
    """One row per variant: name, params, macs, the paper's values (None if it gives none), and both counts by part."""
    table = []
    for name, model in VARIANTS.items():
        parts = costs(Config(model=model), COCO)
        cost = total(parts)
        paper_params, paper_gflops = PAPER.get(name, (None, None))
        table.append(
            {
                "name": name,
                "params": cost.params,
                "macs": cost.macs,
                "paper_params": paper_params,
                "paper_gflops": paper_gflops,
                "parts": {part: dataclasses.asdict(cost) for part, cost in parts.items()},
            }
        )
    return table


def format_table(table: list[dict]) -> str:
    """The rows as text: a line for each variant, followed by a line for each of its parts."""
    lines = [f"{'256x192 crop, 17 keypoints':28}{'params':>12}{'paper':>9}{'GMACs':>8}{'paper GFLOPs':>14}"]
    for row in table:
        paper_params = "" if row["paper_params"] is None else f"{row['paper_params'] / 1e6:.1f} M"
        paper_gflops = "" if row["paper_gflops"] is None else f"{row['paper_gflops']:.1f}"
        lines.append(f"{row['name']:28}{row['params']:12,}{paper_params:>9}{row['macs'] / 1e9:8.2f}{paper_gflops:>14}")
        for part, cost in row["parts"].items():
            lines.append(f"    {part:24}{cost['params']:12,}{'':9}{cost['macs'] / 1e9:8.3f}")
    return "\n".join(lines)
