"""Tests of scoring results files of other programs."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO as CocoFile
from pycocotools.cocoeval import COCOeval

from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.scores import score_files
from mamkpd_jax.skeletons import AP10K, COCO


@pytest.fixture
def ap10k_files(shared_data, tmp_path):
    """Noisy results, and AP-10K's test annotations of two species."""
    truth = json.loads((shared_data / "ap10k" / "test_ap10k.json").read_bytes())
    rng = np.random.default_rng(0)
    results = []
    for annotation in truth["annotations"]:
        pose = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
        pose[:, :2] += rng.normal(0, 0.03 * annotation["area"] ** 0.5, (17, 2))
        fields = {name: annotation[name] for name in ("image_id", "category_id")}
        results.append(fields | {"keypoints": pose.ravel().tolist(), "score": 0.5})
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return tmp_path / "results.json", shared_data / "ap10k" / "test_ap10k.json"


def test_ap10k_uses_its_sigmas_and_species(ap10k_files):
    predictions, annotations = ap10k_files
    values = score_files(("ap10k",), predictions, annotations, AP10K).values
    data = CocoFile(str(annotations))
    evaluation = COCOeval(data, data.loadRes(str(predictions)), "keypoints")
    evaluation.params.kpt_oks_sigmas = np.array(AP10K.sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert values["ap10k/AP"] == evaluation.stats[0]
    assert values["ap10k/AR"] == evaluation.stats[5]
    assert 0.1 < values["ap10k/AP"] < 1.0


@pytest.mark.parametrize("kind", [str, float])
def test_ids_of_results_may_be_strings_or_floats(kind, ap10k_files):
    predictions, annotations = ap10k_files
    truth, results = json.loads(annotations.read_bytes()), json.loads(predictions.read_bytes())
    expected = score_files(("ap10k",), predictions, annotations, AP10K).values
    ids = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "annotation_id": a["id"]}
        for a in truth["annotations"]
    ]
    odd = [r | {name: kind(value) for name, value in own.items()} for r, own in zip(results, ids, strict=True)]
    predictions.write_text(json.dumps(odd), encoding="utf-8")
    assert score_files(("ap10k",), predictions, annotations, AP10K).values == expected
    values = score_files(("pck_box@0.1",), predictions, annotations, AP10K).values
    assert 0 < values["pck_box@0.1/mean"] <= 100


def test_results_without_image_ids_are_refused(ap10k_files):
    predictions, annotations = ap10k_files
    results = json.loads(predictions.read_bytes())
    predictions.write_text(json.dumps([results[0] | {"image_id": "first"}]), encoding="utf-8")
    with pytest.raises(UserError, match="result 0 has no image_id, category_id or score"):
        score_files(("ap10k",), predictions, annotations, AP10K)


def test_another_species_is_another_category(ap10k_files):
    """A perfect pose with the category of another species scores 0."""
    _, annotations = ap10k_files
    truth = json.loads(annotations.read_bytes())
    first, second = truth["annotations"]
    swapped = [
        {"image_id": a["image_id"], "category_id": b["category_id"], "keypoints": a["keypoints"], "score": 1.0}
        for a, b in ((first, second), (second, first))
    ]
    path = ap10k_files[0].with_name("swapped.json")
    path.write_text(json.dumps(swapped), encoding="utf-8")
    assert score_files(("ap10k",), path, annotations, AP10K).values["ap10k/AP"] == 0.0


@pytest.mark.parametrize(
    ("predictions", "line"),
    [
        ("[{", "results.json is not complete JSON.*copy it again"),
        ("{}", "the results have type dict; expected a list"),
        ("[3]", "result 0 has no 'keypoints'"),
        (None, "results.json can't be read"),
    ],
)
def test_malformed_results_files_are_refused(predictions, line, shared_data, tmp_path):
    path = tmp_path / "results.json"
    if predictions is not None:
        path.write_text(predictions, encoding="utf-8")
    annotations = shared_data / "coco/annotations/person_keypoints_val2017.json"
    with pytest.raises(UserError, match=line):
        score_files(("coco",), path, annotations, COCO)


def test_malformed_annotation_files_are_refused(ap10k_files, tmp_path):
    (tmp_path / "annotations.json").write_text('{"images": []}', encoding="utf-8")
    with pytest.raises(UserError, match="annotations.json has no list 'annotations'"):
        score_files(("ap10k",), ap10k_files[0], tmp_path / "annotations.json", AP10K)
