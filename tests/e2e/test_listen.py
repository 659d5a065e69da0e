"""The listening page in a real browser: heard to the end, filtered, driven by keys, accessible."""

from __future__ import annotations

import os
import re
import shlex
from base64 import b64decode
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from chromium import Page, chromium, program
from deployment import Deployment

from memolist_tts.core import verdict

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
  player.addEventListener("ended", () => {{
    const row = loaded.closest(".utterance").dataset;
    ended.push(row.language + row.card);
  }});
  player.addEventListener("error", () => done("error: " + player.error.message));
  new MutationObserver(() => {{
    const told = document.querySelector("#status").textContent;
    if (told === "The end.") done(ended);
  }}).observe(document.querySelector("#status"), {{ childList: true }});
  document.querySelector("#whole").click();
}})
"""
ROWS = """
[...document.querySelectorAll(".utterance")].map((row) => ({
  state: row.dataset.state, code: row.dataset.code,
  said: row.querySelector(".said").textContent, why: row.innerText,
  takes: [...row.querySelectorAll(".take")].map((take) => take.innerText),
  sources: [...row.querySelectorAll("button")].map((button) => button.dataset.mp3),
  links: [...row.querySelectorAll("a")].map((link) => link.href),
}))
"""
SLOWEST = """
document.querySelector("#speed").add(new Option("crawling", "0.0625"));
document.querySelector("#speed").value = "0.0625";
"""
# Whether the current row is clear of the bar above it and of what is fixed below.
CLEAR = """
(() => {
  const box = document.querySelector(".utterance.on").getBoundingClientRect();
  const form = document.querySelector("form");
  const isBar = getComputedStyle(form).position === "sticky";
  const top = isBar ? form.getBoundingClientRect().bottom : 0;
  const whole = document.querySelector("#whole").getBoundingClientRect();
  const status = document.querySelector("#status").getBoundingClientRect();
  const bottom = whole.top > top ? Math.min(whole.top, status.top) : status.top;
  return [box.top >= top, box.bottom <= bottom];
})()
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
    told = listened(browser, deployment, cards[0]["listId"], tmp_path)
    assert (told["utterances"], told["to_hear"]) == (8, 4)
    return browser


def listened(browser: Page, deployment: Deployment, list_id: str, folder: Path) -> dict[str, Any]:
    """Make a list's page and open it; what the command told."""
    out = folder / "listen.html"
    told: dict[str, Any] = deployment.told("listen", list_id, "--out", str(out))
    browser.look(width=1000)
    browser.open(out.as_uri())
    return told


def test_the_page_holds_all_it_needs(page: Page, tmp_path: Path) -> None:
    html = (tmp_path / "listen.html").read_text()

    assert page.run("performance.getEntriesByType('resource').length") == 0
    assert re.findall("https?://[^\"<]+", html) == [FOREIGN]
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
    row = page.run(ROWS)[1]
    boxes = page.run(
        "[...document.querySelectorAll('.utterance')[1].querySelectorAll('.take')]"
        ".map((take) => take.getBoundingClientRect()).map((box) => [box.left, box.right, box.top])"
    )
    sources = page.run("new Set(buttons.map((button) => button.dataset.mp3)).size")

    assert ["new:" in row["takes"][0], "old:" in row["takes"][1]] == [True, True]
    assert ["take 1" in row["takes"][0], "take 0" in row["takes"][1]] == [True, True]
    assert boxes[0][1] <= boxes[1][0]
    assert boxes[0][2] == boxes[1][2]
    assert sources == 5


def test_takes_that_say_different_words_are_told_by_their_words(
    browser: Page, deployment: Deployment, tmp_path: Path
) -> None:
    (card,) = deployment.spoken_list(("hot", "chaud"))
    deployment.told("retake", card["id"], "fr", "--say", "il fait chaud")

    listened(browser, deployment, card["listId"], tmp_path)

    new, old = browser.run(ROWS)[1]["takes"]
    assert "says chaud" in old
    assert ["take" in new, "take" in old] == [False, False]


def test_a_retake_that_failed_leaves_what_is_heard_and_tells_why(
    browser: Page, deployment: Deployment, tmp_path: Path
) -> None:
    (card,) = deployment.spoken_list(("curse", "maudire"))
    deployment.told("retake", card["id"], "fr")
    deployment.speech.add_fault("refused", match="gros mot")
    deployment.speech.add_fault("refused", match="swear")
    deployment.told("retake", card["id"], "en", "--say", "swear", exit_code=3)
    deployment.told("retake", card["id"], "fr", "--say", "gros mot", exit_code=3)

    listened(browser, deployment, card["listId"], tmp_path)

    english, french = browser.run(ROWS)
    assert [each["state"] for each in (english, french)] == ["spoken", "spoken"]
    assert [each["said"] for each in (english, french)] == ["curse", "maudire"]
    assert [each["code"] for each in (english, french)] == ["refused", "refused"]
    assert "refused The last attempt to speak it anew failed: The provider" in french["why"]
    assert len(english["sources"]) == 1
    assert len(set(french["sources"])) == len(french["sources"]) == 2


