"""Refuse a layer that Lambda could not load: `check_layer.py MACHINE FOLDER`.

Every shared object must be for MACHINE (aarch64 or x86_64) and ask for no newer glibc than
Lambda has; the zipped layer must stay small enough to start fast.
"""

from __future__ import annotations

import io
import re
import struct
import sys
import zipfile
from pathlib import Path

E_MACHINE = {"x86_64": 62, "aarch64": 183}  # <elf.h>: EM_X86_64, EM_AARCH64
LAMBDA_GLIBC = (2, 34)  # Amazon Linux 2023, the system under python3.13
MAX_ZIPPED_BYTES = 16_000_000


def faults(folder: Path, machine: str) -> list[str]:
    """What is wrong with the layer, a line each; empty if nothing."""
    binaries = [path for path in folder.rglob("*") if ".so" in path.suffixes]
    found = [fault for path in binaries for fault in binary_faults(path, machine)]
    if not binaries:
        found.append(f"{folder} holds no shared object: the build went elsewhere")
    if (size_bytes := zipped_bytes(folder)) > MAX_ZIPPED_BYTES:
        found.append(f"zipped it is {size_bytes:,} bytes, over {MAX_ZIPPED_BYTES:,}")
    return found


def binary_faults(path: Path, machine: str) -> list[str]:
    """What keeps one shared object from loading."""
    content = path.read_bytes()
    (actual,) = struct.unpack_from("<H", content, 18)
    glibc = newest_glibc(content)
    found = []
    if content[:4] != b"\x7fELF" or actual != E_MACHINE[machine]:
        found.append(f"{path.name} isn't for {machine} (e_machine {actual})")
    if glibc > LAMBDA_GLIBC:
        found.append(f"{path.name} wants glibc {glibc[0]}.{glibc[1]}, Lambda has 2.34")
    return found


def newest_glibc(content: bytes) -> tuple[int, int]:
    """The newest glibc version named in the object, (0, 0) if none is."""
    versions = re.findall(rb"GLIBC_(\d+)\.(\d+)", content)
    return max(((int(major), int(minor)) for major, minor in versions), default=(0, 0))


def zipped_bytes(folder: Path) -> int:
    """What the layer's zip will weigh."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in folder.rglob("*"):
            zipped.write(path, path.relative_to(folder))
    return archive.tell()


def main(machine: str, folder: str) -> int:
    found = faults(Path(folder), machine)
    for fault in found:
        print(f"layer: {fault}", file=sys.stderr)
    if not found:
        print(f"layer: {machine}, {zipped_bytes(Path(folder)):,} bytes zipped")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
