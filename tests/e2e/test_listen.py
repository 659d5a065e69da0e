"""The listening page in a real browser: heard to the end, filtered, driven by keys, accessible."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from chromium import Page, chromium, program
from deployment import Deployment

pytestmark = pytest.mark.chromium

FOREIGN = "https://elsewhere.example.com/recording.mp3"
WORDS = [
    ("it's <b>hot</b>", "il fait chaud"),
    ("curse", "🍎"),
    ("hers", "à elle"),
    ("late", "tard"),
]
FAST = """
document.querySelector("#pause").value = "0";
document.querySelector("#speed").add(new Option("fast", "16"));
document.querySelector("#speed").value = "16";
"""
PLAY_ALL = f"""
new Promise((done) => {{
  {FAST}
  const ended = [];
  document.querySelectorAll("audio").forEach((player) => {{
    const row = player.closest(".utterance").dataset;
    player.addEventListener("ended", () => ended.push(row.language + row.card));
    player.addEventListener("error", () => done("error: " + player.error.message));
  }});
  new MutationObserver(() => {{
    const told = document.querySelector("#status").textContent;
    if (told === "The end.") done(ended);
  }}).observe(document.querySelector("#status"), {{ childList: true }});
  document.querySelector("#whole").click();
}})
"""
VISIBLE = "[...document.querySelectorAll('.utterance')].filter((r) => !r.hidden).length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = program()
    if path is None and not os.environ.get("CI"):
        pytest.skip("no Chromium here: install it, or set CHROMIUM to its path")
    assert path is not None, "CI needs Chromium"
    with chromium(path, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def cards(deployment: Deployment) -> list[dict[str, Any]]:
    """A list with every state there is, and a card that was retaken."""
    deployment.speech.add_fault("refused", match="curse")
    cards = deployment.spoken_list(*WORDS)
    deployment.api.rows(
        'UPDATE "Card" SET "audioEnUrl" = :url WHERE id::text = :id', url=FOREIGN, id=cards[2]["id"]
    )
    deployment.api.rows(
        'UPDATE "Card" SET "audioFrUrl" = NULL WHERE id::text = :id', id=cards[3]["id"]
    )
    deployment.told("retake", cards[0]["id"], "fr")
    return deployment.api.cards(cards[0]["listId"])


@pytest.fixture
def page(
    browser: Page, deployment: Deployment, cards: list[dict[str, Any]], tmp_path: Path
) -> Page:
    out = tmp_path / "listen.html"
    told = deployment.told("listen", cards[0]["listId"], "--out", str(out))
    assert (told["utterances"], told["to_hear"]) == (8, 4)
    browser.look(width=1000)
    browser.open(out.as_uri())
    return browser


def test_the_page_holds_all_it_needs(page: Page, tmp_path: Path) -> None:
    html = (tmp_path / "listen.html").read_text()

    assert page.run("performance.getEntriesByType('resource').length") == 0
    assert "http://" not in html
    assert "https://" not in html
    assert "The voice is AI" in html


def test_all_clips_play_one_after_another_in_the_cards_order(
    page: Page, cards: list[dict[str, Any]]
) -> None:
    wanted = [f"en{cards[0]['id']}", f"fr{cards[0]['id']}", f"fr{cards[2]['id']}"]

    assert page.run(PLAY_ALL) == [*wanted, f"en{cards[3]['id']}"]
    assert page.run("document.querySelector('#whole').textContent") == "Play all"


def test_both_texts_and_the_reason_are_shown(page: Page) -> None:
    text = page.run("document.body.innerText")

    assert "it's hot" in text
    assert "it's <b>hot</b>" in text
    assert "refused The provider refuses this text" in text
    assert "only_emoji" in text
    assert "foreign_audio" in text


def test_the_old_take_stands_beside_the_new_one(page: Page) -> None:
    takes = page.run(
        "[...document.querySelectorAll('.utterance')][1].querySelectorAll('.take').length"
    )
    sources = page.run("new Set([...document.querySelectorAll('audio')].map((a) => a.src)).size")

    assert takes == 2
    assert sources == 5


@pytest.mark.parametrize(
    ("select", "value", "count"),
    [("state", "failed", 1), ("state", "spoken", 4), ("state", "missing", 1),
     ("code", "only_emoji", 1), ("code", "foreign_audio", 1), ("state", "", 8)],
)  # fmt: skip
def test_states_and_codes_are_filtered(page: Page, select: str, value: str, count: int) -> None:
    page.run(
        f"{{ const s = document.querySelector('#{select}'); s.value = '{value}';"
        " s.dispatchEvent(new Event('change')); }"
    )

    assert page.run(VISIBLE) == count
    assert page.run("document.querySelector('#status').textContent") == f"{count} of 8 shown."


def test_a_flag_gives_a_command_that_retakes_the_card(
    page: Page, deployment: Deployment, cards: list[dict[str, Any]]
) -> None:
    page.run(
        "{ const row = document.querySelectorAll('.utterance')[2];"
        "row.querySelector('[type=checkbox]').click();"
        "const say = row.querySelector('[type=text]');"
        "say.value = \"it's a swear word\"; say.dispatchEvent(new Event('input')); }"
    )
    deployment.speech.clear_faults()

    line = page.run("document.querySelector('#commands').textContent")
    program_name, *words = shlex.split(line)
    told = deployment.told(*words)

    assert program_name == "memolist-tts"
    assert told["spoken_text"] == "it's a swear word"
    assert deployment.card(cards[1]["id"])["audioEnUrl"] == told["url"]


def test_keys_move_play_and_flag(page: Page) -> None:
    where = "rows.findIndex((row) => row.classList.contains('on'))"
    playing = "players.filter((player) => !player.paused).length"
    page.press("j")
    first = page.run(where), page.run(playing)
    page.press("j")
    second = page.run(where)
    page.press("k")
    back = page.run(where)
    page.press(" ")
    stopped = page.run(playing)
    page.press("f")
    flagged = page.run("document.querySelectorAll('[type=checkbox]:checked').length")
    page.press("s")

    assert (first, second, back, stopped, flagged) == ((0, 1), 1, 0, 0, 1)
    assert page.run("document.querySelector('#speed').value") == "0.75"


def test_a_phone_shows_it_without_scrolling_sideways(page: Page, tmp_path: Path) -> None:
    page.look(width=340)
    page.run("document.querySelector('[type=checkbox]').click()")

    assert page.run("document.scrollingElement.scrollWidth <= innerWidth")
    page.screenshot(tmp_path / "phone.png")
    assert (tmp_path / "phone.png").stat().st_size > 10_000


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("width", [340, 1000])
def test_nothing_keeps_anyone_from_using_it(
    page: Page, is_dark: bool, width: int, tmp_path: Path
) -> None:
    page.look(width=width, is_dark=is_dark)
    page.run("document.querySelector('[type=checkbox]').click()")
    page.run(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))

    found = page.run("axe.run().then((told) => told)")

    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]] == []
    assert len(found["passes"]) > 10
    page.screenshot(tmp_path / f"{width}-{is_dark}.png")


def test_a_list_that_is_not_there_is_named(deployment: Deployment) -> None:
    shown = deployment.command("listen", "nothing")

    assert (shown.returncode, shown.stderr) == (1, "no \"Card\" has the listId 'nothing'\n")


def test_a_page_that_can_not_be_written_is_named(
    deployment: Deployment, cards: list[dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "none" / "listen.html"

    shown = deployment.command("listen", cards[0]["listId"], "--out", str(out))

    assert shown.returncode == 1
    assert shown.stderr == f"--out {out} can't be written: No such file or directory\n"
