"""A thousand cards, each of other words, none of them with figures."""

from __future__ import annotations

from itertools import product

THINGS = (
    ("house", "maison"), ("table", "table"), ("window", "fenêtre"), ("bottle", "bouteille"),
    ("lamp", "lampe"), ("door", "porte"), ("flower", "fleur"), ("street", "rue"),
    ("car", "voiture"), ("chair", "chaise"),
)  # fmt: skip
OWNERS = (
    ("my sister", "ma sœur"), ("my brother", "mon frère"), ("the teacher", "la maîtresse"),
    ("our neighbour", "notre voisin"), ("the doctor", "le médecin"), ("his aunt", "sa tante"),
    ("the baker", "le boulanger"), ("your cousin", "ta cousine"), ("the painter", "le peintre"),
    ("her friend", "son amie"),
)  # fmt: skip
LOOKS = (
    ("red", "rouge"), ("green", "verte"), ("white", "blanche"), ("black", "noire"),
    ("old", "vieille"), ("new", "neuve"), ("pretty", "jolie"), ("broken", "cassée"),
    ("very small", "très petite"), ("yellow", "jaune"),
)  # fmt: skip


def cards(count: int, name: str = "") -> list[tuple[str, str]]:
    """`count` pairs of texts, up to 1,000; those of another `name` share none."""
    own = f" of {name}", f" de {name}"
    return [
        (
            f"The {thing} of {owner}{own[0] if name else ''} is {look}.",
            f"La {chose} de {qui}{own[1] if name else ''} est {air}.",
        )
        for (look, air), (owner, qui), (thing, chose) in product(LOOKS, OWNERS, THINGS)
    ][:count]
