"""How English says numbers, signs and abbreviations."""

from __future__ import annotations

import re

from memolist_tts.core.verbatim.lattice import Saying
from memolist_tts.core.verbatim.tongue import Rule, Tongue, listed, one_by_one

_ONES = listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    " fifteen sixteen seventeen eighteen nineteen"
)
_TENS = listed("_ _ twenty thirty forty fifty sixty seventy eighty ninety")
_FIRSTS = listed(
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
    " thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_SCALES = (
    (10**12, "trillion"),
    (10**9, "billion"),
    (10**6, "million"),
    (1000, "thousand"),
    (100, "hundred"),
)
_LONGEST = 15
_MONTHS = listed(
    "January February March April May June July August September October November December"
)
_MONTH = rf"(?:{'|'.join(_MONTHS)}|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.?)(?!\w)"
_AND: Saying = ["and", ""]
_ZERO: Saying = ["zero", "oh", "o", "nought", "naught"]
_DIGITS: list[Saying] = [_ZERO, *_ONES[1:10]]


def cardinal(number: int) -> Saying:
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return (_TENS[tens], _ONES[ones] if ones else "")
    for scale, name in _SCALES:
        if number >= scale:
            many, rest = divmod(number, scale)
            return (cardinal(many), name, (_AND, cardinal(rest)) if rest else "")
    raise AssertionError(number)


