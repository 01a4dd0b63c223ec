"""Files in input and output folders: which are pictures, which are skipped, and which are never replaced."""

import json
import os
import shutil
import sys

import cv2
import numpy as np
import pytest

from tests.commands.test_predict_again import again, config, folder, random_weights

__all__ = ["config", "folder", "random_weights"]


def test_drawings_never_share_a_file(folder):
    cv2.imwrite(str(folder.input / "a.bmp"), cv2.imread(str(folder.input / "a.png")))
    shutil.copy(folder.input / "b.png", folder.input / "a.bmp.png")
    assert again(folder.predict())[0] == 5
    drawn = {path.name for path in (folder.output / "pictures").iterdir()}
    assert drawn == {"a.png", "b.png", "sub", "a.bmp.png", "a.bmp.png.png"}
    assert again(folder.predict()) == (0, "")


def test_results_have_the_image_ids_of_annotations(folder):
    folder.predict(folder.write_boxes(b=1, sub_a=2))
    results = json.loads((folder.output / "results.json").read_bytes())
    assert {pose["file_name"]: pose["image_id"] for pose in results} == {"b.png": 10, "sub/a.png": 11}
    folder.predict("--boxes=whole")
    results = json.loads((folder.output / "results.json").read_bytes())
    assert [pose["image_id"] for pose in results] == [1, 2, 3]


def test_results_beside_the_pictures_are_no_input(folder):
    folder.output = folder.input
    for predicted in (3, 0):
        assert again(folder.predict()) == (predicted, "")
        assert len(folder.results()) == 3


def test_drawings_are_no_input(folder):
    folder.predict()
    folder.input = folder.output / "pictures"
    outcome = folder.predict()
    assert outcome.status == 1 and "its pictures are results in" in outcome.errors
    folder.output = folder.parent / "new"
    assert again(folder.predict()) == (3, ""), "drawings of another run may be the input"


def test_drawings_never_replace_pictures(folder):
    folder.input, folder.output = folder.input / "pictures", folder.input
    folder.paint("a.png", 7)
    before = (folder.input / "a.png").read_bytes()
    for flags in ("--boxes=whole",), ("--boxes=whole", "--nodraw"):
        outcome = folder.predict(*flags)
        assert outcome.status == 1 and "pictures has no poses of pictures and would be overwritten" in outcome.errors
    assert (folder.input / "a.png").read_bytes() == before


def test_results_of_other_programs_are_not_replaced(folder):
    folder.output.mkdir()
    (folder.output / "results.json").write_text("[1]", encoding="utf-8")
    outcome = folder.predict()
    assert outcome.status == 1 and "results.json has no poses of pictures and would be overwritten" in outcome.errors
    assert (folder.output / "results.json").read_text(encoding="utf-8") == "[1]"


def test_globs_never_lead_to_results(folder):
    assert again(folder.predict("--boxes=whole")) == (3, "")
    inner = f"--output={folder.output / 'inner'}"
    assert again(folder.predict(f"--input={folder.parent}/**/*.[pj]*", "--boxes=whole", inner)) == (3, "")
    for i, named in enumerate((folder.output, folder.parent / "o?t")):
        output = f"--output={folder.parent / f'of_drawings_{i}'}"
        assert again(folder.predict(f"--input={named}/pictures/*.png", "--boxes=whole", output)) == (2, "")


@pytest.mark.skipif(sys.platform != "linux", reason="file systems of other systems only take Unicode")
def test_names_that_are_not_unicode_are_predicted(folder):
    shutil.copy(folder.input / "a.png", folder.input / os.fsdecode(b"z\xff.png"))
    assert again(folder.predict()) == (4, "")
    drawing = folder.output / "pictures" / os.fsdecode(b"z\xff.png")
    assert drawing.read_bytes() == (folder.output / "pictures" / "a.png").read_bytes()


def test_too_long_names_are_refused_in_one_line(folder):
    shutil.copy(folder.input / "a.png", folder.input / f"{'z' * 250}.png")
    outcome = folder.predict()
    assert outcome.status == 1 and "(File name too long); shorten it" in outcome.errors.splitlines()[-1]
    assert "Traceback" not in outcome.errors


def test_other_files_are_counted(folder):
    still, *others = [np.full((40, 40, 3), 50 * i, np.uint8) for i in range(1, 4)]
    animation = cv2.Animation()
    animation.frames, animation.durations = [still, *others], np.full(3, 100)
    cv2.imwriteanimation(str(folder.input / "moving.gif"), animation)
    for name in ("clip.mp4", "notes.txt", "._a.png", ".DS_Store", "LICENSE"):
        (folder.input / name).touch()
    (folder.input / "folder.jpg").mkdir()
    os.mkfifo(folder.input / "pipe.jpg")  # reading it would wait for a writer
    (folder.input / ".thumbnails").mkdir()
    shutil.copy(folder.input / "a.png", folder.input / ".thumbnails")
    outcome = folder.predict()
    assert again(outcome) == (3, "")
    (line,) = [line for line in outcome.errors.splitlines() if "skipped: " in line]
    assert set(line.partition("skipped: ")[2].split(", ")) == {
        "2 hidden",
        "1 .mp4 (give it as --input)",
        "1 animated .gif (give it as --input)",
        "1 .txt",
        "1 without suffix",
        "1 no regular file",
    }
