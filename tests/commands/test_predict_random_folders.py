"""`mamkpd predict` on random folders, twice with a change in between, compared with the Predictor."""

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from mamkpd_jax.artifact.weight_files import save
from mamkpd_jax.config import Config, DataConfig, ModelConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.boxes import whole_image
from tests.commands.in_process import Outcome, compiled_once, run_predict
from tests.commands.random_folders import RandomFolder
from tests.inference.conftest import random_weights

__all__ = ["random_weights"]


@pytest.fixture(scope="module")
def models(random_weights, tmp_path_factory) -> list[Path]:
    """Two weights files."""
    network = ModelConfig(stem=False, depths=(1,), dims=(8,), decoder_dim=8)
    artifact = random_weights(Config(model=network, data=DataConfig(input_hw=(64, 48))))
    folder = tmp_path_factory.mktemp("models")
    paths = [folder / "a.safetensors", folder / "b.safetensors"]
    for path, scale in zip(paths, (1.0, 1.5), strict=True):
        params = jax.tree.map(lambda leaf, scale=scale: leaf * np.float32(scale), artifact.params)
        save(dataclasses.replace(artifact, params=params), path)
    return paths


class Expected:
    """The expected outcome of a run, computed without the command: the exit status, and the poses by picture."""

    def __init__(self, folder: RandomFolder, model: Path):
        names = sorted(folder.kinds, key=Path)
        self.tried = [name for name in names if folder.as_glob is False or (folder.input / name).is_file()]
        # A glob matches the text file too.
        others = ["notes.txt"] if folder.as_glob and (folder.input / "notes.txt").exists() else []
        self.broken = len(others)
        self.places = sorted([*self.tried, *others], key=Path)
        self.base = folder.input
        if folder.as_glob:
            self.base = Path(*_common([(folder.input / name).parent.parts for name in self.places]))
        self.poses: list[dict] = []
        self.refused = not self.tried and not self.broken or _refused(folder, self.tried)
        if not self.refused:
            self._predict(folder, model)

    def _predict(self, folder: RandomFolder, model: Path) -> None:
        flags = folder.flags
        predictor = compiled_once(
            model,
            flip_test=flags["flip_test"],
            batch_size=flags.get("batch_size", 8),
            upright=flags.get("upright", True),
        )
        threshold = float(flags.get("box_threshold", 0.0 if folder.boxes == "whole" else 0.3))
        ids = _numbers(self.places) if folder.boxes == "whole" else folder.ids
        for name in self.tried:
            boxes = whole_image if folder.boxes == "whole" else _boxes(folder, name)
            try:
                (result,) = predictor(folder.input / name, boxes, box_threshold=threshold)
            except UserError:
                self.broken += 1
                continue
            self.broken += len(result.left_out)
            result = result.without_duplicates() if flags.get("suppress", True) else result
            relative = (folder.input / name).relative_to(self.base).as_posix()
            for pose in result.to_coco(image_id=ids.get(name, 0), category_id=flags.get("category", 1)):
                self.poses.append({**pose, "file_name": relative})


def _common(paths: list[tuple[str, ...]]) -> tuple[str, ...]:
    first = min(map(len, paths), default=0)
    same = [len({path[i] for path in paths}) == 1 for i in range(first)]
    return paths[0][: same.index(False) if False in same else first] if paths else ()


def _refused(folder: RandomFolder, tried: list[str]) -> bool:
    """Whether the boxes file is for other pictures or categories."""
    if folder.boxes == "whole":
        return False
    listed = set(folder.ids) if folder.boxes == "annotations" else {entry.picture for entry in folder.entries}
    categories = {entry.category for entry in folder.entries if not entry.crowd}
    wrong_category = bool(categories) and folder.flags.get("category", 1) not in categories
    return wrong_category or bool(listed) and not listed & set(tried)


def _boxes(folder: RandomFolder, name: str) -> tuple[np.ndarray, np.ndarray]:
    rows = [e for e in folder.entries if e.picture == name and not e.crowd]
    rows = [e for e in rows if e.category == folder.flags.get("category", 1)]
    return np.array([e.bbox for e in rows]).reshape(-1, 4), np.array([e.score for e in rows])


def _numbers(names: list[str]) -> dict[str, int]:
    """The image_ids of pictures if no file gives them."""
    found = [re.search(r"\d+$", Path(name).stem) for name in names]
    numbers = [int(match[0]) for match in found if match]
    places = range(1, len(names) + 1)
    return dict(zip(names, numbers if len(set(numbers)) == len(names) else places, strict=True))


def check(folder: RandomFolder, outcome: Outcome, model: Path) -> int:
    """Compares a run with its expected outcome; returns its exit status."""
    expected = Expected(folder, model)
    assert "Traceback" not in outcome.errors, outcome.errors
    if expected.refused:
        assert outcome.status == 1 and len(re.findall("^error: ", outcome.errors, re.M)) == 1, outcome
        return outcome.status
    assert outcome.status == (3 if expected.broken else 0), outcome
    assert not expected.broken or f"problems ({expected.broken}):" in outcome.errors
    found = json.loads((folder.output / "results.json").read_bytes())
    for key in ("file_name", "image_id", "category_id"):
        assert [pose[key] for pose in found] == [pose[key] for pose in expected.poses], key
    for pose, other in zip(found, expected.poses, strict=True):
        np.testing.assert_allclose(pose["keypoints"], other["keypoints"], atol=0.01)
        np.testing.assert_allclose(pose["score"], other["score"], atol=1e-4)
    if folder.flags.get("draw", True):
        for name in {pose["file_name"] for pose in found}:
            drawn = name if name.lower().endswith((".jpg", ".jpeg", ".png")) else f"{name}.png"
            while drawn != name and (expected.base / drawn).exists():  # another picture has this name
                drawn += ".png"
            drawn = folder.output / "pictures" / drawn
            assert cv2.imread(str(drawn)) is not None, drawn
    return outcome.status


def _stop_midway(folder: RandomFolder, *flags: str) -> None:
    """Runs the command while the result of one picture can't be written."""
    name = folder.rng.choice(list(folder.kinds))
    blocker = folder.output / "poses" / f"{name}.partial.json"
    blocker.mkdir(parents=True, exist_ok=True)
    outcome = run_predict(*flags)
    blocker.rmdir()
    assert outcome.status in (0, 1, 3) and "Traceback" not in outcome.errors


@pytest.mark.parametrize("n", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_random_folders_match_the_predictor(n, models, tmp_path):
    counts: dict[str, Counter] = {
        key: Counter() for key in ("kinds", "boxes", "changes", "statuses", "predicted again")
    }
    for seed in range(n):
        folder = RandomFolder(tmp_path / str(seed), seed)
        counts["kinds"].update(folder.kinds.values())
        counts["boxes"][folder.boxes] += 1
        for run in range(2):
            model = models[folder.weights]
            flags = f"--checkpoint={model}", *folder.arguments()
            if run and folder.rng.random() < 0.2:
                _stop_midway(folder, *flags)
                counts["changes"]["run stopped midway"] += 1
            outcome = run_predict(*flags)
            try:
                counts["statuses"][check(folder, outcome, model)] += 1
            except AssertionError as error:
                error.add_note(f"folder {seed}, run {run + 1}: {flags}\n{outcome.errors}")
                raise
            if not run:
                counts["changes"][folder.change()] += 1
            for n_again, why in re.findall(r"(\d+) with (changed [a-z_ ]+|a damaged result)", outcome.errors):
                counts["predicted again"][why] += int(n_again)
    print(n, "folders,", "; ".join(f"{key}: {dict(found.most_common())}" for key, found in counts.items()))