def ordinal(number: int) -> Saying:
    if number < 20:
        return _FIRSTS[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return (_TENS[tens], _FIRSTS[ones]) if ones else _TENS[tens][:-1] + "ieth"
    for scale, name in _SCALES:
        if number >= scale:
            many, rest = divmod(number, scale)
            count: Saying = [cardinal(many), "a"] if many == 1 else cardinal(many)
            return (count, name, (_AND, ordinal(rest)) if rest else "th")
    raise AssertionError(number)


def integer(digits: str) -> Saying:
    ways: list[Saying] = []
    if digits == "0":
        return _ZERO
    if digits[0] == "0":
        after = digits.lstrip("0")
        zeros = one_by_one(digits[: len(digits) - len(after)], _DIGITS)
        ways.append((zeros, integer(after) if after else ""))
    elif len(digits) <= _LONGEST:
        number = int(digits)
        ways += [cardinal(number), *_from_a(number)]
        if len(digits) == 4 and number % 1000 >= 100:
            many, rest = divmod(number, 100)
            ways.append((cardinal(many), "hundred", (_AND, cardinal(rest)) if rest else ""))
    if len(digits) in (3, 4) and digits[0] != "0" and digits[-2:] != "00":
        # 1984 in two pairs, and flight 747.
        ways.append((cardinal(int(digits[:-2])), _pair(digits[-2:])))
    if len(digits) >= 3 or digits[0] == "0":
        ways.append(one_by_one(digits, _DIGITS))
    return ways


def _from_a(number: int) -> list[Saying]:
    """A hundred and one; a thousand."""
    for scale, name in _SCALES:
        if scale <= number < 2 * scale:
            rest = number - scale
            return [("a", name, (_AND, cardinal(rest)) if rest else "")]
    return []


def _pair(digits: str) -> Saying:
    # "Twenty five" is 25, not 2005.
    return cardinal(int(digits)) if digits[0] != "0" else (_ZERO, cardinal(int(digits[1])))


def _decimals(digits: str) -> Saying:
    said = one_by_one(digits, _DIGITS)
    return [said, integer(digits)] if len(digits) <= 2 else said


def _fraction(over: int, under: int) -> Saying | None:
    if under < 2:
        return None
    names: dict[int, Saying] = {
        2: ["half", "halves"],
        4: ["quarter", "quarters", "fourth", "fourths"],
    }
    counts: list[Saying] = [cardinal(over), *(["a", ""] if over == 1 else [])]
    return (counts, names.get(under) or (ordinal(under), ["s", ""]))


def _clock(hours: str, minutes: str) -> Saying:
    said = cardinal(int(hours))
    if minutes == "00":
        return (said, ["", "o'clock", "hundred", "hundred hours", "zero zero"])
    return (said, ["", "hours"], _pair(minutes), ["", "minutes"])


def _date(day: int, month: int, year: str) -> Saying:
    name, told = _MONTHS[month - 1], integer(year)
    when: Saying = (["the", ""], ordinal(day))
    first: Saying = (when, ["of", ""], name, told)
    return [first, (name, [when, cardinal(day)], told)]


def _amount(whole: str, hundredths: str, names: tuple[Saying, Saying]) -> Saying:
    unit, part = names
    few = int(hundredths)
    if not few:
        return (integer(whole), unit)
    ways: list[Saying] = [
        (integer(whole), unit, _AND, [cardinal(few), _pair(hundredths)], [part, ""])
    ]
    if not int(whole):
        return [*ways, (cardinal(few), part)]
    # Five fifty.
    return [*ways, (cardinal(int(whole)), _pair(hundredths))] if len(whole) < 4 else ways


def _decade(match: re.Match[str]) -> Saying | None:
    """1990s, 80s."""
    front, tens = match[1][:-2], int(match[1][-2:])
    if tens % 10:
        return None
    if not tens:
        return (cardinal(int(front)), "hundreds") if front else None
    name = "tens" if tens == 10 else _TENS[tens // 10][:-1] + "ies"
    return (cardinal(int(front)) if front else "", name)


def _day_month(match: re.Match[str]) -> Saying | None:
    """14 July is the fourteenth of July."""
    day, month = int(match["day"]), _named(match["month"])
    plain: Saying = (cardinal(day), month)
    return [plain, (["the", ""], ordinal(day), ["of", ""], month)]


def _month_day(match: re.Match[str]) -> Saying | None:
    day, month = int(match["day"]), _named(match["month"])
    when: Saying = (["the", ""], ordinal(day))
    return (month, [when, cardinal(day)])


def _named(month: str) -> str:
    return next(each for each in _MONTHS if each.startswith(month[:3]))


def _bare(match: re.Match[str]) -> Saying | None:
    """A hundred that nothing counts: the card shows "hundred", the transcript 100."""
    number = int(match[0].replace(",", ""))
    scale, name = next((s, n) for s, n in _SCALES if number >= s)
    rest = number - scale
    return (name, (_AND, cardinal(rest)) if rest else "")


def _plural(*names: str) -> Saying:
    return [(name, ["s", ""]) for name in names]


def _metric(prefix: str, unit: str) -> Saying:
    return (prefix + unit, ["er", "re"], ["s", ""])


_DAY = r"(?P<day>[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th)?"
_RULES: tuple[Rule, ...] = (
    (re.compile(r"(?<!\w)'?(\d{2}|\d{4})'?s(?!\w)"), _decade),
    (re.compile(rf"(?<![\d.,:/-]){_DAY} (?:of )?(?P<month>{_MONTH})"), _day_month),
    (re.compile(rf"(?<!\w)(?P<month>{_MONTH}) {_DAY}(?![\w:%]|[.,]\d)"), _month_day),
    (re.compile(rf"(?<!\w)({_MONTH})(?= \d)"), lambda m: _named(m[1])),
    (
        re.compile(r"(?<![\d.,])(?<!\d[ ,.])(?<!\d, )1(?:\d\d|,?000(?:,?000)?)(?!\d|[.,]\d)"),
        _bare,
    ),
    (
        re.compile(r"(?<![\d.])(\d{1,2})\.([0-5]\d)(?= ?[ap]\.?m(?!\w))", re.I),
        lambda m: _clock(m[1], m[2]),
    ),
    (re.compile(r"(?<!\w)(?:No\.?|no\.) ?(?=\d)"), lambda _: "number"),
    (re.compile(r"(?<!\w)e\. ?g\.?(?!\w)", re.I), lambda _: "for example"),
    (re.compile(r"(?<!\w)i\. ?e\.?(?!\w)", re.I), lambda _: "that is"),
    # British and American: one word, one sound.
    (
        re.compile(
            r"(?<!\w)(arm|behavi|col|endeav|fav|flav|harb|hon|hum|lab|neighb|rum|vap)our", re.I
        ),
        lambda m: m[1] + "or",
    ),
    (re.compile(r"(?<!\w)(\w{3,})is(?=e[dsr]?\b|ing\b|ations?\b)", re.I), lambda m: m[1] + "iz"),
    (
        re.compile(r"(?<!\w)(cent|fib|lit|met|theat|(?:kilo|centi|milli)met)re(?=s?\b)", re.I),
        lambda m: m[1] + "er",
    ),
    (
        re.compile(r"(?<!\w)(cancel|fuel|jewel|label|level|marvel|model|signal|travel)l", re.I),
        lambda m: m[1],
    ),
)

_HOUR: Saying = (["per", "an"], "hour")
_IS: Saying = ["", "is"]
_DEGREES: Saying = ["degrees", "degree"]

ENGLISH = Tongue(
    integer=integer,
    ordinal=ordinal,
    decimals=_decimals,
    fraction=_fraction,
    clock=_clock,
    date=_date,
    amount=_amount,
    grouping=",' ",
    decimal_mark=".",
    ordinal_mark="st|nd|rd|th",
    roman=lambda number: [cardinal(number), (["the", ""], ordinal(number))],
    point=["point", "dot"],
    minus=["minus", "negative"],
    and_="and",
    ranges=("to", "through", "minus", "dash", "hyphen"),
    signs={
        "%": "percent",
        "≠": (_IS, "not equal", ["", "to"]),
        "≤": (_IS, "less than or equal", ["", "to"]),
        "≥": (_IS, "greater than or equal", ["", "to"]),
        "≈": (_IS, ["approximately", "about"], ["", ("equal", "to")]),
        "‰": ["per mille", "per thousand"],
        "&": ["and", "n", "ampersand"],
        "+": ["plus", "and"],
        "±": "plus or minus",
        "=": ["equals", "equal", "is", "are", "is equal to", "makes"],
        "×": ["times", "by", "x", "multiplied by"],
        "÷": ["divided by", "over"],
        "√": (["the", ""], ["square", ""], "root", ["of", ""]),
        "∞": "infinity",
        "°": _DEGREES,
        "§": "section",
        "©": ["copyright", "c"],
        "@": "at",
        "#": ["hash", "hashtag", "number", "sharp", "pound"],
        "$": _plural("dollar"),
        "€": _plural("euro"),
        "£": _plural("pound"),
        "¥": "yen",
        "₹": _plural("rupee"),
        "<": (["is", ""], ["less", "smaller"], "than"),
        ">": (["is", ""], ["greater", "more"], "than"),
        "/": ["", "slash", "over", "per", "a", "an", "or", "out of"],
        "*": ["", "times", "star", "asterisk", "by"],
        "~": ["", "about", "approximately", "tilde"],
        "^": ["", "to the", "to the power of", "caret"],
        "²": ["squared", "square", "two"],
        "³": ["cubed", "cube", "three"],
    },
    units={
        "km": _metric("kilo", "met"),
        "m": [_metric("", "met"), "million"],
        "cm": _metric("centi", "met"),
        "mm": _metric("milli", "met"),
        "km²": [("square", _metric("kilo", "met")), (_metric("kilo", "met"), "squared")],
        "m²": [("square", _metric("", "met")), (_metric("", "met"), "squared")],
        "m³": [("cubic", _metric("", "met")), (_metric("", "met"), "cubed")],
        "km/h": (_metric("kilo", "met"), _HOUR),
        "kph": (_metric("kilo", "met"), _HOUR),
        "mph": ("miles", _HOUR),
        "m/s": (_metric("", "met"), ["per", "a"], "second"),
        "kg": _plural("kilogram", "kilogramme", "kilo"),
        "g": _plural("gram", "gramme"),
        "mg": _plural("milligram", "milligramme"),
        "l": _metric("", "lit"),
        "L": _metric("", "lit"),
        "cl": _metric("centi", "lit"),
        "ml": _metric("milli", "lit"),
        "mL": _metric("milli", "lit"),
        "h": _plural("hour"),
        "hr": _plural("hour"),
        "hrs": "hours",
        "min": _plural("minute"),
        "mins": "minutes",
        "s": _plural("second"),
        "sec": _plural("second"),
        "secs": "seconds",
        "yrs": "years",
        "mi": _plural("mile"),
        "ft": ["feet", "foot"],
        "in": ["inches", "inch"],
        "lb": _plural("pound"),
        "lbs": "pounds",
        "oz": _plural("ounce"),
        "°C": (_DEGREES, ["", "Celsius", "centigrade"]),
        "°F": (_DEGREES, ["", "Fahrenheit"]),
        "Hz": "hertz",
        "kHz": "kilohertz",
        "GHz": "gigahertz",
        "W": _plural("watt"),
        "kW": _plural("kilowatt"),
        "kWh": _plural("kilowatt hour"),
        "V": _plural("volt"),
        "MB": _plural("megabyte", "meg"),
        "GB": _plural("gigabyte", "gig"),
        "TB": _plural("terabyte"),
        "k": "thousand",
        "K": "thousand",
        "M": "million",
        "bn": "billion",
        "x": "times",
        "pp": "percentage points",
    },
    currencies={
        "$": (_plural("dollar"), _plural("cent")),
        "€": (_plural("euro"), _plural("cent")),
        "£": (_plural("pound"), ["pence", "penny", "p"]),
        "¥": ("yen", "sen"),
        "₹": (_plural("rupee"), ["paise", "paisa"]),
    },
    magnitudes={
        "thousand": "thousand",
        "million": "million",
        "billion": "billion",
        "trillion": "trillion",
        "k": "thousand",
        "K": "thousand",
        "m": "million",
        "M": "million",
        "bn": "billion",
        "B": "billion",
        "b": "billion",
    },
    short={
        "mr": "mister",
        "mrs": ["missus", "missis"],
        "ms": "miz",
        "dr": ["doctor", "drive"],
        "prof": "professor",
        "st": ["saint", "street"],
        "jr": "junior",
        "sr": "senior",
        "capt": "captain",
        "mt": "mount",
        "ave": "avenue",
        "rd": "road",
        "blvd": "boulevard",
        "dept": "department",
        "approx": "approximately",
        "etc": "et cetera",
        "vs": "versus",
        "ok": "okay",
        "p": "page",
        "pp": "pages",
        "vol": "volume",
        "fig": "figure",
        "catalogue": "catalog",
        "defence": "defense",
        "dialogue": "dialog",
        "doughnut": "donut",
        "grey": "gray",
        "jewellery": "jewelry",
        "licence": "license",
        "offence": "offense",
        "practise": "practice",
        "programme": "program",
        "programmes": "programs",
        "pyjamas": "pajamas",
        "tyre": "tire",
        "tyres": "tires",
    },
    web={
        ".": ["dot", "point", ""],
        "-": ["", "dash", "hyphen"],
        "_": ["", "underscore"],
        "/": ["", "slash", "forward slash"],
        ":": ["", "colon"],
    },
    rules=_RULES,
)
