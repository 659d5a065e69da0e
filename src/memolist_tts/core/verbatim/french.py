"""How French says numbers, signs and abbreviations; Belgian and Swiss ways too."""

from __future__ import annotations

import re

from memolist_tts.core.verbatim.lattice import Saying
from memolist_tts.core.verbatim.tongue import Rule, Tongue, listed, one_by_one

_ONES: list[Saying] = [
    "zéro", ["un", "une"], "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf",
    "dix", "onze", "douze", "treize", "quatorze", "quinze", "seize",
]  # fmt: skip
_NTHS = listed(
    "zéro unième deuxième troisième quatrième cinquième sixième septième huitième neuvième dixième"
    " onzième douzième treizième quatorzième quinzième seizième"
)
_TENS = listed("_ dix vingt trente quarante cinquante soixante")
_SCALES = ((10**12, "billion"), (10**9, "milliard"), (10**6, "million"))
_LONGEST = 15
_MONTHS = listed(
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre"
)
_SHORT_MONTHS = {
    "janv": 1, "févr": 2, "fév": 2, "avr": 4, "juil": 7, "sept": 9, "oct": 10, "nov": 11, "déc": 12,
}  # fmt: skip
_MONTH = rf"(?:{'|'.join(_MONTHS)}|(?:{'|'.join(_SHORT_MONTHS)})\.?)(?!\w)"
_S: Saying = ["", "s"]


def cardinal(number: int) -> Saying:
    return _said(number, _ONES, "")


def ordinal(number: int) -> Saying:
    """1 is "premier" or "première", 21 "vingt et unième"."""
    if number == 1:
        return (["premier", "première"], _S)
    said: list[Saying] = [(_said(number, _NTHS, "ième"), _S)]
    return [*said, ("second", ["", "e"], _S)] if number == 2 else said


def _said(number: int, ones: list[Saying] | list[str], end: str) -> Saying:
    """`ones` say 0 to 16, and `end` closes what ends with a bigger word."""
    if number < 100:
        return _below_100(number, ones, end)
    if number < 1000:
        many, rest = divmod(number, 100)
        count: Saying = _ONES[many] if many > 1 else ""
        return (count, "cent", (_S, _said(rest, ones, end)) if rest else end or _S)
    if number < 10**6:
        many, rest = divmod(number, 1000)
        count = cardinal(many) if many > 1 else ""
        if not rest:
            return (count, ("mill", end) if end else "mille")
        return (count, ["mille", "mil"], ["et", ""] if rest == 1 else "", _said(rest, ones, end))
    for scale, name in _SCALES:
        if number >= scale:
            many, rest = divmod(number, scale)
            return (cardinal(many), name, (_S, _said(rest, ones, end)) if rest else end or _S)
    raise AssertionError(number)


def _below_100(number: int, ones: list[Saying] | list[str], end: str) -> Saying:
    if number < 17:
        return ones[number]
    if number < 20:
        return ("dix", ones[number - 10])
    tens, rest = divmod(number, 10)
    if tens < 7:
        return _tens(_TENS[tens], rest, ones, end)
    if tens == 7:
        # Soixante et onze; Belgian and Swiss septante.
        long: Saying = ("soixante", ["et", ""] if rest == 1 else "", _teen(rest, ones))
        return [long, _tens("septante", rest, ones, end)]
    if tens == 8:
        plain = ("quatrevingt", ones[rest] if rest else end or _S)
        return [plain, *(_tens(name, rest, ones, end) for name in ("huitante", "octante"))]
    return [("quatrevingt", _teen(rest, ones)), _tens("nonante", rest, ones, end)]


def _tens(name: str, rest: int, ones: list[Saying] | list[str], end: str) -> Saying:
    if not rest:
        return name.rstrip("e") + end if end else name
    return (name, "et" if rest == 1 else "", ones[rest])


def _teen(rest: int, ones: list[Saying] | list[str]) -> Saying:
    return ("dix", ones[rest]) if rest > 6 else ones[10 + rest]


def integer(digits: str) -> Saying:
    ways: list[Saying] = []
    if digits == "0":
        return "zéro"
    if digits[0] == "0":
        after = digits.lstrip("0")
        zeros = one_by_one(digits[: len(digits) - len(after)], _ONES)
        ways.append((zeros, integer(after) if after else ""))
    elif len(digits) <= _LONGEST:
        number = int(digits)
        ways.append(cardinal(number))
        if 1100 <= number < 2000:
            many, rest = divmod(number, 100)
            ways.append((cardinal(many), "cent", (_S, cardinal(rest)) if rest else _S))
        if 2020 <= number < 2100:
            ways.append(("vingt", cardinal(number % 100)))
    if len(digits) >= 6 and len(digits) % 2 == 0:
        # A telephone number without its spaces.
        ways.append(tuple(_group(digits[at : at + 2]) for at in range(0, len(digits), 2)))
    if re.fullmatch(r"\d\d0\d\d|\d[1-9][2-9]\d\d", digits):
        # A postcode. But "onze cent" is 1100, not 11100, and "dix sept cents" not 10700.
        ways.append((_group(digits[:2]), _group(digits[2:])))
    if len(digits) >= 3 or digits[0] == "0":
        ways.append(one_by_one(digits, _ONES))
    return ways


