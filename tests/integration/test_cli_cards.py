"""What an operator does about cards: preview, estimate, fill, retake, undo, revoice, lexicon."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import typer
from command import PATIENCE_S, run_for_person
from deployment import Deployment

from local.api import Api
from local.schema import MINIMAL, Shape
from memolist_tts.cli.cards import retake
from memolist_tts.core.model import Completed, Failed
from memolist_tts.core.orders import orders
from memolist_tts.postgres.orders import Direction, Orders
from memolist_tts.speech.models import table
from tests.conftest import ROUTE

AWAY = "http://127.0.0.1:1/v1"
INTERRUPTED = "Interrupted: what is being spoken is stored first.\n"
FOREIGN = "https://elsewhere.example.com/recording.mp3"


def go_all(deployment: Deployment, jobs: list[str]) -> None:
    for job in jobs:
        assert deployment.go(job).outcome == Completed()


# ── preview, estimate, fill ──────────────────────────────────────────────────


def test_a_preview_tells_shown_from_said_and_the_price(deployment: Deployment) -> None:
    list_id = deployment.api.add_list([("<b>apple</b> 🍎", "🍎")])
    (card,) = deployment.api.cards(list_id)

    en, fr = deployment.told("preview", card["id"])["utterances"]
    shown = deployment.command("preview", card["id"], COLUMNS="80").stdout

    assert (en["shown"], en["said"], en["voice"]) == ("<b>apple</b> 🍎", "apple", "alloy")
    assert en["usd"] > 0
    assert (en["stored"], en["url"], en["carries"]) == (False, None, None)
    assert (fr["said"], fr["code"]) == (None, "only_emoji")
    assert deployment.asked == []
    assert re.search(r"says +apple", shown)
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())


def test_a_preview_that_speaks_makes_a_clip_that_jobs_reuse(deployment: Deployment) -> None:
    words = ("preview", "--text", "apple", "--language", "en", "--speak")

    (first,) = deployment.told(*words)["utterances"]
    (second,) = deployment.told(*words)["utterances"]
    (card,) = deployment.spoken_list(("apple", ""))

    assert (first["stored"], second["stored"], second["usd"]) == (False, True, 0)
    assert deployment.audio(first["url"])[:2] in (b"\xff\xf3", b"\xff\xfb")
    assert first["url"] == second["url"] == card["audioEnUrl"]
    assert deployment.asked == ["apple"]
    assert not deployment.api.rows("SELECT 1 AS x FROM tts.job WHERE job_id LIKE 'alone:%'")


def test_a_preview_that_the_provider_refuses_tells_why(deployment: Deployment) -> None:
    deployment.speech.add_fault("refused", match="curse")

    shown = deployment.command("preview", "--text", "curse", "--language", "en", "--speak")

    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith("refused: ")
    assert not deployment.api.rows("SELECT 1 AS x FROM tts.clip")


def test_a_text_of_no_card_carries_nothing_to_be_told(deployment: Deployment) -> None:
    shown = deployment.command("preview", "--text", "apple", "--language", "en")

    assert shown.returncode == 0
    assert "says" in shown.stdout
    assert "carries" not in shown.stdout


def test_an_address_is_never_broken(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))

    previewed = deployment.command("preview", card["id"], COLUMNS="80").stdout.splitlines()
    retaken = deployment.command("retake", card["id"], "en", COLUMNS="80").stdout.splitlines()

    now = deployment.card(card["id"])["audioEnUrl"]
    assert len(card["audioEnUrl"]) > 80
    assert previewed.count(card["audioEnUrl"]) == 2
    assert (retaken.count(card["audioEnUrl"]), retaken.count(now)) == (1, 1)


def test_a_preview_that_is_interrupted_keeps_what_is_paid_for(deployment: Deployment) -> None:
    deployment.settings["TTS_PROVIDER"] = ROUTE
    (card,) = deployment.api.cards(deployment.api.add_list([("apple", "pomme")]))
    deployment.speech.add_fault("hold")

    with deployment.started("preview", card["id"], "--speak") as process:
        assert deployment.speech.wait_for_in_flight(1, PATIENCE_S)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == INTERRUPTED
        deployment.speech.clear_faults()
        shown, rest = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, rest) == (130, "")
    assert len(re.findall("sounds", shown)) == 1
    assert deployment.asked == ["apple"]
    (day,) = deployment.rows("costs")
    assert day["calls"] == 1
    deployment.told("preview", card["id"], "--speak")
    assert deployment.asked == ["apple", "pomme"]


@pytest.mark.parametrize("command", ["preview", "retake"])
def test_a_person_sees_that_it_is_being_spoken_and_a_script_does_not(
    deployment: Deployment, command: str
) -> None:
    deployment.settings |= {"TTS_PROVIDER": ROUTE, "TERM": "xterm"}
    (card,) = deployment.api.cards(deployment.api.add_list([("apple", "")]))
    words = [command, card["id"], *(["--speak"] if command == "preview" else ["en"])]
    deployment.speech.add_fault("hold")

    seen = ""
    with on_terminal(deployment, *words) as screen:
        for piece in screen:
            seen += piece
            if "utterances spoken" in seen:
                deployment.speech.clear_faults()
    with on_terminal(deployment, *words, "--json") as screen:
        for_a_script = "".join(screen)

    assert "utterances spoken" in seen
    assert for_a_script == ""


@contextmanager
def on_terminal(deployment: Deployment, *words: str) -> Iterator[Iterator[str]]:
    """What a command shows on its standard error, a terminal, as it comes."""
    ours, its = os.openpty()
    with deployment.started(*words, stderr=its):
        os.close(its)

        def pieces() -> Iterator[str]:
            # EIO: nobody writes there any more.
            with suppress(OSError):
                while piece := os.read(ours, 4096):
                    yield piece.decode(errors="replace")

        yield pieces()
    os.close(ours)


def test_an_estimate_says_when_the_server_could_not_be_asked(deployment: Deployment) -> None:
    list_id = deployment.api.add_list([("apple", "")])

    shown = deployment.command("estimate", list_id, OPENAI_BASE_URL=AWAY)
    told = deployment.told("estimate", list_id, OPENAI_BASE_URL=AWAY)
    sure = deployment.told("estimate", list_id)

    model = table().default_models["endpoint"]
    assert shown.stderr == (
        f"{AWAY} can't be asked what it offers: "
        f"priced as {model} by TTS_PROVIDER=endpoint.\n"
    )
    assert (told["route"], told["model"], told["is_sure"]) == ("endpoint", model, False)
    assert (sure["route"], sure["is_sure"]) == ("chat", True)


def test_an_estimate_counts_what_is_stored_as_free(deployment: Deployment) -> None:
    deployment.spoken_list(("apple", "pomme"))
    list_id = deployment.api.add_list([("apple", "pomme"), ("bread", ""), ("bread", "pain")])

    told = deployment.told("estimate", list_id)
    forced = deployment.told("estimate", list_id, "--force")

    assert (told["utterances"], told["reused"], told["calls"]) == (5, 3, 2)
    assert told["codes"] == {"blank": 1}
    assert 0 < told["usd"] < forced["usd"]
    assert forced["calls"] == 4


@pytest.mark.parametrize("way", ["endpoint", "chat", "realtime"])
def test_an_estimate_is_near_what_was_paid(deployment: Deployment, way: str) -> None:
    deployment.settings["TTS_PROVIDER"] = way
    words = [
        ("apple", "la pomme"),
        ("Good morning", "Bonjour"),
        ("Where is the station?", "Où est la gare ?"),
        ("I would like a cup of coffee, please.", "Je voudrais une tasse de café."),
        ("We have been waiting for twenty minutes.", "Nous attendons depuis vingt minutes."),
        *((f"This is sentence number {n}", "") for n in range(5)),
    ]
    list_id = deployment.api.add_list(words)
    told = deployment.told("estimate", list_id)

    job_id = deployment.api.add_job(list_id)
    deployment.go(job_id)

    paid = deployment.told("status", job_id)["progress"]["cost_usd"]
    assert len(deployment.asked) == told["calls"]
    assert told["usd"] / paid == pytest.approx(1, abs=0.1)


def test_fill_finds_what_has_no_audio_and_no_error_and_prices_it_first(
    deployment: Deployment,
) -> None:
    deployment.speech.add_fault("refused", match="curse")
    deployment.spoken_list(("apple", "pomme"), ("curse", "🍎"))
    late = deployment.api.add_list([("bread", "pain"), ("apple", "")])
    opened = deployment.api.add_list([("milk", "lait")])
    deployment.api.add_job(opened)

    dry = deployment.told("fill", "--dry-run")
    before = deployment.api.rows('SELECT count(*) AS n FROM "TtsJob"')[0]["n"]
    told = deployment.told("fill")

    assert (dry["utterances"], dry["reused"], dry["calls"], dry["jobs"]) == (3, 1, 2, [])
    assert before == 2
    assert {**told, "jobs": [], "dry_run": True} == dry
    (job,) = told["jobs"]
    asked = len(deployment.asked)
    go_all(deployment, [job])
    assert sorted(deployment.asked[asked:]) == ["bread", "pain"]
    assert [bool(c["audioEnUrl"]) for c in deployment.api.cards(late)] == [True, True]
    assert deployment.api.job(job)["totalCount"] == 3
    assert deployment.told("fill")["jobs"] == []


def test_fill_is_bounded_and_splits_a_list_too_long_for_one_job(deployment: Deployment) -> None:
    list_id = deployment.api.add_list([(f"word {n}", "") for n in range(7)])
    deployment.settings["MAX_PHRASES_PER_JOB"] = "2"

    limited = deployment.command("fill", "--limit", "3", "--dry-run")
    told = deployment.told("fill")
    go_all(deployment, told["jobs"])

    assert limited.stdout.startswith("3 utterances, 0 of them free")
    assert limited.stderr == "The first 3 utterances; --limit shows more.\n"
    assert len(told["jobs"]) == 4
    assert all(card["audioEnUrl"] for card in deployment.api.cards(list_id))


@pytest.mark.parametrize("list_id", ["nosuch", ""])
def test_a_list_without_cards_is_not_filled(deployment: Deployment, list_id: str) -> None:
    deployment.api.add_list([("apple", "")])

    shown = deployment.command("fill", "--list", list_id)

    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == f"no \"Card\" has the listId '{list_id}'\n"


@pytest.mark.parametrize(
    "shape", [Shape(id_type="uuid", time_type="timestamptz"), MINIMAL, Shape(schema="api")]
)
def test_fill_makes_jobs_in_every_shape_of_the_api_s_tables(
    new_database: Callable[..., str], deployment: Deployment, shape: Shape
) -> None:
    url = new_database(shape)
    with Api(url, shape) as api:
        list_id = api.add_list([("apple", "pomme")])
        deployment.url = url

        (job,) = deployment.told("fill")["jobs"]
        deployment.go(job)

        assert api.job(job)["status"] == "completed"
        assert all(card["audioEnUrl"] for card in api.cards(list_id))


def test_a_job_that_an_operator_makes_is_the_last_user_s(deployment: Deployment) -> None:
    list_id = deployment.api.add_list([("apple", "")])
    deployment.api.add_job(list_id, userId="ann", status="completed")

    (job,) = deployment.told("fill")["jobs"]

    assert deployment.api.job(job)["userId"] == "ann"


def test_a_worker_without_the_right_to_make_jobs_is_told_so(deployment: Deployment) -> None:
    deployment.api.add_list([("apple", "")])
    deployment.api.rows('ALTER TABLE "TtsJob" ADD COLUMN "plan" text NOT NULL')

    shown = deployment.command("fill")

    assert shown.returncode == 1
    assert 'null value in column "plan"' in shown.stderr
    assert "It takes the right to INSERT" in shown.stderr
    assert not deployment.api.rows("SELECT 1 AS x FROM tts.selection")


# ── retake, undo ─────────────────────────────────────────────────────────────


def test_a_retake_is_another_recording_and_undo_brings_the_old_one_back(
    deployment: Deployment,
) -> None:
    (card,) = deployment.spoken_list(("apple", "pomme"))
    old = card["audioEnUrl"]
    before = deployment.audio(old)

    told = deployment.told("retake", card["id"], "en")
    after = deployment.card(card["id"])

    assert (told["status"], told["old_url"], told["take"]) == ("completed", old, 1)
    assert after["audioEnUrl"] == told["url"] != old
    assert after["audioFrUrl"] == card["audioFrUrl"]
    assert deployment.audio(told["url"]) != before
    assert deployment.audio(old) == before
    assert deployment.asked[2:] == ["apple"]

    undone = deployment.told("undo", card["id"], "en")

    assert (undone["was"], undone["url"]) == (told["url"], old)
    assert deployment.card(card["id"])["audioEnUrl"] == old
    (same,) = deployment.spoken_list(("apple", ""))
    assert same["audioEnUrl"] == old, "a take that was undone is given to no other card"
    assert deployment.command("undo", card["id"], "en").returncode == 1


def test_a_third_take_does_not_overwrite_one_that_was_undone(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    second = deployment.told("retake", card["id"], "en")
    deployment.told("undo", card["id"], "en")

    third = deployment.told("retake", card["id"], "en")

    assert (second["take"], third["take"]) == (1, 2)
    assert deployment.audio(third["url"]) != deployment.audio(second["url"])


def test_what_a_card_is_to_say_holds_for_later_jobs_and_is_undone_with_it(
    deployment: Deployment,
) -> None:
    (card,) = deployment.spoken_list(("", "pain"))
    words = ("retake", card["id"], "fr", "--say", "du pain", "--hint", "Le pain que l'on mange.")

    told = deployment.told(*words)
    charge = deployment.speech.charges[-1]
    deployment.api.rows('UPDATE "Card" SET "audioFrUrl" = NULL')
    deployment.go(deployment.api.add_job(card["listId"]))
    again = deployment.card(card["id"])

    assert told["spoken_text"] == charge.input == "du pain"
    assert charge.instructions is not None
    assert charge.instructions.endswith(" Le pain que l'on mange.")
    assert again["audioFrUrl"] == told["url"]
    assert len(deployment.asked) == 2

    deployment.told("undo", card["id"], "fr")
    (preview,) = deployment.told("preview", card["id"], "--language", "fr")["utterances"]
    assert (preview["said"], preview["say"], preview["hint"]) == ("pain", None, None)
    assert deployment.card(card["id"])["audioFrUrl"] == card["audioFrUrl"]


@pytest.mark.parametrize(
    ("model", "fix"),
    [
        ("tts-1", "tts-1 takes no instructions; leave it out, or set TTS_MODEL=gpt-4o-mini-tts-"),
        ("kokoro", "whether kokoro takes instructions isn't known; leave it out, or set "),
    ],
)
def test_a_hint_that_the_model_would_not_be_told_is_refused(
    deployment: Deployment, model: str, fix: str
) -> None:
    (card,) = deployment.spoken_list(("", "pain"))
    deployment.settings |= {"TTS_PROVIDER": "endpoint", "TTS_MODEL": model}

    for command in ("retake", "preview"):
        words = (card["id"], "fr") if command == "retake" else (card["id"], "--language", "fr")
        shown = deployment.command(command, *words, "--hint", "adverb, slowly")

        assert (shown.returncode, shown.stdout) == (1, "")
        assert shown.stderr.startswith(f"--hint: {fix}")

    assert deployment.asked == ["pain"]
    assert not deployment.api.rows("SELECT 1 AS x FROM tts.selection")
    assert not deployment.api.rows("SELECT 1 AS x FROM tts.direction")


def test_a_hint_of_before_is_told_to_be_unsent_where_the_model_takes_none(
    deployment: Deployment,
) -> None:
    (card,) = deployment.spoken_list(("", "pain"))
    deployment.told("retake", card["id"], "fr", "--hint", "slowly")
    words = ("preview", card["id"], "--language", "fr")
    deaf = {"TTS_PROVIDER": "endpoint", "TTS_MODEL": "tts-1"}

    (before,) = deployment.told(*words)["utterances"]
    (after,) = deployment.told(*words, **deaf)["utterances"]
    shown = deployment.command(*words, **deaf).stdout

    assert (before["hint"], before["hint_fault"]) == ("slowly", None)
    assert after["hint"] == "slowly"
    assert after["hint_fault"].startswith("--hint: tts-1 takes no instructions; ")
    assert re.search(r"not sent +--hint: tts-1", shown)


def test_a_card_that_is_edited_is_not_read_in_its_former_words(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("Reims", ""))
    deployment.told("retake", card["id"], "en", "--say", "Rance")
    deployment.api.rows("""UPDATE "Card" SET "textEn" = 'bread', "audioEnUrl" = NULL""")
    deployment.go(deployment.api.add_job(card["listId"]))
    deployment.api.rows("""UPDATE "Card" SET "textEn" = 'Reims', "audioEnUrl" = NULL""")
    deployment.go(deployment.api.add_job(card["listId"]))

    assert deployment.asked == ["Reims", "Rance", "bread"]


def test_a_retake_keeps_the_voice_that_the_card_has(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""), VOICE_EN="nova")

    told = deployment.told("retake", card["id"], "en")

    assert (told["voice"], told["take"]) == ("nova", 1)


def test_a_card_that_could_not_be_spoken_is_given_other_words(deployment: Deployment) -> None:
    deployment.speech.add_fault("refused", match="^curse$")
    (card,) = deployment.spoken_list(("curse", ""))

    told = deployment.told("retake", card["id"], "en", "--say", "a swear word")

    assert told["old_url"] is None
    assert deployment.card(card["id"])["audioEnUrl"] == told["url"]


def test_a_retake_that_another_job_s_audio_overtakes_is_made_all_the_same(
    deployment: Deployment,
) -> None:
    list_id = deployment.api.add_list([("apple", "")])
    (card,) = deployment.api.cards(list_id)
    worker = deployment.worker()
    found = next(each for each in worker.cards.card(card["id"]) if each.phrase.language == "en")
    (order,) = orders([replace(found, phrase=replace(found.phrase, voice="alloy"))], 1)
    go_all(deployment, [deployment.api.add_job(list_id)])
    first = deployment.card(card["id"])["audioEnUrl"]

    go_all(deployment, [worker.orders.place(order, Direction(say="pear"))])

    assert deployment.asked == ["apple", "pear"]
    assert deployment.card(card["id"])["audioEnUrl"] not in (None, first)


def test_a_retake_of_audio_that_another_retake_has_replaced_meanwhile_says_so(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    for name, value in deployment.environ.items():
        monkeypatch.setenv(name, value)
    place = Orders.place

    def late(*given: Any) -> str:
        deployment.told("retake", card["id"], "en")
        return place(*given)

    monkeypatch.setattr(Orders, "place", late)
    with pytest.raises(typer.Exit) as ended:
        retake(card["id"], "en")

    assert ended.value.exit_code == 3
    assert "Nothing was spoken: has_audio: The card has its audio." in capsys.readouterr().err
    assert deployment.asked == ["apple", "apple"]


def test_a_retake_that_fails_leaves_the_card_as_it_was(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    deployment.speech.add_fault("silent")

    told = deployment.told("retake", card["id"], "en", exit_code=3)

    assert (told["status"], told["code"]) == ("failed", "bad_audio")
    assert deployment.card(card["id"])["audioEnUrl"] == card["audioEnUrl"]
    assert deployment.command("undo", card["id"], "en").returncode == 1


def previewed(deployment: Deployment, card_id: str) -> dict[str, object]:
    (told,) = deployment.told("preview", card_id, "--language", "fr")["utterances"]
    return {name: told[name] for name in ("said", "say", "hint")}


PLAIN = {"said": "pain", "say": None, "hint": None}


def test_what_a_failed_retake_asked_is_undone_and_the_good_one_before_it_stays(
    deployment: Deployment,
) -> None:
    (card,) = deployment.spoken_list(("", "pain"))
    good = deployment.told("retake", card["id"], "fr")
    deployment.speech.add_fault("refused", match="gros mot")
    words = ("retake", card["id"], "fr", "--say", "gros mot", "--hint", "slowly")

    shown = deployment.command(*words)
    said = previewed(deployment, card["id"])
    undone = deployment.told("undo", card["id"], "fr")

    assert (shown.returncode, said["said"]) == (3, "gros mot")
    assert f"memolist-tts undo {card['id']} fr " in shown.stdout
    assert (undone["was"], undone["url"]) == (None, None)
    assert previewed(deployment, card["id"]) == PLAIN
    assert deployment.card(card["id"])["audioFrUrl"] == good["url"]

    # Taken back, it is no failure any more, and no retry speaks it.
    deployment.speech.clear_faults()
    assert deployment.rows("failures") == []
    assert deployment.command("retry", "--code", "refused").stdout == "pending again: 0 jobs\n"
    assert deployment.told("undo", card["id"], "fr")["url"] == card["audioFrUrl"]


def test_a_retry_leaves_out_a_failed_retake_that_a_later_one_made_good(
    deployment: Deployment,
) -> None:
    (card,) = deployment.spoken_list(("", "pain"))
    deployment.speech.add_fault("refused", match="gros mot")
    deployment.told("retake", card["id"], "fr", "--say", "gros mot", exit_code=3)
    deployment.told("retake", card["id"], "fr", "--say", "du pain")

    assert deployment.command("retry", "--code", "refused").stdout == "pending again: 0 jobs\n"
    assert deployment.told("retry", "--all")["found"] == []


def test_a_failed_retake_of_a_card_without_audio_is_undone(deployment: Deployment) -> None:
    deployment.speech.add_fault("refused")
    (card,) = deployment.spoken_list(("", "pain"))
    deployment.told("retake", card["id"], "fr", "--say", "du pain", exit_code=3)

    shown = deployment.command("undo", card["id"], "fr")

    line = f"{card['id']} fr: its --say and --hint are taken back; it had made no audio\n"
    assert (shown.returncode, shown.stdout) == (0, line)
    assert previewed(deployment, card["id"]) == PLAIN
    assert deployment.command("undo", card["id"], "fr").returncode == 1


def test_an_undo_past_a_retake_that_gave_a_card_its_first_audio_is_refused(
    deployment: Deployment,
) -> None:
    deployment.speech.add_fault("refused", match="^(pain|gros mot)$")
    (card,) = deployment.spoken_list(("", "pain"))
    deployment.told("retake", card["id"], "fr", "--say", "gros mot", exit_code=3)
    deployment.told("retake", card["id"], "fr", "--say", "du pain")

    assert deployment.command("undo", card["id"], "fr").returncode == 1
    assert previewed(deployment, card["id"])["said"] == "du pain"


def test_a_retake_that_waits_is_cancelled_before_it_is_undone(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("", "pain"))
    deployment.told("pause")
    deployment.command("retake", card["id"], "fr", "--say", "du pain")
    (job,) = deployment.api.rows("SELECT id FROM \"TtsJob\" WHERE status = 'pending'")

    early = deployment.command("undo", card["id"], "fr")
    deployment.told("cancel", job["id"])
    deployment.told("undo", card["id"], "fr")

    assert (early.returncode, early.stdout) == (1, "")
    assert early.stderr.endswith(f"wait, or `memolist-tts cancel {job['id']}` first\n")
    assert previewed(deployment, card["id"]) == PLAIN
    assert deployment.card(card["id"])["audioFrUrl"] == card["audioFrUrl"]


def test_audio_from_elsewhere_is_not_retaken(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    deployment.api.rows('UPDATE "Card" SET "audioEnUrl" = :url', url=FOREIGN)

    shown = deployment.command("retake", card["id"], "en")

    assert shown.returncode == 1
    assert shown.stderr.endswith("has audio from elsewhere, which is never replaced\n")
    assert deployment.card(card["id"])["audioEnUrl"] == FOREIGN


def test_an_undo_never_takes_a_card_s_newer_audio(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    deployment.told("retake", card["id"], "en")
    deployment.api.rows('UPDATE "Card" SET "audioEnUrl" = :url', url=FOREIGN)

    shown = deployment.command("undo", card["id"], "en")

    assert shown.returncode == 1
    assert "carries another audio by now" in shown.stderr
    assert deployment.card(card["id"])["audioEnUrl"] == FOREIGN


def test_while_all_is_paused_a_retake_waits_and_says_so(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    deployment.told("pause", "--why", "no money")

    shown = deployment.command("retake", card["id"], "en")

    assert shown.returncode == 3
    assert shown.stderr.endswith("is made and waits: no money\n")


def test_a_retake_that_waits_tells_a_script_its_job_and_no_other_user_s_pause(
    deployment: Deployment,
) -> None:
    list_id = deployment.api.add_list([("apple", "")])
    deployment.go(deployment.api.add_job(list_id, userId="anna"))
    (card,) = deployment.api.cards(list_id)
    deployment.told("pause", "--user", "bob", "--why", "bob imports")

    told = deployment.told("retake", card["id"], "en", exit_code=3, JOB_BUDGET_USD="0.000001")

    assert deployment.api.job(told["job"])["status"] == told["status"] == "pending"
    assert told["code"] == "job_budget_reached"
    assert (told["card"], told["url"], told["old_url"]) == (card["id"], None, card["audioEnUrl"])


def test_a_retake_whose_provider_is_away_waits_and_says_so(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    away = {"OPENAI_BASE_URL": AWAY, "TTS_PROVIDER": ROUTE}

    told = deployment.told("retake", card["id"], "en", exit_code=4, **away)
    shown = deployment.command(
        "preview", "--text", "pear", "--language", "en", "--speak", **away
    )

    assert (told["status"], told["code"]) == ("pending", "provider_down")
    assert shown.returncode == 4
    assert shown.stderr.startswith("provider_down: ")


def test_a_retake_of_a_job_that_fails_as_a_whole_tells_why(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))

    deployment.api.rows("UPDATE tts.clip SET voice = 'nobody'")

    told = deployment.told("retake", card["id"], "en", exit_code=3)

    assert (told["status"], told["code"]) == ("failed", "bad_options")
    assert "options.voice = nobody" in told["message"]


def test_a_retake_that_is_interrupted_ends_with_what_is_under_way_and_is_paid_once(
    deployment: Deployment,
) -> None:
    deployment.settings["TTS_PROVIDER"] = ROUTE
    (card,) = deployment.spoken_list(("apple", ""))
    deployment.speech.add_fault("hold")

    with deployment.started("retake", card["id"], "en", "--json") as process:
        assert deployment.speech.wait_for_in_flight(1, PATIENCE_S)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == INTERRUPTED
        # Before the second of them the run has seen that it is to end.
        await_writes(deployment, 2)
        deployment.speech.clear_faults()
        shown, rest = process.communicate(timeout=PATIENCE_S)

    told = json.loads(shown)
    assert (process.returncode, rest) == (0, "")
    assert told["status"] == deployment.api.job(told["job"])["status"] == "completed"
    (ours,) = deployment.api.rows("SELECT * FROM tts.job WHERE job_id = :id", id=told["job"])
    assert (ours["attempts"], ours["lease_until"]) == (0, None)
    booked = {each["job"]: each for each in deployment.rows("costs", "--by", "job")}[told["job"]]
    assert (booked["calls"], booked["characters"]) == (1, len("apple"))

    assert deployment.asked == ["apple", "apple"]
    assert deployment.card(card["id"])["audioEnUrl"] == told["url"] != card["audioEnUrl"]


def test_a_retake_whose_job_the_api_cancels_says_so(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    deployment.speech.add_fault("hold")

    with deployment.started("retake", card["id"], "en") as process:
        assert deployment.speech.wait_for_in_flight(1, PATIENCE_S)
        deployment.api.rows("""UPDATE "TtsJob" SET status = 'failed' WHERE status = 'processing'""")
        deployment.speech.clear_faults()
        shown, _ = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, shown) == (3, "cancelled by the API\n")
    assert deployment.card(card["id"])["audioEnUrl"] == card["audioEnUrl"]


def await_writes(deployment: Deployment, count: int) -> None:
    """Until the run under way has written so often from now on."""
    versions: set[str] = set()
    while len(versions) <= count:
        (row,) = deployment.api.rows(
            "SELECT xmin::text AS version FROM tts.job WHERE lease_token IS NOT NULL"
        )
        versions.add(row["version"])


@pytest.mark.parametrize("words", [("retake", "nothing", "en"), ("preview", "nothing")])
def test_a_card_that_is_not_there_is_named(deployment: Deployment, words: tuple[str, ...]) -> None:
    shown = deployment.command(*words)

    assert (shown.returncode, shown.stderr) == (1, "no \"Card\" has the id 'nothing'\n")


def test_a_language_that_is_not_spoken_is_named(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))

    shown = deployment.command("retake", card["id"], "de")

    assert (shown.returncode, shown.stderr) == (2, "'de' is no language of LANGUAGES: en, fr\n")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("revoice", "--where", "foo=bar", "--to", "nova"), "--where foo=…: one can ask for voice"),
        (("lexicon", "add", "de", "Katze", "Katse"), "'de' is no language of LANGUAGES: en, fr"),
        (("lexicon", "add", "fr", "<b></b>", "cha"), "'<b></b>' holds nothing that could be said"),
        (("preview", "--text", "pain", "--language", "fr", "--voice", "marin"), "options.voice: "),
    ],
)
def test_what_can_not_be_meant_is_wrong_usage(
    deployment: Deployment, words: tuple[str, ...], named: str
) -> None:
    shown = deployment.command(*words, TTS_PROVIDER="endpoint", TTS_MODEL="tts-1")

    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith(named)


# ── revoice, lexicon ─────────────────────────────────────────────────────────


def test_a_revoice_is_a_dry_run_until_it_is_agreed_to(deployment: Deployment) -> None:
    cards = deployment.spoken_list(("apple", "pomme"), ("bread", "pain"), VOICE_EN="nova")
    words = ("revoice", "--where", "voice=nova", "--to", "marin")

    asked = deployment.command(*words)
    dry = deployment.told(*words, "--dry-run")
    told = deployment.told(*words, "--yes")
    again = deployment.told(*words, "--yes")
    go_all(deployment, told["jobs"])

    assert asked.stdout.startswith("2 utterances, 0 of them free\n")
    assert (asked.returncode, asked.stderr) == (1, "Nothing was done; --yes does it.\n")
    assert (dry["utterances"], dry["jobs"]) == (2, [])
    assert (len(told["jobs"]), again["jobs"]) == (1, [])
    after = deployment.api.cards(cards[0]["listId"])
    assert [c["audioFrUrl"] for c in after] == [c["audioFrUrl"] for c in cards]
    assert {c["audioEnUrl"] for c in after}.isdisjoint({c["audioEnUrl"] for c in cards})
    marin = deployment.rows("clips", "--where", "voice=marin")
    assert sorted(clip["said"] for clip in marin) == ["apple", "bread"]
    assert deployment.told(*words, "--yes")["utterances"] == 0


def test_a_voice_that_the_provider_does_not_have_fails_that_job_alone(
    deployment: Deployment,
) -> None:
    deployment.spoken_list(("apple", ""))
    words = ("revoice", "--where", "voice=alloy", "--to", "nobody", "--yes")
    (job,) = deployment.told(*words)["jobs"]

    outcome = deployment.go(job).outcome

    assert isinstance(outcome, Failed)
    assert outcome.code == "bad_options"
    assert "options.voice = nobody" in outcome.message


def test_a_word_is_said_otherwise_on_exactly_the_cards_that_have_it(
    deployment: Deployment,
) -> None:
    words = [("cat", "le <b>Chat</b>"), ("castle", "le château"), ("kitten", "le petit chat")]
    cards = deployment.spoken_list(*words, VOICE_FR="nova")

    told = deployment.told("lexicon", "add", "fr", "chat", "cha", "--yes")
    go_all(deployment, told["jobs"])
    after = deployment.api.cards(cards[0]["listId"])

    moved = [a["audioFrUrl"] != b["audioFrUrl"] for a, b in zip(after, cards, strict=True)]
    assert (told["utterances"], moved) == (2, [True, False, True])
    assert [a["audioEnUrl"] for a in after] == [b["audioEnUrl"] for b in cards]
    assert sorted(deployment.asked[6:]) == ["le cha", "le petit cha"]
    assert {c.voice for c in deployment.speech.charges[6:]} == {"nova"}
    assert deployment.told("lexicon", "add", "fr", "chat", "cha", "--yes")["utterances"] == 0
    (word,) = deployment.rows("lexicon", "list")
    assert (word["language"], word["word"], word["said"]) == ("fr", "chat", "cha")


def test_a_word_is_found_where_the_card_only_says_it(deployment: Deployment) -> None:
    shown = ("la ville de Re<b>i</b>ms", "vouloir qqch", "la &eacute;cole", "la ville de Rome")
    cards = deployment.spoken_list(*(("", each) for each in shown))

    made = [
        deployment.told("lexicon", "add", "fr", word, said, "--yes")
        for word, said in (("Reims", "Rince"), ("chose", "choze"), ("école", "équole"))
    ]
    go_all(deployment, [job for told in made for job in told["jobs"]])

    assert [told["utterances"] for told in made] == [1, 1, 1]
    assert sorted(deployment.asked[4:]) == [
        "la ville de Rince", "la équole", "vouloir quelque choze",
    ]  # fmt: skip
    after = deployment.api.cards(cards[0]["listId"])
    moved = [a["audioFrUrl"] != b["audioFrUrl"] for a, b in zip(after, cards, strict=True)]
    assert moved == [True, True, True, False]


def test_a_word_taken_out_is_found_where_markup_hides_it(deployment: Deployment) -> None:
    deployment.told("lexicon", "add", "fr", "chaise", "cheze")
    (card,) = deployment.spoken_list(("", "la <b>ch</b>aise"))

    told = deployment.told("lexicon", "remove", "fr", "chaise", "--yes")
    go_all(deployment, told["jobs"])

    assert deployment.asked == ["la cheze", "la chaise"]
    assert deployment.card(card["id"])["audioFrUrl"] != card["audioFrUrl"]


def test_a_search_for_a_word_leaves_out_in_sql_what_says_just_what_it_shows(
    deployment: Deployment,
) -> None:
    deployment.spoken_list(("", "le chat"), ("", "le <b>chien</b>"), ("", "la vache"))

    pages = deployment.worker().cards.carrying({"language": "fr"}, pattern="%chat%")

    shown = {each.phrase.shown for page in pages for each in page}
    assert shown == {"le chat", "le <b>chien</b>"}


def test_a_word_taken_out_gives_the_cards_their_old_clips_at_no_cost(
    deployment: Deployment,
) -> None:
    (card,) = deployment.spoken_list(("", "chat"))
    told = deployment.told("lexicon", "add", "fr", "chat", "cha", "--yes")
    go_all(deployment, told["jobs"])

    told = deployment.told("lexicon", "remove", "fr", "chat", "--yes")
    go_all(deployment, told["jobs"])

    assert (told["utterances"], told["reused"]) == (1, 1)
    assert deployment.card(card["id"])["audioFrUrl"] == card["audioFrUrl"]
    assert deployment.asked == ["chat", "cha"]
    assert deployment.rows("lexicon", "list") == []
    assert deployment.command("lexicon", "remove", "fr", "chat").returncode == 1


def test_a_word_is_not_added_before_its_price_is_agreed_to(deployment: Deployment) -> None:
    deployment.spoken_list(("", "chat"))

    shown = deployment.command("lexicon", "add", "fr", "chat", "cha")

    assert shown.stdout.startswith("1 utterance, 0 of them free\n")
    assert (shown.returncode, shown.stderr) == (1, "Nothing was done; --yes does it.\n")
    assert deployment.rows("lexicon", "list") == []


def test_a_word_is_taken_out_whether_or_not_its_cards_are_spoken_anew(
    deployment: Deployment,
) -> None:
    cards = deployment.spoken_list(("", "chat"), ("", "le chat"))
    go_all(deployment, deployment.told("lexicon", "add", "fr", "chat", "cha", "--yes")["jobs"])
    before = [deployment.card(card["id"])["audioFrUrl"] for card in cards]
    deployment.api.rows("UPDATE tts.clip SET deleted_at = now() WHERE spoken_text LIKE '%chat'")
    words = ("lexicon", "remove", "fr", "chat")

    dry = deployment.told(*words, "--dry-run")
    kept = deployment.rows("lexicon", "list")
    shown, code = run_for_person("n\n", *words, **deployment.environ)

    assert (dry["cards"], len(kept)) == (2, 1)
    assert code == 0
    assert "removed: 'chat' is said as it is written in every later job" in shown
    assert f"Speak 2 cards anew for about {dry['usd']:.4f} USD? [y/N]" in shown
    assert "Audio of before stays on 2 cards; --yes has it spoken anew." in shown
    assert deployment.rows("lexicon", "list") == []
    assert [deployment.card(card["id"])["audioFrUrl"] for card in cards] == before

    shown, code = run_for_person("y\n", *words, **deployment.environ)

    assert (code, "removed" in shown) == (0, False)
    assert "1 job made over 2 cards" in shown


def test_a_script_takes_a_word_out_and_speaks_its_cards_only_with_yes(
    deployment: Deployment,
) -> None:
    deployment.spoken_list(("", "chat"))
    go_all(deployment, deployment.told("lexicon", "add", "fr", "chat", "cha", "--yes")["jobs"])
    words = ("lexicon", "remove", "fr", "chat")

    shown = deployment.command(*words, "--json")
    told = json.loads(shown.stdout)

    assert (told["dry_run"], told["cards"], told["jobs"]) == (False, 1, [])
    assert shown.stderr == "Audio of before stays on 1 card; --yes has it spoken anew.\n"
    assert (shown.returncode, deployment.rows("lexicon", "list")) == (0, [])
    assert len(deployment.told(*words, "--yes")["jobs"]) == 1


def test_a_word_that_no_card_has_is_said_otherwise_in_later_jobs(deployment: Deployment) -> None:
    deployment.told("lexicon", "add", "en", "lead", "led")

    deployment.spoken_list(("a lead pipe", ""))

    assert deployment.asked == ["a led pipe"]


def test_texts_without_a_word_of_the_lexicon_keep_their_clips(deployment: Deployment) -> None:
    (first,) = deployment.spoken_list(("Where's the cat?", "Où est le chat ?"))
    deployment.told("lexicon", "add", "en", "dog", "doug")

    (second,) = deployment.spoken_list(("Where's the cat?", "Où est le chat ?"))

    assert first["audioEnUrl"] == second["audioEnUrl"]
    assert first["audioFrUrl"] == second["audioFrUrl"]
