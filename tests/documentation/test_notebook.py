"""examples/quickstart.ipynb runs from its first cell to its last, and fine-tuning improves the model."""

import json
import shutil

import pytest

from tests.documentation.blocks import ROOT

nbformat = pytest.importorskip("nbformat", reason="the extra `dev` is not installed")
_NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
_TIMEOUT_S = 1200  # of a cell


@pytest.fixture
def notebook():
    return nbformat.read(_NOTEBOOK, as_version=4)


def test_notebook_has_no_outputs(notebook):
    """Scores and times differ by machine, so committed ones would be wrong on others."""
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.slow
def test_notebook_runs(notebook, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="the extra `dev` is not installed")
    pytest.importorskip("ipykernel", reason="the extra `dev` is not installed")
    folder = tmp_path / "examples"
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "skier.jpg", folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("XLA_FLAGS")  # a training of this length is quicker in optimized code
    nbclient.NotebookClient(
        notebook, timeout=_TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()

    runs = tmp_path / "runs" / "notebook"
    (exported,) = runs.glob("model.*")
    assert exported.stat().st_size > 1e6
    before = json.loads((runs / "run" / "before.json").read_bytes())["metrics"]["pck_box@0.1/mean"]
    after = json.loads((runs / "run" / "eval" / "report.json").read_bytes())["pck_box@0.1/mean"]
    assert after > before + 5
    assert len(json.loads((runs / "people" / "labels.json").read_bytes())["images"]) == 60
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/png" in output["data"] for output in shown) == 4
