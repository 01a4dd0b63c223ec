"""Completes the environment of `make gpu` with the requirements that the system's packages don't meet.

.venv-gpu/bin/python mamkpd_jax/bench/gpu_setup.py --system=/usr/bin/python3 --wheels=wheels

Packages come from the folder of wheels alone. It prints which requirements are missing, and succeeds if JAX is
installed: programs that don't need the missing ones still run. It imports only the standard library, as nothing else
may be installed yet.
"""

import argparse
import importlib
import importlib.metadata
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
_SHOWN = ("jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "torch", "torchvision", "timm", "triton")


def add_system(python: str) -> None:
    """Lets this environment see the packages that another Python sees."""
    listed = subprocess.run(
        [python, "-c", "import sys; print(*sys.path, sep='\\n')"], capture_output=True, check=True, text=True
    )
    own = {*sys.path, ""}  # the standard library: this environment has the same Python
    sites = [path for path in listed.stdout.splitlines() if path not in own]
    (Path(sysconfig.get_path("purelib")) / "system.pth").write_text("\n".join(sites), encoding="utf-8")


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs this environment's pip without the user's configuration of pip."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PIP_CONFIG_FILE": os.devnull})


def install(wheels: Path) -> None:
    """Installs requirements.txt from a folder of wheels; if that fails, all wheels without their dependencies."""
    where = ["--quiet", "--no-index", *([f"--find-links={wheels}"] if wheels.is_dir() else [])]
    if pip("install", *where, f"--requirement={_REQUIREMENTS}").returncode:
        pip("install", *where, "--no-deps", *map(str, sorted(wheels.glob("*.whl"))))


def version(name: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def missing() -> list[str]:
    """The lines of requirements.txt that are not met, each with the installed version."""
    # pip's copy of `packaging`, as the package itself may not be installed.
    read = importlib.import_module("pip._vendor.packaging.requirements").Requirement
    lines = (line.partition("#")[0].strip() for line in _REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    unmet = []
    for line in filter(None, lines):
        wanted = read(line)
        found = version(wanted.name)
        if found is None or found not in wanted.specifier:
            unmet.append(f"{line} (found {found or 'none'})")
    return unmet


def main() -> None:
    parser = argparse.ArgumentParser(description="Completes the environment of make gpu.")
    parser.add_argument("--system", required=True, help="Path of the Python whose packages are used.")
    parser.add_argument("--wheels", type=Path, required=True, help="Folder of wheels; it may be missing.")
    flags = parser.parse_args()
    if sys.flags.no_site or "system.pth" not in os.listdir(sysconfig.get_path("purelib")):
        add_system(flags.system)
        os.execv(sys.executable, [sys.executable, *sys.argv])  # Python reads .pth files only at its start
    if pip("--version").returncode:
        sys.exit(f"error: {flags.system} has no pip; give PYTHON=PATH of a Python that has pip and JAX for CUDA")
    install(flags.wheels)
    for line in missing():
        print(f"missing: {line}")
    problems = [line for line in pip("check").stdout.splitlines() if " requires " in line]
    print(f"python {sys.version.split()[0]}, " + ", ".join(f"{name} {version(name) or '-'}" for name in _SHOWN))
    for line in problems[:10]:
        print(f"note: {line}")
    if version("jax") is None:
        sys.exit(f"error: {flags.system} has no jax; give PYTHON=PATH of a Python that has JAX for CUDA")


if __name__ == "__main__":
    main()
