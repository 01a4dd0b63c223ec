"""The package's detector on real photos."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.oks import iou
from mamkpd_jax.inference import nanodet
from mamkpd_jax.inference.boxes import Boxes, valid_boxes, whole_image
from mamkpd_jax.inference.detector_classes import ANIMALS, select_classes, subject
from mamkpd_jax.inference.detectors import find_detector
from mamkpd_jax.inference.nanodet import NanoDet
from mamkpd_jax.skeleton_files import make_skeleton
from mamkpd_jax.skeletons import ANIMALPOSE, COCO, LSPET

HAND = make_skeleton("hand", {"joints": ["wrist"]})
DOG = make_skeleton("dog", {"joints": ["nose"]})


def test_people_of_real_photos_are_found(pictures):
    detector, found, n = NanoDet(select_classes(LSPET)), 0, 0
    for path, boxes in pictures:
        image = decode_image(path.read_bytes())
        xywh, scores = detector(image)
        assert ((xywh[:, :2] >= 0) & (xywh[:, :2] + xywh[:, 2:] <= image.shape[1::-1])).all()
        assert (xywh[:, 2:] > 0).all() and (scores >= 0.29).all() and len(scores) == len(xywh)
        large = boxes[np.min(boxes[:, 2:], axis=1) >= 64]
        found += sum(iou(xywh, box).max(initial=0) >= 0.5 for box in large)
        n += len(large)
    assert n >= 6 and found == n


@pytest.mark.slow  # half a minute
def test_recall_on_coco(shared_data):
    """For the labelled people in 171 validation photos, at the default threshold of `--boxes=nanodet`."""
    folder = shared_data / "coco"
    content = json.loads((folder / "annotations" / "person_keypoints_val2017.json").read_bytes())
    detector, found = NanoDet([0]), {}
    for image in content["images"]:
        found[image["id"]] = detector(decode_image((folder / "val2017" / image["file_name"]).read_bytes())).xywh
    people = [a for a in content["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    hits = [iou(found[a["image_id"]], np.array(a["bbox"])).max(initial=0) >= 0.5 for a in people]
    assert len(people) == 512 and np.mean(hits) >= 0.84


def test_each_animal_has_one_box(shared_data):
    folder = shared_data / "ap10k"
    content = json.loads((folder / "test_ap10k.json").read_bytes())
    detector = NanoDet(select_classes(ANIMALPOSE))
    for image in content["images"]:
        boxes = np.array([a["bbox"] for a in content["annotations"] if a["image_id"] == image["id"]], np.float64)
        found = detector(decode_image(next(folder.rglob(image["file_name"])).read_bytes())).xywh
        assert len(found) == len(boxes) and all(iou(found, box).max() >= 0.5 for box in boxes)


def test_threads_share_a_detector(pictures):
    detector, images = NanoDet([0]), [decode_image(path.read_bytes()) for path, _ in pictures]
    expected = [detector(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for found, one in zip(pool.map(detector, images * 3), expected * 3, strict=True):
            np.testing.assert_array_equal(found.xywh, one.xywh)


def test_a_blank_picture_has_no_boxes():
    boxes, scores = NanoDet([0])(np.zeros((37, 211, 3), np.uint8))
    assert boxes.shape == (0, 4) and scores.shape == (0,)


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "nanodet_g.onnx").write_bytes(b"cut")
    monkeypatch.setattr(nanodet, "FILE", tmp_path / "nanodet_g.onnx")
    with pytest.raises(UserError, match="is damaged .*; install mamkpd_jax again"):
        NanoDet([0])


def test_every_box_has_an_area(pictures):
    """At a threshold of 0, at which the padding gives boxes too."""
    image = decode_image(pictures[0][0].read_bytes())
    xywh, _ = NanoDet([0], threshold=0.0)(image)
    assert len(xywh) > 100 and valid_boxes(Boxes(xywh, np.ones(len(xywh))), image.shape[:2], 0.0)[1] == ()


def test_classes_follow_the_model():
    assert select_classes(COCO) == select_classes(LSPET) == [0]
    assert select_classes(ANIMALPOSE) == list(range(14, 24)) and select_classes(DOG) == list(ANIMALS.values())
    with pytest.raises(UserError, match="no class is known for the skeleton hand .*; set --classes"):
        find_detector("nanodet", HAND)
    assert isinstance(find_detector("nanodet", HAND, classes=[0]), NanoDet)
    assert find_detector("auto", HAND) is whole_image
    assert isinstance(find_detector("auto", HAND, classes=[0]), NanoDet)
    assert isinstance(find_detector("auto", DOG), NanoDet)
    assert select_classes(HAND, ["dog", "Person", "79"]) == [16, 0, 79]
    with pytest.raises(
        UserError, match="--classes names 'cats'; expected an index below 80, or one of person, bicycle, car"
    ):
        select_classes(HAND, ["cats"])
    with pytest.raises(UserError, match="--classes is empty"):
        select_classes(HAND, [])
    with pytest.raises(UserError, match=r"the classes are \[80\]; expected some of 0 to 79"):
        NanoDet([80])


def test_subjects_are_counted_in_words():
    assert [subject(LSPET, n) for n in (0, 1, 2)] == ["no people", "1 person", "2 people"]
    assert [subject(skeleton, 1) for skeleton in (ANIMALPOSE, DOG, HAND)] == ["1 animal", "1 animal", "1 pose"]
