"""The tables of README.md and docs/, made from the result files and from the models themselves."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mamkpd_jax import complexity
from mamkpd_jax.artifact.named import read_card
from mamkpd_jax.artifact.weight_files import load
from mamkpd_jax.bench.goals import GOALS, NOT_MEASURED, Row, fastest, mean
from mamkpd_jax.bench.markdown import table
from mamkpd_jax.bench.peers import PEERS
from mamkpd_jax.model.mamkpd import VARIANTS

_MODELS = ("small", "base", "large", *PEERS)
_ABLATIONS = ("base", "without_stem", "without_cmm", "patch_merging", "without_stem_and_cmm")
_ABLATIONS += tuple(f"ablation_{letter}" for letter in "abcd")
# Fitted to the seven counts of the paper: see docs/paper.md.
STEM_GFLOPS_PER_CHANNEL = 0.0266


class Column(NamedTuple):
    """A column of a table: its title, its result file, and the text of one model's rows in that file."""

    table: str
    title: str
    file: str
    shown: Callable[[Sequence[Row]], str]


class Result(NamedTuple):
    """A row of README's results: what was measured, the result file, and the text of its content."""

    what: str
    file: str
    shown: Callable[[dict[str, Any]], str]


def _fastest(batch: int, value: str, unit: str) -> Callable[[Sequence[Row]], str]:
    return lambda rows: f"{fastest(rows, batch)[value]:.3g} {unit}"


def _score(rows: Sequence[Row]) -> str:
    row = rows[0]
    spread = f" ({row['lowest']:.1f} to {row['highest']:.1f}, {row['seeds']} seeds)" if row["seeds"] > 1 else ""
    return f"{mean(row):.1f}{spread}"


def _size(rows: Sequence[Row]) -> str:
    return f"{rows[0]['parameters'] / 1e6:.3g} M, {rows[0]['GMACs']:.3g} GMACs"


def _of_model(rows: Sequence[Row], model: str) -> list[Row]:
    return [row for row in rows if row.get("model", row["contender"]).partition(":")[0] == model]


def _latency(model: str, batch: int) -> Callable[[dict[str, Any]], str]:
    return lambda result: f"{fastest(_of_model(result['rows'], model), batch)['median_ms']:.3g}"


def _base_and_peers(result: dict[str, Any]) -> str:
    others = ", ".join(f"{name} {_latency(model, 1)(result)}" for model, name in _PEER_NAMES.items())
    return f"{_latency('base', 1)(result)} ms ({others})"


def _photo_times(result: dict[str, Any]) -> str:
    first, further = (row["median_ms"] for row in result["speed"].values())
    return f"{first / 1e3:.1f} s, each further photo {further:.0f} ms"


_PEER_NAMES = {"vit_s": "ViT-S", "simple_baseline": "SimpleBaseline", "hrnet_w32": "HRNet-W32"}
_MODELS_OF = {"speed": _MODELS, "accuracy": _MODELS, "ablations": _ABLATIONS}  # the rows of each table
_COLUMNS = (
    Column("speed", "size", "speed_cpu.json", _size),
    Column("speed", "2 CPU cores, batch 1", "speed_cpu.json", _fastest(1, "median_ms", "ms")),
    Column("speed", "2 CPU cores, batch 8", "speed_cpu.json", _fastest(8, "crops_per_s", "/s")),
    Column("speed", "GPU, batch 1", "speed_gpu.json", _fastest(1, "median_ms", "ms")),
    Column("speed", "GPU, batch 64", "speed_gpu.json", _fastest(64, "crops_per_s", "/s")),
    Column("speed", "GPU, batch 256", "speed_gpu.json", _fastest(256, "crops_per_s", "/s")),
    Column("accuracy", "size, narrow, of lspet", "accuracy_lspet_narrow.json", _size),
    Column("accuracy", "lspet, narrow", "accuracy_lspet_narrow.json", _score),
    Column("accuracy", "animalpose, narrow", "accuracy_animalpose_narrow.json", _score),
    Column("accuracy", "lspet, full size", "accuracy_lspet.json", _score),
    Column("accuracy", "animalpose, full size", "accuracy_animalpose.json", _score),
    Column("ablations", "size, narrow", "ablations_lspet_narrow.json", _size),
    Column("ablations", "lspet, narrow", "ablations_lspet_narrow.json", _score),
    Column("ablations", "lspet, full size", "ablations_lspet.json", _score),
)
_RESULTS = (
    Result(
        "`people`, Leeds Sports Pose Extended, validation split",
        "people.json",
        lambda result: f"PCK@0.2 {result['pck_torso@0.2/mean']:.1f}%",
    ),
    Result(
        "`animals`, Animal-Pose, validation split",
        "animals.json",
        lambda result: f"PCK@0.1 {result['pck_box@0.1/mean']:.1f}%",
    ),
    Result(
        "`people`, 171 COCO photos, detected boxes",
        "photos.json",
        lambda result: f"PCK@0.2 {result['rows'][1]['pck_torso@0.2/mean']:.1f}%",
    ),
    Result("`mamkpd predict`, from start to drawn photo", "photos.json", _photo_times),
    Result("Base, one 256x192 crop, fp32", "speed_cpu.json", _base_and_peers),
    Result(
        "`mamkpd serve`, 32 clients",
        "serve.json",
        lambda result: f"{result['rows'][0]['pictures_per_s']:.1f} photos/s, {result['rows'][0]['failures']} failures",
    ),
    Result(
        "Base, GPU, bfloat16, batch 256",
        "speed_gpu.json",
        lambda result: f"{fastest(_of_model(result['rows'], 'base'), 256)['crops_per_s']:,.0f} crops/s",
    ),
)


