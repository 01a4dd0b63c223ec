"""The predictor on real images: equal to eval.py, independent of batching, and strict about its inputs."""

import dataclasses
import os
import struct
import subprocess
import sys
from functools import partial
from itertools import groupby

import cv2
import jax
import numpy as np
import pytest

from mamkpd_jax.artifact.checkpoints import read_checkpoint
from mamkpd_jax.artifact.weight_files import save
from mamkpd_jax.bench.weights import random_weights
from mamkpd_jax.data.functional import decode_image, warp_points
from mamkpd_jax.data.opening import open_dataset
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation import evaluator
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.program import Options, cast_once, compiled, make_program
from mamkpd_jax.sharding import data_mesh
from mamkpd_jax.skeletons import COCO
from tests.inference.conftest import BATCH


@pytest.mark.parametrize(("flip_test", "detected", "batch"), [(True, False, 11), (False, True, BATCH)])
def test_predictions_equal_those_of_eval(config, workdir, shared_data, monkeypatch, flip_test, detected, batch):
    """Points and scores are bit-exact for the same boxes, and so are the results after suppression.

    Of the 12 people, one is left for the second batch of 11.
    """
    boxes_file = str(shared_data / "coco_mini" / "test_coco_det_AP_H_56.json") if detected else ""
    flags = dataclasses.replace(config.eval, flip_test=flip_test, detections=boxes_file, batch_size=batch)
    config = dataclasses.replace(config, eval=flags)
    dataset = open_dataset(config)
    weights = read_checkpoint(workdir)
    predict = compiled(make_program(config, dataset.skeleton, Options(flip_test=flip_test)), data_mesh())
    table = []

    def spy(points, joint_scores, *rest, **options):
        table.append((points, joint_scores))
        return coco_results(points, joint_scores, *rest, **options)

    coco_results = evaluator.coco_results
    monkeypatch.setattr(evaluator, "coco_results", spy)
    evaluation = evaluator.Evaluator(dataset, config)(partial(predict, weights.params, weights.batch_stats))
    [(points, joint_scores)] = table

    all_boxes = dataset.detections or dataset.val.boxes()
    by_record = [(record, list(of_image)) for record, of_image in groupby(all_boxes, key=lambda box: box.record)]
    assert len({record for record, _ in by_record}) == len(by_record), "the boxes of an image are adjacent"
    contents = [dataset.val.image(record) for record, _ in by_record]
    images = [cv2.imdecode(np.frombuffer(content["image"], np.uint8), cv2.IMREAD_COLOR) for content in contents]
    boxes = [([box.xywh for box in of_image], [box.score for box in of_image]) for _, of_image in by_record]
    predictor = Predictor.from_pretrained(workdir, flip_test=flip_test, batch_size=batch)
    results = predictor([image[:, :, ::-1] for image in images], boxes)
    np.testing.assert_array_equal(np.concatenate([result.keypoints for result in results]), points)
    np.testing.assert_array_equal(np.concatenate([result.scores for result in results]), joint_scores)

    found = []
    for content, result in zip(contents, results, strict=True):
        found += result.without_duplicates().to_coco(image_id=content["image_id"])
    of_annotations = ("annotation_id", "suppressed")
    assert found == [{k: v for k, v in r.items() if k not in of_annotations} for r in evaluation.results]
    assert len(found) > 10 and (not detected or len(found) < len(all_boxes))


def test_batching_and_order_change_nothing(workdir, predictor, pictures):
    one_by_one = Predictor.from_pretrained(workdir, flip_test=False, batch_size=1)
    files, boxes = zip(*pictures, strict=True)
    forward, backward = predictor(files, boxes), predictor(files[::-1], boxes[::-1])[::-1]
    for other in (backward, one_by_one(files, boxes)):
        for a, b in zip(forward, other, strict=True):
            # Points are refined to quarter pixels, so another argmax in a tie would show as a jump.
            np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-5)
            np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
    assert [len(result) for result in forward] == [len(b) for b in boxes]


def test_the_network_is_compiled_for_two_shapes_only(workdir, pictures):
    predictor = Predictor.from_pretrained(workdir, flip_test=False, batch_size=BATCH)
    image = cv2.imread(str(pictures[0][0]))
    for n in (1, 3, BATCH, BATCH + 1, 5 * BATCH + 2):
        sizes = [(120 + 7 * i, 200 - 5 * i) for i in range(n)]
        results = predictor([cv2.resize(image, size) for size in sizes], "whole")
        assert [result.image_hw[::-1] for result in results] == sizes
    assert predictor._engine._predict._cache_size() == 2


