"""From what a flash card shows to what a voice reads. Pure and versioned.

A text once spoken keeps its audio key, so **any change of a result is a new
`TEXT_VERSION`**; `tests/data/spoken.csv` holds the results of this one. For the
same reason nothing here depends on the interpreter's tables of HTML elements
or emoji (both move between Python releases): tags and pictographs are listed.

`spoken` applies the rules of `_RULES` in order, again and again until nothing
changes: that is why a spoken text is its own spoken text. Every rule is linear:
repeats are bounded, or can't start inside what they just refused, or can't be
taken back: `(?=(...))\\1`, for possessive groups lose text in Python 3.11.0 to 3.11.4
(https://github.com/python/cpython/issues/106052).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial

TEXT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Spoken:
    """`text` to read, or '' with a stable `code` and a sentence (`reason`) why not."""

    text: str
    code: str | None = None
    reason: str | None = None


REASONS = {
    "blank": "The card shows no text in this language; add one to have it read.",
    "only_sound": "The card shows only a recording of its own; add a text to have it read.",
    "only_markup": "The card shows only markup or pictures; add a text to have it read.",
    "only_formula": "The card shows only a formula; write it in words to have it read.",
    "only_emoji": "The card shows only emoji or symbols; add a word to have it read.",
    "only_link": "The card shows only a link; add a text to have it read.",
    "only_phonetics": "The card shows only a phonetic transcription; add the word itself.",
    "only_notes": "The card shows only a grammar note; add the word it belongs to.",
    "only_punctuation": "The card shows only punctuation or a blank; add a word to have it read.",
    "tangled": "The card's markup or notation is too deeply nested to be read; simplify it.",
}


def spoken(shown: str | None, language: str) -> Spoken:
    """What a voice of `language` (ISO 639-1) reads of a card that shows `shown`.

    Never raises. `text` is NFC on one line, without control characters, and
    holds a letter, a digit or a symbol voices read; else it is '' and `code`
    (a key of `REASONS`) says why. Reading a result again gives the same text.
    Dictionary abbreviations and "or" are known for `en` and `fr`, all else is general.
    """
    text = shown or ""
    code = "only_punctuation" if text.strip() else "blank"
    for _ in range(_ROUNDS):
        before = text
        for rule, lost in _RULES:
            after = rule(text, language)
            if after != text and _VISIBLE.search(text) and not _VISIBLE.search(after):
                code = lost
            text = after
        if text == before:
            break
    else:
        # Never a text that would read differently when prepared again.
        text, code = "", "tangled"
    return Spoken(text) if _SPEAKABLE.search(text) else Spoken("", code, REASONS[code])


# Markup in cards nests two or three deep; one level may take one round.
_ROUNDS = 12
_VISIBLE = re.compile(
    r"""[^\s!"'#(),\-./:;<>=?\[\]\\^_`{|}~*…¡¿«»‹›“”„‘’‚–—―·•。、！？：；（）「」]"""
)
_SPEAKABLE = re.compile(r"[^\W_]|[€$£¥₹%‰&@+×÷√∞°§©½]")


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


# ── HTML ─────────────────────────────────────────────────────────────────────

# Elements a browser starts a new line or cell for; <input> is a gap to fill.
_BLOCKS = _words(
    "address article aside blockquote br caption center dd details dir div dl dt fieldset"
    " figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr input li main nav ol option p"
    " pre section select summary table tbody td tfoot th thead title tr ul"
)
_INLINES = _words(
    "a abbr acronym b base bdi bdo big body button cite code col colgroup data del dfn em embed"
    " font head html i img ins kbd label legend link map mark meta noscript output param picture"
    " q rb rbc rp rtc ruby s samp small source span strike strong sub sup textarea time track tt"
    " u var wbr"
)
# <rt> is the reading above a character: said once already, by the character.
_UNREAD = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(script|style|template|svg|math|audio|video|object|iframe|anki-mathjax)\b[^<>]*(?<!/)>"
    r".*?(?:</\1\b[^<>]*>|\Z)"
    r"|<(?:rt|rp)\b[^<>]*>.*?(?=<(?:rt|rp|rb|/ruby)\b|\Z)"
    r"|<(?:!(?!-)|\?)[^<>]*>",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(
    r"""<(/?)([a-z][a-z0-9:-]*)((?:\s|/(?!>)|=\s*"[^"]*"|=\s*'[^']*'|[^<>=/\s]|=)*)(/?>?)""",
    re.IGNORECASE,
)
_AMPERSANDS = re.compile(r"&(?:amp;)+")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});|&(?:nbsp|lt|gt)\b", re.I)


