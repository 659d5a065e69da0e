from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "layers/dependencies/check_layer.py"
AARCH64, X86_64 = 183, 62


@pytest.fixture(scope="module")
def check_layer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_layer", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shared_object(machine: int, glibc: str = "2.17") -> bytes:
    header = b"\x7fELF" + bytes(14) + struct.pack("<H", machine)
    return header + bytes(44) + b"\0GLIBC_2.2.5\0GLIBC_" + glibc.encode() + b"\0"


def test_a_layer_for_its_machine_is_taken(check_layer: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.abi3.so").write_bytes(shared_object(AARCH64))
    assert check_layer.faults(tmp_path, "aarch64") == []


def test_a_shared_object_of_another_machine_is_named(
    check_layer: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "b.cpython-313.so").write_bytes(shared_object(X86_64))
    (fault,) = check_layer.faults(tmp_path, "aarch64")
    assert "b.cpython-313.so isn't for aarch64" in fault


def test_a_shared_object_newer_than_lambda_is_named(
    check_layer: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "libc-user.so.1").write_bytes(shared_object(X86_64, glibc="2.36"))
    (fault,) = check_layer.faults(tmp_path, "x86_64")
    assert "libc-user.so.1 wants glibc 2.36" in fault


def test_a_layer_without_shared_objects_was_built_elsewhere(
    check_layer: ModuleType, tmp_path: Path
) -> None:
    assert len(check_layer.faults(tmp_path, "x86_64")) == 1


def test_a_layer_too_heavy_to_start_fast_is_refused(
    check_layer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.so").write_bytes(shared_object(X86_64))
    monkeypatch.setattr(check_layer, "MAX_ZIPPED_BYTES", 10)
    (fault,) = check_layer.faults(tmp_path, "x86_64")
    assert "over 10" in fault


def test_the_licence_of_everything_that_is_shipped_is_told() -> None:
    root = Path(__file__).parents[2]
    pinned = root / "layers" / "dependencies" / "requirements.txt"
    told = (root / "docs" / "LICENCES.md").read_text(encoding="utf-8")

    lines = pinned.read_text(encoding="utf-8").splitlines()
    shipped = [line.split()[0].split("==") for line in lines if "==" in line]
    assert shipped
    assert [each for each in shipped if f"| {each[0]} | {each[1]} | " not in told] == []
