"""The folder that a page's blocks run in: small real data under the names that the documentation uses.

| name | content |
|---|---|
| `photo.jpg`, `examples/` | the photo of `examples/`, and that folder |
| `photos/`, `labels.json` | three photos of COCO, and the labels of their people |
| `more_photos/` | three other photos |
| `train.json`, `val.json` | the labels of two of them, and of one |
| `boxes.json` | the people's boxes in `photos/`, as detections |
| `skeleton.json` | COCO's keypoints as a skeleton file |
| `data.yaml` | describes the same photos in YOLO's form, which are in `data/yolo` |
| `clip.mp4` | eight frames |
| `data/coco` | 60 images of train2017 and 40 of val2017, in the official layout |
| `person_keypoints_val2017.json`, `results.json` | their labels, and the labels as results |
| `COCO_val2017_detections_AP_H_56_person.json` | their boxes as detections |
| `data/lspet`, `data/animalpose` | images, and annotation files, or the release for a page that converts it |
| `data/mpii`, `data/ap-10k` | the layouts that the configs expect |
| `docs/`, `configs/`, `benchmarks/`, files of the root | copies |
| `runs/quickstart` | a run of a few steps |
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from tests.copying import copy_folder
from tests.documentation.blocks import ROOT
from tests.documentation.stand_ins import PORT, PROGRAMS

_PHOTOS = ("000000040083.jpg", "000000196141.jpg", "000000197388.jpg")
_PER_SPLIT = {"train2017": 60, "val2017": 40}  # `mamkpd bench own-data` needs as many
_SEEN = (2, 17, 20)  # of nose and shoulders, which that program takes
_DETECTIONS = "COCO_val2017_detections_AP_H_56_person.json"


def fill(folder: Path, shared_data: Path) -> None:
    """Writes everything but the run, the layouts of fixtures, and the files that depend on the page."""
    for name in ("docs", "configs", "examples", "benchmarks"):
        copy_folder(ROOT / name, folder / name)
    for path in (ROOT / "pyproject.toml", ROOT / "requirements.txt", *ROOT.glob("*.md")):
        shutil.copy(path, folder)
    shutil.copy(ROOT / "examples" / "skier.jpg", folder / "photo.jpg")
    _write_photos(folder, shared_data / "coco_mini")
    _write_coco(folder, shared_data / "coco")
    _write_clip(folder / "clip.mp4", folder / "photo.jpg")
    _unpack(shared_data / "lspet" / "lspet.zip", folder / "data", range(1, 321))
    _unpack(shared_data / "animalpose" / "animalpose.zip", folder / "data", [*range(1, 201), *range(600, 610)])


def adapt(folder: Path, text: str) -> None:
    """Removes the run of a page that trains it, and gives a page that converts a release the release."""
    from scipy.io import savemat

    if re.search(r"mamkpd train .*--workdir=runs/quickstart", text):
        shutil.rmtree(folder / "runs" / "quickstart")

    for name in ("lspet", "animalpose"):
        root = folder / "data" / name
        splits = {split: root / f"{name}_{split}.json" for split in ("train", "val")}
        if "pose-release" not in text:
            for path in splits.values():
                content = _read(path)
                _write(path, _of_images(content, content["images"][:16]))
            continue
        contents = [_read(path) for path in splits.values()]
        if name == "lspet":
            savemat(root / "joints.mat", {"joints": _joints(contents)})
        else:
            _write(root / "keypoints.json", _animals(contents))
        for path in splits.values():
            path.unlink()


def environment(folder: Path, port: int) -> dict[str, str]:
    """The variables of a block: the stand-ins come first in PATH, and no other host can be reached."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        script = Path(__file__).with_name("stand_ins.py")
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" {name} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    (programs / "activate").touch()
    nowhere = "http://127.0.0.1:9"
    return os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        PORT: str(port),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere),
        **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"),
    }


