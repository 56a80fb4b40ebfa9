"""E-mail addresses, phone numbers and URLs in a text: found, or masked."""

from __future__ import annotations

import re
from typing import Literal

Contact = Literal["email", "phone", "url"]

MASK = "…"

# Each begins at the beginning of a word, or a long one would be searched from each of its characters.
_EMAIL = re.compile(
    r"(?<![^\s@\uff20<>()\[\]])[^\s@\uff20<>()\[\]]+\s?[@\uff20]\s?(?:[\w-]+\.)+[^\W\d_]{2,}(?:[\w@.+-]*\w)?"
    r"|(?<!\S)\S+\s?[(\[]\s?at\s?[)\]]\s?\S+",
    re.IGNORECASE,
)
# Endings that stand for an English word or a file (.it, .is, .me, .md, .py) are no sign of a URL without a path.
_TOP_LEVEL = (
    "com|org|net|edu|gov|info|biz|io|ai|app|dev|eu|uk|de|fr|es|nl|ch|pl|cz|se|dk|ru|ua|jp|cn|kr|br|au|ca|ly|gg|tv|xyz"
)
_URL = re.compile(
    r"(?<!\S)\S*://\S+"
    r"|\b(?:mailto|tel|sms):\S+"
    r"|\bwww\.\S+"
    r"|(?<![\w.-])(?:[\w-]+\.)+[a-z]{2,}/\S*"
    rf"|(?<![\w.-])(?:[\w-]+\.)+(?:{_TOP_LEVEL}|COM|ORG)\b(?:[:?#]\S*)?"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}\b(?:[:/]\S*)?"
)
_DATE_OR_TIME = re.compile(
    r"(?<![\d+(])(?<!\d[-/.])(?:"
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}"
    r"|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})"
    r"|(?:19|20)\d\d\s?[-–/]\s?(?:19|20)\d\d"  # noqa: RUF001 - people write ranges with it
    r"|\d{1,2}:\d{2}(?::\d{2})?"
    r"|\d{1,2}\.\d{2}\s?[-–]\s?\d{1,2}\.\d{2}"  # noqa: RUF001
    r")(?![-/.]?\d)"
)
# Digits behind a letter, a hyphen behind a letter or a number sign are somebody's reference: INV-2024-00123, #1234567.
_DIGITS = re.compile(r"(?<![\w#])(?<![^\W\d_]-)\+?\s?\(?\d(?:[\s()./\-‐‑‒–]{0,3}\d){5,}(?!\w)")  # noqa: RUF001
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[\s.]\d{3})+")
_MOST_DIGITS_OF_A_NUMBER = 8


def contact(text: str) -> Contact | None:
    """Return the kind of the first contact found in `text`; an e-mail address is told before a URL or a number."""
    if _EMAIL.search(text):
        return "email"
    if _URL.search(text):
        return "url"
    return "phone" if _phones(text) else None


def mask_contacts(text: str) -> str:
    """Return `text` with every contact replaced by an ellipsis; `contact` finds none in it."""
    while contact(text):  # what stood around a contact may be another one without it; each round is shorter
        text = _URL.sub(MASK, _EMAIL.sub(MASK, text))
        for start, end in reversed(_phones(text)):
            text = text[:start] + MASK + text[end:]
    return text


def _phones(text: str) -> list[tuple[int, int]]:
    """Return where the phone numbers are: `(start, end)`, first to last."""
    # Of the same length, so that the places stay right.
    without_dates = _DATE_OR_TIME.sub(lambda found: "x" * len(found[0]), text)
    return [found.span() for found in _DIGITS.finditer(without_dates) if _is_phone(found[0])]


def _is_phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    if text.startswith("+"):
        return True
    if _THOUSANDS.fullmatch(text) and digits <= _MOST_DIGITS_OF_A_NUMBER:
        return False
    if text.isdigit() and not text.startswith("0"):
        return digits > _MOST_DIGITS_OF_A_NUMBER
    return digits > 6
