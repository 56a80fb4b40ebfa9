"""How alike two texts are, told from their character n-grams; a signature can be kept where the text must not be."""

from __future__ import annotations

import sys
import unicodedata
import zlib
from array import array

N = 3

Signature = frozenset[int]


def signature(text: str) -> Signature:
    """Return the hashes of the text's character n-grams, case, punctuation and spacing left out of account."""
    kept = "".join(one if one.isalnum() else " " for one in unicodedata.normalize("NFKC", text).casefold())
    padded = f" {' '.join(kept.split())} "
    return frozenset(zlib.crc32(padded[at : at + N].encode()) for at in range(max(1, len(padded) - N + 1)))


def similarity(one: Signature, other: Signature) -> float:
    """Return the share of n-grams that two texts have in common, 0 to 1 (Jaccard)."""
    return len(one & other) / len(one | other)


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