def _entities(text: str, _: str) -> str:
    """&amp;lt; is "<": exports escape twice. Without its semicolon only what is sure."""
    return _ENTITY.sub(lambda m: html.unescape(m[0]), _AMPERSANDS.sub("&", text))


def _unread(text: str, _: str) -> str:
    return _UNREAD.sub("", text)


def _tags(text: str, _: str) -> str:
    """Blocks are pauses, and in HTML line ends are mere space; <3 and a < b are no tags."""
    if any(m[2].lower() in _BLOCKS for m in _TAG.finditer(text)):
        text = text.replace("\n", " ")
    return _TAG.sub(_tag, text)


def _tag(match: re.Match[str]) -> str:
    closing, name, attributes, end = match[1], match[2].lower(), match[3], match[4]
    custom = ":" in name or "-" in name
    if name not in _BLOCKS and name not in _INLINES and not custom:
        return match[0]
    cut_short = match.end() == len(match.string) and (closing or "=" in attributes)
    if not end.endswith(">") and not cut_short:
        return match[0]
    return "\n" if name in _BLOCKS else ""


# ── Characters ───────────────────────────────────────────────────────────────

_LINE_ENDS = re.compile(r"\r\n?|[\v\f\x85\u2028\u2029]|\\r\\n|\\n(?![a-z])")
# Controls, zero widths, soft hyphen, direction marks, variation selectors, the
# tags of flags, lone surrogates, private use (icon fonts) and stand-ins.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ud800-\udfff\ue000-\uf8ff\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff0-\uffff\U000e0000-\U0010ffff]+"
)
_KEYCAP = re.compile("(^ ?)?([0-9])\ufe0f?\u20e3", re.MULTILINE)
# Emoji, dingbats, miscellaneous, technical and geometric symbols, boxes, enclosed
# letters, and the marks of trade. © stays: it is read. Arrows are pauses.
_PICTOGRAPHS = re.compile(
    "[®™℠ℹ\u20e3\u2300-\u23ff\u2460-\u2793\u2795-\u2797\u27b0\u27bf\u2b12-\u2bff\u3030\u303d"
    "\u3297\u3299\U0001f000-\U0001faff]+"
)
_EMOTICON = re.compile(r"(?<!\S)[:;]'?-?[)(DPp](?=[\s.!?,]|\Z)")
_SPACES = re.compile(r"[^\S\n]+")
_FOLDED = str.maketrans(
    # Curly or straight, a text has one clip: "l’eau" is "l'eau".
    dict.fromkeys("‘’‚‛ʼ＇", "'")
    | dict.fromkeys("“”„‟«»＂", '"')
    | dict(zip("（）［］！？：；，／～", "()[]!?:;,/~", strict=True))
    | {"…": "...", "‼": "!", "⁉": "?", "‐": "-", "‑": "-", "−": "-"}
    | {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl"}
)
_TYPED_GUILLEMETS = re.compile(r"<<([^<>\n]{1,200})>>")
_FRENCH_GUILLEMETS = re.compile(r"« ?| ?»")
_ACCENT_AS_APOSTROPHE = re.compile(r"(?<=[^\W\d_])[`´](?=[^\W\d_])")


def _characters(text: str, language: str) -> str:
    text = _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))
    text = _ACCENT_AS_APOSTROPHE.sub("'", _SPACES.sub(" ", text))
    text = _TYPED_GUILLEMETS.sub(r"«\1»", text)
    if language == "fr":
        text = _FRENCH_GUILLEMETS.sub('"', text)
    return unicodedata.normalize("NFC", text.translate(_FOLDED))


def _keycaps(text: str, _: str) -> str:
    """A keycap shows a digit; first on a line it numbers a list."""
    return _KEYCAP.sub(lambda m: m[2] if m[1] is None else f"{m[2]}) ", text)


