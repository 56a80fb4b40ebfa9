"""E-mail addresses, phone numbers and URLs in a text: found, or masked."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Contact = Literal["email", "phone", "url"]

MASK = "…"

# Full stops and joiners that stand for others; what NFKC does not make one.
_STAND_INS = str.maketrans({"\u3002": ".", "\uff61": ".", "\u2024": ".", "\u200c": None, "\u200d": None, "\u00b7": "-"})
_TOP_LEVEL = (
    "com|org|net|edu|gov|info|biz|io|ai|app|dev|eu|uk|de|fr|es|nl|ch|pl|cz|se|dk|ru|ua|jp|cn|kr|br|au|ca|ly|gg|tv|xyz"
    "|co|ie|ar|mx|cl|tr|gr|pt|hu|ro|bg|hr|si|sk|lt|lv|ee|lu|il|ae|sa|ir|pk|th|vn|sg|hk|tw|nz|za|ng|ke|eg|fi|asia|mobi"
    "|shop|online|site|store|club|tech|cloud|wiki|icu|travel|museum|рф|xn--[a-z0-9-]+"
)
# Endings that are words as well: a sign of a URL in small letters behind a full stop, where a sentence that lacks its
# space begins with a capital. Those of files (.md, .py, .sh, .rs) are none.
_WORDS_TOO = (
    "me|it|is|at|in|us|so|be|no|to|am|my|by|id|al|ma|pe|li|la|fm|cc|gl|page|link|blog|live|life|world|today|email|news"
    "|group|agency|studio|design|games|media|social|space|website|zone|top|pro|name|jobs|pizza|one|art|fun|chat|team"
)
_DOT = r"(?:\.|\s\.\s|\s?[\[({]\s?(?:\.|dot)\s?[\])}]\s?|\sdot\s)"
# Each begins at the beginning of a word, or a long one would be searched from each of its characters.
_EMAIL = re.compile(
    r"(?<![^\s@<>()\[\]])[^\s@<>()\[\]]+\s?@\s?(?:[\w-]+\.)+[^\W\d_]{2,}(?:[\w@.+-]*\w)?"
    rf"|(?<!\S)[\w.+-]+\s?(?:@|[\[({{]\s?at\s?[\])}}]|\bat\b)\s?(?:[\w-]+{_DOT})+(?:{_TOP_LEVEL})\b"
    r"|(?<!\S)[\w.+-]+@(?:\w[\w-]*|\[[\w.:]+\])",
    re.IGNORECASE,
)
_URL = re.compile(
    r"(?<!\S)\S*://\S+"
    r"|\b(?:mailto|tel|sms|javascript):\S+"
    r"|\bwww\.\S+"
    r"|(?<![\w.-])(?:[\w-]+\.)+[a-z]{2,}/\S*"
    rf"|(?<![\w.-])(?:[\w-]+{_DOT})+(?:{_TOP_LEVEL})\b(?:[:?#]\S*)?"
    rf"|(?<![\w.-])(?:[\w-]+\.)*[\w-]*[^\W\d_][\w-]*\.(?-i:{_WORDS_TOO})\b(?!\.\w)(?:[:?#]\S*)?"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}[:/]\S*|(?<=\b(?:at|to|on)\s)\d{1,3}(?:\.\d{1,3}){3}\b"
    r"|\bdata:\w+/\S*"
    r"|\blocalhost:\d+|\[[0-9a-f:]*::[0-9a-f:]*\](?::\d+)?",
    re.IGNORECASE,
)
_DATE_OR_TIME = re.compile(
    r"(?<![\d+(])(?<!\d[-/.])(?:"
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}"
    r"|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})"
    r"|(?:19|20)\d{6}"
    r"|(?:19|20)\d\d\s?[-–/]\s?(?:19|20)\d\d"  # noqa: RUF001 - people write ranges with it
    r"|\d{1,2}:\d{2}(?::\d{2})?"
    r"|\d{1,2}\.\d{2}\s?[-–]\s?\d{1,2}\.\d{2}"  # noqa: RUF001
    r"|97[89][-\s]?(?:\d[-\s]?){9}\d"  # a book's number
    r"|\d{3,5}\s?[-–]\s?\d{3,5}(?=\s?(?:[€$£]|EUR|USD|GBP|CHF|kcal|calories|steps|words|pages|people|points|met(?:er|re)s)(?!\w))"  # noqa: RUF001
    r"|-?\d{1,3}\.\d{3,},?\s-?\d{1,3}\.\d{3,}"  # a place on the map
    r")(?![-/.]?\d)"
)
# Digits behind a hyphen with a letter or behind a number sign are somebody's reference: INV-2024-00123, #1234567.
_DIGITS = re.compile(r"(?<![\w#])(?<![^\W\d_]-)(?:\+\s?)?\(?\d(?:[\s()._,/\-‐‑‒–]{0,3}\d){5,}(?=ext|\W|$)")  # noqa: RUF001
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[\s.,]\d{3})+(?:\s?[-–]\s?[1-9]\d{0,2}(?:[\s.,]\d{3})+)?(?:[.,]\d{1,2})?")  # noqa: RUF001
_IN_SHORT_GROUPS = re.compile(r"\d\d(?:\s\d\d){3,4}|\d \d{3} \d{3} \d\d \d\d")
# What is no number for its form alone, but for the word before it or the letters in it.
_CALLED = re.compile(
    r"\b(?:call|phone|tel|dial|text|ring|sms|whatsapp|at|on)\b\W{0,3}(?P<number>\d{6,8})(?!\w)", re.IGNORECASE
)
_LETTERED = re.compile(r"(?<![\w-])(?P<number>(?:1[-.\s])?\(?8\d\d\)?[-.\s][A-Z][A-Z-]{5,})\b")
_FEWEST_DIGITS = 7
_MOST_DIGITS_OF_A_NUMBER = 8
"""Of one written with spaces, as a telephone number is too."""


def contact(text: str) -> Contact | None:
    """Return the kind of the first contact found in `text`; an e-mail address is told before a URL or a number."""
    text = _plain(text)
    if _EMAIL.search(text):
        return "email"
    if _URL.search(text):
        return "url"
    return "phone" if _phones(text) else None


def mask_contacts(text: str) -> str:
    """Return `text` with every contact replaced by an ellipsis; `contact` finds none in it."""
    while contact(text):  # what stood around a contact may be another one without it; each round is shorter
        text = _URL.sub(MASK, _EMAIL.sub(MASK, _plain(text)))
        for start, end in reversed(_phones(text)):
            text = text[:start] + MASK + text[end:]
    return text


def _plain(text: str) -> str:
    """Return the text with one form of each character; an ellipsis stays one."""
    return MASK.join(unicodedata.normalize("NFKC", part) for part in text.translate(_STAND_INS).split(MASK))


def _phones(text: str) -> list[tuple[int, int]]:
    """Return where the phone numbers are: `(start, end)`, first to last."""
    # Of the same length, so that the places stay right.
    without_dates = _DATE_OR_TIME.sub(lambda found: "x" * len(found[0]), text)
    found = {match.span() for match in _DIGITS.finditer(without_dates) if _is_phone(match[0])}
    for match in (*_CALLED.finditer(without_dates), *_LETTERED.finditer(without_dates)):
        start, end = match.span("number")
        if not any(start < other_end and other_start < end for other_start, other_end in found):
            found.add((start, end))
    return sorted(found)


def _is_phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    if text.startswith("+"):
        return True
    if digits < _FEWEST_DIGITS or (_THOUSANDS.fullmatch(text) and digits <= _MOST_DIGITS_OF_A_NUMBER):
        return False
    if text.startswith(("0", "(")) or _IN_SHORT_GROUPS.fullmatch(text):
        return True
    if text.isdigit():
        return digits > _FEWEST_DIGITS
    if _THOUSANDS.fullmatch(text):
        return " " in text
    # Scores, sets and intervals have short groups.
    return any(len(group) > 3 for group in re.split(r"\D+", text))
