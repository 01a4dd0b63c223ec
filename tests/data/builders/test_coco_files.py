"""Tests of the builders for annotation files in COCO's form: AP-10K and custom data sets."""

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.data.builders.coco_form import prepare, unusable
from mamkpd_jax.data.builders.images import STORED, UPRIGHT, check_folder
from mamkpd_jax.data.datasets.ap10k import Ap10k
from mamkpd_jax.data.datasets.coco_keypoints import CocoKeypoints
from mamkpd_jax.data.datasets.custom_coco import CustomCoco
from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.data.labels import usable_labels
from mamkpd_jax.data.opening import open_dataset
from mamkpd_jax.data.pipeline import LoadCrop
from mamkpd_jax.data.source import InstanceSource
from mamkpd_jax.data.transforms import eval_crop_of
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import AP10K
from tests.data.exif import turned
from tests.data.places import data_at


def test_ap10k_training_annotations_are_all_usable(shared_data):
    with gzip.open(shared_data / "ap10k" / "ap10k-train-split1.json.gz") as file:
        data = json.load(file)
    labels = usable_labels(shared_data / "ap10k", data)
    labels.findings.check()
    assert labels.skeleton.joints == AP10K.joints and labels.annotations == data["annotations"]
    images = {image["id"]: image for image in labels.images}
    reasons = Counter(unusable(annotation, images[annotation["image_id"]]) for annotation in labels.annotations)
    assert len(images) == 7023
    assert reasons == {None: 9122}


def test_ap10k_builds_from_real_images(ap10k_root, tmp_path):
    builder = prepare(Ap10k(data_at(ap10k_root, tmp_path)))
    assert builder.splits() == ("train", "val", "test")
    source = InstanceSource(builder, "test")
    assert sorted(source[i]["category_id"] for i in range(2)) == [1, 26]  # the results need the species


def test_a_missing_split_of_ap10k_is_named(ap10k_root, tmp_path):
    with pytest.raises(UserError, match="ap10k-train-split2.json is missing"):
        Ap10k(data_at(ap10k_root, tmp_path, ap10k_fold=2))


@pytest.mark.parametrize(("name", "n_val", "n_joints"), [("lspet", 1000, 14), ("animalpose", 607, 20)])
def test_lspet_and_animalpose_are_built(name, n_val, n_joints, request, tmp_path):
    """Both splits use the validation files, to save time."""
    root = request.getfixturevalue(name)
    data = DataConfig(
        dataset="custom_coco",
        root=str(root),
        build_dir=str(tmp_path),
        train_annotations=f"{name}_val.json",
        val_annotations=f"{name}_val.json",
        skeleton=name,
    )
    dataset = open_dataset(Config(data=data))
    assert (len(dataset.val), dataset.skeleton.n_joints) == (n_val, n_joints)
    assert dataset.train[0]["keypoints"].shape == (n_joints, 3)


def test_an_unknown_split_is_refused(ap10k_root, tmp_path):
    data = DataConfig(dataset="ap10k", root=str(ap10k_root), build_dir=str(tmp_path))
    with pytest.raises(UserError, match="config.eval.split is 'dev'; ap10k has train, val, test"):
        open_dataset(Config(data=data, eval=EvalConfig(split="dev")))


IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def _data_set(root, encoded: dict[str, np.ndarray], names: Sequence[str] = ("left_fin", "right_fin"), **changes):
    """A data set with one annotation for each image, and one category with the keypoints `names`."""
    entries = [(i, name, pixels) for i, (name, pixels) in enumerate(encoded.items())]
    for _, name, pixels in entries:
        cv2.imwrite(str(root / name), pixels)
    annotation = {"category_id": 1, "iscrowd": 0, "num_keypoints": 2, "area": 300.0, "bbox": [5, 5, 20, 20]}
    annotation |= {"keypoints": [6, 6, 2, 20, 20, 1]} | changes
    data = {
        "images": [{"id": i, "file_name": name, "height": 40, "width": 60} for i, name, _ in entries],
        "annotations": [annotation | {"id": i, "image_id": i} for i, _, _ in entries],
        "categories": [{"id": 1, "name": "fish", "keypoints": list(names)}],
    }
    (root / "all.json").write_text(json.dumps(data), encoding="utf-8")
    return _custom(root)