def tables(results: Path) -> dict[str, str]:
    """All tables by name, in Markdown, from the result files of a folder."""
    made = {name: table({"rows": _compared(name, results)}) for name in _MODELS_OF}
    made["goals"] = _goals(results)
    made["results"] = table({"rows": _results(results)})
    made["models"] = table({"rows": _models()})
    made["sizes"] = table({"rows": _sizes()})
    made["gflops"] = table({"rows": gflops()})
    return made


def _compared(name: str, results: Path) -> list[dict[str, str]]:
    """The rows of a table that compares models, without rows and columns in which nothing is measured."""
    columns = [column for column in _COLUMNS if column.table == name]
    rows = [{c.title: _cell(c, model, results) for c in columns} for model in _MODELS_OF[name]]
    measured = [c.title for c in columns if any(row[c.title] != NOT_MEASURED for row in rows)]
    return [
        {"model": model} | {title: row[title] for title in measured}
        for model, row in zip(_MODELS_OF[name], rows, strict=True)
        if any(row[title] != NOT_MEASURED for title in measured)
    ]


def _cell(column: Column, model: str, results: Path) -> str:
    return _shown(results / column.file, lambda result: column.shown(_of_model(result["rows"], model)))


def _shown(path: Path, text: Callable[[dict[str, Any]], str]) -> str:
    try:
        return text(json.loads(path.read_bytes()))
    except (OSError, IndexError, KeyError, ValueError):  # no such file, or no such row in it
        return NOT_MEASURED


def _goals(results: Path) -> str:
    """The measured goals as a table, and the others in a list below it."""
    rows = [goal.row(results) for goal in GOALS]
    measured = [row for row in rows if row["measured"] != NOT_MEASURED]
    others = [f"- {row['goal']} ({row['bound']})" for row in rows if row["measured"] == NOT_MEASURED]
    parts = [table({"rows": measured})] if measured else []
    return "\n\n".join([*parts, "Not measured yet:", "\n".join(others)] if others else parts)


def _results(results: Path) -> list[dict[str, str]]:
    texts = [_shown(results / result.file, result.shown) for result in _RESULTS]
    return [
        {"what": result.what, "measured": f"[{text}](benchmarks/results/{result.file})"}
        for result, text in zip(_RESULTS, texts, strict=True)
        if text != NOT_MEASURED
    ]


def _models() -> list[dict[str, str]]:
    """The shipped models and the paper's three, with their cost for one crop."""
    rows = []
    for name in ("people", "animals"):
        card = read_card(name)
        artifact = load(card.path)
        cost = complexity.total(complexity.costs(artifact.config, artifact.skeleton))
        finds = card.about["finds"].replace(" keypoints", "")
        rows.append(_model(f"`{name}`", finds, artifact.config.data.input_hw, cost.params, cost.macs, "shipped"))
    for row in complexity.rows()[:3]:
        finds = "17 of COCO, or yours"
        rows.append(_model(row["name"].title(), finds, (256, 192), row["params"], row["macs"], "train your own"))
    return rows


def _model(name: str, finds: str, hw: tuple[int, int], params: int, macs: int, weights: str) -> dict[str, str]:
    crop = f"{hw[0]}x{hw[1]}"
    cost = {"parameters": f"{params / 1e6:.2f} M", "GMACs": f"{macs / 1e9:.3g}"}
    return {"model": name, "keypoints": finds, "crop": crop, **cost, "weights": weights}


def _sizes() -> list[dict[str, str]]:
    """Parameters and GMACs of every variant beside the paper's values."""
    rows = []
    for row in complexity.rows():
        params = "" if row["paper_params"] is None else f"{row['paper_params'] / 1e6:.1f} M"
        paper_gflops = "" if row["paper_gflops"] is None else f"{row['paper_gflops']:.1f}"
        cells = {"parameters": f"{row['params']:,}", "paper's": params or "not given"}
        cells |= {"GMACs": f"{row['macs'] / 1e9:.2f}", "paper's GFLOPs": paper_gflops or "not given"}
        rows.append({"variant": row["name"], **cells})
    return rows


def gflops() -> list[dict[str, str]]:
    """The paper's GFLOPs beside a quarter of the encoder's GMACs plus a cost per channel of the stem."""
    rows = []
    for row in complexity.rows():
        if row["paper_gflops"] is None:
            continue
        model, parts = VARIANTS[row["name"]], row["parts"]
        encoder = sum(part["macs"] for name, part in parts.items() if name.startswith("stage")) / 4e9
        stem = STEM_GFLOPS_PER_CHANNEL * model.dims[0] * model.stem
        total, paper = encoder + stem, row["paper_gflops"]
        cells = {"blocks and CMM / 4": f"{encoder:.2f}", "stem": f"{stem:.2f}", "sum": f"{total:.2f}"}
        rows.append({"variant": row["name"], **cells, "paper": f"{paper:.1f}", "difference": f"{total - paper:+.2f}"})
    return rows
