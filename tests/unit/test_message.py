from __future__ import annotations

import json

import pytest

from memolist_tts.core.message import BadMessage, job_id

UUID = "3f2c8a52-9d0b-4c7e-8a4e-0c6c1f9f2b11"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('{"jobId": "abc"}', "abc"),
        (f'{{"jobId": "{UUID}"}}', UUID),
        ('{"userId": 7, "jobId": "abc", "detail": {"jobId": "other"}}', "abc"),
        (' \n{"jobId": "abc"}\n', "abc"),
        ('{"jobId": " abc\\n"}', "abc"),
        ('{"jobId": "\\u00e9t\\u00e9"}', "été"),
        ('"abc"', "abc"),
        (f'"{UUID}"', UUID),
        ("abc", "abc"),
        ("abc\n", "abc"),
        (UUID, UUID),
        ("123", "123"),
        ("007", "007"),
        ("1e5", "1e5"),
        ("NaN", "NaN"),
        ("12345678901234567890123", "12345678901234567890123"),
        ('"123"', "123"),
        ("x" * 255, "x" * 255),
    ],
)
def test_an_id_is_found_in_each_spelling(body: str, found: str) -> None:
    assert job_id(body) == found


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("null", "no job's id"),
        ("true", "no job's id"),
        ("please speak list 7", "no job's id"),
        ("[]", "a list"),
        ('["abc"]', "a list"),
        ("{}", "its fields: none"),
        ('{"job_id": "abc"}', "its fields: 'job_id'"),
        ('{"jobId": null}', "jobId is null"),
        ('{"jobId": ""}', "jobId is empty"),
        ('{"jobId": "  "}', "jobId is empty"),
        ('""', "jobId is empty"),
        ('{"jobId": 7}', "jobId is a number"),
        ('{"jobId": 7.5}', "jobId is a number"),
        ('{"jobId": true}', "jobId is true or false"),
        ('{"jobId": {"id": "abc"}}', "jobId is an object"),
        ('{"jobId": ["abc"]}', "jobId is a list"),
        ('{"jobId": "abc"', "isn't valid JSON"),
        ('"abc', "isn't valid JSON"),
        ("[object Object]", "isn't valid JSON"),
        ('{"jobId": "a", "n": ' + "9" * 5000 + "}", "isn't valid JSON"),
        ("[" * 200_000, "isn't valid JSON"),
        ("x" * 256, "256 characters, 255 at most"),
        (json.dumps({"jobId": "x" * 10_000}), "10000 characters"),
        ('{"jobId": "a\\u0000b"}', "can't be printed"),
        ('{"jobId": "a\\nb"}', "can't be printed"),
        ('{"jobId": "\\ud800"}', "can't be printed"),
        ('{"jobId": "a\\u200bb"}', "can't be printed"),
        ("a\0b", "can't be printed"),
        ('\ufeff{"jobId":"abc"}', "can't be printed"),
        (json.dumps(json.dumps({"jobId": "abc"})), "encoded twice"),
        (json.dumps({"jobId": json.dumps(["abc"])}), "encoded twice"),
    ],
)
def test_anything_else_is_refused_with_its_reason_and_the_fix(body: str, reason: str) -> None:
    with pytest.raises(BadMessage) as refused:
        job_id(body)

    assert reason in str(refused.value)
    assert 'send {"jobId"' in str(refused.value)


@pytest.mark.parametrize(
    ("envelope", "hint"),
    [
        ({"Type": "Notification", "TopicArn": "arn", "Message": '{"jobId": "a"}'}, "raw message"),
        ({"Type": "Notification", "Message": '{"jobId": "a"}'}, "raw message delivery"),
        ({"detail-type": "Job", "detail": {"jobId": "a"}}, "InputPath to $.detail"),
        ({"Records": [{"body": '{"jobId": "a"}'}]}, "a whole event"),
    ],
)
def test_an_envelope_is_refused_with_the_setting_that_takes_it_off(
    envelope: dict[str, object], hint: str
) -> None:
    with pytest.raises(BadMessage, match=hint.replace("$", r"\$")):
        job_id(json.dumps(envelope))


def test_a_refusal_stays_short_whatever_came() -> None:
    with pytest.raises(BadMessage) as refused:
        job_id(json.dumps({"y" * 1000 + str(n): n for n in range(1000)}))

    assert len(str(refused.value)) < 400