def _group(digits: str) -> Saying:
    rest = digits.lstrip("0")
    return (*["zéro"] * (len(digits) - len(rest)), cardinal(int(rest)) if rest else "")


def _decimals(digits: str) -> Saying:
    return [one_by_one(digits, _ONES), integer(digits)]


def _fraction(over: int, under: int) -> Saying | None:
    if under < 2:
        return None
    names: dict[int, Saying] = {2: ("demi", ["", "e"], _S), 3: "tiers", 4: ("quart", _S)}
    name = names.get(under) or ordinal(under)
    said: list[Saying] = [(cardinal(over), name)]
    return [*said, name] if (over, under) == (1, 2) else said


def _clock(hours: str, minutes: str) -> Saying:
    hour: Saying = (cardinal(int(hours)), "heure", _S)
    if minutes == "00":
        return [hour, (cardinal(int(hours)), ["", ("heure", _S)], "zéro", ["zéro", ""])]
    few = cardinal(int(minutes))
    if minutes[0] == "0":
        # "Vingt cinq" is 25, not 20:05.
        return [(hour, ["", "zéro"], few, _MINUTES), (cardinal(int(hours)), "zéro", few)]
    return (cardinal(int(hours)), ["", ("heure", _S)], few, _MINUTES)


_MINUTES: Saying = ["", ("minute", _S)]


def _date(day: int, month: int, year: str) -> Saying:
    return (["le", ""], _day(day), _MONTHS[month - 1], integer(year))


def _day(day: int) -> Saying:
    return [cardinal(day), "premier"] if day == 1 else cardinal(day)


def _amount(whole: str, hundredths: str, names: tuple[Saying, Saying]) -> Saying:
    unit, part = names
    few = int(hundredths)
    if not few:
        return (integer(whole), unit)
    ways: list[Saying] = [(integer(whole), unit, ["et", ""], cardinal(few), [part, ""])]
    return [*ways, (cardinal(few), part)] if not int(whole) else ways


def _hours(match: re.Match[str]) -> Saying | None:
    return _clock(match[1], match[2])


def _named(month: str) -> str:
    bare = month.rstrip(".").lower()
    return _MONTHS[_SHORT_MONTHS[bare] - 1] if bare in _SHORT_MONTHS else bare


def _plural(*names: str) -> Saying:
    return [(name, _S) for name in names]


_RULES: tuple[Rule, ...] = (
    (
        re.compile(rf"(?<![\d.,:/-])(0?[1-9]|[12]\d|3[01]) ({_MONTH})", re.I),
        lambda m: (_day(int(m[1])), _named(m[2])),
    ),
    (re.compile(r"(?<![\d.,:])([01]?\d|2[0-4]) ?h ?([0-5]\d)(?: ?min)?(?!\w)"), _hours),
    (re.compile(r"(?<!\w)(?:n°|N°|no\.?|No\.?) ?(?=\d)"), lambda _: "numéro"),
    (re.compile(r"(?<!\w)M\. ?(?=[^\W\d_])"), lambda _: "monsieur"),
    (re.compile(r"(?<!\w)MM\. ?(?=[^\W\d_])"), lambda _: "messieurs"),
    (re.compile(r"(?<!\w)p\. ?ex\.?(?!\w)", re.I), lambda _: "par exemple"),
    (re.compile(r"(?<!\w)c\.?[ -]?[àa]\.?[ -]?d\.?(?!\w)", re.I), lambda _: "c'est-à-dire"),
    (re.compile(r"(?<!\w)s\. ?v\. ?p\.?(?!\w)", re.I), lambda _: "s'il vous plaît"),
    (re.compile(r"(?<!\w)av\. ?J\.?-?C\.?(?!\w)"), lambda _: "avant Jésus-Christ"),
    (re.compile(r"(?<!\w)apr?\. ?J\.?-?C\.?(?!\w)"), lambda _: "après Jésus-Christ"),
    (re.compile(r"(?<!\w)J\.-?C\.?(?!\w)"), lambda _: "Jésus-Christ"),
)

_KM: Saying = _plural("kilomètre")
_M: Saying = _plural("mètre")
_HOUR: Saying = ["par heure", "à l'heure", "heure"]
_EST: Saying = ["", "est", "n'est"]
_DEGREES: Saying = _plural("degré")