def test_a_later_start_reads_compiled_programs(workdir, pictures, tmp_path):
    """Also without any setting, as in a user's program."""
    program = """
import sys, jax
from mamkpd_jax import Predictor
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.rpartition("/")[2]))
Predictor.from_pretrained(sys.argv[1])(sys.argv[2], "whole")
print("cache_hits" in events, "cache_misses" in events)
"""
    settings = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    variables |= {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", program, str(workdir), str(pictures[0][0])]
    printed = [subprocess.check_output(command, env=variables, text=True).strip() for _ in range(2)]
    assert printed == ["False True", "True False"]


def test_a_weights_file_gives_the_same_poses(workdir, predictor, pictures, tmp_path):
    save(read_checkpoint(workdir), tmp_path / "model.safetensors")
    path, boxes = pictures[2]
    (expected,), (found,) = (
        p(path, boxes)
        for p in (predictor, Predictor.from_pretrained(tmp_path / "model.safetensors", flip_test=False, batch_size=4))
    )
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)


def test_heatmaps_peak_where_the_joints_are(predictor, pictures):
    path, boxes = pictures[2]
    (result,) = predictor(path, boxes)
    same, crops, heatmaps = predictor.heatmaps(path, boxes)
    matrices = predictor.crops(path, boxes).matrices
    np.testing.assert_allclose(same.keypoints, result.keypoints, atol=1e-4)
    np.testing.assert_allclose(same.scores, result.scores, atol=1e-5)
    assert crops.shape == (len(boxes), 64, 48, 3) and heatmaps.shape == (len(boxes), 32, 24, 17)
    np.testing.assert_allclose(heatmaps.max(axis=(1, 2)), result.scores, atol=1e-5)
    peak = np.stack(np.unravel_index(heatmaps[1, :, :, 5].argmax(), (32, 24)))[::-1]
    point = warp_points(result.keypoints[1, 5:6], matrices[1])[0] / 2
    assert np.abs(point - peak).max() <= 0.2500001


def test_low_scored_and_invalid_boxes_are_left_out(predictor, pictures):
    path, boxes = pictures[1]
    where = ([*boxes, [-20, 0, 10, 10]], [0.9, 0.2, 0.8, 0.7])
    (result,) = predictor(path, where, box_threshold=0.5)
    (expected,) = predictor(path, (boxes[[0, 2]], [0.9, 0.8]))
    np.testing.assert_allclose(result.keypoints, expected.keypoints, atol=1e-5)
    assert result.box_scores.tolist() == [0.9, 0.8] and expected.left_out == ()
    assert [reason.partition(" of ")[0] for reason in result.left_out] == [
        "the box (-20, 0, 10, 10) lies outside the image"
    ]


def test_pixels_are_kept_only_on_request(predictor, pictures):
    assert [result.image for result in predictor.stream(pictures)] == [path for path, _ in pictures]
    (kept,) = predictor.stream(pictures[:1], keep_pixels=True)
    np.testing.assert_array_equal(kept.image, decode_image(pictures[0][0].read_bytes()))


def test_any_function_can_be_the_detector(predictor, pictures):
    path, boxes = pictures[1]
    (given,) = predictor(path, (boxes, [0.5, 0.25, 0.75]))
    (found,) = predictor([path], lambda image: (boxes.tolist(), [0.5, 0.25, 0.75]))
    np.testing.assert_array_equal(found.keypoints, given.keypoints)
    np.testing.assert_array_equal(found.box_scores, [0.5, 0.25, 0.75])
    nothing, whole = predictor([path, path], [[], "whole"])
    assert len(nothing) == 0 and nothing.to_coco() == [] and nothing.to_numpy()["keypoints"].shape == (0, 17, 2)
    np.testing.assert_array_equal(whole.boxes, [[0, 0, whole.image_hw[1], whole.image_hw[0]]])


