"""What a model that talks says and tells instead of reading: faults on words."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Utterance:
    """The words that are spoken, and those that the model says it spoke ("" = not told)."""

    said: str
    transcript: str


def utter(text: str, language: str, fault: str | None) -> Utterance | None:
    """How `text` comes out under a fault of words; None where this one can't be committed."""
    if fault == "no_transcript":
        return Utterance(text, "")
    if fault == "respelled":
        told = _respelled(text, language)
        return None if told == text else Utterance(text, told)
    said = _SAID[fault](text, language) if fault in _SAID else text
    is_other = fault not in _SAID or _heard(said) != _heard(text)
    return Utterance(said, said) if is_other else None


def _heard(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _words_of(line: str) -> list[str]:
    return line.split()


_NUMBERS = {
    "en": _words_of(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
        " fifteen sixteen seventeen eighteen nineteen twenty"
    ),
    "fr": _words_of(
        "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze"
        " seize dix-sept dix-huit dix-neuf vingt"
    ),
}
_TENS = {
    "en": {30: "thirty", 40: "forty", 50: "fifty", 60: "sixty", 70: "seventy", 80: "eighty"}
    | {90: "ninety", 100: "one hundred"},
    "fr": {30: "trente", 40: "quarante", 50: "cinquante", 60: "soixante", 70: "soixante-dix"}
    | {80: "quatre-vingts", 90: "quatre-vingt-dix", 100: "cent"},
}


def _names(language: str) -> dict[str, str]:
    """Numbers by their digits: all to 20, then the tens, and those between up to 69."""
    names = {str(n): name for n, name in enumerate(_NUMBERS.get(language, []))}
    tens = {20: _NUMBERS[language][20]} | _TENS[language] if language in _TENS else {}
    names |= {str(n): name for n, name in tens.items()}
    for ten in range(20, 70, 10) if tens else ():
        for one in range(1, 10):
            joint = "-et-" if one == 1 and language == "fr" else "-"
            names[str(ten + one)] = tens[ten] + joint + _NUMBERS[language][one]
    return names


def _respelled(text: str, language: str) -> str:
    """Digits in words, and words in digits."""
    names = _names(language)
    numerals = {name: digits for digits, name in names.items()}
    spelled = "|".join(sorted(numerals, key=len, reverse=True)) or "(?!)"
    pattern = re.compile(rf"(?<![\w.,:/'-])(?:\d+|{spelled})(?![\w/'-]|[.,:]\d)", re.IGNORECASE)
    known = names | numerals
    return pattern.sub(lambda m: known.get(m[0].lower(), m[0]), text)


def _other_number(text: str, language: str) -> str:
    """One digit is another, or one number's word the next one's."""
    chance, names = random.Random(text), _NUMBERS.get(language, [])
    if digits := list(re.finditer(r"\d", text)):
        found = chance.choice(digits)
        other = chance.choice([digit for digit in "123456789" if digit != found[0]])
        return text[: found.start()] + other + text[found.end() :]
    words = re.compile(rf"(?<![\w-])(?:{'|'.join(names[2:]) or '(?!)'})(?![\w-])", re.IGNORECASE)
    return words.sub(lambda m: names[names.index(m[0].lower()) - 1], text, count=1)


def _dropped(text: str, _language: str) -> str:
    words = [m for m in re.finditer(r"\S+", text) if _heard(m[0])]
    if len(words) < 2:
        return text
    gone = random.Random(text).choice(words)
    return (text[: gone.start()] + text[gone.end() :]).strip()


def _extra(text: str, language: str) -> str:
    words = text.split(" ")
    chance = random.Random(text)
    more = chance.choice({"fr": ["vraiment", "bien", "alors"]}.get(language, ["really", "so"]))
    words.insert(chance.randint(0, len(words)), more)
    return " ".join(words)


def _prefaced(text: str, language: str) -> str:
    prefaces = {"fr": ["Bien sûr !", "D'accord :", "Voici :"]}.get(
        language, ["Sure!", "Of course:", "Here you go:"]
    )
    return f"{random.Random(text).choice(prefaces)} {text}"


_EN = _words_of(
    "the a cat dog bread water house friend book where who what when why how is are and or not of"
    " in with for on without my your his this that i you he she we they it yes no hello please"
    " thanks today tomorrow yesterday now always never hand day night hour year number one two"
    " three four five six ten twenty hundred street doctor previous repeat say tell write open stop"
)
_FR = _words_of(
    "le un chat chien pain eau maison ami livre où qui que quand pourquoi comment est sont et ou"
    " pas de dans avec pour sur sans mon ton son ce cela je tu il elle nous ils ça oui non bonjour"
    " pitié merci aujourd'hui demain hier maintenant toujours jamais main jour nuit heure an numéro"
    " une deux trois quatre cinq six dix vingt cent rue docteur précédent répète dis raconte écris"
    " ouvre arrête"
)
_ABROAD = {"en": dict(zip(_EN, _FR, strict=True)), "fr": dict(zip(_FR, _EN, strict=True))}


def _translated(text: str, language: str) -> str:
    abroad = _ABROAD.get(language, {})
    return re.sub(r"[^\W\d_]+", lambda m: abroad.get(m[0].lower(), m[0]), text)


_SAID: Mapping[str | None, Callable[[str, str], str]] = {
    "reworded": lambda text, _language: f"Sure: {text}, of course",
    "answered": lambda _text, _language: "Hello! How can I help you today?",
    "translated": _translated,
    "other_number": _other_number,
    "dropped_word": _dropped,
    "extra_word": _extra,
    "prefaced": _prefaced,
}
