"""What a speaking process keeps of the memory that its threads took."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Sixteen threads at once, as that many calls are: each takes what a clip takes.
THREADS = """
import ctypes, re, sys, tempfile, threading
from memolist_tts import memory
if sys.argv[1] == "settled":
    memory.settle()
libc = ctypes.CDLL(None)
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
together = threading.Barrier(16)
def take():
    together.wait()
    for _ in range(50):
        libc.free(libc.malloc(100_000))
        libc.free(libc.malloc(20_000))
    together.wait()
threads = [threading.Thread(target=take) for _ in range(16)]
[each.start() for each in threads]
[each.join() for each in threads]
with tempfile.NamedTemporaryFile() as told:
    file = libc.fopen(told.name.encode(), b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
    print(len(re.findall("<heap nr=", told.read().decode())))
"""


def heaps(how: str) -> int:
    found = subprocess.run(
        [sys.executable, "-c", THREADS, how], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told")
def test_threads_share_two_arenas() -> None:
    assert heaps("left alone") > 2
    assert heaps("settled") <= 2
