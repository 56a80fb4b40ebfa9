"""Signatures: what is alike has alike ones, and they pack without loss."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tips.features.similarity import pack_signature, signature, similarity, unpack_signature


@given(st.text(max_size=300))
def test_a_signature_is_packed_without_loss(text: str) -> None:
    one = signature(text)
    assert unpack_signature(pack_signature(one)) == one
    assert similarity(one, one) == 1.0


@given(st.text(max_size=80), st.text(max_size=80))
def test_similarity_is_symmetric_and_a_share(one: str, other: str) -> None:
    first, second = signature(one), signature(other)
    assert similarity(first, second) == similarity(second, first)
    assert 0.0 <= similarity(first, second) <= 1.0


def test_case_punctuation_and_spacing_do_not_count() -> None:
    assert signature("  Take a WALK, now! ") == signature("take a walk now")


def test_the_more_words_differ_the_less_alike() -> None:
    said = signature("Open the passport form and fill in the first page before lunch.")
    near = signature("Open the passport form and fill in the first page before dinner.")
    far = signature("Call your grandmother on the way home; she likes that.")
    assert similarity(said, near) > 0.7 > 0.2 > similarity(said, far)


def test_bytes_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        unpack_signature(b"123")