def test_a_take_is_never_shown_as_its_own_old_one(
    browser: Page, deployment: Deployment, tmp_path: Path
) -> None:
    (card,) = deployment.spoken_list(("hot", "chaud"))
    url = deployment.told("retake", card["id"], "fr")["url"]
    deployment.api.rows("UPDATE tts.selection SET old_url = :url", url=url)

    listened(browser, deployment, card["listId"], tmp_path)

    assert [len(row["sources"]) for row in browser.run(ROWS)] == [1, 1]


def test_audio_that_is_not_ours_or_gone_is_told_so_and_heard_if_it_can_be(
    browser: Page, deployment: Deployment, tmp_path: Path
) -> None:
    phrases = [("gone", "damaged"), ("held", "deep"), ("missing", "wicked")]
    cards = deployment.spoken_list(*phrases)
    base, folder = deployment.folder.resolve().as_uri(), deployment.folder
    sound = deployment.audio(cards[1]["audioEnUrl"])
    (folder / "0001-en.mp3").write_bytes(sound)
    (folder / cards[0]["audioEnUrl"].rsplit("/", 1)[-1]).unlink()
    (folder / cards[0]["audioFrUrl"].rsplit("/", 1)[-1]).write_bytes(sound[:200])
    carry(deployment, cards[1]["id"], f"{base}/0001-en.mp3", f"{base}/tts/0001 fr.mp3")
    carry(deployment, cards[2]["id"], f"{base}/0002-en.mp3", "javascript:alert(1)")

    told = listened(browser, deployment, cards[0]["listId"], tmp_path)

    gone, damaged, held, deep, missing, wicked = browser.run(ROWS)
    assert told["to_hear"] == 2
    assert gone["state"] == "gone"
    assert "isn't in the store" in gone["why"]
    assert "not sound MP3" in damaged["takes"][0]
    assert held["takes"][0].endswith("dBFS, sound")
    assert [each["state"] for each in (held, deep, missing)] == ["inherited"] * 3
    assert all("Under PUBLIC_BASE_URL" in each["why"] for each in (held, deep, missing))
    assert b64decode(held["sources"][0]) == sound
    assert deep["links"] == [f"{base}/tts/0001%20fr.mp3"]
    assert missing["links"] == [f"{base}/0002-en.mp3"]
    assert (wicked["state"], wicked["links"]) == ("foreign", [])
    assert "javascript:alert(1)" in wicked["why"]


def carry(deployment: Deployment, card_id: str, english: str, french: str) -> None:
    """Give a card other audio, as another worker would."""
    deployment.api.rows(
        'UPDATE "Card" SET "audioEnUrl" = :en, "audioFrUrl" = :fr WHERE id::text = :id',
        en=english, fr=french, id=card_id,
    )  # fmt: skip


def test_the_page_s_verdict_is_the_job_s(
    browser: Page, deployment: Deployment, tmp_path: Path
) -> None:
    words = ("the weather is fine today", "il fait beau aujourd'hui")
    quick = {"TTS_PROVIDER": "endpoint", "TTS_SPEED": "2.5"}
    (card,) = deployment.spoken_list(words, **quick)
    assert "needs" in verdict.judge(deployment.audio(card["audioEnUrl"]), words[0]).reason

    listened(browser, deployment, card["listId"], tmp_path)

    assert [row["takes"][0].endswith(", sound") for row in browser.run(ROWS)] == [True, True]
    assert browser.run("document.querySelectorAll('.fault').length") == 0


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
    playing = "Number(!player.paused)"
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


def test_the_space_key_stops_what_plays_though_another_s_button_was_clicked(page: Page) -> None:
    page.run(SLOWEST)
    page.click(".take button")
    clicked = page.run("[rows.indexOf(loaded.closest('.utterance')), player.paused]")
    page.press("j")
    stepped = page.run("[rows.indexOf(loaded.closest('.utterance')), player.paused]")
    page.press(" ")

    assert (clicked, stepped) == ([0, False], [1, False])
    assert page.run("[rows.indexOf(loaded.closest('.utterance')), player.paused]") == [1, True]


@pytest.mark.parametrize("width", [340, 768, 1000])
def test_the_current_utterance_is_never_hidden(page: Page, width: int) -> None:
    page.look(width=width, height=420)
    keys = ["j"] * 8 + ["k"] * 8
    seen = []
    for key in keys:
        page.press(key)
        seen.append(page.run(CLEAR))

    assert seen == [[True, True]] * len(keys)


@pytest.mark.parametrize("width", [340, 1000])
def test_play_all_can_be_stopped_wherever_one_is(page: Page, width: int) -> None:
    page.run(SLOWEST)
    page.look(width=width, height=420)
    page.run("document.querySelector('#whole').click()")
    page.run("scrollTo(0, document.scrollingElement.scrollHeight)")
    begun = page.run("document.querySelector('#whole').textContent")
    page.click("#whole")

    assert begun == "Stop"
    assert page.run("document.querySelector('#whole').textContent") == "Play all"


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