def train_quickstart(folder: Path, variables: dict[str, str]) -> None:
    """Makes `runs/quickstart` by the documented command."""
    command = ["mamkpd", "train", "--config=quickstart", "--workdir=runs/quickstart"]
    done = subprocess.run(["sh", "-c", " ".join(command)], cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _write_photos(folder: Path, source: Path) -> None:
    from mamkpd_jax.data.yolo_export import export_yolo

    for name in _PHOTOS:
        (folder / "photos").mkdir(exist_ok=True)
        shutil.copyfile(source / name, folder / "photos" / name)
    content = _read(source / "test_coco.json")
    content["images"] = [{**image, "file_name": Path(image["file_name"]).name} for image in content["images"]]
    images = [image for image in content["images"] if image["file_name"] in _PHOTOS]
    labels = _of_images(content, images)
    _write(folder / "labels.json", labels)
    _write(folder / "boxes.json", _detections(labels))
    _write(folder / "skeleton.json", {"joints": labels["categories"][0]["keypoints"]})
    _write(folder / "train.json", _of_images(content, images[:2]))
    _write(folder / "val.json", _of_images(content, images[2:]))
    yolo = folder / "data" / "yolo"
    export_yolo({split: folder / f"{split}.json" for split in ("train", "val")}, folder / "photos", yolo)
    description = (yolo / "data.yaml").read_text(encoding="utf-8")
    (folder / "data.yaml").write_text(f"path: data/yolo\n{description}", encoding="utf-8")


def _write_coco(folder: Path, source: Path) -> None:
    for split, count in _PER_SPLIT.items():
        content = _read(source / "annotations" / f"person_keypoints_{split}.json")
        labelled = {a["image_id"] for a in content["annotations"] if any(a["keypoints"][i] for i in _SEEN)}
        images = [image for image in content["images"] if image["id"] in labelled][:count]
        labels = _of_images(content, images)
        root = folder / "data" / "coco"
        (root / split).mkdir(parents=True)
        (root / "annotations").mkdir(exist_ok=True)
        _write(root / "annotations" / f"person_keypoints_{split}.json", labels)
        for image in images:
            shutil.copyfile(source / split / image["file_name"], root / split / image["file_name"])
    _write(folder / "person_keypoints_val2017.json", labels)
    keypoints = [a for a in labels["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    fields = ("image_id", "category_id", "keypoints")
    _write(folder / "results.json", [{name: a[name] for name in fields} | {"score": 0.9} for a in keypoints])
    for parent in (folder, root, root / "person_detection_results"):
        parent.mkdir(exist_ok=True)
        _write(parent / _DETECTIONS, _detections(labels))
    (folder / "more_photos").mkdir()
    for image in images[:3]:
        shutil.copyfile(source / split / image["file_name"], folder / "more_photos" / image["file_name"])


def _detections(labels: dict[str, Any]) -> list[dict[str, Any]]:
    fields = ("image_id", "category_id", "bbox")
    return [{name: a[name] for name in fields} | {"score": 0.9} for a in labels["annotations"] if not a["iscrowd"]]


def _write_clip(path: Path, photo: Path) -> None:
    import av
    import cv2

    frame = cv2.resize(cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB), (320, 212))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 320, 212, "yuv420p"
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _unpack(archive: Path, folder: Path, numbers) -> None:
    """Takes the images of these numbers, and their annotations, from an archive of a data set."""
    name = archive.stem
    wanted = set(numbers)
    with zipfile.ZipFile(archive) as content:
        for member in content.namelist():
            if member.endswith(".jpg") and int(Path(member).stem.lstrip("im")) in wanted:
                content.extract(member, folder)
        for split in ("train", "val"):
            labels = json.loads(content.read(f"{name}/{name}_{split}.json"))
            images = [image for image in labels["images"] if image["id"] in wanted]
            _write(folder / name / f"{name}_{split}.json", _of_images(labels, images))


def _joints(contents: list[dict[str, Any]]) -> Any:
    """joints.mat of Leeds Sports Pose Extended: pixels count from 1."""
    import numpy as np

    annotations = {a["image_id"]: a["keypoints"] for content in contents for a in content["annotations"]}
    joints = np.zeros((14, 3, max(annotations)))
    for i, keypoints in annotations.items():
        joints[..., i - 1] = np.reshape(keypoints, (14, 3)) + [1, 1, 0]
    return joints


def _animals(contents: list[dict[str, Any]]) -> dict[str, Any]:
    """keypoints.json of Animal-Pose: a box is two corners."""
    animals = []
    for annotation in (a for content in contents for a in content["annotations"]):
        x, y, width, height = annotation["bbox"]
        keypoints = [annotation["keypoints"][i : i + 3] for i in range(0, 60, 3)]
        animals.append({**annotation, "bbox": [x, y, x + width, y + height], "keypoints": keypoints})
    images = {str(image["id"]): image["file_name"] for content in contents for image in content["images"]}
    return {"images": images, "annotations": animals, "categories": contents[0]["categories"]}


def _of_images(content: dict[str, Any], images: list[dict[str, Any]]) -> dict[str, Any]:
    ids = {image["id"] for image in images}
    annotations = [a for a in content["annotations"] if a["image_id"] in ids]
    return {"images": images, "annotations": annotations, "categories": content["categories"]}


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