def _pictographs(text: str, _: str) -> str:
    return _EMOTICON.sub("", _PICTOGRAPHS.sub(" ", text))


# ── Flash card notations ─────────────────────────────────────────────────────

_SOUND = re.compile(r"\[sound:[^\[\]\n]*\]", re.IGNORECASE)
_TEMPLATE = re.compile(r"\[/?anki:[^\[\]\n]*\]|\[\[type:[^\[\]\n]*\]\]")
_FORMULA = re.compile(
    r"\[(latex|\$\$?)\](?:(?!\[\1\]).)*?\[/\1\]"
    r"|\\\((?:(?!\\\().)*?\\\)|\\\[(?:(?!\\\[).)*?\\\]",
    re.DOTALL,
)
_CLOZE = re.compile(r"(\{\{(?:c[\d,]{1,20}::)?|::|\}\})")
_GAP = re.compile(r"[(\[{] ?(?:\.{2,}|_+| ) ?[)\]}]|_{2,}|(?<!\S)_(?!\S)")
_LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"()\[\]]++")
_NAMED_LINK = re.compile(r"(!?)\[([^\[\]\n]*)\]\([^()\s]+[/.][^()\s]*\)")


def _sounds(text: str, _: str) -> str:
    return _SOUND.sub(" ", text)


def _templates(text: str, _: str) -> str:
    return _TEMPLATE.sub(" ", text)


def _formulas(text: str, _: str) -> str:
    return _FORMULA.sub(" ", text)


def _clozes(text: str, _: str) -> str:
    """{{c1::answer::hint}} is its answer, at any depth; another {{field}} is a gap."""
    frames: list[list[str]] = [[""]]
    for token in _CLOZE.split(text):
        if token.startswith("{{"):
            frames.append([token])
        elif token == "}}" and len(frames) > 1:
            frames[-2].append(_answer(frames.pop()))
        else:
            frames[-1].append(token)
    return "".join("".join(frame[1:]) for frame in frames)


def _answer(frame: list[str]) -> str:
    opener, *inside = frame
    if "::" in inside:
        inside = inside[: inside.index("::")]
    return ("".join(inside) if opener != "{{" else "") or " ... "


def _links(text: str, _: str) -> str:
    """[name](address) is its name, ![picture](address) nothing."""
    return _LINK.sub(" ", _NAMED_LINK.sub(lambda m: "" if m[1] else m[2], text))


def _gaps(text: str, _: str) -> str:
    return _GAP.sub(" ... ", text)


# ── Dictionary notations ─────────────────────────────────────────────────────

# Letters of no spelling in Latin script; æ, ð, ø and θ are none of English or French.
_IPA = "ɐ-ʯʰ-ʸˈˌːˑ\u0329\u032f\u0361ŋ"
_IPA_BY_LANGUAGE = {"en": "æðøθ", "fr": "æðøθ"}


@cache
def _phonetic(language: str) -> re.Pattern[str]:
    sign = f"[{_IPA}{_IPA_BY_LANGUAGE.get(language, '')}]"
    return re.compile(
        # /kat/ on its own between spaces, and whatever holds a phonetic letter.
        r"(?<![^\s(\[,;])/(?=[^\s/])[^/\n]{1,40}(?<=[^\s/])/(?![^\s)\].,;:!?])"
        rf"|/[^/\s]{{0,40}}?{sign}[^/\s]{{0,40}}/"
        rf"|\[[^\[\]\n]{{0,60}}?{sign}[^\[\]\n]{{0,60}}\]"
        rf"|\([^()\n]{{0,60}}?{sign}[^()\n]{{0,60}}\)"
    )


def _phonetics(text: str, language: str) -> str:
    return _phonetic(language).sub(" ", text)


