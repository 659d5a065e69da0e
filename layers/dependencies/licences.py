"""`make licences`: what the layer ships and under which licence, as docs/LICENCES.md.

Reads the metadata of the installed packages that requirements.txt pins.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

PINNED = Path(__file__).with_name("requirements.txt")
TARGET = Path(__file__).parents[2] / "docs" / "LICENCES.md"
HEAD = """# What the layer ships

By `make licences`, from each package's own metadata. `lameenc` is the one copyleft licence: LGPL,
loaded as a library of its own, unchanged, so whoever gets the layer may replace it; its source is
at the address below. The local stand-in for the provider (`local/`) is never shipped.

| package | version | licence | source |
|---|---|---|---|
"""


def pinned() -> list[tuple[str, str]]:
    return re.findall(r"^([a-z0-9-]+)==(\S+)", PINNED.read_text(encoding="utf-8"), re.MULTILINE)


def licence(of: PackageMetadata) -> str:
    """The SPDX expression, else the classifiers, else the first line of the text."""
    if expression := of.get("License-Expression"):
        return expression
    named = [c for c in of.get_all("Classifier") or () if c.startswith("License ::")]
    if named:
        return "; ".join(each.rsplit(" :: ", 1)[1] for each in named)
    return (of.get("License") or "not said").splitlines()[0]


def source(of: PackageMetadata) -> str:
    urls = dict(each.split(", ", 1) for each in of.get_all("Project-URL") or ())
    for name in ("Source", "Source Code", "source", "Repository", "Homepage", "homepage"):
        if name in urls:
            return urls[name]
    return of.get("Home-page") or next(iter(urls.values()), "")


def main() -> int:
    rows, lacking = [], []
    for name, version in pinned():
        try:
            of = metadata(name)
        except PackageNotFoundError:
            lacking.append(name)
            continue
        rows.append(f"| {name} | {version} | {licence(of)} | {source(of)} |")
    if lacking:
        print(f"Not installed here, so not read: {', '.join(lacking)}", file=sys.stderr)
        return 1
    TARGET.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
