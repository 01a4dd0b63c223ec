"""Run provenance: what is needed to reproduce a result."""

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

# Modules whose versions are recorded if the process has imported them.
_MODULES = (
    *("jax", "jaxlib", "flax", "numpy", "optax", "orbax.checkpoint", "grain", "cv2"),
    *("torch", "timm", "onnxruntime", "openvino", "triton"),
)
# Environment variables that affect timings: huge pages, for example, make a model 20% faster on a CPU.
_VARIABLES = ("GLIBC_TUNABLES", "JAX_PLATFORMS", "OMP_NUM_THREADS", "XLA_FLAGS")


def environment() -> dict[str, Any]:
    """This process's device, processor, versions, commit, variables, command and time, as JSON values."""
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
    """The commit of the checkout that contains a package, with a digest of uncommitted changes; None if there is none.

    Changes of result files don't count, because a bench that rewrites its result changes no code.
    """
    git = "git", "-C", str(package)
    if not _output(*git, "ls-files", "__init__.py"):  # an installed package may be inside another repository
        return None
    changes = _output(*git, "diff", "HEAD", "--", ":/", ":(top,exclude)benchmarks/results")
    dirty = f"-dirty.{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else ""
    return _output(*git, "describe", "--always", "--abbrev=40") + dirty or None


def gpu_property(name: str) -> str | None:
    """A property of the first GPU as nvidia-smi reports it, such as "driver_version"; None without a GPU."""
    return _output("nvidia-smi", f"--query-gpu={name}", "--format=csv,noheader,nounits").partition("\n")[0] or None


def peak_memory_bytes() -> int:
    """The peak memory so far, in bytes: of the fullest local device, or of this process if the device is a CPU."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    peaks = [one["peak_bytes_in_use"] for one in stats if one]
    return max(peaks) if peaks else process_peak_bytes()


def process_peak_bytes() -> int:
    """The peak memory of this process, in bytes; 0 on Windows, where Python's standard library does not report it."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _torch() -> dict[str, Any] | None:
    """PyTorch's device and number of threads; None if the process has not imported PyTorch, which is an extra."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": device, "threads": torch.get_num_threads()}


def _processor() -> str | None:
    """The name of the first processor; None if the system does not report it."""
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or None


def _output(*command: str) -> str:
    """The standard output of a command, stripped; empty if the command does not exist or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