# Grammar marks in brackets, in either language: never part of what is said.
_NOTES = _words(
    "n v adj adv prep prép conj pron det dét interj excl num aux phr expr loc abbr abrév vt vi vr"
    " vtr vpr tr intr trans impers nm nf nmf sm sf m f mf nt neut masc fem fém pl plur sg sing inv"
    " pp pt subj inf infml fml fam vulg pej péj derog fig litt littér vx BrE AmE GB UK US Brit Amer"
    " AusE acc dat gen s e es 's"
)
# Words too, so marks only behind a phrase: "grub (slang)", but "an (old) friend".
_NOTE_WORDS = _words(
    "noun nouns nom verb verbe adjective adjectif adverb adverbe preposition préposition pronoun"
    " pronom phrase phrasal idiom expression locution prefix préfixe suffix suffixe art lit modal"
    " transitive intransitive transitif intransitif reflexive réfléchi pronominal masculine"
    " feminine masculin féminin neuter plural pluriel singular singulier invariable countable"
    " uncountable collective comparative superlative comparatif superlatif past present participle"
    " participe imparfait subjonctif subjunctive infinitive infinitif informal formal formel"
    " soutenu familier familiar slang argot vulgar vulgaire pejorative péjoratif derogatory"
    " figurative figuré literal literary littéraire old archaic vieilli dated rare regional écrit"
    " spoken written hum humorous ironic"
)
# Cambridge's codes: a noun [C] counts, [U] doesn't; a verb is [T] or [I].
_SQUARE_CODES = _words("C U I T P L S A N V M F")
# A closing bracket that starts so goes on with the phrase: run (away), rely (on sb).
_CONTINUES = {
    "en": _words(
        "a about across after against ahead along an apart around as at away back be by down for"
        " from in into it not of off on oneself onto or out over someone somebody something sth sb"
        " somewhere that the their them through to together up upon with without yourself one"
    ),
    "fr": _words(
        "à au aux avec chez comme contre d dans de des devant du en et l la le les lui ne ou où par"
        " pas pour qu qqch qqn quelqu quelque que qui s sans se si sous sur un une vers y"
    ),
}
# Feminine and plural endings of French, written behind a word: un(e), acteur/trice.
_ENDINGS = _words(
    "e s x es ne nes le les te tes se ses ve ves re res fe gue che trice trices rice rices euse"
    " euses ère ères ière ières enne ennes ienne iennes elle elles ette ettes esse esses ive ives"
    " ale ales aux eresse oresse ée ées ie ies ue ues"
)
_PAIR = re.compile(r"\(([^()\[\]]*)\)|\[([^()\[\]]*)\]")
_FILED = re.compile(
    r"^([^\W\d_][^\W\d_'\-]+(?: [^\W\d_]+)?)(?: \((?=[^()]*\))|(?<=[^\W\d_]{4}), )"
    r"(le|la|les|l'|un|une|se|s')\)?$",
    re.MULTILINE,
)
_BOTH_GENDERS = re.compile(r"\b([Ll]e|[Uu]n|[Ii]ls?|[Cc]elui) ?\((la|une|elles?|celle)\)(?!\w)")
_NOTE_MARKS = re.compile(r"[\s.,;/&+]+")
_LAST_S = re.compile(r"s(?!\w)")
_READING = re.compile(r"[\u3040-\u30ff\s]+")
_HAN = re.compile(r"[\u3400-\u9fff々]")


def _brackets(text: str, language: str) -> str:
    """Marks and reading aids are dropped, optional words read, senses set off by a pause."""
    for _ in range(_ROUNDS):
        text, count = _PAIR.subn(partial(_bracket, language=language), text)
        if not count:
            break
    return text


def _french_order(text: str, language: str) -> str:
    """laver (se) and maison, la are filed under the word; un (une) is un/une."""
    if language != "fr":
        return text
    text = _FILED.sub(lambda m: f"{m[2]} {m[1]}".replace("' ", "'"), text)
    return _BOTH_GENDERS.sub(r"\1/\2", text)


def _bracket(match: re.Match[str], language: str) -> str:
    inside = (match[1] or match[2] or "").strip()
    before = match.string[max(match.start() - 1, 0) : match.start()]
    after = match.string[match.end() : match.end() + 2]
    if inside.isalpha() and after[:1].isalpha():
        marked = before.isalpha() and _is_ending(inside, language)
        # colo(u)r and (re)faire are read whole, parti(e)s without its mark.
        return "" if marked and _LAST_S.match(match.string, match.end()) else inside
    if _is_note(inside, square=match[0][0] == "[", last=_ends_phrase(after, "([")):
        return " "
    if _HAN.match(before) and _READING.fullmatch(inside):
        return " "
    if inside[:1] == "-" or (before.isalpha() and _is_ending(inside, language)):
        return ""
    if before.isalpha() and inside.isalpha():
        return inside
    return _placed(match, inside, before, after, language)


