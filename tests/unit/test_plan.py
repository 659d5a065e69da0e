"""What is left to say for a job, case by case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from memolist_tts.core.errors import UtteranceRefused
from memolist_tts.core.model import Ended, Options, Phrase, Result, SpeechRequest, State, Voice
from memolist_tts.core.plan import Plan, Script, draw_up

OURS, FOREIGN = "https://ours.example/a.mp3", "https://elsewhere.example/a.mp3"


def voice(language: str) -> Voice:
    return Voice(language=language, model="m", name="alloy")


def request(text: str, voice: Voice) -> SpeechRequest:
    if "forbidden" in text:
        raise UtteranceRefused("No such text is read.", code="too_long")
    return {"provider": "p", "input": text, "language": voice.language}


def phrase(
    shown: str | None = "apple", *, card: str = "1", language: str = "en", url: str | None = None
) -> Phrase:
    return Phrase(card_id=card, language=language, shown=shown, url=url)


def before(state: State, shown: str | None = "apple", url: str | None = None) -> Ended:
    return Ended(state=state, shown=shown, url=url)


def plan(
    *phrases: Phrase,
    ended: Mapping[tuple[str, str], Ended] | None = None,
    force: bool = False,
) -> Plan:
    script = Script(
        options=Options(force=force),
        voice=voice,
        request=request,
        owns=lambda url: url.startswith("https://ours.example/"),
    )
    return draw_up(phrases, ended or {}, script)


def only(results: list[Result]) -> tuple[State, str | None]:
    (result,) = results
    return result.state, result.code


def said(drawn: Plan) -> list[str]:
    return [line.spoken for line in drawn.lines.values()]


def test_a_card_without_audio_is_to_be_said() -> None:
    drawn = plan(phrase())

    (line,) = drawn.lines.values()
    assert (line.spoken, line.provider, line.voice) == ("apple", "p", voice("en"))
    assert line.pieces == ("apple",)
    assert line.request(0) == request("apple", voice("en"))
    assert drawn.ended == []


def test_cards_with_the_same_text_share_a_line() -> None:
    first, second = phrase(card="1"), phrase(card="2")

    drawn = plan(first, second)

    assert list(drawn.phrases.values()) == [[first, second]]
    assert (len(drawn.lines), drawn.total, drawn.cards) == (1, 2, 2)


def test_a_card_to_be_said_in_two_languages_counts_once() -> None:
    drawn = plan(phrase(language="en"), phrase("pomme", language="fr"))

    assert (len(drawn.lines), drawn.total, drawn.cards) == (2, 2, 1)


def test_the_same_word_in_two_languages_is_said_twice() -> None:
    assert len(plan(phrase("pain"), phrase("pain", language="fr")).lines) == 2


def test_a_long_text_is_said_in_parts() -> None:
    sentence = "This sentence is here to make the text a long one. "

    (line,) = plan(phrase(sentence * 40)).lines.values()

    assert len(line.pieces) > 1
    assert " ".join(str(line.request(n)["input"]) for n in range(len(line.pieces))) == line.spoken


def test_a_text_that_no_run_could_say_whole_fails_before_anything_is_paid() -> None:
    longest, longer = "word " * 819 + ".", "word " * 820

    assert plan(phrase(longest)).ended == []
    (result,) = plan(phrase(longer)).ended
    assert (result.state, result.code) == (State.FAILED, "too_long")
    assert "4,099 characters to say, a card may have 4,096" in result.message


def test_an_empty_card_is_skipped_with_its_reason() -> None:
    for shown in ("", "   ", None):
        (result,) = plan(phrase(shown)).ended
        assert result.state is State.SKIPPED
        assert result.code
        assert result.message


def test_a_text_that_can_not_be_sent_fails_before_anything_is_paid() -> None:
    drawn = plan(phrase("forbidden"))

    (result,) = drawn.ended
    assert (result.state, result.code) == (State.FAILED, "too_long")
    assert (result.message, result.spoken) == ("No such text is read.", "forbidden")
    assert drawn.lines == {}


def test_audio_of_ours_is_kept() -> None:
    drawn = plan(phrase(url=OURS))

    assert only(drawn.ended) == (State.KEPT, "has_audio")
    assert drawn.lines == {}
    assert drawn.cards == 0


def test_force_replaces_audio_of_ours() -> None:
    assert said(plan(phrase(url=OURS), force=True)) == ["apple"]


def test_a_retake_of_a_card_without_audio_replaces_what_another_job_gave_it_meanwhile() -> None:
    asked = replace(phrase(url=OURS), voice="nova", say="pear")

    assert said(plan(asked)) == ["pear"]
    assert only(plan(replace(asked, replaces="https://ours.example/b.mp3")).ended) == (
        State.KEPT,
        "has_audio",
    )


def test_foreign_audio_is_never_replaced() -> None:
    for force in (False, True):
        assert only(plan(phrase(url=FOREIGN), force=force).ended) == (State.KEPT, "foreign_audio")


def test_what_this_job_published_is_done() -> None:
    published = {("1", "en"): before(State.SPOKEN, url=OURS)}

    for force in (False, True):
        drawn = plan(phrase(url=OURS), ended=published, force=force)
        assert (drawn.ended, drawn.lines) == ([], {})


def test_what_this_job_skipped_or_failed_is_done() -> None:
    for state in (State.SKIPPED, State.FAILED):
        drawn = plan(phrase(), ended={("1", "en"): before(state)})
        assert (drawn.ended, drawn.lines) == ([], {})


def test_what_was_done_in_one_language_is_not_done_in_another() -> None:
    drawn = plan(phrase("pain", language="fr"), ended={("1", "en"): before(State.FAILED, "pain")})

    assert said(drawn) == ["pain"]


def test_a_card_that_lost_its_audio_is_said_again() -> None:
    drawn = plan(phrase(url=None), ended={("1", "en"): before(State.SPOKEN, url=OURS)})

    assert said(drawn) == ["apple"]


def test_a_failed_card_whose_text_was_edited_is_tried_again() -> None:
    drawn = plan(phrase("pear"), ended={("1", "en"): before(State.FAILED)})

    assert said(drawn) == ["pear"]


def test_a_card_edited_after_this_job_published_it_is_said_anew() -> None:
    drawn = plan(phrase("pear", url=OURS), ended={("1", "en"): before(State.SPOKEN, url=OURS)})

    assert said(drawn) == ["pear"]


def test_an_edited_card_with_another_url_of_ours_is_kept() -> None:
    another = "https://ours.example/b.mp3"

    drawn = plan(phrase("pear", url=another), ended={("1", "en"): before(State.SPOKEN, url=OURS)})

    assert only(drawn.ended) == (State.KEPT, "has_audio")


def test_an_edited_card_with_foreign_audio_is_kept() -> None:
    drawn = plan(phrase("pear", url=FOREIGN), ended={("1", "en"): before(State.KEPT, url=FOREIGN)})

    assert only(drawn.ended) == (State.KEPT, "foreign_audio")


def test_an_empty_list_leaves_nothing_to_say() -> None:
    assert plan() == Plan(total=0)
