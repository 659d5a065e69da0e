"""Numbers of things, as a person reads them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 card`, `2 cards`, `4,096 characters`; for nouns whose plural is an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