def test_files_are_read_upright_or_as_stored(workdir, predictor, pictures, tmp_path):
    """Points refer to the image as it was read: upright by default, or as stored, as in eval.py."""
    data = pictures[0][0].read_bytes()
    stored = decode_image(data)
    turned = tmp_path / "turned.jpg"
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)  # orientation 6: rotate clockwise
    turned.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    as_stored = Predictor.from_pretrained(workdir, flip_test=False, batch_size=BATCH, upright=False)
    for reader, pixels in ((predictor, np.rot90(stored, 3)), (as_stored, stored)):
        result, expected = reader([turned, np.ascontiguousarray(pixels)], "whole")
        assert result.image_hw == pixels.shape[:2] == result.draw().shape[:2]
        np.testing.assert_array_equal(result.keypoints, expected.keypoints)
        drawn = (result.draw(threshold=-np.inf) != pixels).any(axis=-1)
        assert drawn.any() and (result.draw(threshold=np.inf) == pixels).all()


def test_poses_are_drawn_on_their_image_only(predictor, pictures):
    (result,) = predictor(pictures[0][0], "whole")
    other = np.zeros((10, 20, 3), np.uint8)
    with pytest.raises(UserError, match="the image has 20x10 pixels, but the poses are from one of 640x425; give"):
        result.draw(other)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([np.nan, 0, 10, 10], "not in finite numbers"),
        ([5, 5, 0, 10], "no width or height"),
        ([0.1, 0.2, 0.5, 0.6], "smaller than a pixel; expected pixels, not fractions of the image's size"),
        ([640, 0, 10, 10], "outside the image of 640x425"),
        ([-20, 0, 10, 10], "outside the image of 640x425"),
        ([1, 2, 3], "expected \\[n, 4\\]"),
    ],
)
def test_a_bad_box_spares_the_other_images(predictor, pictures, box, message):
    (path, boxes), other = pictures[0], pictures[1]
    with pytest.raises(UserError, match=message):
        predictor(path, [*boxes, box] if len(box) == 4 else [box])
    error, result = predictor.stream([(path, [box]), other])
    assert isinstance(error, UserError) and str(path) in str(error) and len(result) == 3


def test_unreadable_images_spare_the_others(predictor, pictures, tmp_path):
    text, empty = tmp_path / "text.jpg", tmp_path / "empty.png"
    text.write_text("not an image", encoding="utf-8")
    empty.touch()
    wrong = [text, empty, tmp_path / "none.jpg", tmp_path, np.zeros((8, 8, 2), np.uint8), np.zeros((8, 8, 3), int)]
    for image in wrong:
        with pytest.raises(UserError, match="not an image|can't be read|expected uint8, uint16"):
            predictor(image, "whole")
    *errors, result = predictor.stream([(image, "whole") for image in [*wrong, pictures[0][0]]])
    assert all(isinstance(error, UserError) for error in errors) and len(result) == 1


def test_wrong_weights_and_counts_are_refused(workdir, predictor, pictures, tmp_path):
    (tmp_path / "model.bin").touch()
    with pytest.raises(UserError, match="neither the folder"):
        Predictor.from_pretrained(tmp_path / "model.bin")
    with pytest.raises(UserError, match="no checkpoints"):
        Predictor.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="batch size is 0"):
        Predictor.from_pretrained(workdir, batch_size=0)
    for images, boxes in ((pictures[0][0], None), ([pictures[0][0]], None), ([pictures[0][0]], [None])):
        with pytest.raises(UserError, match="the boxes are None; give 'nanodet', 'whole'"):
            predictor(images, boxes)
    with pytest.raises(UserError, match="2 images but boxes for 1; give boxes for each"):
        predictor([pictures[0][0]] * 2, ["whole"])


def test_importing_the_package_loads_no_jax():
    code = "import sys, mamkpd_jax; assert 'jax' not in sys.modules and 'cv2' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_casting_weights_once_keeps_the_heatmaps():
    weights = random_weights("small", (64, 64), dtype="bfloat16")
    network = make_program(weights.config, COCO, Options(flip_test=False, decode=False))
    # Otherwise XLA omits the rounding of weights that are cast inside.
    heatmaps = jax.jit(network, compiler_options={"xla_allow_excess_precision": False})
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    cast = cast_once(weights.params, weights.config, COCO)
    np.testing.assert_array_equal(
        heatmaps(cast, weights.batch_stats, crops), heatmaps(weights.params, weights.batch_stats, crops)
    )
    n_bytes = [sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) for tree in (cast, weights.params)]
    assert n_bytes[0] < 0.6 * n_bytes[1]
    assert cast["decoder"]["head"]["kernel"].dtype == np.float32