def _custom(root: Path, images: str = ".", **fields: str) -> CustomCoco:
    files = {"train_annotations": "all.json", "val_annotations": "all.json", "train_images": images, "val_images": "."}
    return CustomCoco(data_at(root, root / "build", **files, **fields))


def test_categories_define_the_skeleton(tmp_path):
    skeleton = _data_set(tmp_path, {"a.png": IMAGE}).skeleton
    assert (skeleton.name, skeleton.joints, skeleton.flip_pairs) == ("fish", ("left_fin", "right_fin"), ((0, 1),))


def test_other_image_folders_give_another_build(tmp_path):
    """For example, the same annotations with images of another size."""
    _data_set(tmp_path, {"a.png": IMAGE})
    paths = [_custom(tmp_path, images=folder).data_path for folder in (".", "small", ".")]
    assert paths[0] == paths[2] != paths[1]


def test_another_skeleton_gives_another_build(tmp_path):
    """For example, an edited skeleton file."""
    _data_set(tmp_path, {"a.png": IMAGE})
    (tmp_path / "fins.json").write_text('{"joints": ["left", "right"], "flip_pairs": []}', encoding="utf-8")
    before = _custom(tmp_path, skeleton=str(tmp_path / "fins.json")).data_path
    (tmp_path / "fins.json").write_text('{"joints": ["left", "right"], "flip_pairs": [[0, 1]]}', encoding="utf-8")
    assert _custom(tmp_path, skeleton=str(tmp_path / "fins.json")).data_path != before


def test_skeletons_without_mirror_pairs_are_logged(tmp_path, caplog):
    _data_set(tmp_path, {"a.png": IMAGE}, names=["fin", "tail"])
    assert "no flip pairs, so that flips exchange none of fin, tail" in caplog.text


