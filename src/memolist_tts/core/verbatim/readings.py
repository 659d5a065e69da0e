"""From a text to the lattice of all the ways in which it can be said."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

from memolist_tts.core.verbatim.lattice import Lattice, Saying
from memolist_tts.core.verbatim.tongue import Read, Rule, Tongue

READ_SIGNS = frozenset("€$£¥₹%‰&@+×÷±√∞°§©=<>#≠≤≥≈")
"""Signs that are something said, not punctuation."""
_KEPT = str.maketrans({"²": "\ue002", "³": "\ue003"})
"""Out of the way of compatibility, which makes plain digits of them."""
_PLAIN = str.maketrans(
    {"\ue002": "²", "\ue003": "³", "⁄": "/", "—": " "}
    | dict.fromkeys("‘’‛ʼ´`", "'")
    | dict.fromkeys("‐‑‒–−", "-")
)
_BEFORE_MIXED = re.compile(r"(?<=\d)(?=[½⅓⅔¼¾⅛])")
_RUN = re.compile(r"(?<!\d)(?<!\d[.,'])\d+(?:[.,']\d+)*")
_SPACED = re.compile(r"(?<!\d)(?<!\d[.,' ])[1-9]\d{0,2}(?: \d{3})+(?:[.,]\d+)?(?![.,']?\d)(?! \d)")
_AFTER_A_SMALL_NUMBER = re.compile(r"(?<![\d.,'])\d{1,2} \Z")
_MONEY = r"\d{1,15}(?:[.,' ]\d{3}){0,4}(?:[.,]\d{1,2})?"
_ROMAN = r"(?=[IVXLCDM])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_AFTER_A_NAME = re.compile(r"[^\W\d_a-zß-ÿ][^\W\d_]{2,} \Z")
_ADDRESS = re.compile(
    r"(?<!\S)\S*(?:\w@\w|www\.|\w\.(?:com|org|net|io|co|eu|fr|uk|us|be|ch|ca|edu|gov)\b)\S*"
)


def lattice(text: str, tongue: Tongue | None) -> Lattice:
    """Every way to say `text`; without a `tongue`, digits and signs are said as they are."""
    plain = plained(text)
    ways = Lattice(len(plain))
    for at, char in enumerate(plain):
        if not char.isdecimal():
            _add_sign(ways, plain, at, tongue)
    for pattern in (_RUN, _SPACED):
        for match in pattern.finditer(plain):
            _add_as_it_is(ways, match)
    if tongue:
        _add_readings(ways, plain, tongue)
    return ways


def _add_readings(ways: Lattice, plain: str, tongue: Tongue) -> None:
    for pattern, say in _rules(tongue):
        for match in pattern.finditer(plain):
            said = say(match)
            if said is not None:
                ways.add(*match.span(), said)
    for address in _ADDRESS.finditer(plain):
        for at in range(*address.span()):
            ways.add(at, at + 1, tongue.web.get(plain[at], []))


def plained(text: str) -> str:
    """One spelling of quotes, dashes, digits and spaces; letters and accents stay."""
    spaced = _BEFORE_MIXED.sub(" ", unicodedata.normalize("NFC", text)).translate(_KEPT)
    plain = unicodedata.normalize("NFKC", spaced).translate(_PLAIN)
    digits = (str(unicodedata.decimal(c)) if c.isdecimal() else c for c in plain)
    return " ".join("".join(digits).split())


def _add_as_it_is(ways: Lattice, match: re.Match[str]) -> None:
    """The digits themselves. The first sign keeps "20 5" from being 205."""
    signs = (" ", *match[0].replace(" ", ""))
    ways.spell(match.start(), match.end(), signs)


def _add_sign(ways: Lattice, text: str, at: int, tongue: Tongue | None) -> None:
    char, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    is_inside = before.isdecimal() and after.isdecimal()
    if is_inside and char in ".,":
        # Whatever it means there, the number as a whole says it.
        return
    if char == "-":
        ways.add(at, at + 1, _dash(text, at, tongue))
    elif tongue is None and (char in READ_SIGNS or (is_inside and char in ":/")):
        ways.spell(at, at + 1, char)
    elif tongue and is_inside and char == ":":
        ways.add(at, at + 1, ["", *tongue.ranges])
    else:
        ways.add(at, at + 1, tongue.signs.get(char, char) if tongue else char)


def _dash(text: str, at: int, tongue: Tongue | None) -> Saying:
    """A minus must be said, a hyphen isn't, and between two numbers it depends."""
    minus = tongue.minus if tongue else "minus"
    signs: list[Saying] = [minus, *(tongue.ranges if tongue else ())]
    left, right = text[max(at - 2, 0) : at], text[at + 1 : at + 3]
    if left[-1:] == " " and right[:1] == " ":
        is_inside = left[0].isdecimal() and right[-1].isdecimal()
        return signs if is_inside else ["", *signs]
    if not right[:1].isdecimal():
        return ""
    if left[-1:].isdecimal():
        return ["", *signs]
    return minus if left[-1:] in ("", " ", "(", '"', "'") else ""


