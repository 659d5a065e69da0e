"""The documents say what the code does: alarms, codes, variables, links."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cfnlint.api import lint
from resolved_template import PROJECT, written

from memolist_tts.core import text
from memolist_tts.instructions import INSTRUCTIONS
from memolist_tts.settings import Settings

PACKAGE = PROJECT / "src" / "memolist_tts"
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("db/*.md"), *PROJECT.glob("docs/**/*.md")])
# What a card or a job can carry is decided in these; other codes name other things.
SPEAKING = (
    "core/chunk.py", "core/plan.py", "core/speaking.py", "core/takes.py", "core/purse.py",
    "speech/*.py",
)  # fmt: skip


def first_cells(document: Path, head: str) -> list[str]:
    """The first cells of the table whose header begins with `| head |`, a cell a line."""
    table = re.search(rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)", document.read_text(), re.M)
    assert table is not None, f"{document.name} has no table of each {head}"
    return [row.split("|")[1].strip() for row in table[1].splitlines()]


def quoted(cells: list[str]) -> list[str]:
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def codes_in(tree: ast.AST) -> Iterator[str]:
    """Constants given as `code=…`, or set as a class's `code`."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                yield code
            case ast.keyword(arg="code", value=ast.IfExp(body=ast.Constant(value=str(code)))):
                yield code
            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                yield code


def codes_of_the_source() -> set[str]:
    files = [file for pattern in SPEAKING for file in PACKAGE.glob(pattern)]
    files.append(PACKAGE / "core" / "errors.py")
    found = {code for file in files for code in codes_in(ast.parse(file.read_text()))}
    # The base class's own, under which nothing is ever raised.
    found -= {"speech_error"}
    for file in PACKAGE.glob("postgres/*.py"):
        found |= set(re.findall(r"error_code = '(\w+)'", file.read_text()))
        found |= set(re.findall(r"SELECT j\.id::text, '(\w+)', :error", file.read_text()))
    return found | set(text.REASONS)


