"""The command `mamkpd import-data`."""

import subprocess
import sys
from pathlib import Path

from tests.data.imports.labelled import write_image
from tests.data.imports.test_labelme import label, shape

_ROOT = Path(__file__).parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mamkpd_jax", "import-data", *arguments]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)


def test_import_prints_counts_folder_and_next_command(tmp_path):
    root, output = tmp_path / "my set", tmp_path / "out"
    write_image(root / "images" / "a.jpg", 200, 100, orientation=3)
    write_image(root / "images" / "b.jpg")
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 1 1 0.5 0.5 0.7 0.7\n", encoding="utf-8")
    fields = "train: images\nkpt_shape: [2, 2]\nflip_idx: [1, 0]\nnames: [bird]\n"
    (root / "data.yaml").write_text(fields, encoding="utf-8")
    done = _run("--from=yolo", f"--input={root}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    file, folder, *rest = done.stdout.partition("the images are in ")[0].splitlines()[0], root / "images"
    assert file == f"{output / 'train.json'}: 2 images, 1 instances" and not rest
    assert f"the images are in {folder}\n" in done.stdout
    annotations, skeleton = f"--annotations={output / 'train.json'}", f"--skeleton={output / 'skeleton.json'}"
    assert done.stdout.endswith(f"next:\nmamkpd check-data {annotations} '--images={folder}' {skeleton}\n")
    again = _run("--from=yolo", f"--input={root}", f"--output={output}")
    assert again.returncode == 1 and again.stderr.startswith(f"error: {output / 'train.json'} already exists")


def test_import_uses_images_flag_and_counts_skipped_shapes(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    shapes = [shape("point", "beak", [50, 50]), shape("polygon", "nest", [1, 1], [9, 1], [9, 9])]
    label(tmp_path / "labels", "a.jpg", *shapes)
    (tmp_path / "labels" / "a.jpg").unlink()
    flags = [f"--input={tmp_path / 'labels'}", f"--output={tmp_path / 'out'}", f"--images={tmp_path / 'images'}"]
    done = _run("--from=labelme", *flags)
    assert done.returncode == 0, done.stderr
    assert "left out: 1 shapes of type polygon\n" in done.stdout
    assert f"--annotations={tmp_path / 'out' / 'labels.json'} --images={tmp_path / 'images'}\n" in done.stdout


def test_unknown_form_lists_the_known_ones(tmp_path):
    done = _run("--from=via", f"--input={tmp_path}", f"--output={tmp_path}")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "yolo" in done.stderr