FRENCH = Tongue(
    integer=integer,
    ordinal=ordinal,
    decimals=_decimals,
    fraction=_fraction,
    clock=_clock,
    date=_date,
    amount=_amount,
    grouping=".' ",
    decimal_mark=",.",
    ordinal_mark="ers?|[eè]?res?|e|è|[eè]mes?|nde?s?|es",
    roman=cardinal,
    point=["virgule", "point"],
    minus="moins",
    and_="et",
    ranges=("à", "moins", "tiret", "contre"),
    signs={
        "%": ["pour cent", "pourcents"],
        "≠": (_EST, ["différent de", "pas égal à"]),
        "≤": (_EST, "inférieur ou égal à"),
        "≥": (_EST, "supérieur ou égal à"),
        "≈": (_EST, ["environ", "à peu près", "environ égal à", "à peu près égal à"]),
        "‰": "pour mille",
        "&": ["et", "esperluette", "n"],
        "+": ["plus", "et"],
        "±": "plus ou moins",
        "=": ["égale", "égal", "égalent", "font", "fait", "est égal à", "est égale à"],
        "×": ["fois", "multiplié par", "par", "sur", "x"],
        "÷": ["divisé par", "sur"],
        "√": ["racine carrée de", "racine de", "racine carrée"],
        "∞": ["infini", "l'infini"],
        "°": _DEGREES,
        "§": _plural("paragraphe", "section"),
        "©": ["copyright", "c"],
        "@": ["arobase", "at", "chez", "a commercial"],
        "#": ["dièse", "mot-dièse", "hashtag", "numéro"],
        "$": _plural("dollar"),
        "€": _plural("euro"),
        "£": _plural("livre"),
        "¥": _plural("yen"),
        "₹": _plural("roupie"),
        "<": ["inférieur à", "est inférieur à", "plus petit que", "est plus petit que"],
        ">": ["supérieur à", "est supérieur à", "plus grand que", "est plus grand que"],
        "/": ["", "barre", "barre oblique", "slash", "sur", "par", "le", "la", "l'", "ou"],
        "*": ["", "fois", "étoile", "astérisque", "multiplié par"],
        "~": ["", "environ", "tilde"],
        "^": ["", "puissance", "exposant"],
        "²": [("carré", ["", "e"], _S), "au carré", "deux"],
        "³": ["cube", "cubes", "au cube", "trois"],
    },
    units={
        "km": _KM,
        "m": _M,
        "cm": _plural("centimètre"),
        "mm": _plural("millimètre"),
        "km²": (_KM, "carré", _S),
        "m²": (_M, "carré", _S),
        "m³": (_M, "cube", _S),
        "km/h": (_KM, _HOUR),
        "m/s": (_M, ["par", ""], "seconde"),
        "kg": _plural("kilogramme", "kilo"),
        "g": _plural("gramme"),
        "mg": _plural("milligramme"),
        "l": _plural("litre"),
        "L": _plural("litre"),
        "cl": _plural("centilitre"),
        "ml": _plural("millilitre"),
        "mL": _plural("millilitre"),
        "h": _plural("heure"),
        "H": _plural("heure"),
        "min": _plural("minute"),
        "mn": _plural("minute"),
        "s": _plural("seconde"),
        "j": _plural("jour"),
        "°C": (_DEGREES, ["", "Celsius"]),
        "°F": (_DEGREES, ["", "Fahrenheit"]),
        "Hz": "hertz",
        "kHz": "kilohertz",
        "GHz": "gigahertz",
        "W": _plural("watt"),
        "kW": _plural("kilowatt"),
        "kWh": _plural("kilowatt-heure", "kilowattheure"),
        "V": _plural("volt"),
        "Mo": _plural("mégaoctet", "méga"),
        "Go": _plural("gigaoctet", "giga"),
        "To": _plural("téraoctet"),
        "k": "mille",
        "M": _plural("million"),
        "Md": _plural("milliard"),
    },
    currencies={
        "$": (_plural("dollar"), _plural("cent", "centime")),
        "€": (_plural("euro"), _plural("centime", "cent")),
        "£": (_plural("livre"), ["pence", "penny"]),
        "¥": (_plural("yen"), "sen"),
        "₹": (_plural("roupie"), "paisas"),
    },
    magnitudes={
        "mille": "mille",
        "million": ("million", _S, ["de", "d'", ""]),
        "millions": ("million", _S, ["de", "d'", ""]),
        "milliard": ("milliard", _S, ["de", "d'", ""]),
        "milliards": ("milliard", _S, ["de", "d'", ""]),
        "k": "mille",
        "M": ("million", _S, ["de", "d'", ""]),
        "Md": ("milliard", _S, ["de", "d'", ""]),
        "Mds": ("milliard", _S, ["de", "d'", ""]),
    },
    short={
        "mm": "messieurs",
        "mme": "madame",
        "mmes": "mesdames",
        "mlle": "mademoiselle",
        "mlles": "mesdemoiselles",
        "dr": "docteur",
        "pr": "professeur",
        "st": "saint",
        "ste": "sainte",
        "bd": "boulevard",
        "av": "avenue",
        "etc": "et cetera",
        "env": "environ",
        "tél": "téléphone",
        "svp": "s'il vous plaît",
        "stp": "s'il te plaît",
        "rdv": "rendez-vous",
        "vs": "versus",
        "ok": "okay",
        "p": "page",
        "pp": "pages",
        "clef": "clé",
        "clefs": "clés",
        "oignon": "ognon",
        "oignons": "ognons",
    },
    web={
        ".": ["point", ""],
        "-": ["", "tiret", "trait d'union"],
        "_": ["", "underscore", "tiret bas", "souligné"],
        "/": ["", "slash", "barre oblique"],
        ":": ["", "deux points"],
    },
    rules=_RULES,
)
