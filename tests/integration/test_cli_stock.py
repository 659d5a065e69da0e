"""What an operator does about all clips: verify them, delete what no card carries."""

from __future__ import annotations

from deployment import Deployment

from memolist_tts.core.model import Completed
from memolist_tts.core.ports import Storage
from memolist_tts.storage.folder import FolderStorage
from memolist_tts.storage.s3 import S3Storage
from tests.conftest import Bucket

GC = ("gc", "--older", "1s", "--yes")


def pass_time(deployment: Deployment) -> None:
    """Two days go by."""
    deployment.api.rows(
        "UPDATE tts.clip SET stored_at = stored_at - interval '2 days', "
        "unused_since = unused_since - interval '2 days'"
    )


def names(deployment: Deployment) -> set[str]:
    return {path.name for path in deployment.folder.glob("*.mp3")}


def test_all_is_well_where_every_clip_is_stored(deployment: Deployment) -> None:
    deployment.spoken_list(("apple", "pomme"))

    shown = deployment.command("verify")

    assert (shown.returncode, shown.stdout) == (0, "2 clips checked, 0 at fault\n")


def test_a_clip_that_is_missing_and_one_that_was_cut_are_told(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", "pomme"))
    gone = deployment.folder / card["audioEnUrl"].rsplit("/", 1)[1]
    cut = deployment.folder / card["audioFrUrl"].rsplit("/", 1)[1]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:100])

    shown = deployment.command("verify")
    told = deployment.command("verify", "--json").stdout.splitlines()

    assert shown.returncode == 3
    assert f"{gone.name} is missing: 'apple' (alloy)" in shown.stdout
    assert f"{cut.name} has 100 bytes, not " in shown.stdout
    assert told[-1] == '{"checked": 2, "faults": 2}'
    assert "`memolist-tts retake CARD fr` mends one" in shown.stderr

    retaken = deployment.told("retake", card["id"], "en")
    assert deployment.audio(retaken["url"])


def test_both_stores_tell_sizes_and_delete(deployment: Deployment, s3: Bucket) -> None:
    folder = FolderStorage(deployment.folder, "https://cdn.example.com")
    stores: list[Storage] = [folder, S3Storage(s3.name, "https://cdn.example.com", s3.client)]
    for store in stores:
        store.put("v1-ab-0.mp3", b"12345")
        store.put("v1-ab-0.mp3x", b"1")

        assert store.size("v1-ab-0.mp3") == 5
        assert store.size("v1-ab-0") is None
        store.delete("v1-ab-0.mp3")
        store.delete("v1-ab-0.mp3")
        assert store.size("v1-ab-0.mp3") is None
        assert store.read("v1-ab-0.mp3x") == b"1"


def test_what_no_card_carries_is_deleted_a_day_after_it_was_seen(deployment: Deployment) -> None:
    (card, other) = deployment.spoken_list(("apple", ""), ("bread", ""))
    deployment.api.rows('DELETE FROM "Card" WHERE id::text = :id', id=other["id"])
    pass_time(deployment)

    counted = deployment.told("gc", "--older", "1s")
    first = deployment.told(*GC)
    after_first = len(names(deployment))
    soon = deployment.told(*GC)
    pass_time(deployment)
    later = deployment.told(*GC)

    assert (counted["unused"], counted["marked"], counted["deleted"]) == (1, 0, 0)
    assert (first["marked"], first["deleted"], after_first) == (1, 0, 2)
    assert (soon["marked"], soon["deleted"]) == (0, 0)
    assert (later["due"], later["deleted"]) == (1, 1)
    assert names(deployment) == {card["audioEnUrl"].rsplit("/", 1)[1]}
    assert deployment.told("gc", "--older", "1s")["unused"] == 0
    assert deployment.command("verify").returncode == 0


def test_a_marked_clip_that_a_job_uses_again_is_kept(deployment: Deployment) -> None:
    deployment.spoken_list(("apple", ""))
    deployment.api.rows('DELETE FROM "Card"')
    pass_time(deployment)
    deployment.told(*GC)
    pass_time(deployment)
    list_id = deployment.api.add_list([("apple", "")])

    assert deployment.go(deployment.api.add_job(list_id)).outcome == Completed()

    assert deployment.told(*GC)["deleted"] == 0
    (card,) = deployment.api.cards(list_id)
    assert deployment.audio(card["audioEnUrl"])
    assert deployment.asked == ["apple"]


def test_a_deleted_take_s_address_is_never_used_again(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    deployment.api.rows('DELETE FROM "Card"')
    pass_time(deployment)
    deployment.told(*GC)
    pass_time(deployment)
    deployment.told(*GC)

    (again,) = deployment.spoken_list(("apple", ""))

    assert again["audioEnUrl"] != card["audioEnUrl"]
    assert again["audioEnUrl"].endswith("-1.mp3")
    assert deployment.audio(again["audioEnUrl"])


def test_what_an_undo_would_bring_back_is_kept(deployment: Deployment) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    deployment.told("retake", card["id"], "en")
    pass_time(deployment)

    told = deployment.told("gc", "--older", "1d")

    assert told["unused"] == 0
    deployment.told("undo", card["id"], "en")
    assert deployment.audio(deployment.card(card["id"])["audioEnUrl"])


def test_gc_does_nothing_unless_it_is_told_to(deployment: Deployment) -> None:
    deployment.spoken_list(("apple", ""))
    deployment.api.rows('DELETE FROM "Card"')
    pass_time(deployment)

    shown = deployment.command("gc", "--older", "1s")

    assert shown.stdout.splitlines()[1:] == [
        "0 of them may be deleted. Nothing was done; --yes does it."
    ]
    assert not deployment.api.rows("SELECT 1 AS x FROM tts.clip WHERE unused_since IS NOT NULL")