def _is_ending(inside: str, language: str) -> bool:
    return inside == "s" or (language == "fr" and inside in _ENDINGS)


def _is_note(inside: str, *, square: bool, last: bool) -> bool:
    """Nothing but grammar marks, a construction (+ dat), a footnote."""
    if inside.isdigit():
        return square
    if inside[:1] == "+":
        return not inside.lstrip("+ ")[:1].isdigit()
    words = [word for word in _NOTE_MARKS.split(inside) if word]
    return all(
        word in _NOTES
        or word.lower() in _NOTES
        or (last and word.lower() in _NOTE_WORDS)
        or (last and square and word in _SQUARE_CODES)
        for word in words
    )


def _ends_phrase(after: str, more: str = "") -> bool:
    rest = after.lstrip(" ")
    return not rest or rest[0] in "\n.,;:!?" + more


def _placed(match: re.Match[str], inside: str, before: str, after: str, language: str) -> str:
    leading = not match.string[max(match.start() - 2, 0) : match.start()].strip()
    trailing = _ends_phrase(after)
    if len(inside) == 1 and inside.isdigit() and (leading or trailing):
        return " "
    first_word = re.split(r"[\s/']", inside, maxsplit=1)[0].lower()
    if leading or first_word in _CONTINUES.get(language, ()):
        return f" {inside}" if before.isalpha() else inside
    if trailing:
        return f"\n{inside}"
    return f"\n{inside}\n" if inside.count(" ") > 1 else inside


# Marks dropped without brackets, at an edge of a line. Only what is no word and
# ends no sentence: "fig.", "lit." and "sing." are words that can stand last.
_BARE_MARKS = _words(
    "n.m.f. n.m./f. n.m. n.f. n.pl. s.m. s.f. n. v.t. v.i. v.tr. v.intr. v.pr. v. adj. adj adv. adv"
    " conj. pron. interj. loc. inv. péj. vulg. pl. sg. masc. fém. fem. m./f. m. f. m/f"
    " vt vi vtr nm nf nmf"
)
_BARE_MARKS_FR = _words("fam. fig. litt. inf. sing. plur.")
# Before a word only parts of speech: "m. Dupont" is a man.
_LEADING_MARKS = _words("n.m. n.f. n. v.t. v.i. v.tr. v. adj. adv. conj. pron. loc. interj.")


def _either(words: Iterable[str]) -> str:
    """Alternatives, the longest first; a dot may be followed by a space."""
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return "|".join(re.sub(r"\\\.(?=.)", r"\\. ?", re.escape(word)) for word in ordered)


@cache
def _edge_marks(language: str) -> re.Pattern[str]:
    marks = _either(_BARE_MARKS | (_BARE_MARKS_FR if language == "fr" else frozenset()))
    return re.compile(
        # 5 m. is a length; a lone m or f is a gender only behind a comma and a word.
        rf"(?<=[^\W\d_]|[)\]\"'])[ ,]{{1,3}}(?:(?:{marks})(?: ?[/,&+]? ?(?={marks})|(?!\w))){{1,6}}"
        rf" ?(?=$|[;,(\[])"
        rf"|(?<=[^\W\d_]{{3}}), ?[mf]\.?$"
        rf"|^(?:(?:{_either(_LEADING_MARKS)}) ?){{1,6}}(?<=[. ])(?=[^\W\d_])",
        re.MULTILINE,
    )


def _bare_marks(text: str, language: str) -> str:
    return _edge_marks(language).sub(" ", text)


