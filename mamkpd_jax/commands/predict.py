"""Finds the poses of people or animals in pictures, a video, a stream or a camera.

mamkpd predict --input=FILE|FOLDER|GLOB|VIDEO|ADDRESS|camera [--checkpoint=NAME|DIR|FILE] [--output=DIR]

  a photo of people                 --input=photo.jpg
  a photo on the web                --input=https://example.com/photo.jpg
  a folder of animals               --input=photos --checkpoint=animals
  your model, your detector         --input=photos --checkpoint=runs/base --boxes=yolox_s.onnx
  boxes from a file                 --input=val2017 --boxes=detections.json
  an exported model                 --input=photos --checkpoint=model.onnx
  one person fills the picture      --input=photo.jpg --boxes=whole
  a video, keypoints smoothed       --input=clip.mp4 --detect_every=5 --smooth
  an animated GIF, WebP or PNG      --input=moving.gif
  a network camera, until Ctrl-C    --input=rtsp://user:password@192.168.1.9/stream
  the second camera, until Ctrl-C   --input=camera:1

The folder --output gets results.json (COCO's results form), pictures/ or the video with the poses drawn, and a JSON
file for each picture in poses/. A later run with the same --output predicts only new pictures, and those whose content,
boxes, weights or options have changed; --overwrite predicts all. A video is always predicted from the start. Its
poses.jsonl gets a line per finished frame, and NAME.unfinished.mp4 plays even after a crash. Unreadable pictures,
unusable boxes and lost frames are listed at the end, and the exit status is 3. Frames after a lost one keep their
numbers. `mamkpd models` lists the names for --checkpoint.

Boxes from a file are matched by file_name: to the picture whose path shares the longest ending with it. If the file
has only image_ids, as COCO's detections do, pictures must be named by the number, such as 000000000785.jpg;
--match=number matches the number at the end of any file name. Results have the image_ids of the file. Without one, an
image_id is the number at the end of the file name if every picture has a different one. Otherwise it is the picture's
position in the sorted list, from 1.
"""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags, logging

import mamkpd_jax
from mamkpd_jax import cli, compilation_cache
from mamkpd_jax.commands import _detector
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference import nanodet
from mamkpd_jax.inference.addresses import Download, download, is_address
from mamkpd_jax.inference.animations import animated_frames
from mamkpd_jax.inference.boxes import Detector
from mamkpd_jax.inference.boxes_file import BoxesFile
from mamkpd_jax.inference.detectors import AUTO, NANODET, automatic
from mamkpd_jax.inference.picture_files import Pictures, find_pictures
from mamkpd_jax.inference.pictures import predict_pictures
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.inference.results import OutputOptions
from mamkpd_jax.inference.sources import VideoSource, find_video
from mamkpd_jax.skeletons import JOINT_THRESHOLD, Skeleton