@cache
def _rules(tongue: Tongue) -> tuple[Rule, ...]:
    found = (*_numbers(tongue), *_dates(tongue), *_amounts(tongue), *_words(tongue))
    return (*((re.compile(pattern), say) for pattern, say in found), *tongue.rules)


def _numbers(tongue: Tongue) -> Iterator[tuple[str, Read]]:
    yield _RUN.pattern, lambda m: None if _would_merge(m) else _number(m[0], tongue)
    yield _SPACED.pattern, lambda m: _number(m[0].replace(" ", ""), tongue)
    mark = tongue.ordinal_mark
    yield rf"(?<![\d.,])(\d{{1,9}})(?:{mark})(?!\w)", lambda m: tongue.ordinal(int(m[1]))
    yield rf"(?<!\w)(?=[IVX])({_ROMAN})(?:{mark})(?!\w)", lambda m: tongue.ordinal(_value(m[1]))
    yield rf"(?<![\w.'-])({_ROMAN})(?![\w'-])", lambda m: _king(m, tongue)
    fraction = r"(\d{1,3})/(\d{1,3})(?![\d/]|[.,]\d)"
    yield rf"(?<![\d/.,]){fraction}", lambda m: tongue.fraction(int(m[1]), int(m[2]))
    yield rf"(?<=\d) (?={fraction})", lambda _: tongue.and_
    yield r"(?<=\d) ?[xX] ?(?=\d)", lambda _: tongue.signs["×"]


def _dates(tongue: Tongue) -> Iterator[tuple[str, Read]]:
    clock = r"(?<![\d:])([01]?\d|2[0-4]):([0-5]\d)(?![\d:])"
    yield clock, lambda m: tongue.clock(m[1], m[2])
    date = r"(?<![\d/.-])(\d\d?|\d{4})([/.-])(\d\d?)\2(\d{4}|\d\d?)(?![\d/-])"
    yield date, lambda m: _date(m[1], m[3], m[4], tongue)


def _amounts(tongue: Tongue) -> Iterator[tuple[str, Read]]:
    coin = f"[{''.join(tongue.currencies)}]"
    scale = "|".join(sorted(tongue.magnitudes, key=len, reverse=True))
    before = rf"({coin}) ?({_MONEY})(?!\d)(?: ?({scale})(?!\w))?"
    yield before, lambda m: _money(m[2], m[1], m[3], tongue)
    after = rf"(?<!\d)(?<!\d[.,'])({_MONEY})(?: ?({scale}))? ?({coin})"
    yield after, lambda m: _money(m[1], m[3], m[2], tongue)
    inside = rf"(?<![\d.,])(\d{{1,15}}) ?({coin}) ?(\d\d)(?!\d)"
    yield inside, lambda m: tongue.amount(m[1], m[3], tongue.currencies[m[2]])
    unit = "|".join(map(re.escape, sorted(tongue.units, key=len, reverse=True)))
    yield rf"(?<=[\d/]) ?({unit})(?![\w²³])", lambda m: tongue.units[m[1]]