# Said in full: a voice spells them or guesses. Mr., Dr., St., M., Mme and etc. are
# left: voices read them well, or need the context. Lower case only, and a capital
# at the front from three letters on (Sb and QC are names).
_ABBREVIATIONS = {
    "en": {
        "something": "sth smth s.th.",
        "somebody": "sb smb s.b.",
        "someone": "s.o.",
        "oneself": "o.s.",
        "for example": "e.g.",
        "that is": "i.e.",
        "especially": "esp.",
        "usually": "usu.",
        "approximately": "approx.",
        "versus": "vs.",
        "without": "w/o",
        "with": "w/",
        "she or he": "(s)he s/he",
        "plural": "pl.",
        "singular": "sg.",
    },
    "fr": {
        "quelqu'un": "qqn qn qq'un",
        "quelque chose": "qqch qch qqc qc qq.ch.",
        "quelque part": "qqpart",
        "par exemple": "p.ex.",
        "c'est-à-dire": "c.-à-d. c.à.d. c-à-d càd",
        "avant Jésus-Christ": "av.J.-C.",
        "après Jésus-Christ": "apr.J.-C.",
        "synonyme": "syn.",
        "pluriel": "pl.",
        "singulier": "sg.",
    },
}
_IN_FULL = {
    language: {short: full for full, shorts in table.items() for short in shorts.split()}
    for language, table in _ABBREVIATIONS.items()
}


@cache
def _abbreviated(language: str) -> re.Pattern[str]:
    keys = list(_IN_FULL[language])
    capitals = [key.capitalize() for key in keys if len(key) > 2 and key[0].isalpha()]
    # The dot of "sth." is the sentence's when a capital or nothing follows.
    own_dot = r"(?:(?<!\.)\.(?= ?(?:[^\W\dA-ZÀ-Ý_]|[',;:!?)\]])))?"
    return re.compile(rf"(?<![\w.\-])({_either([*keys, *capitals])}){own_dot}(?![\w\-])")


def _abbreviations(text: str, language: str) -> str:
    if language not in _IN_FULL:
        return text
    full = _IN_FULL[language]

    def said(match: re.Match[str]) -> str:
        key = match[1].replace(" ", "")
        return full.get(key) or full[key[0].lower() + key[1:]].capitalize()

    return _abbreviated(language).sub(said, text)


_OR = {"en": "or", "fr": "ou"}
# Read as they stand: set phrases and units of measure.
_SLASH_PHRASES = _words("and/or either/or et/ou n/a c/o a/c")
_UNITS = _words("km h m s min mi g kg mg l ml cl cm mm j mol ft lb w kw b kb mb gb")
# once/day is a rate, day/night are two words.
_PERIODS = _words("hour day week month year night heure jour nuit semaine mois an année")
_WORD = r"[^\W\d_]+(?:['.\-][^\W\d_]+)*\.?"
_SLASHED = re.compile(
    rf"(?<![\w/.:@\\\-])(?<!\w')(?=({_WORD}(?: ?/ ?-?{_WORD}){{1,9}}))\1(?! ?/|[\w@])"
)


def _slashes(text: str, language: str) -> str:
    return _SLASHED.sub(partial(_alternatives, language=language), text)


def _alternatives(match: re.Match[str], language: str) -> str:
    """he/she is "he or she", acteur/trice its first form; km/h and AC/DC stay."""
    first, *others = [word.strip() for word in match[0].split("/")]
    words = [first, *others]
    if (
        match[0].replace(" ", "").lower() in _SLASH_PHRASES
        or (words[-1] in _PERIODS and first not in _PERIODS)
        or all(word in _UNITS for word in words)
        or all(word.isupper() for word in words)
    ):
        return match[0]
    kept = [first, *(w for w in others if w[0] != "-" and not _is_slash_ending(w, language))]
    if len(kept) == 1:
        return first
    last = f" {_OR[language]} {kept.pop()}" if language in _OR else ""
    return ", ".join(kept) + last


def _is_slash_ending(word: str, language: str) -> bool:
    # "ses", "les" and "elle" are endings too, but le/les is two words.
    words = {"les", "le", "te", "se", "ses", "tes", "elle", "elles", "ne", "aux", "x", "res"}
    return language == "fr" and word in _ENDINGS and word not in words


# ── Plain text habits ────────────────────────────────────────────────────────

