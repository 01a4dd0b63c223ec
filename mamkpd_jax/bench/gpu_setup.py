"""Completes the environment of `make gpu` with what requirements.txt needs beyond the system's packages.

.venv-gpu/bin/python mamkpd_jax/bench/gpu_setup.py --system=/usr/bin/python3 --wheels=wheels

Packages come from the folder of wheels alone. It prints what is missing, and succeeds as long as JAX is there: programs
that need none of what is missing run. It imports only the standard library, since nothing else need be there yet.
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
    told = subprocess.run(
        [python, "-c", "import sys; print(*sys.path, sep='\\n')"], capture_output=True, check=True, text=True
    )
    own = {*sys.path, ""}  # of Python itself: this environment is one of the same Python
    sites = [path for path in told.stdout.splitlines() if path not in own]
    (Path(sysconfig.get_path("purelib")) / "system.pth").write_text("\n".join(sites), encoding="utf-8")


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PIP_CONFIG_FILE": os.devnull})


def install(wheels: Path) -> None:
    """Installs what requirements.txt needs; if something can't be had, all wheels without asking what they need."""
    where = ["--quiet", "--no-index", *([f"--find-links={wheels}"] if wheels.is_dir() else [])]
    if pip("install", *where, f"--requirement={_REQUIREMENTS}").returncode:
        pip("install", *where, "--no-deps", *map(str, sorted(wheels.glob("*.whl"))))


def version(name: str) -> str | None:
    """That of an installed package; None if there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def missing() -> list[str]:
    """The lines of requirements.txt that are not met, and what there is instead."""
    # pip's own reading of a requirement: it is there where nothing else may be.
    read = importlib.import_module("pip._vendor.packaging.requirements").Requirement
    lines = (line.partition("#")[0].strip() for line in _REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    unmet = []
    for line in filter(None, lines):
        wanted = read(line)
        found = version(wanted.name)
        if found is None or found not in wanted.specifier:
            unmet.append(f"{line} (there is {found or 'none'})")
    return unmet


def main() -> None:
    parser = argparse.ArgumentParser(description="Completes the environment of make gpu.")
    parser.add_argument("--system", required=True, help="The Python whose packages are used.")
    parser.add_argument("--wheels", type=Path, required=True, help="A folder of wheels; it need not exist.")
    flags = parser.parse_args()
    if sys.flags.no_site or "system.pth" not in os.listdir(sysconfig.get_path("purelib")):
        add_system(flags.system)
        os.execv(sys.executable, [sys.executable, *sys.argv])  # .pth files are read at the start
    if pip("--version").returncode:
        sys.exit(f"error: {flags.system} has no pip; give PYTHON=python3, one that has pip, and jax for CUDA")
    install(flags.wheels)
    for line in missing():
        print(f"missing: {line}")
    problems = [line for line in pip("check").stdout.splitlines() if " requires " in line]
    print(f"python {sys.version.split()[0]}, " + ", ".join(f"{name} {version(name) or '-'}" for name in _SHOWN))
    for line in problems[:10]:
        print(f"note: {line}")
    if version("jax") is None:
        sys.exit("error: this Python has no jax; give PYTHON=python3, one that has jax for CUDA")


if __name__ == "__main__":
    main()
