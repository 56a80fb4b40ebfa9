"""The rules that a tip is held to before it is shown."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tips.features.similarity import signature, similarity
from tips.llm.checks import MAX_CONTENT, MIN_CONTENT, NEAR, check_template_tips, check_tips
from tips.llm.contacts import contact, mask_contacts

TEXT = "Renew the passport: book the appointment now."


def tip(content: Any = TEXT, kind: Any = "task", **more: Any) -> dict[str, Any]:
    return {"content": content, "kind": kind, **more}


# Contacts


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write to marta@example.com today", "email"),
        ("m.b+x@sub.example.co.uk", "email"),
        ("Mail marta (at) example.com", "email"),
        ("Mail marta\uff20example.com", "email"),
        ("Call +49 170 1234567", "phone"),
        ("call 0170/1234567", "phone"),
        ("(555) 123-4567", "phone"),
        ("555.123.4567", "phone"),
        ("555-1234 after nine", "phone"),
        ("06 12 34 56 78", "phone"),
        ("555 123 456", "phone"),
        ("5551234567", "phone"),
        ("030 123 456", "phone"),
        ("\u0660\u0661\u0667\u0660\u0661\u0662\u0663\u0664\u0665\u0666", "phone"),
        ("see https://x.example/z", "url"),
        ("https://zoom.example/j/123456789", "url"),
        ("www.example.org", "url"),
        ("bit.ly/abc", "url"),
        ("open example.com first", "url"),
        ("example.io?x=1", "url"),
        ("tel:112", "url"),
        ("192.168.1.12:80", "url"),
        ("bob@example\u3002com", "email"),
        ("bob\uff20example\uff0ecom", "email"),
        ("bob @ example . com", "email"),
        ("bob at example dot com", "email"),
        ("bob [at] example.org", "email"),
        ("bob@exam\u200dple.com", "email"),
        ("Call 91234567 today", "phone"),
        ("555\u00b7123\u00b74567", "phone"),
        ("555,123,4567", "phone"),
        ("555_123_4567", "phone"),
        ("555-123-4567ext12", "phone"),
        ("12 34 56 78", "phone"),
        ("Example.Com", "url"),
        ("\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45.\uff43\uff4f\uff4d", "url"),
        ("example[.]com", "url"),
        ("example dot com", "url"),
        ("\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444", "url"),
        ("xn--e1afmkfd.xn--p1ai", "url"),
        ("example.shop", "url"),
        ("localhost:8080", "url"),
        ("[::1]:8080", "url"),
        ("javascript:alert(1)", "url"),
        ("Read the guide on notion.so before lunch", "url"),
        ("Look up example.co today please", "url"),
        ("Order the tickets at orf.at this evening", "url"),
        ("example.co.nz", "url"),
        ("shop.example.us?x=1", "url"),
        ("write on t.me.", "url"),
        ("youtu.be", "url"),
        ("open nrk.no, then yle.fi", "url"),
        ("look at 192.168.1.1 first", "url"),
        ("data:text/html,x", "url"),
        ("ask ann@[192.168.0.1] for it", "email"),
        ("ask ann@example for it", "email"),
        ("ann{at}example{dot}com", "email"),
        ("Ask for Bob at 1234567", "phone"),
        ("text 123 4567 or call: 123456", "phone"),
        ("1-800-FLOWERS", "phone"),
        ("(800) FLOWERS", "phone"),
    ],
)
def test_contacts_are_found_and_masked(text: str, kind: str) -> None:
    assert contact(text) == kind
    assert contact(mask_contacts(text)) is None


def test_only_the_contact_is_masked() -> None:
    masked = mask_contacts("Call +49 170 1234567 at 10:30, then write to m@example.com by 2026-11-21.")
    assert masked == "Call … at 10:30, then write to … by 2026-11-21."


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "due 2026-11-21, not 21.11.2026 14:30 or 11/21/2026",
        "from 14:00-15:30, or 18.30 - 20.15, or 10.30-11.30",
        "Walk 10 000 steps and save 1.500.000 or 1,500,000",
        "the 2024-2025 budget in 10-15 minutes",
        "Ship INV-2024-00123, ticket #12345678, order 1234567",
        "Node.js and README.md in main.py, e.g. this and/or that",
        "Do it today.It is late.So go",
        "Bring 5.000-6.000 kcal, then 100-200-300-400 m intervals",
        "Pomodoro 25-5-25-5-25-5-25-15, or 300/450/120/80",
        "Scores 21-18 19-21 21-17, breath 4-7-8 4-7-8 4-7-8, count 1 2 3 4 5 6 7 8 9 10",
        "The ISBN 978-3-16-148410-0, at 52.5200 13.4050 on 20261121",
        "Version 10.15.7.123 of the tool, chapter 3.1.4.1",
        "Look at [at] least three; Bob (at) the desk knows",
        "Prices rose from 1.299,00 to 1.399,00 at the shop",
        "Mo-Fr 8-10 and 12-14, chapters 1-3, 5-7, 9-11",
        "Pay 1 250.50 EUR by 30.11. at ratio 3:4",
        "call 112 from the @home list",
        "version 3.11.4, room 4.12",
        "Keep the budget of 1200-1500 EUR in mind, and 3000 - 4000 steps",
        "Finish it.Me first.It is late.To bed",
        "on 20261121 at 10:30 call 112, then walk 8000 steps at 100 a minute",
        "Room 800 NORTH, lot 1-800",
    ],
)
def test_numbers_and_dots_are_not_taken_for_contacts(text: str) -> None:
    assert contact(text) is None
    assert mask_contacts(text) == text


@given(st.text(alphabet="ab1023 4+-.@/()…:w", max_size=60) | st.text(max_size=60))
def test_nothing_is_left_after_masking(text: str) -> None:
    masked = mask_contacts(text)
    assert contact(masked) is None
    assert (masked == text) == (contact(text) is None)


@pytest.mark.parametrize("piece", ["a", "a.", "a-", "a@", "a@a.", "1 ", "1-", "(at)", "[at ", "(  ", "tel:", "…"])
def test_a_long_text_is_searched_in_bounded_time(piece: str) -> None:
    started = time.perf_counter()
    mask_contacts(piece * 3000)
    assert time.perf_counter() - started < 1


# Near duplicates

SAME = [
    ("Renew the passport: book the appointment now.", "Renew the passport - book an appointment NOW!"),
    ("Stretch for a minute before the next meeting.", "Stretch for a minute before your next meeting starts."),
    (
        "Open the invoice for Marta, change date and amount, and send it before lunch.",
        "Open Marta's invoice, change the date and amount, and send it before lunch.",
    ),
    (
        "Call the dentist at ten, between two bigger things. Two minutes close what has been open for twenty days.",
        "Call the dentist at ten, between two bigger things. Two minutes close what has been open for weeks.",
    ),
    ("Drink a glass of water before you open your inbox.", "Drink a big glass of water before you open your inbox."),
    ("Take ten minutes to call grandma now.", "Take ten minutes and call grandma now."),
]
OTHER = [
    ("Spend ten minutes on “Renew the passport” now.", "Spend ten minutes on “Call grandma” now."),
    (
        "Open “Renew the passport” and do the first two minutes of it right now.",
        "Open “Book the dentist” and do the first two minutes of it right now.",
    ),
    (
        "“Send the invoice to Marta” has waited for 6 days: finish it before lunch.",
        "“Outline the talk for spring” has waited for 2 days: finish it before lunch.",
    ),
    ("Take five minutes to water the plants before dinner.", "Take five minutes to clean the kitchen before dinner."),
    (
        "Write the first sentence of the report, nothing more.",
        "Write the first sentence of the cover letter, nothing more.",
    ),
    ("Stretch for a minute before the next meeting.", "Stand up and walk to the window after this call."),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_a_word_changed_is_the_same_tip(one: str, other: str) -> None:
    assert similarity(signature(one), signature(other)) >= NEAR


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_the_same_sentence_about_another_task_is_another_tip(one: str, other: str) -> None:
    assert similarity(signature(one), signature(other)) < NEAR


# Checks


@pytest.mark.parametrize(
    ("item", "check"),
    [
        (None, "schema"),
        ("text", "schema"),
        ({"content": TEXT}, "schema"),
        ({"kind": "task"}, "schema"),
        (tip(3), "schema"),
        (tip(kind=None), "schema"),
        (tip(kind="joke"), "kind"),
        (tip("x" * (MIN_CONTENT - 1)), "too_short"),
        (tip(" \n "), "too_short"),
        (tip("word " * 56 + "x"), "too_long"),
        (tip("x" * 90_000), "too_long"),
        (tip("Write to marta@example.com about it."), "email"),
        (tip("Call the dentist: 030 123 456 78."), "phone"),
        (tip("Read www.example.org for ten minutes."), "url"),
    ],
)
def test_each_rule_has_its_code(item: Any, check: str) -> None:
    checked = check_tips([item, tip()])
    assert [good.content for good in checked.good] == [TEXT]
    assert (checked.failed, checked.fault) == ({check: 1}, None)


@pytest.mark.parametrize("length", [MIN_CONTENT, MAX_CONTENT])
def test_both_ends_of_the_length_are_good(length: int) -> None:
    assert check_tips([tip("x" * length)]).failed == {}


def test_the_earlier_of_two_stays() -> None:
    one, other = SAME[0]
    checked = check_tips([tip(one), tip(other, kind="advice"), tip(OTHER[0][1])])
    assert [good.content for good in checked.good] == [one, OTHER[0][1]]
    assert checked.failed == {"duplicate": 1}


def test_what_was_kept_and_what_was_seen_count() -> None:
    kept = check_tips([tip(SAME[0][0])]).good
    checked = check_tips(
        [tip(SAME[0][1]), tip(SAME[1][1]), tip(OTHER[0][1])], kept=kept, recent=[signature(SAME[1][0])]
    )
    assert [good.content for good in checked.good] == [OTHER[0][1]]
    assert checked.failed == {"duplicate": 1, "seen": 1}


def test_a_tip_is_put_on_one_line_and_its_rationale_cut() -> None:
    checked = check_tips(
        [
            {"id": 7, "content": " First\n tip of\tthis answer. ", "kind": " Task ", "rationale": 9, "extra": [1]},
            tip("Another one about nothing.", rationale=" "),
            tip("And a third of many words.", rationale="r" * 400),
        ]
    )
    first, second, third = checked.good
    assert (first.content, first.kind) == ("First tip of this answer.", "task")
    assert (first.rationale, second.rationale) == (None, None)
    assert third.rationale is not None
    assert len(third.rationale) == 300


@pytest.mark.parametrize(
    ("items", "fault"),
    [(None, "not_json"), ([], "wrong_fields"), (["a"], "wrong_fields"), ([tip(kind="joke")], "wrong_fields")],
)
def test_an_answer_without_anything_readable(items: list[Any] | None, fault: str) -> None:
    for checked in (check_tips(items), check_template_tips(items)):
        assert (checked.good, checked.fault) == ([], fault)


def test_a_template_quotes_what_the_person_wrote() -> None:
    one, other = OTHER[1]
    items = [tip("Do “Call +49 170 1234567” now, for two minutes."), tip(one), tip(one), tip(other), tip("short")]
    checked = check_template_tips(items)
    assert [good.content for good in checked.good] == ["Do “Call …” now, for two minutes.", one, other]
    assert checked.failed == {"duplicate": 1, "too_short": 1}
