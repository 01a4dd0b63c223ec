"""The record of where something was run: a value without it is worth nothing."""

import datetime
import functools
import hashlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

# Whose versions are recorded where the process has loaded them.
_MODULES = (
    *("jax", "jaxlib", "flax", "numpy", "optax", "orbax.checkpoint", "grain", "cv2"),
    *("torch", "timm", "onnxruntime", "openvino", "triton"),
)
# Which change times: huge pages alone make a model a fifth faster on a CPU.
_VARIABLES = ("GLIBC_TUNABLES", "JAX_PLATFORMS", "OMP_NUM_THREADS", "XLA_FLAGS")


def environment() -> dict[str, Any]:
    """Device, processor, versions, commit, variables, command and time of this process, and PyTorch's device."""
    return {
        "device": jax.devices()[0].device_kind,
        "n_devices": jax.device_count(),
        "driver": gpu_property("driver_version"),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: sys.modules[name].__version__ for name in _MODULES if sys.modules.get(name)},
        "torch": _torch(),
        "commit": commit(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def commit(package: Path = Path(__file__).parent) -> str | None:
    """The commit of the checkout that a package is in, with a digest of uncommitted changes; None without a checkout.

    Result files don't count as changes: a bench that rewrites its own changes no code.
    """
    git = "git", "-C", str(package)
    if not _output(*git, "ls-files", "__init__.py"):  # an installed package may lie inside another repository
        return None
    changes = _output(*git, "diff", "HEAD", "--", ":/", ":(top,exclude)benchmarks/results")
    dirty = f"-dirty.{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else ""
    return _output(*git, "describe", "--always", "--abbrev=40") + dirty or None


def gpu_property(name: str) -> str | None:
    """What nvidia-smi tells of the first GPU, such as "driver_version"; None where there is none."""
    return _output("nvidia-smi", f"--query-gpu={name}", "--format=csv,noheader,nounits").partition("\n")[0] or None


def peak_memory_bytes() -> int:
    """The most memory used so far: of the fullest local device, or of this process where the device is a CPU."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    peaks = [one["peak_bytes_in_use"] for one in stats if one]
    return max(peaks) if peaks else process_peak_bytes()


def process_peak_bytes() -> int:
    """The most memory this process has held; 0 on Windows, where Python's standard library does not tell."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _torch() -> dict[str, Any] | None:
    """None where PyTorch is not loaded: it is an extra, which this module does not import."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": device, "threads": torch.get_num_threads()}


def _processor() -> str | None:
    """The name of the first processor; None where the system tells none."""
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or None


def _output(*command: str) -> str:
    """What a command prints; nothing where it does not exist or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