_EMPHASIS = re.compile(
    r"(?<!\w)(_{1,2}|\*{1,3}|~~)(?=[^\s_*~])([^_*~\n]{1,200}+)(?<=\S)\1(?!\w)|`+|\*{2,}|~~"
)
_HEADING = re.compile(r"^ ?(?:#{1,6} |> ?|\|)+", re.MULTILINE)
# "(a) cat" is an optional article, no letter of a list.
_LETTERED = r"\(?[0-9]{1,2}\)|[a-hA-H]\)"
_BULLET = re.compile(
    rf"^(?=( ?(?:(?:[-–—•*·▪►‣◦+]|{_LETTERED}) )+))\1(?=.*[^\W_])|(?<= )[0-9]{{1,2}}\) ",
    re.MULTILINE,
)
# In German "1. Mai" is a date.
_NUMBERED = re.compile(r"^ ?(?:[0-9]{1,2}\. )+(?=[^\W\d_])", re.MULTILINE)
_INCLUSIVE = re.compile(
    r"(?<=[^\W\d_])(?:(,? -)|[·•‧]|\.(?=(?:e|trice|euse|[^\W\d_]{1,5}\.s)(?![^\W_])))"
    r"([^\W\d_]{1,6})(?:[·•‧.](s))?(?![^\W_])(?=[\s.,;:!?)\]]|\Z)"
)


def _emphasis(text: str, _: str) -> str:
    return _HEADING.sub("", _EMPHASIS.sub(r"\2", text))


def _bullets(text: str, language: str) -> str:
    """A list's marks aren't said; numbered senses within a line are set off by a pause."""
    text = _BULLET.sub("\n", text)
    return _NUMBERED.sub("", text) if language in ("en", "fr") else text


def _inclusive(text: str, language: str) -> str:
    """étudiant·e·s and heureux, -euse are read in their first form, as étudiant(e)s is."""
    if language != "fr":
        return text
    return _INCLUSIVE.sub(lambda m: m[3] or "" if m[1] == ", -" or m[2] in _ENDINGS else m[0], text)


_ARROW = re.compile(" ?(?:[←-⇿➔➘-➯➱-➾⟰-⟿⤀-⥿⬀-⬑]|<?[-=]{1,2}>|<=>|<--?(?= ))+ ?")
# A dash between words, not a minus between numbers or the hyphen of a suffix.
_DASH = re.compile(r"(?<![0-9]) [-–—]{1,3} | [-–—]{1,3} (?![0-9])|[—―]|-{2,}|[-–]$", re.M)
# Sums and formulas keep theirs: 2 + 2 = 4, x = y.
_EQUALS = re.compile(
    r"(?<![0-9<>!=])(?<![0-9] )(?<!^\w)(?<!^\w ) ?={1,3} ?(?![ 0-9=])", re.MULTILINE
)
_SEPARATOR = re.compile(r" ?[|•·¶●■] ?| //+ ")


def _pauses(text: str, _: str) -> str:
    """chat → cat, chat - cat and chat = cat are two things with a pause between."""
    for mark in (_ARROW, _DASH, _EQUALS, _SEPARATOR):
        text = mark.sub("\n", text)
    return text


_ANGLED = re.compile(r"<(?=[^\s<>\d])([^<>\n]{1,80})(?<=\S)>")
_STRAY = re.compile(
    r"[{}\[\]()\\`_]|(?<![0-9]) ?\*+|\*+(?! ?[0-9])|~(?![0-9])|(?<!\w)\^|\^(?!\w)|[<>]{2,}"
    r"|>(?=[^\s\d])|<(?=[^\s\d])"
)


def _strays(text: str, _: str) -> str:
    return _STRAY.sub(" ", _ANGLED.sub(r"\1", text))


_ENDED = (".", ",", ";", ":", "!", "?", "…", "。", "、", "！", "？")


def _one_line(text: str, _: str) -> str:
    """A pause is a comma, unless punctuation makes one already."""
    said = ""
    lines = [line for line in map(str.strip, text.split("\n")) if _VISIBLE.search(line)]
    for line in lines[:-1]:
        said += line + (" " if line.rstrip("\"'").endswith(_ENDED) else ", ")
    return said + lines[-1] if lines else ("" if "\n" in text else text)