_CHECKPOINT = cli.define_checkpoint("people", exported=True)
_RUNTIME = cli.define_runtime()
_BEST, _EMA = cli.define_weights_choice()
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "A picture, a folder, a glob in quotes, a video, an address (http, https, rtsp, rtmp, udp), camera or camera:N.",
    required=True,
    allow_override=True,
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Folder for the results. Default: runs/predict, or the first new one of runs/predict-2, ...",
    allow_override=True,
)
_BOXES = flags.DEFINE_string(
    "boxes",
    AUTO,
    "The source of boxes: 'nanodet' detects people or animals; 'whole' takes each picture as one box; 'auto' is "
    "nanodet, or whole if the model is for something else; a .json file in COCO's detections or annotation form (see "
    "--match); a detector's .onnx file, such as YOLO, YOLOX or RTMDet, which needs pip install onnxruntime. Boxes "
    "should fit tightly: a crop has 1.25 times their width and height.",
    allow_override=True,
)
_CATEGORY = flags.DEFINE_integer("category", 1, "The category_id of the boxes to take from a file, and of the results.")
_MATCH = flags.DEFINE_enum(
    "match",
    "name",
    ["name", "number"],
    "Match boxes from a file to pictures by file_name, or by image_id and the number at the end of a picture's name.",
)
_DETECTOR = _detector.define()
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Predict all pictures, even those with up-to-date results.")
_FLIP_TEST = flags.DEFINE_bool(
    "flip_test",
    None,
    "Average with the prediction for the mirrored crop. Default: as in the model's config or the .onnx file's export.",
    allow_override=True,
)
_BATCH = flags.DEFINE_integer("batch_size", 8, "Crops per batch.", lower_bound=1)
_UPRIGHT = flags.DEFINE_bool(
    "upright",
    True,
    "Apply the EXIF rotation of pictures. Boxes and points refer to the upright picture; with --noupright to the "
    "stored pixels.",
)
_SUPPRESS = flags.DEFINE_bool("suppress", True, "Keep only the best of nearly equal poses, as `mamkpd eval` does.")
_DRAW = flags.DEFINE_bool("draw", True, "Write pictures or the video with the poses drawn.")
_PRINT = flags.DEFINE_bool("print", False, "Print the name, x, y and score of each keypoint.")
_JOINTS = flags.DEFINE_float("joint_threshold", JOINT_THRESHOLD, "Keypoints that score at most this are not drawn.")
_EVERY = flags.DEFINE_integer(
    "detect_every", 1, "For videos: detect in every N-th frame; in between, boxes follow the poses.", lower_bound=1
)
_SMOOTH = flags.DEFINE_bool("smooth", False, "For videos: smooth the keypoints with the One-Euro filter.")
_FRAMES = flags.DEFINE_integer(
    "max_frames", None, "For videos and cameras: stop after this many frames.", lower_bound=1
)
_OFFLINE = flags.DEFINE_bool("offline", False, "Refuse network addresses, and download no model.", allow_override=True)
_CACHE = compilation_cache.define_flag()

_FILE_THRESHOLD = 0.3
_OF_VIDEOS, _OF_PICTURES = ("detect_every", "smooth", "max_frames"), ("print", "match", "overwrite")


def main() -> None:
    compilation_cache.enable(_CACHE.value)
    if _OFFLINE.value:
        os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub then only uses its cache
    source = _source()
    _warn_of_flags_without_effect(_is_video(source))
    predictor = _predictor()
    name = automatic(predictor.skeleton, _DETECTOR.classes.value) if _BOXES.value == AUTO else _BOXES.value
    boxes = _boxes(name, predictor.skeleton)
    if isinstance(boxes, BoxesFile) and _is_video(source):
        raise UserError(f"--boxes={_BOXES.value} has boxes of pictures, but the input is a video; give a detector")
    with _output_folder() as folder:
        options = OutputOptions(
            output=folder,
            category_id=_CATEGORY.value,
            box_threshold=_box_threshold(),
            suppress=_SUPPRESS.value,
            draw=_DRAW.value,
            joint_threshold=_JOINTS.value,
        )
        wrong = _predict(predictor, source, name, boxes, options)
    if wrong:
        print("\n".join([f"problems ({len(wrong)}):", *wrong]), file=sys.stderr)
        sys.exit(3)


def _predict(
    predictor: Predictor,
    source: VideoSource | Download | Pictures,
    name: str,
    boxes: Detector | BoxesFile,
    options: OutputOptions,
) -> list[str]:
    """Predicts the input, with the boxes of this name, and returns what was left out."""
    if isinstance(source, Download):
        path = str(source.save(options.output / "downloads"))
        source = find_video(path) or find_pictures(path)
    if isinstance(source, Pictures):
        wrong = predict_pictures(
            predictor,
            source,
            boxes,
            options,
            _settings(predictor, options, None if isinstance(boxes, BoxesFile) else name),
            about={"checkpoint": _CHECKPOINT.value, "step": predictor.step, "boxes": name},
            overwrite=_OVERWRITE.value,
            print_keypoints=_PRINT.value,
        )
        drawn = f", drawn in {options.output / 'pictures'}"
    else:
        from mamkpd_jax.inference import video  # PyAV takes time to import

        assert not isinstance(boxes, BoxesFile)
        tracking = video.TrackingOptions(detect_every=_EVERY.value, smooth=_SMOOTH.value, max_frames=_FRAMES.value)
        wrong = video.predict_video(predictor, source, boxes, options, tracking)
        drawn = f", drawn in {options.output}"
    print(f"the poses are in {options.output / 'results.json'}{drawn if options.draw else ''}")
    return wrong