def test_image_links_are_followed_unless_broken(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sub").symlink_to(tmp_path / "elsewhere")
    assert len(InstanceSource(prepare(_data_set(tmp_path, {"sub/a.png": IMAGE})), "val")) == 1
    (tmp_path / "sub" / "b.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match="lacks 1 of the 2 annotated images, the first sub/b.png"):
        check_folder(tmp_path, ["sub/a.png", "sub/b.png"])


def test_images_of_every_kind_become_rgb(tmp_path):
    grey = cv2.cvtColor(IMAGE, cv2.COLOR_BGR2GRAY)
    alpha = np.dstack([IMAGE, np.full((40, 60), 9, np.uint8)])
    kinds = {"grey.jpg": grey, "alpha.png": alpha, "deep.png": IMAGE.astype(np.uint16) << 8, "plain.bmp": IMAGE}
    source = InstanceSource(prepare(_data_set(tmp_path, kinds)), "val")
    assert [decode_image(source[i]["image"]).shape for i in range(4)] == [(40, 60, 3)] * 4


def test_motion_photos_are_images(tmp_path):
    """A phone's motion photo has a video after the image."""
    builder = _data_set(tmp_path, {"motion.jpg": IMAGE})
    with (tmp_path / "motion.jpg").open("ab") as file:
        file.write(bytes(10_000))
    assert len(InstanceSource(prepare(builder), "val")) == 1


def test_undecodable_image_formats_are_refused(tmp_path):
    builder = _data_set(tmp_path, {"floats.tiff": IMAGE.astype(np.float32)})
    with pytest.raises(UserError, match="floats.tiff is a truncated or damaged image"):
        prepare(builder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bbox": [5, 5, 0, 20]}, "degenerate box"),
        ({"bbox": [5, 5, -3, 20]}, "degenerate box"),
        ({"bbox": [70, 5, 20, 20]}, "degenerate box"),  # outside the image
        ({"keypoints": [0] * 6, "num_keypoints": 0}, "no labelled keypoint"),
        ({"iscrowd": 1}, "crowd"),
    ],
)
def test_unusable_instances_are_dropped_and_counted(changes, reason, tmp_path):
    builder = _data_set(tmp_path, {"a.png": IMAGE, "b.png": IMAGE}, **changes)
    data = json.loads((tmp_path / "all.json").read_bytes())
    good = {"bbox": [5, 5, 20, 20], "area": 300.0, "keypoints": [-9, 6, 2, 99, 20, 1], "num_keypoints": 2, "iscrowd": 0}
    data["annotations"][0] |= good
    (tmp_path / "all.json").write_text(json.dumps(data), encoding="utf-8")
    counts = prepare(builder).info.metadata["counts"]["val"]
    assert counts == {"images": 2, "annotations": 2, "instances": 1, f"dropped: {reason}": 1}


WIDE, SQUARE = IMAGE, IMAGE[:, :40]


@pytest.mark.parametrize(
    ("pixels", "labelled_hw", "exif", "upright"),
    [
        (WIDE, (40, 60), "upright", False),
        (WIDE, (60, 40), "stored", True),
        (WIDE, None, "upright", True),
        (WIDE, None, "stored", False),
        (SQUARE, (40, 40), "upright", True),
        (SQUARE, (40, 40), "stored", False),
    ],
)
def test_labelled_sizes_decide_about_exif_rotations(pixels, labelled_hw, exif, upright, tmp_path):
    """The EXIF data has a quarter turn. Where the size fits both ways, the config decides."""
    builder = _data_set(tmp_path, {"a.jpg": pixels}, bbox=[5, 5, 20, 20])
    (tmp_path / "a.jpg").write_bytes(turned((tmp_path / "a.jpg").read_bytes(), 6))
    data = json.loads((tmp_path / "all.json").read_bytes())
    size = dict(zip(("height", "width"), labelled_hw, strict=True)) if labelled_hw else {}
    data["images"] = [{"id": 0, "file_name": "a.jpg", **size}]
    (tmp_path / "all.json").write_text(json.dumps(data), encoding="utf-8")
    builder = prepare(_custom(tmp_path, exif=exif))
    item = InstanceSource(builder, "val")[0]
    height, width = pixels.shape[:2]
    assert (item["height_px"], item["width_px"]) == ((width, height) if upright else (height, width))
    stored = decode_image(item["image"])
    crop = eval_crop_of(Config(), builder.skeleton)
    expected = crop({"image": np.rot90(stored, 3) if upright else stored, "bbox": item["bbox"]})["image"]
    np.testing.assert_array_equal(LoadCrop(crop)(item)["image"], expected)
    (note,) = builder.info.metadata["notes"]["val"][-1:]
    why = "the labelled size" if labelled_hw and labelled_hw[0] != labelled_hw[1] else f"config.data.exif={exif}"
    assert f"read {'upright' if upright else 'stored'} because of {why} (a.jpg)" in note


def test_another_exif_setting_gives_another_build(tmp_path):
    _data_set(tmp_path, {"a.jpg": SQUARE})
    paths = {_custom(tmp_path, exif=exif).data_path for exif in ("auto", "upright", "stored")}
    assert len(paths) == 2, "auto is upright"


def test_official_data_sets_are_read_stored():
    assert [kind.reading(DataConfig()) for kind in (CustomCoco, Ap10k, CocoKeypoints)] == [UPRIGHT, STORED, STORED]
    assert CocoKeypoints.reading(DataConfig(exif="upright")) == UPRIGHT


@pytest.mark.parametrize("name", ["../../up", "a/b", "n" * 300, "\ud800", "a\0b"])
def test_any_category_name_stays_in_build_folder(name, tmp_path):
    _data_set(tmp_path, {"a.png": IMAGE})
    data = json.loads((tmp_path / "all.json").read_bytes())
    data["categories"][0]["name"] = name
    (tmp_path / "all.json").write_text(json.dumps(data), encoding="utf-8")
    path = Path(prepare(_custom(tmp_path)).data_path)
    assert path.parents[1] == tmp_path / "build" / "custom_coco" and len(path.parent.name) <= 60


def test_replaced_images_with_backslashes_are_rebuilt(tmp_path):
    (tmp_path / "sub").mkdir()
    _data_set(tmp_path, {"sub/a.png": IMAGE})
    text = (tmp_path / "all.json").read_text(encoding="utf-8").replace("sub/a.png", "sub\\\\a.png")
    (tmp_path / "all.json").write_text(text, encoding="utf-8")
    first = prepare(_custom(tmp_path)).data_path
    cv2.imwrite(str(tmp_path / "sub" / "a.png"), 255 - IMAGE)
    assert _custom(tmp_path).data_path != first


def test_left_out_annotations_are_counted(tmp_path):
    _data_set(tmp_path, {"a.png": IMAGE})
    data = json.loads((tmp_path / "all.json").read_bytes())
    data["categories"].append({"id": 2, "name": "boat"})
    data["annotations"].append({"id": 9, "image_id": 0, "category_id": 2, "bbox": [1, 1, 5, 5]})
    (tmp_path / "all.json").write_text(json.dumps(data), encoding="utf-8")
    counts = prepare(_custom(tmp_path)).info.metadata["counts"]["val"]
    assert counts == {"images": 1, "annotations": 1, "instances": 1, "left out": 1}


def test_images_of_another_size_are_refused(tmp_path):
    _data_set(tmp_path, {"a.jpg": WIDE[:30]})
    (tmp_path / "a.jpg").write_bytes(turned((tmp_path / "a.jpg").read_bytes(), 6))
    with pytest.raises(UserError, match=r"a.jpg is 60x30 \(turned by its EXIF data 30x60\) pixels, .* say 60x40"):
        prepare(_custom(tmp_path))


def test_replaced_images_are_rebuilt(tmp_path):
    first = prepare(_data_set(tmp_path, {"a.png": IMAGE, "b.png": IMAGE})).data_path
    assert _custom(tmp_path).data_path == first
    cv2.imwrite(str(tmp_path / "a.png"), 255 - IMAGE)
    builder = prepare(_custom(tmp_path))
    assert builder.data_path != first
    item = InstanceSource(builder, "val")[0]
    np.testing.assert_array_equal(decode_image(item["image"]), (255 - IMAGE)[..., ::-1])


def test_a_deleted_image_is_named(tmp_path):
    prepare(_data_set(tmp_path, {"a.png": IMAGE, "b.png": IMAGE}))
    (tmp_path / "b.png").unlink()
    with pytest.raises(UserError, match="lacks 1 of the 2 annotated images, the first b.png"):
        prepare(_custom(tmp_path))


def test_findings_are_logged_at_every_start(tmp_path, caplog):
    _data_set(tmp_path, {"a.png": IMAGE}, area=0)
    caplog.set_level("INFO")
    for _ in range(2):
        caplog.clear()
        counts = prepare(_custom(tmp_path)).info.metadata["counts"]["val"]
        assert counts == {"images": 1, "annotations": 1, "instances": 1}
        assert "custom_coco val: derived: 1 x area not above 0: 0.53 of the box (annotation 0)" in caplog.text


@pytest.mark.parametrize("copied", [False, True])
def test_images_in_both_splits_are_counted(copied, tmp_path, caplog):
    """Copies under other names too, as in two folders."""
    _data_set(tmp_path, {"a.png": IMAGE, "b.png": 255 - IMAGE})
    labels = json.loads((tmp_path / "all.json").read_bytes())
    labels["images"][0]["file_name"] = "copy.png" if copied else "a.png"
    labels["images"][1]["file_name"] = "other.png"
    cv2.imwrite(str(tmp_path / "copy.png"), IMAGE)
    cv2.imwrite(str(tmp_path / "other.png"), IMAGE // 2)
    (tmp_path / "val.json").write_text(json.dumps(labels), encoding="utf-8")
    caplog.set_level("INFO")
    files = {"train_annotations": "all.json", "val_annotations": "val.json", "train_images": ".", "val_images": "."}
    prepare(CustomCoco(data_at(tmp_path, tmp_path / "build", **files)))
    assert "val: 1 of the images are in train too, so scores on val are too high after training on train" in caplog.text


@pytest.mark.parametrize(("augmentation", "flip_test"), [("mmpose", False), ("none", True)])
def test_flips_refuse_one_sided_keypoints(augmentation, flip_test, tmp_path):
    _data_set(tmp_path, {"a.png": IMAGE}, names=("nose", "left_fin"))
    files = {"train_annotations": "all.json", "val_annotations": "all.json", "train_images": ".", "val_images": "."}
    data = data_at(tmp_path, tmp_path / "build", dataset="custom_coco", augmentation=augmentation, **files)
    config = Config(data=data, eval=EvalConfig(flip_test=flip_test))
    with pytest.raises(UserError, match="the keypoint 'left_fin' has a side, but none of nose, left_fin is its"):
        open_dataset(config)
    config.data.augmentation, config.eval.flip_test = "none", False
    assert len(open_dataset(config).train) == 1
    (tmp_path / "fish.json").write_text('{"joints": ["nose", "left_fin"], "flip_pairs": []}', encoding="utf-8")
    config.data.skeleton, config.eval.flip_test = str(tmp_path / "fish.json"), True
    assert len(open_dataset(config).train) == 1