def test_every_alarm_has_its_heading_in_the_runbook() -> None:
    resources = written()["Resources"].values()
    alarms = [
        each["Properties"]["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
        for each in resources
        if each["Type"] == "AWS::CloudWatch::Alarm"
    ]

    section = (PROJECT / "docs" / "operate.md").read_text().split("\n## Alarms\n")[1]
    headings = re.findall(r"^### (.+)$", section.split("\n## ")[0], re.M)

    assert sorted(headings) == sorted(alarms)


def test_every_code_is_explained_and_no_other() -> None:
    codes = quoted(first_cells(PROJECT / "docs" / "api.md", "code"))

    assert len(codes) == len(set(codes))
    assert set(codes) == codes_of_the_source()


def test_every_code_has_a_text_to_show_and_no_other() -> None:
    page = (PROJECT / "docs" / "api.md").read_text()
    texts = page.split("const TEXTS = {\n")[1].split("\n};\n")[0]
    codes = re.findall(r"^  (\w+): \{$", texts, re.M)
    for several in re.findall(r"Object\.fromEntries\(\s+\[(.+?)\]", texts, re.S):
        codes += re.findall(r'"(\w+)"', several)

    assert sorted(codes) == sorted(quoted(first_cells(PROJECT / "docs" / "api.md", "code")))


def test_the_rule_of_a_jobs_end_is_sound_cloudformation() -> None:
    page = (PROJECT / "docs" / "api.md").read_text()
    (resources,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S)
    template = "Resources:\n" + re.sub(r"^", "  ", resources, flags=re.M)

    assert lint(template) == []


def test_every_variable_is_in_the_readme_and_no_other() -> None:
    fields = {name for name in Settings.model_fields if name.isupper()}
    per_language = {
        f"{what}_{language.upper()}"
        for what in ("VOICE", "INSTRUCTIONS")
        for language in INSTRUCTIONS
    }

    names = quoted(first_cells(PROJECT / "README.md", "variable"))

    assert len(names) == len(set(names))
    assert set(names) == fields | per_language


README, FRENCH = PROJECT / "README.md", PROJECT / "README.fr.md"


def blocks(page: Path) -> list[tuple[str, str]]:
    """Each code block's language and its lines, without a shell's comments."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [(kind, re.sub(r" +#.*$", "", code, flags=re.M)) for kind, code in found]


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def test_both_readmes_have_the_same_sections_and_lead_to_each_other() -> None:
    levels = [re.findall(r"^(#+) ", prose(page), re.M) for page in (README, FRENCH)]

    assert levels[0] == levels[1]
    assert README.read_text().splitlines()[2] == "English | [Français](README.fr.md)"
    assert FRENCH.read_text().splitlines()[2] == "[English](README.md) | Français"


def test_both_readmes_have_the_same_commands() -> None:
    assert blocks(README) == blocks(FRENCH)


def test_both_readmes_have_the_same_variables_and_defaults() -> None:
    rows = [re.findall(r"^\|( `.+)\|$", page.read_text(), re.M) for page in (README, FRENCH)]
    english, french = ([row.split("|") for row in each] for each in rows)

    assert [quoted([row[0]]) for row in english] == [quoted([row[0]]) for row in french]
    for ours, theirs in zip(english, french, strict=True):
        # A default that is a value is the same in any language; one in words is translated.
        is_value = re.fullmatch(r"`.+`|[\d.]+|", ours[1].strip())
        assert (ours[1] == theirs[1]) == bool(is_value), ours[0]


def test_both_readmes_name_the_same_things_and_lead_to_the_same_pages() -> None:
    """Each section, so that a sentence added to one is missed in the other."""
    sections = [re.split(r"^## .+$", prose(page), flags=re.M)[1:] for page in (README, FRENCH)]

    for english, french in zip(*sections, strict=True):
        named = [sorted(quoted([re.sub(r"\s+", " ", each)])) for each in (english, french)]
        assert named[0] == named[1]
        assert re.findall(r"\]\((.+?)\)", english) == re.findall(r"\]\((.+?)\)", french)


def test_the_image_copies_only_what_is_there_and_not_ignored() -> None:
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    copies = [shlex.split(line)[1:-1] for line in lines if line.startswith("COPY ")]
    sources = {path for copy in copies if not copy[0].startswith("--") for path in copy}
    ignore = (PROJECT / ".dockerignore").read_text().splitlines()

    assert [path for path in sources if not (PROJECT / path).exists()] == []
    assert {line[1:] for line in ignore if line.startswith("!")} == sources


def test_the_image_installs_what_the_package_asks_for() -> None:
    lock = (PROJECT / "requirements" / "poll.txt").read_text()
    locked = dict(re.findall(r"^([\w-]+)==([^\s;]+)", lock, re.M))
    tested = (PROJECT / "requirements" / "dev.txt").read_text()
    asked = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    wanted = asked["project"]["dependencies"] + asked["build-system"]["requires"]

    assert {re.split(r"[\[<>=]", name)[0] for name in wanted} <= locked.keys()
    assert [name for name, version in locked.items() if f"{name}=={version}" not in tested] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)", document.read_text())
    pages = [(document.parent / path if path else document, anchor) for path, anchor in links]

    assert [page for page, _ in pages if not page.exists()] == []
    assert [anchor for page, anchor in pages if anchor and anchor not in anchors(page)] == []


def test_each_stage_that_the_runbook_deploys_is_configured() -> None:
    stages = tomllib.loads((PROJECT / "samconfig.toml").read_text()).keys()
    files = [PROJECT / "docs" / "operate.md", PROJECT / "docs" / "github-actions.yml"]

    named = {name for file in files for name in re.findall(r"--config-env (\w+)", file.read_text())}

    assert named - stages == set()
