"""Crops of pictures for the calibration of int8 exports."""

import shutil

import cv2
import numpy as np
import pytest

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.calibration import calibration_crops, find_calibration
from mamkpd_jax.inference.predictor import Predictor


@pytest.fixture(scope="module")
def people() -> Predictor:
    return Predictor.from_pretrained("people")


def test_crops_are_spread_over_the_pictures(people, shared_data, capsys):
    pictures = find_calibration(str(shared_data / "coco_mini" / "*.jpg"))
    crops = calibration_crops(people, pictures, limit=4)
    assert capsys.readouterr().out == "calibration: 4 crops of 4 of 4 pictures\n"
    best = [people.crops(pictures.path(name), box_threshold=0.0).images[0] for name in pictures.names]
    assert {crop.tobytes() for crop in crops} == {crop.tobytes() for crop in best}


def test_more_crops_of_few_pictures(people, shared_data, capsys):
    crops = calibration_crops(people, find_calibration(str(shared_data / "coco_mini" / "000000197388.jpg")))
    assert crops.shape[0] > 1 and crops.shape[1:] == (128, 128, 3) and crops.dtype == np.uint8
    assert f"{len(crops)} crops of 1 of 1 pictures" in capsys.readouterr().out


def test_damaged_pictures_are_skipped_with_a_warning(people, shared_data, tmp_path, caplog, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    shutil.copy(shared_data / "coco_mini" / "000000000785.jpg", tmp_path)
    assert len(calibration_crops(people, find_calibration(str(tmp_path)))) == 1
    assert "crops of 1 of 2 pictures" in capsys.readouterr().out
    assert "left out of the calibration: " in caplog.text and "broken.jpg" in caplog.text
    assert "crops are few for a calibration; give pictures with at least 100" in caplog.text


def test_pictures_without_crops_are_refused(people, tmp_path):
    cv2.imwrite(str(tmp_path / "blank.png"), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError) as refusal:
        calibration_crops(people, find_calibration(str(tmp_path)))
    assert str(refusal.value) == (
        f"--calibration: no people found (pictures in {tmp_path}: 2, unreadable: 1); "
        "give pictures of what the model is for"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("clip.mp4", "--calibration=clip.mp4 is a video; give a folder or"),
        ("camera:1", "--calibration=camera:1 is a video; give a folder or"),
        ("rtsp://me:secret@host/live", "--calibration=rtsp://host/live is an address; give a folder or"),
        ("https://host/photo.jpg", "--calibration=https://host/photo.jpg is an address; give a folder or"),
        ("nothing", "--calibration=nothing: no picture"),
    ],
)
def test_other_inputs_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        find_calibration(given)


def test_skipped_videos_suggest_no_other_flag(tmp_path):
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(UserError, match=r"no picture found; .*; there are 1 \.mp4$"):
        find_calibration(str(tmp_path))


def test_a_folder_may_be_called_camera(shared_data, tmp_path, monkeypatch):
    (tmp_path / "camera").mkdir()
    shutil.copy(shared_data / "coco_mini" / "000000000785.jpg", tmp_path / "camera")
    monkeypatch.chdir(tmp_path)
    assert find_calibration("camera").names == ("000000000785.jpg",)
