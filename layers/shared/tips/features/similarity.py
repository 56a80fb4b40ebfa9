"""How alike two texts are, told from their character trigrams; a signature can be kept where the text must not be."""

from __future__ import annotations

import re
import sys
import unicodedata
import zlib
from array import array

LOOKED_AT = 500
"""Characters of a text that count."""

Signature = frozenset[int]


def signature(text: str) -> Signature:
    """Return the hashes of the text's character trigrams; case, punctuation and forms of a character do not count."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text[:LOOKED_AT]).casefold())
    line = f" {' '.join(words)} "
    trigrams = set(map("".join, zip(line, line[1:], line[2:], strict=False)))
    return frozenset(zlib.crc32(one.encode("utf-8", "surrogatepass")) for one in trigrams)


def similarity(one: Signature, other: Signature) -> float:
    """Return how alike two texts are, 0 to 1: the Dice coefficient of their sets of trigrams."""
    total = len(one) + len(other)
    return 2 * len(one & other) / total if total else 1.0


def pack_signature(one: Signature) -> bytes:
    """Sorted uint32, little-endian."""
    numbers = array("I", sorted(one))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpack_signature(data: bytes) -> Signature:
    """Inverse of `pack_signature`; raises `ValueError` on bytes that are not of its making."""
    numbers = array("I")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return frozenset(numbers)
