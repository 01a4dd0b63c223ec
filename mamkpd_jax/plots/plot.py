"""Layout and saving of all figures. Not with pyplot, which selects a GUI backend and keeps figures in memory."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind people can distinguish; darker colours first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure whose layout prevents overlaps."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes `folder`/`name`.png and .pdf, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{form}" for form in ("png", "pdf")]
    # Publishers want Type 42 fonts, which keep text searchable and editable.
    with rc_context({"pdf.fonttype": 42}):
        for path in paths:
            figure.savefig(path, dpi=200, bbox_inches="tight")
    return paths