def _words(tongue: Tongue) -> Iterator[tuple[str, Read]]:
    yield r"(?<!\w)[^\W\d_]+(?!\w)", lambda m: tongue.short.get(m[0].lower())


def _before(match: re.Match[str]) -> str:
    return match.string[max(match.start() - 40, 0) : match.start()]


def _would_merge(match: re.Match[str]) -> bool:
    """In "2 100" no 100 of its own: French would say "deux cent", as for 200."""
    is_bare_hundred = len(match[0]) == 3 and match[0][0] == "1"
    return is_bare_hundred and bool(_AFTER_A_SMALL_NUMBER.search(_before(match)))


def _number(written: str, tongue: Tongue) -> Saying:
    """Digits with whatever marks are between them, but spaces."""
    if written.isdecimal():
        return tongue.integer(written)
    ways: list[Saying] = []
    if _is_grouped(written, tongue):
        ways.append(tongue.integer(_digits(written)))
    whole, mark, rest = re.split(r"(\D)(?=\d+$)", written)
    if mark in tongue.decimal_mark and (whole.isdecimal() or _is_grouped(whole, tongue)):
        decimals = (tongue.point, tongue.decimals(rest))
        ways.append((tongue.integer(_digits(whole)), decimals))
        ways += [decimals] if whole == "0" else []
    if not ways or len(re.findall(r"\D", written)) > 1:
        # A version, an address, a date, a list.
        joint: Saying = ["", tongue.point, "comma"]
        first, *others = re.split(r"\D", written)
        parts = ((joint, tongue.integer(each)) for each in others)
        ways.append((tongue.integer(first), *parts))
    return ways


def _is_grouped(written: str, tongue: Tongue) -> bool:
    """Whether its marks are those of thousands, all alike."""
    found = re.fullmatch(r"[1-9]\d{0,2}(\D)\d{3}(?:\1\d{3})*", written)
    return found is not None and found[1] in tongue.grouping


def _digits(written: str) -> str:
    return re.sub(r"\D", "", written)


def _money(written: str, coin: str, scale: str | None, tongue: Tongue) -> Saying:
    names = tongue.currencies[coin]
    number = _number(written.replace(" ", ""), tongue)
    if scale:
        return (number, tongue.magnitudes[scale], names[0])
    ways: list[Saying] = [(number, names[0])]
    if found := re.fullmatch(r"(.*)[.,](\d\d?)", written):
        ways.append(tongue.amount(_digits(found[1]), found[2].ljust(2, "0"), names))
    return ways


def _value(roman: str) -> int:
    values = [_ROMAN_DIGITS[letter] for letter in roman]
    pairs = zip(values, [*values[1:], 0], strict=True)
    return sum(-value if value < after else value for value, after in pairs)


def _king(match: re.Match[str], tongue: Tongue) -> Saying | None:
    """Louis XIV; a letter on its own is a number behind a name only."""
    if len(match[1]) == 1 and not _AFTER_A_NAME.search(_before(match)):
        return None
    return tongue.roman(_value(match[1]))


def _date(first: str, second: str, third: str, tongue: Tongue) -> Saying | None:
    """Year, month and day, or the year last and the others in either order."""
    orders = [(third, second, first)] if len(first) == 4 else []
    if len(first) < 4 and len(third) in (2, 4):
        orders = [(first, second, third), (second, first, third)]
    return [
        tongue.date(int(day), int(month), year)
        for day, month, year in orders
        if 1 <= int(day) <= 31 and 1 <= int(month) <= 12
    ]
