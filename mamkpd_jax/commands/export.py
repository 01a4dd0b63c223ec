"""Exports a checkpoint to ONNX or StableHLO, which run without this package.

mamkpd export --checkpoint=NAME|DIR|FILE --output=FILE.onnx|FILE.stablehlo|DIR [--normalize] [--decode] [--batch=N] ...
mamkpd export --checkpoint=NAME|DIR|FILE --output=FILE.onnx --precision=int8 --calibration=FOLDER|GLOB|FILE ...
mamkpd export --web --output=DIR [--checkpoint=people,runs/horses]

DIR, a new folder, gets model.stablehlo and model.json, which describes the model's input and output. With --web it gets
a page that runs the models in the browser; any web server can host it. --web needs npm, which comes with Node.js.

The model takes crops, not pictures. A crop has the centre of its box and 1.25 times the box's width and height. One
side is then extended to the aspect ratio of the model's input. Pixels outside the picture are black.

int8 needs a few hundred unlabelled pictures like those that the model will see, and none that it is evaluated on.
"""

from pathlib import Path, PurePath

from absl import flags

from mamkpd_jax import cli, compilation_cache
from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.artifact.weight_files import SUFFIXES
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.calibration import calibration_crops, find_calibration
from mamkpd_jax.inference.picture_files import Pictures
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.program import Options
from mamkpd_jax.registry import EXPORTS

_CHECKPOINT = cli.define_checkpoint("")
_BEST, _EMA = cli.define_weights_choice()
_OUTPUT = flags.DEFINE_string(
    "output", None, "A file NAME.onnx or NAME.stablehlo, or a new folder.", required=True, allow_override=True
)
_NORMALIZE = flags.DEFINE_bool("normalize", False, "Take uint8 RGB images [b, h, w, 3] instead of normalised ones.")
_FLIP_TEST = flags.DEFINE_bool(
    "flip_test", False, "Average the outputs with those of the mirrored image.", allow_override=True
)
_DECODE = flags.DEFINE_bool(
    "decode", False, "Give points in pixels of the crop and scores instead of the head's outputs."
)
_PRECISION = flags.DEFINE_string("precision", "fp32", "Precision of the arithmetic: fp32, or for ONNX fp16 or int8.")
_CALIBRATION = flags.DEFINE_string(
    "calibration",
    None,
    "For int8: a folder, a glob in quotes or a file of pictures. Their crops determine the scales of activations.",
    allow_override=True,
)
_BATCH = flags.DEFINE_integer(
    "batch", 0, "The number of crops that the model takes; 0: any.", lower_bound=0, upper_bound=4096
)
_WEB = flags.DEFINE_bool(
    "web",
    False,
    "Write a web page that finds poses in pictures or from the camera. --checkpoint may name several models, separated "
    "by commas; the default is people,animals.",
)
_CACHE = compilation_cache.define_flag()


_WEB_MODELS = "people,animals"
_NO_EFFECT_ON_WEB = ("normalize", "decode", "batch")


def main() -> None:
    compilation_cache.enable(_CACHE.value)
    output = Path(_OUTPUT.value)
    step = _save_web(output) if _WEB.value else _save_model(output)
    files = [file for file in output.rglob("*") if file.is_file()] if output.is_dir() else [output]
    print(f"{output}: {step}, {sum(file.stat().st_size for file in files) / 2**20:.1f} MiB")
    if _WEB.value:
        print(f"to try it: python -m http.server --directory {output}, and open http://localhost:8000")


def _save_model(output: Path) -> str:
    """Exports a model, and returns its step as text."""
    if not _CHECKPOINT.value:
        raise UserError("--checkpoint is missing (see --help)")
    form = EXPORTS[output.suffix[1:] or "stablehlo"]  # a folder holds StableHLO
    if output.suffix and output.is_dir():
        raise UserError(f"{output} is a folder; give --output the name of a file, or of a new folder")
    _check_precision(form.precisions, output)
    pictures = _calibration_pictures()
    artifact = read_artifact(_CHECKPOINT.value, best=_BEST.value, ema=_EMA.value)
    options = Options(normalize=_NORMALIZE.value, flip_test=_FLIP_TEST.value, decode=_DECODE.value)
    calibration = {"calibration": calibration_crops(Predictor(artifact), pictures)} if pictures else {}
    form.save(artifact, output, options, _PRECISION.value, _BATCH.value, **calibration)
    return f"step {artifact.step}"


def _save_web(output: Path) -> str:
    """Exports models with a web page, and returns their names as text."""
    from mamkpd_jax.demo import web_folder  # needs the extra onnx

    for name in _NO_EFFECT_ON_WEB:
        if flags.FLAGS[name].present:
            raise UserError(f"--{name} has no effect with --web; leave it out")
    _check_precision(EXPORTS["onnx"].precisions, output)
    pictures = _calibration_pictures()
    models: dict[str, Artifact] = {}
    for source in filter(None, map(str.strip, (_CHECKPOINT.value or _WEB_MODELS).split(","))):
        path = PurePath(source)
        name = path.stem if path.suffix in SUFFIXES else path.name
        if name in models:
            raise UserError(f"--checkpoint has two models called {name}; rename one, as the page lists them by name")
        models[name] = read_artifact(source, best=_BEST.value, ema=_EMA.value)
    if not models:
        raise UserError(f"--checkpoint={_CHECKPOINT.value} names no model; expected names such as {_WEB_MODELS}")
    calibrate = (lambda model: calibration_crops(Predictor(model), pictures)) if pictures else None
    web_folder.save(models, output, flip_test=_FLIP_TEST.value, precision=_PRECISION.value, calibrate=calibrate)
    return ", ".join(models)


def _check_precision(precisions: tuple[str, ...], output: Path) -> None:
    if _PRECISION.value not in precisions:
        raise UserError(f"--precision={_PRECISION.value}: {output} can have {', '.join(precisions)}; choose one")


def _calibration_pictures() -> Pictures | None:
    """The pictures of --calibration; raises UserError if int8 has none, or another precision has some."""
    if _PRECISION.value == "int8" and not _CALIBRATION.value:
        raise UserError("--precision=int8 needs --calibration, pictures like those that the model will see")
    if _PRECISION.value != "int8" and _CALIBRATION.value:
        raise UserError(f"--calibration has no effect on {_PRECISION.value}; leave it out, or export .onnx in int8")
    return find_calibration(_CALIBRATION.value) if _CALIBRATION.value else None