_PUNCTUATION: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), said)
    for pattern, said in (
        (r'" ?"', " "),
        (r"[^\S\n]+", " "),
        (r" (?=[,;:!?]|\.(?![\w.]))", ""),
        (r"\.{3,}(?: ?\.+)*", "..."),
        (r"(?<!\.)\.\.(?!\.)", "."),
        (r"[!?]+(?: [!?]+)*", lambda match: "?" if "?" in match[0] else "!"),
        # Of several the first, but the end of a sentence before a comma.
        (r"(?<![,;:])(?<![,;:] )[,;:](?: ?[,;:])*(?= ?[.!?])(?! ?\.\w)", ""),
        (r"([,;:])(?: ?[,;:])+", r"\1"),
        (r"(?<=[!?])[,;.](?!\w)", ""),
        (r"\A(?:[\s,;:!?]|\.(?![0-9]))+", ""),
    )
)


def _punctuation(text: str, _: str) -> str:
    for mark, said in _PUNCTUATION:
        text = mark.sub(said, text)
    return text.rstrip(" ,;:")


_Rule = Callable[[str, str], str]
_RULES: tuple[tuple[_Rule, str], ...] = (
    (_entities, "blank"),
    (_unread, "only_markup"),
    (_tags, "only_markup"),
    (_keycaps, "only_emoji"),
    (_characters, "blank"),
    (_sounds, "only_sound"),
    (_templates, "only_markup"),
    (_formulas, "only_formula"),
    (_clozes, "only_punctuation"),
    (_pictographs, "only_emoji"),
    (_links, "only_link"),
    (_phonetics, "only_phonetics"),
    (_emphasis, "only_punctuation"),
    (_gaps, "only_punctuation"),
    (_bullets, "only_punctuation"),
    (_bare_marks, "only_notes"),
    (_abbreviations, "only_notes"),
    (_inclusive, "only_notes"),
    (_french_order, "only_notes"),
    (_brackets, "only_notes"),
    (_slashes, "only_notes"),
    (_pauses, "only_punctuation"),
    (_strays, "only_punctuation"),
    (_one_line, "only_punctuation"),
    (_punctuation, "only_punctuation"),
)
"""Each rule with the code of a text it leaves nothing of. The order matters."""


# ── Parts ────────────────────────────────────────────────────────────────────

_SENTENCE = re.compile(r"(?<=[.!?…])[\"')]* +|(?<=[。！？])")
_CLAUSE = re.compile(r"(?<=[,;:–—]) +|(?<=[、，；：])")
_SPACE = re.compile(r" +|(?<=[\u3040-\u30ff\u3400-\u9fff])(?=[\u3400-\u9fff])")
_NO_END = re.compile(r"(?:\b[^\W\d_]|\b(?:Mr|Mrs|Ms|Dr|Prof|St|Mme|Mlle|Jr|vs|No|etc))\.$")


def parts(text: str, limit: int = 1000) -> list[str]:
    """Cut a spoken text into pieces of at most `limit` characters (at least 1).

    At the last sentence end that fits, else the last clause, else the last
    space; never inside a word, so a word above `limit` is a longer piece of its
    own. Nothing is lost but the spaces at the cuts. '' gives [].
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    pieces, start, text = [], 0, text.strip()
    while start < len(text):
        end = _cut(text, start, limit)
        pieces.append(text[start:end].strip())
        start = end
    return pieces


def _cut(text: str, start: int, limit: int) -> int:
    """Where the piece that starts at `start` ends, spaces behind it included."""
    if len(text) - start <= limit:
        return len(text)
    for boundary in (_SENTENCE, _CLAUSE, _SPACE):
        # One more than fits: the space at a cut isn't sent.
        found = boundary.finditer(text, start + 1, start + limit + 1)
        ends = [m.end() for m in found if _may_cut(text, start, m, boundary, limit)]
        if ends:
            return ends[-1]
    after = _SPACE.search(text, start + limit)
    return after.end() if after else len(text)


def _may_cut(
    text: str, start: int, match: re.Match[str], boundary: re.Pattern[str], limit: int
) -> bool:
    fits = match.start() + len(match[0].rstrip()) - start <= limit
    before = text[max(match.start() - 6, 0) : match.start()]
    abbreviated = boundary is _SENTENCE and _NO_END.search(before)
    return fits and not abbreviated and not unicodedata.category(text[match.end()]).startswith("M")
