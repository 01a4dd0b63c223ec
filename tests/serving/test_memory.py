"""The malloc arenas that glibc creates for threads."""

import os
import platform
import re
import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, sys, threading
from mamkpd_jax.serving.memory import limit_arenas

libc = ctypes.CDLL(None)
if sys.argv[2] == "limited":
    limit_arenas()
libc.malloc.restype = ctypes.c_void_p
all_run = threading.Barrier(6)

def work():
    all_run.wait()
    libc.malloc(1000)
    all_run.wait()

threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_two_arenas(tmp_path):
    arenas = {}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    for kind in ("limited", "default"):
        path = tmp_path / kind
        subprocess.run([sys.executable, "-c", _PROGRAM, str(path), kind], check=True, env=environment)
        arenas[kind] = len(re.findall("<heap nr=", path.read_text()))
    assert arenas["limited"] == 2 < arenas["default"]
