"""Opens ONNX files in onnxruntime (the extra `onnx`)."""

from pathlib import Path
from typing import Any

from mamkpd_jax.errors import UserError

# In order of preference. Choice: not TensorRT, which compiles for minutes at each start, nor CoreML, which uses fp16.
_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider", "CPUExecutionProvider")


def open_session(path: Path) -> Any:
    """An `onnxruntime.InferenceSession` of a file, on a GPU if the installed onnxruntime supports one.

    Raises:
        UserError: onnxruntime is not installed, or can't read the file.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: {error}; .onnx files need `pip install onnxruntime`") from error
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the path of an .onnx file")
    available = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(path, providers=[name for name in _PROVIDERS if name in available])
    except Exception as error:  # onnxruntime's exceptions have no common base
        reason = str(error).splitlines()[0].rpartition(":")[2].strip()  # without codes and the path
        raise UserError(
            f"{path} is damaged or not an ONNX file that onnxruntime reads ({reason}); copy it again"
        ) from error