def _source() -> VideoSource | Download | Pictures:
    """The input: a video, the picture at an address, or picture files."""
    if (found := find_video(_INPUT.value, offline=_OFFLINE.value)) is not None:
        return found
    if is_address(_INPUT.value):
        return download(_INPUT.value)
    return find_pictures(_INPUT.value, Path(_OUTPUT.value) if _OUTPUT.value else None)


def _is_video(source: VideoSource | Download | Pictures) -> bool:
    return isinstance(source, VideoSource) or (isinstance(source, Download) and animated_frames(source.content) > 1)


def _warn_of_flags_without_effect(is_video: bool) -> None:
    kind, others = ("a video", _OF_PICTURES) if is_video else ("pictures", _OF_VIDEOS)
    if given := [f"--{name}" for name in others if flags.FLAGS[name].present]:
        logging.warning("%s: no effect on %s", ", ".join(given), kind)


def _settings(predictor: Predictor, options: OutputOptions, detector: str | None) -> dict[str, Any]:
    """The settings that poses depend on, besides the picture and the boxes from a file."""
    settings = {
        "weights": predictor.weights_digest(),
        "version": mamkpd_jax.__version__,
        "flip_test": predictor.config.eval.flip_test,
        "upright": _UPRIGHT.value,
        **{name: getattr(options, name) for name in ("category_id", "box_threshold", "suppress")},
    }
    if detector is None:
        return settings
    if Path(detector).suffix == ".onnx":
        detector = hashlib.sha256(Path(detector).read_bytes()).hexdigest()
    elif detector == NANODET:
        detector = nanodet.SHA256
    return {**settings, "boxes": {"detector": detector, **_DETECTOR.options}}


def _predictor() -> Predictor:
    return Predictor.from_pretrained(
        _CHECKPOINT.value,
        best=_BEST.value,
        ema=_EMA.value,
        flip_test=_FLIP_TEST.value,
        batch_size=_BATCH.value,
        runtime=_RUNTIME.value,
        upright=_UPRIGHT.value,
    )


def _boxes(name: str, skeleton: Skeleton) -> Detector | BoxesFile:
    path = Path(name)
    if path.suffix == ".json":
        if _DETECTOR.classes.value is not None:
            raise UserError(f"--classes has no effect with --boxes={name}; leave one of them out")
        return BoxesFile(path, _CATEGORY.value, skeleton, by_number=_MATCH.value == "number")
    return _DETECTOR.find(name, skeleton)


def _box_threshold() -> float:
    """The lowest score of a box that is used; 0 for detectors, which apply a threshold themselves."""
    if _DETECTOR.threshold.value is not None:
        return _DETECTOR.threshold.value
    return _FILE_THRESHOLD if Path(_BOXES.value).suffix == ".json" else 0.0


@contextlib.contextmanager
def _output_folder() -> Iterator[Path]:
    """The folder of --output, or a new one, which is removed if the run ends before it writes anything."""
    if _OUTPUT.value:
        yield Path(_OUTPUT.value)
        return
    folder = _new_folder()
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


def _new_folder() -> Path:
    """Creates the first of runs/predict, runs/predict-2, ... that does not exist."""
    n, folder = 1, Path("runs/predict")
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            n += 1
            folder = Path(f"runs/predict-{n}")
