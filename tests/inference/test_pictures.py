"""Predicting pictures into a folder: each file is decoded once."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.inference import images
from mamkpd_jax.inference.boxes import whole_image
from mamkpd_jax.inference.picture_files import find_pictures
from mamkpd_jax.inference.pictures import predict_pictures
from mamkpd_jax.inference.results import OutputOptions


def test_each_picture_is_decoded_once(predictor, shared_data, tmp_path, monkeypatch):
    decoded = []

    def counted(data: bytes, *, upright: bool) -> np.ndarray:
        decoded.append(data)
        return decode_image(data, upright=upright)

    monkeypatch.setattr(images, "decode_image", counted)
    pictures = find_pictures(str(shared_data / "coco_mini" / "*.jpg"), tmp_path)
    assert predict_pictures(predictor, pictures, whole_image, OutputOptions(output=tmp_path), {}) == []
    assert len(decoded) == len(set(decoded)) == len(pictures.names) == 4
    drawn = {path.name for path in Path(tmp_path / "pictures").iterdir()}
    assert drawn == set(pictures.names)
    assert len(json.loads((tmp_path / "results.json").read_bytes())) == 4


def test_heic_files_need_their_reader(tmp_path, monkeypatch, caplog):
    for name in ("b.HEIC", "a.heif", "c.png"):
        (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    with caplog.at_level("INFO"):
        assert find_pictures(str(tmp_path)).names == ("c.png",)
    assert "1 .heic (pip install pillow-heif)" in caplog.text and "1 .heif (pip" in caplog.text
    monkeypatch.delitem(sys.modules, "pillow_heif")
    pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    assert find_pictures(str(tmp_path)).names == ("a.heif", "b.HEIC", "c.png")
