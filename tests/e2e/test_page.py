"""The demo's page in a real browser: it can be heard to the last clip."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest
from chromium import Page, chromium, program

from local.page import Cards, Entry, write_page
from local.speech import SpeechServer
from local.speech.sound import mp3, spoken

pytestmark = pytest.mark.chromium

TEXTS = [("cat", "chat"), ("it's <b>4 > 3</b>", "l'été & l'hiver"), ('a "quote"', "à jeudi")]

PLAY_ALL = """
new Promise((done) => {
  const players = [...document.querySelectorAll("audio")];
  const ended = [];
  players.forEach((player, index) => {
    player.defaultPlaybackRate = player.playbackRate = 16;
    player.addEventListener("error", () => done({ index, error: player.error.message }));
    player.addEventListener("ended", () => {
      ended.push([index, player.currentTime, player.duration]);
      if (ended.length === players.length) done(ended);
    });
  });
  document.querySelector("#whole").click();
})
"""


ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "DEMO_VOICE": ""}

BUTTONS = "[...document.querySelectorAll('.clip button')]"

PLAY_SECOND_AND_PAUSE = """
new Promise((done) => {
  const button = document.querySelectorAll(".clip button")[1];
  const players = [...document.querySelectorAll("audio")];
  const name = () => button.getAttribute("aria-label");
  const said = [];
  players[1].addEventListener("playing", () => {
    said.push(name(), players.every((player, index) => player.paused === (index !== 1)));
    button.click();
  });
  players[1].addEventListener("pause", () => {
    said.push(name(), players.every((player) => player.paused));
    done(said);
  });
  button.click();
})
"""

PLAY_UNTIL_IT_STOPS = """
new Promise((done) => {
  const button = document.querySelector("#whole");
  let ended = 0;
  document.querySelectorAll("audio").forEach((player) => {
    player.defaultPlaybackRate = player.playbackRate = 16;
    player.addEventListener("ended", () => { ended += 1; });
  });
  button.click();
  new MutationObserver(() => setTimeout(() => done([ended, button.textContent])))
    .observe(button, { childList: true });
})
"""

REASON = "The card shows only emoji; add a word."
SILENT = [
    Entry(language=language, text="", shown_text="😀", reason=REASON) for language in ("en", "fr")
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = program()
    if path is None and not os.environ.get("CI"):
        pytest.skip("no Chromium here: install it, or set CHROMIUM to its path")
    assert path is not None, "CI needs Chromium"
    with chromium(path, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page, tmp_path: Path) -> Page:
    """The page of a small deck, opened; its second card has nothing that could be spoken."""
    cards = {
        number: [entry(tmp_path, *each) for each in zip(("en", "fr"), texts, strict=True)]
        for number, texts in zip((1, 3, 4), TEXTS, strict=True)
    }
    return opened(browser, tmp_path, {1: cards[1], 2: SILENT, 3: cards[3], 4: cards[4]})


def opened(browser: Page, folder: Path, cards: Cards) -> Page:
    write_page(folder / "index.html", "Cats & <dogs>", "The voice is a <stand-in>.", cards)
    browser.open((folder / "index.html").as_uri())
    return browser


def entry(folder: Path, language: str, text: str) -> Entry:
    name = f"clips of {language}/{abs(hash(text))}#1.mp3"
    pcm = spoken(text, language, 1.0, 1.0)
    assert pcm is not None
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(mp3(pcm, 128))
    return Entry(
        language=language, text=text, shown_text=f"<i>{text}</i>", duration_s=1.0, path=name
    )


def test_one_button_plays_every_clip_to_its_end_in_order(page: Page) -> None:
    ended = page.run(PLAY_ALL)

    assert [index for index, _, _ in ended] == list(range(2 * len(TEXTS)))
    assert all(position == duration > 0.3 for _, position, duration in ended)


def test_every_clip_has_a_button_whose_name_tells_it_from_the_others(page: Page) -> None:
    names = page.run(f"{BUTTONS}.map((button) => button.getAttribute('aria-label'))")

    assert names == [
        f"Play {name}: {text}"
        for texts in TEXTS
        for name, text in zip(("English", "French"), texts, strict=True)
    ]
    assert page.run(f"{BUTTONS}.every((button) => button.tabIndex === 0)")
    assert not page.run("document.querySelector('audio').controls")


def test_a_clip_s_button_plays_it_alone_and_pauses_it(page: Page) -> None:
    said = page.run(PLAY_SECOND_AND_PAUSE)

    assert said == ["Pause French: chat", True, "Play French: chat", True]


def test_texts_are_shown_as_they_are_and_in_their_language(page: Page) -> None:
    texts = page.run(
        "[...document.querySelectorAll('.clip p')].map((p) => [p.lang, p.textContent])"
    )

    assert texts[2] == ["en", "it's <b>4 > 3</b>on the card: <i>it's <b>4 > 3</b></i>"]
    assert texts[3][0] == "fr"
    assert page.run("document.querySelectorAll('p b, p i').length") == 0
    assert page.run("document.title") == "Cats & <dogs>"


@pytest.mark.parametrize(
    ("shown", "said"),
    [("Ça va\u00a0?", "Ça va?"), ("l’été", "l'été"), ("(le) chat", "le chat")],
)
def test_a_card_that_differs_in_spaces_or_punctuation_alone_isn_t_shown_twice(
    browser: Page, tmp_path: Path, shown: str, said: str
) -> None:
    one = Entry(language="fr", text=said, shown_text=shown, duration_s=1.0, path="a.mp3")

    opened(browser, tmp_path, {1: [one]})

    assert browser.run("document.querySelector('.clip p').textContent") == said


def test_what_was_not_spoken_keeps_its_number_and_tells_why(page: Page) -> None:
    numbers = page.run("[...document.querySelectorAll('li > b')].map((each) => each.textContent)")
    second = page.run("document.querySelectorAll('li')[1].textContent")
    header = page.run("document.querySelector('header').textContent")

    assert numbers == ["1", "2", "3", "4"]
    assert "😀" in second
    assert REASON in second
    assert "4 cards." in header
    assert "2 phrases weren't spoken" in header


def test_a_deck_without_a_clip_has_no_button_to_play_it(browser: Page, tmp_path: Path) -> None:
    opened(browser, tmp_path, {1: SILENT})

    assert browser.run("document.querySelectorAll('button').length") == 0
    assert "1 card." in browser.run("document.querySelector('header').textContent")


def test_the_deck_plays_on_past_a_clip_that_is_gone(page: Page, tmp_path: Path) -> None:
    next(tmp_path.glob("clips of fr/*")).unlink()

    assert page.run(PLAY_UNTIL_IT_STOPS) == [2 * len(TEXTS) - 1, "Play the whole deck"]
    assert "not found" in page.run("document.querySelector('ol').textContent")


def test_listeners_are_told_whose_the_voice_is_and_that_it_is_ai(page: Page) -> None:
    told = page.run("document.querySelector('header').textContent")

    assert "The voice is a <stand-in>." in told
    assert "generated by AI" in told


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    page.run(PLAY_ALL)

    loaded = page.run("performance.getEntriesByType('resource').map((each) => each.name)")
    linked = page.run("[...document.querySelectorAll('[src], [href]')].map((e) => e.src || e.href)")

    assert all(url.startswith(("file:", "data:")) for url in loaded + linked)
    assert len(linked) > len(TEXTS)


def test_the_demo_tells_what_it_skipped_and_whose_the_voice_is(tmp_path: Path) -> None:
    deck = tmp_path / "mine.csv"
    deck.write_text("Front,Back,Tags\ncat,chat,animals\n😀,chien,\n", encoding="utf-8")

    demo = subprocess.run(
        [sys.executable, "-m", "local.demo", str(deck), "--folder", str(tmp_path)],
        env=ENVIRONMENT | {"OPENAI_API_KEY": "sk-not-to-be-used", "COLUMNS": "80"},
        capture_output=True,
        text=True,
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    lines = [" ".join(line.split()) for line in demo.stdout.splitlines()]
    url = f"{(tmp_path / 'audio').as_uri()}/v1-"
    assert "Ignored in the deck: column 3 (Tags)." in lines
    assert any(line.startswith("1 en cat ") and url in line for line in lines)
    assert all(line.endswith("-0.mp3") for line in lines if url in line)
    assert "2 en 😀 skipped" in lines
    assert "The card shows only emoji or symbols; add a word to have it read." in lines
    assert "not OpenAI's. It is synthetic (AI)" in demo.stdout
    assert "mine.csv" in (tmp_path / "index.html").read_text(encoding="utf-8")


PATIENCE_S = 20.0
IN_THE_SHELL = """
memolist-tts status; memolist-tts doctor --speak
of='import json, sys; print(json.load(sys.stdin)["utterances"][0]["card_id"])'
memolist-tts retake $(memolist-tts status JOB --json | python3 -c "$of") fr --json
"""


def test_the_demo_stays_up_for_a_shell_until_ctrl_c(tmp_path: Path) -> None:
    deck = tmp_path / "mine.csv"
    deck.write_text("cat,chat\n", encoding="utf-8")
    shell = tmp_path / "shell"

    with subprocess.Popen(
        [sys.executable, "-m", "local.demo", str(deck), "--stay", "--folder", str(tmp_path)],
        env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        told = list(takewhile(lambda line: line != f"source {shell}\n", demo.stdout))
        worked = subprocess.run(
            ["bash", "-ec", f"source {shell}; {IN_THE_SHELL.replace('JOB', told[-2].split()[3])}"],
            capture_output=True,
            text=True,
        )
        other = subprocess.run(
            [sys.executable, "-m", "local.demo", str(deck), "--folder", str(tmp_path)],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        assert worked.returncode == 0, worked.stdout + worked.stderr
        retaken = json.loads(worked.stdout.splitlines()[-1])["url"]
        give_up = time.monotonic() + PATIENCE_S
        while not Path(retaken.removeprefix("file://")).exists():
            assert time.monotonic() < give_up, f"{retaken} can't be heard"
            time.sleep(0.05)
        demo.send_signal(signal.SIGINT)

    assert "until Ctrl-C" in told[-1]
    assert "1 completed" in " ".join(worked.stdout.split())
    assert other.returncode == 1
    assert "Another demo uses" in other.stdout
    assert demo.returncode == 0
    assert not shell.exists()


def test_the_demo_speaks_with_the_real_voice_where_it_is_asked_for(tmp_path: Path) -> None:
    deck = tmp_path / "mine.csv"
    deck.write_text("cat,chat\n", encoding="utf-8")

    with SpeechServer(api_key="sk-of-mine") as server:
        demo = subprocess.run(
            [sys.executable, "-m", "local.demo", str(deck), "--check", "--folder", str(tmp_path)],
            env=ENVIRONMENT
            | {
                "DEMO_VOICE": "openai",
                "OPENAI_API_KEY": "sk-of-mine",
                "OPENAI_BASE_URL": server.base_url,
            },
            capture_output=True,
            text=True,
        )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert sorted(charge.input for charge in server.charges) == ["cat", "chat"]
    assert "not the charges" in demo.stdout
    assert "sk-of-mine" not in demo.stdout + demo.stderr


@pytest.mark.parametrize(
    ("voice", "told"), [("openai", "needs OPENAI_API_KEY"), ("opnai", "opnai is unknown")]
)
def test_a_voice_that_can_t_be_had_is_told_before_anything_starts(voice: str, told: str) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "local.demo"],
        env=ENVIRONMENT | {"DEMO_VOICE": voice, "OPENAI_API_KEY": ""},
        capture_output=True,
        text=True,
    )

    assert demo.returncode == 1
    assert told in demo.stdout


def test_the_demo_speaks_its_deck_and_its_page_plays_to_the_end(
    browser: Page, tmp_path: Path
) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "local.demo", "--check", "--folder", str(tmp_path)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    browser.open((tmp_path / "index.html").as_uri())
    assert len(browser.run(PLAY_ALL)) == 40
