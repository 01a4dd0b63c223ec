"""Accuracy against parameters and speed: measured points beside the paper's (MamKPD figure 1, table 2)."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from mamkpd_jax.complexity import costs
from mamkpd_jax.config import Config, from_dict
from mamkpd_jax.errors import UserError
from mamkpd_jax.model.mamkpd import variant_name
from mamkpd_jax.plots.plot import COLOURS, new_figure
from mamkpd_jax.skeletons import COCO


class Point(NamedTuple):
    """A model: AP on COCO val2017 in percent, parameters in millions, images per second if known."""

    name: str
    ap: float
    params_m: float
    images_per_s: float | None


# Source: MamKPD table 2, without GroupPose-L, for which it gives no parameters. The size letters of KAPAO and RTMO are
# from the papers of those models.
PAPER = {
    "conventional": (
        Point("SBL-Res50", 70.4, 34.0, None),
        Point("SBL-Res152", 72.0, 68.6, 829),
        Point("HRNet-W32", 74.4, 28.5, 916),
        Point("HRNet-W48", 75.1, 63.6, 649),
        Point("TokenPose-S", 72.5, 13.5, 602),
        Point("TokenPose-L", 75.4, 20.8, 309),
        Point("I2R-Net", 76.4, 43.7, None),
        Point("ViTPose-B", 75.8, 86.0, 944),
        Point("ViTPose-L", 78.3, 307.9, 411),
        Point("SwinPose", 76.3, 196.4, None),
    ),
    "lightweight": (
        Point("Lite-HRNet", 70.4, 1.8, None),
        Point("Dite-HRNet", 71.5, 1.8, None),
        Point("PPT-B", 74.4, 13.5, None),
        Point("PPT-L", 75.2, 20.8, None),
    ),
    "real-time": (
        Point("KAPAO-S", 63.8, 12.6, 1037),
        Point("KAPAO-M", 68.8, 35.8, 972),
        Point("KAPAO-L", 70.3, 77.0, 952),
        Point("RTMO-s", 66.9, 9.9, 1522),
        Point("RTMO-m", 70.1, 22.6, 1423),
        Point("RTMO-l", 71.6, 44.8, 1282),
    ),
    "MamKPD": (
        Point("MamKPD-S", 75.2, 6.3, 2564),
        Point("MamKPD-B", 76.1, 7.1, 2439),
        Point("MamKPD-L", 77.3, 12.4, 1492),
    ),
}
_MARKERS = {"conventional": "s", "lightweight": "^", "real-time": "D", "MamKPD": "o"}
_ABOVE, _BELOW = (5, 3), (5, -9)  # offset of a name from its marker, in typographic points


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measured point, with the conditions of its measurement."""

    point: Point
    boxes: str
    device: str | None  # on which the speed was measured; None if it was not


def measured(reports: list[Path], benches: list[Path]) -> list[Measured]:
    """The points of result files, one per report.

    Args:
        reports: report.json files of eval.py on coco_keypoints.
        benches: result files of the benchmarks model or export_speed, for the speeds.

    Raises:
        UserError: a file has another format, or a report is on another data set than the paper's points.
    """
    speeds = {name: speed for path in benches for name, speed in _speeds(path).items()}
    points = []
    for path in reports:
        variant, ap, params_m, boxes = _accuracy(path)
        device, images_per_s = speeds.get(variant, (None, None))
        name = f"{path.parent.name} ({variant})"
        points.append(Measured(point=Point(name, ap, params_m, images_per_s), boxes=boxes, device=device))
    return points


def _accuracy(path: Path) -> tuple[str, float, float, str]:
    """Variant, AP in percent, parameters in millions and kind of boxes of an evaluation report."""
    report = _read(path)
    try:
        config, ap = from_dict(Config, report["config"]), 100 * float(report["coco/AP"])
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{path} is no eval.py report with COCO's metric ({error!r}); give a report.json") from error
    if config.data.dataset != "coco_keypoints":
        raise UserError(f"{path} is on {config.data.dataset}; give a report on coco_keypoints, as in the paper")
    params = sum(part.params for part in costs(config, COCO).values())
    boxes = "detected boxes" if config.eval.detections else "ground-truth boxes"
    return variant_name(config.model), ap, params / 1e6, boxes


def _speeds(path: Path) -> dict[str, tuple[str, float]]:
    """By variant: the device, and images per second in JAX with the fastest batch size and scan."""
    bench = _read(path)
    try:
        device, speeds = str(bench["environment"]["device"]), {}
        for row in bench["rows"]:
            if "jax" in row["contender"] and "crops_per_s" in row:
                name = row["model"] if "model" in row else bench["variant"]
                _, fastest = speeds.get(name, (device, 0.0))
                speeds[name] = device, max(fastest, float(row["crops_per_s"]))
        return speeds
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a result of `mamkpd bench model` or `mamkpd bench export-speed` ({error!r}); "
            "give a file that one of them wrote"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a JSON result file ({error}); give another file") from error


def tradeoff(points: list[Measured]) -> Figure:
    """A figure of AP against parameters at the left and against speed at the right, with the paper's points."""
    figure = new_figure(11.0, 4.6)
    by_params, by_speed = figure.subplots(1, 2, sharey=True)
    for (group, rivals), colour in zip(PAPER.items(), COLOURS, strict=False):
        style = {"marker": _MARKERS[group], "facecolors": "none", "edgecolors": colour}
        names_at = _BELOW if group in ("lightweight", "real-time") else _ABOVE
        name = "MamKPD" if group == "MamKPD" else f"{group} methods"
        _scatter(by_params, by_speed, rivals, names_at, label=f"{name}, as the paper reports", **style)
    for one, colour in zip(points, COLOURS[len(PAPER) :] * len(points), strict=False):
        speed = f"speed on {one.device}" if one.device else "speed not measured"
        label = f"{one.point.name}, measured, {one.boxes}, {speed}"
        _scatter(by_params, by_speed, [one.point], _ABOVE, label=label, marker="*", s=160, color=colour)
    if not points:
        by_params.scatter([], [], marker="*", color="none", label="measured by this project: no reports given")
    by_params.set(xscale="log", xlabel="parameters, millions", ylabel="AP on COCO val2017, %")
    by_params.xaxis.set_major_formatter("{x:g}")
    by_speed.set(xlabel="images per second\n(paper: MamKPD on an RTX 4090, batch size not stated; ViTPose on an A100)")
    for axes in (by_params, by_speed):
        axes.grid(alpha=0.3)
        axes.margins(x=0.12)
    figure.legend(*by_params.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _scatter(by_params: Any, by_speed: Any, points: Any, names_at: tuple[int, int], **style: Any) -> None:
    timed = [point for point in points if point.images_per_s is not None]
    by_params.scatter([point.params_m for point in points], [point.ap for point in points], **style)
    by_speed.scatter([point.images_per_s for point in timed], [point.ap for point in timed], **style)
    for axes, shown, field in ((by_params, points, "params_m"), (by_speed, timed, "images_per_s")):
        for point in shown:
            at = getattr(point, field), point.ap
            axes.annotate(point.name, at, xytext=names_at, textcoords="offset points", size=7)
