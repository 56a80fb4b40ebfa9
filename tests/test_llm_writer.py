"""The one retry loop: who is asked, how often, in which words, what it costs, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from tests.model_server import (
    CUT_OFF,
    EMPTY_CHOICES,
    FENCED,
    GOOD_TIPS,
    HUGE,
    INVALID_JSON,
    OUT_OF_BUDGET,
    SLOW,
    WRONG_FIELDS,
    ModelServer,
    Reply,
    rate_limited,
    tips_reply,
)
from tips import telemetry
from tips.errors import CapReached, ModelUnavailable, ModelUnusable, TableUnavailable
from tips.features.similarity import Signature, signature
from tips.llm import gateway
from tips.llm.models import Model
from tips.llm.turns import CORRECTIONS
from tips.llm.writer import NoTips, Written, write_tips
from tips.prompts.registry import prompts

T = TypeVar("T")

CONTEXT = {"tasks": [{"title": "Renew the passport", "overdue": True}, {"title": "Call grandma"}], "n": 3}
PROMPT = prompts()["v1"]
CONTENTS = [tip["content"] for tip in GOOD_TIPS]
SHORT = "Too short."
OTHERS = [
    "Water the plants on the balcony before lunch.",
    "Put your running shoes next to the door tonight.",
    "Read the first page of the contract, only that one.",
]


@dataclass
class Breakers:
    """Notes what it is told; `open` models are not admitted."""

    open: set[str] = field(default_factory=set)
    told: list[tuple[str, str]] = field(default_factory=list)

    def admits(self, model: str) -> bool:
        return model not in self.open

    def succeeded(self, model: str) -> None:
        self.told.append(("succeeded", model))

    def failed(self, model: str) -> None:
        self.told.append(("failed", model))

    def refused(self, model: str) -> None:
        self.told.append(("refused", model))
        self.open.add(model)

    def released(self, model: str) -> None:
        """Tells nothing of the model."""

    def retry_after_sec(self, model: str) -> int:
        return 42 if model in self.open else 1


@dataclass
class Bookings:
    """Notes bookings; the one after `admitted` raises `error`."""

    admitted: int = 99
    error: Exception = field(default_factory=lambda: CapReached("the cap is reached", retry_after_sec=3600))
    booked: list[tuple[int, float]] = field(default_factory=list)
    settled: dict[int, tuple[int, float]] = field(default_factory=dict)

    def book(self, tokens: int, usd: float) -> object:
        if len(self.booked) == self.admitted:
            raise self.error
        self.booked.append((tokens, usd))
        return len(self.booked) - 1

    def settle(self, booking: object, tokens: int, usd: float) -> None:
        assert isinstance(booking, int)
        assert booking not in self.settled
        self.settled[booking] = (tokens, usd)


def run(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@dataclass
class Outcome:
    written: Written
    error: Exception | None
    servers: Sequence[ModelServer]
    breakers: Breakers
    bookings: Bookings
    took_sec: float

    @property
    def received(self) -> list[int]:
        return [len(server.received) for server in self.servers]

    def last_turn(self, number: int = 0) -> str:
        return str(self.servers[number].received[-1].body["messages"][-1]["content"])


def write(
    *replies: Sequence[Reply],
    n: int = 3,
    breakers: Breakers | None = None,
    bookings: Bookings | None = None,
    recent: Sequence[Signature] = (),
    try_sec: float = 5.0,
    total_sec: float = 10.0,
    fallback: bool = False,
    cap_fallback: bool = False,
    price: tuple[float, float] | None = None,
) -> Outcome:
    """Write with one model per list of replies: `m0`, `m1`, ..., each on a server of its own."""
    breakers, bookings = breakers or Breakers(), bookings or Bookings()
    error: Exception | None = None
    with ExitStack() as stack:
        servers = [stack.enter_context(ModelServer(*own)) for own in replies]
        models = [Model(f"m{i}", f"{server.url}/v1", "k", price=price) for i, server in enumerate(servers)]
        started = time.monotonic()
        try:
            written = run(
                write_tips(
                    PROMPT,
                    CONTEXT,
                    n,
                    models,
                    breaker=breakers,
                    budget=bookings,
                    recent=recent,
                    try_sec=try_sec,
                    total_sec=total_sec,
                    fallback=fallback,
                    cap_fallback=cap_fallback,
                )
            )
        except (ModelUnusable, ModelUnavailable, CapReached, TableUnavailable) as raised:
            error, cause = raised, raised.__cause__
            written = cause.written if isinstance(cause, NoTips) else pytest.fail("its cause tells no calls")
        took_sec = time.monotonic() - started
    assert sorted(bookings.settled) == list(range(len(bookings.booked)))
    assert len(written.calls) == written.attempts == sum(len(server.received) for server in servers)
    return Outcome(written, error, servers, breakers, bookings, took_sec)


def contents(outcome: Outcome) -> list[str]:
    return [tip.content for tip in outcome.written.tips]


def assert_template(outcome: Outcome) -> None:
    written = outcome.written
    assert (outcome.error, written.fallback, written.model) == (None, True, "local/template")
    assert len(written.tips) == 3
    assert "Renew the passport" in written.tips[0].content


@pytest.fixture(scope="module", autouse=True)
def _litellm_is_imported() -> None:
    gateway.load()


# One model that answers


@pytest.mark.parametrize("reply", [Reply(), FENCED, Reply(json.dumps({"tips": GOOD_TIPS}))])
def test_a_good_answer_is_used_at_once(reply: Reply) -> None:
    outcome = write([reply])
    written = outcome.written
    assert contents(outcome) == CONTENTS
    assert (written.model, written.fallback, written.attempts, written.failures) == ("m0", False, 1, [])
    assert (written.prompt_tokens, written.completion_tokens, written.cost_usd) == (100, 20, None)
    assert outcome.breakers.told == [("succeeded", "m0")]
    assert [(call.model, call.outcome, call.prompt_tokens) for call in written.calls] == [("m0", "ok", 100)]


@pytest.mark.parametrize(("bad", "fault"), [(INVALID_JSON, "not_json"), (WRONG_FIELDS, "wrong_fields")])
def test_an_unreadable_answer_is_corrected_in_words_of_its_own(bad: Reply, fault: Any) -> None:
    outcome = write([bad, Reply()])
    assert (contents(outcome), outcome.written.failures) == (CONTENTS, [fault])
    first, second = (received.body["messages"] for received in outcome.servers[0].received)
    assert second == [
        *first,
        {"role": "assistant", "content": bad.content},
        {"role": "user", "content": CORRECTIONS[fault]},
    ]
    assert outcome.written.prompt_tokens == 200


def test_there_are_two_corrections_per_request_and_no_more() -> None:
    outcome = write([INVALID_JSON, WRONG_FIELDS, INVALID_JSON, Reply()], [Reply(None), Reply()])
    assert outcome.received == [3, 1]
    assert isinstance(outcome.error, ModelUnusable)
    assert outcome.written.failures == ["not_json", "wrong_fields", "not_json", "not_json"]
    assert {what for what, _ in outcome.breakers.told} == {"succeeded"}


# Checks and replacements


def test_what_fails_a_check_is_asked_for_once_more() -> None:
    secret = "Write to marta@example.com about the passport."
    outcome = write([tips_reply(CONTENTS[0], SHORT, secret), tips_reply(OTHERS[0], OTHERS[1])])
    assert contents(outcome) == [CONTENTS[0], OTHERS[0], OTHERS[1]]
    assert outcome.written.checks == {"too_short": 1, "email": 1}
    assert (outcome.written.attempts, outcome.written.failures) == (2, [])
    asked = outcome.last_turn()
    assert "2 new tips" in asked
    assert "1 shorter than 20 characters" in asked
    assert "1 with an e-mail address" in asked
    assert "marta" not in asked
    assert [message["role"] for message in outcome.servers[0].received[-1].body["messages"]] == [
        *(message["role"] for message in PROMPT.render(CONTEXT, 3)),
        "assistant",
        "user",
    ]


def test_what_fails_again_is_dropped() -> None:
    outcome = write([tips_reply(CONTENTS[0], SHORT), tips_reply(SHORT, CONTENTS[0]), Reply()])
    assert (contents(outcome), outcome.received) == ([CONTENTS[0]], [2])
    assert outcome.written.checks == {"too_short": 2, "duplicate": 1}


def test_spare_tips_take_the_place_of_failing_ones() -> None:
    outcome = write([tips_reply(SHORT, *CONTENTS)], n=2)
    assert (contents(outcome), outcome.received) == (CONTENTS[:2], [1])


def test_too_few_without_a_failing_one_is_an_honest_answer() -> None:
    outcome = write([tips_reply(CONTENTS[0]), Reply()])
    assert (contents(outcome), outcome.received) == ([CONTENTS[0]], [1])


def test_what_the_person_has_seen_is_replaced() -> None:
    outcome = write([Reply(), tips_reply(OTHERS[0])], recent=[signature("x"), signature(CONTENTS[1].upper())])
    assert contents(outcome) == [CONTENTS[0], CONTENTS[2], OTHERS[0]]
    assert outcome.written.checks == {"seen": 1}


@pytest.mark.parametrize("second", [Reply(status=500), INVALID_JSON, SLOW, rate_limited("1"), Reply(status=401)])
def test_good_tips_outlive_a_failing_replacement(second: Reply) -> None:
    outcome = write([tips_reply(CONTENTS[0], SHORT), second], [Reply()], try_sec=1.0 if second is SLOW else 5.0)
    assert (contents(outcome), outcome.received, outcome.written.model) == ([CONTENTS[0]], [2, 0], "m0")


@pytest.mark.parametrize("error", [CapReached("reached"), TableUnavailable("away")])
def test_good_tips_outlive_a_cap(error: Exception) -> None:
    outcome = write([tips_reply(CONTENTS[0], SHORT)], bookings=Bookings(1, error))
    assert (outcome.error, contents(outcome), outcome.received) == (None, [CONTENTS[0]], [1])


def test_no_good_one_at_all_is_unusable() -> None:
    outcome = write([tips_reply(SHORT)], [Reply()])
    assert (contents(outcome), outcome.received, outcome.written.model) == (CONTENTS, [2, 1], "m1")
    assert outcome.written.failures == ["no_good_tip"]
    outcome = write([tips_reply(SHORT)])
    assert isinstance(outcome.error, ModelUnusable)


# The fallback list, the breaker and the pauses


@pytest.mark.parametrize(
    ("reply", "calls", "code", "told"),
    [
        (Reply(status=500), 2, "unavailable", ["failed", "failed"]),
        (Reply(status=503), 2, "unavailable", ["failed", "failed"]),
        (SLOW, 1, "timeout", ["failed"]),
        (CUT_OFF, 2, "bad_answer", []),
        (EMPTY_CHOICES, 2, "bad_answer", ["succeeded", "succeeded"]),
        (HUGE, 2, "bad_answer", ["succeeded", "succeeded"]),
        (rate_limited(), 1, "rate_limited", []),
        (rate_limited("1"), 1, "rate_limited", []),
        (Reply(status=401), 1, "refused", ["refused"]),
        (Reply(status=402), 1, "refused", ["refused"]),
        (Reply(status=403), 1, "refused", ["refused"]),
        (OUT_OF_BUDGET, 1, "refused", ["refused"]),
        (Reply(status=429, code="insufficient_quota"), 1, "refused", ["refused"]),
        (Reply(status=400), 1, "rejected", []),
        (Reply(status=404), 1, "rejected", []),
        (Reply(status=422), 1, "rejected", []),
    ],
    ids=lambda value: f"{value.status} {value.code or ''}" if isinstance(value, Reply) else None,
)
def test_the_next_model_is_asked(reply: Reply, calls: int, code: str, told: list[str]) -> None:
    outcome = write([reply], [Reply()], try_sec=1.0 if reply is SLOW else 5.0)
    assert (contents(outcome), outcome.written.model) == (CONTENTS, "m1")
    assert outcome.received == [calls, 1]
    assert outcome.written.failures == [code] * calls
    assert outcome.breakers.told == [*((one, "m0") for one in told), ("succeeded", "m1")]
    assert outcome.took_sec < 5


def test_a_server_that_recovers_is_used() -> None:
    outcome = write([Reply(status=502), Reply()], [Reply()])
    assert (outcome.received, outcome.written.failures) == ([2, 0], ["unavailable"])


def test_each_model_is_repeated_once_in_all() -> None:
    outcome = write([Reply(status=500), INVALID_JSON, Reply(status=500), Reply()])
    assert outcome.received == [3]
    assert outcome.written.failures == ["unavailable", "not_json", "unavailable"]


def test_an_open_breaker_costs_no_call_and_no_booking() -> None:
    outcome = write([Reply()], [Reply()], breakers=Breakers({"m0"}))
    assert (outcome.received, outcome.written.failures) == ([0, 1], ["breaker_open"])
    assert len(outcome.bookings.booked) == 1
    outcome = write([Reply()], breakers=Breakers({"m0"}))
    assert isinstance(outcome.error, ModelUnavailable)
    assert outcome.error.retry_after_sec == 42


def test_a_breaker_that_opens_ends_the_repeats() -> None:
    class Opening(Breakers):
        def failed(self, model: str) -> None:
            self.open.add(model)

    outcome = write([Reply(status=500)], breakers=Opening())
    assert (outcome.received, outcome.written.failures) == ([1], ["unavailable"])
    assert isinstance(outcome.error, ModelUnavailable)
    assert outcome.error.retry_after_sec == 42


@pytest.mark.parametrize("reply", [Reply(status=404), rate_limited(), CUT_OFF])
def test_a_probe_that_tells_nothing_is_given_back(reply: Reply) -> None:
    class Probing(Breakers):
        def released(self, model: str) -> None:
            self.told.append(("released", model))

    breakers = Probing()
    write([reply], breakers=breakers)
    assert set(breakers.told) == {("released", "m0")}
    capped = Probing()
    write([reply], breakers=capped, bookings=Bookings(0))
    assert capped.told == [("released", "m0")]


def test_retry_after_is_waited_for_where_nobody_else_is_left() -> None:
    outcome = write([Reply(status=400)], [rate_limited("0.5"), Reply()])
    assert (contents(outcome), outcome.received) == (CONTENTS, [1, 2])
    assert 0.5 <= outcome.took_sec < 5


@pytest.mark.parametrize(("status", "told", "said"), [(429, "7", 7), (503, "7", 7), (429, "9e9", 3600)])
def test_a_server_that_says_to_wait_longer_is_not_asked_again(status: int, told: str, said: int) -> None:
    outcome = write([Reply(status=status, headers={"Retry-After": told})])
    assert outcome.received == [1]
    assert isinstance(outcome.error, ModelUnavailable)
    assert outcome.error.retry_after_sec == said
    assert outcome.took_sec < 5


def test_a_wait_that_leaves_no_time_for_the_answer_is_not_begun() -> None:
    outcome = write([rate_limited("4")], total_sec=4.5)
    assert (outcome.received, outcome.written.failures) == ([1], ["rate_limited"])
    assert outcome.took_sec < 4


@pytest.mark.parametrize(("told", "said"), [("300", 42), ("0.4", 1), ("7.2", 8), (None, 5)])
def test_the_shortest_wait_is_told(told: str | None, said: int) -> None:
    outcome = write([rate_limited(told)], [Reply(status=401)], [rate_limited("90")])
    assert isinstance(outcome.error, ModelUnavailable)
    assert outcome.error.retry_after_sec == said


# The end: in time, and by the error promised


@pytest.mark.parametrize("models", [1, 2])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (SLOW, ModelUnavailable),
        (CUT_OFF, ModelUnavailable),
        (rate_limited(), ModelUnavailable),
        (rate_limited("60"), ModelUnavailable),
        (Reply(status=500), ModelUnavailable),
        (Reply(status=401), ModelUnavailable),
        (OUT_OF_BUDGET, ModelUnavailable),
        (INVALID_JSON, ModelUnusable),
        (WRONG_FIELDS, ModelUnusable),
        (EMPTY_CHOICES, ModelUnusable),
        (HUGE, ModelUnusable),
        (tips_reply(SHORT), ModelUnusable),
    ],
    ids=["slow", "cut-off", "429", "429-60", "500", "401", "budget", "no-json", "fields", "empty", "huge", "checks"],
)
@pytest.mark.parametrize("fallback", [False, True])
def test_every_failure_ends_as_promised_and_in_time(
    reply: Reply, error: type[Exception], models: int, fallback: bool
) -> None:
    try_sec, total_sec = (0.2, 0.8) if reply is SLOW else (5.0, 10.0)
    outcome = write(*[[reply]] * models, try_sec=try_sec, total_sec=total_sec, fallback=fallback)
    if fallback:
        assert_template(outcome)
    else:
        assert type(outcome.error) is error
    assert outcome.took_sec < 5  # of which the slow server's 10 seconds are far


def test_a_refused_port_is_the_same() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        model = Model("m", f"http://127.0.0.1:{unused.getsockname()[1]}/v1", "k")
        breakers, bookings = Breakers(), Bookings()
        with pytest.raises(ModelUnavailable) as caught:
            run(
                write_tips(
                    PROMPT,
                    CONTEXT,
                    3,
                    [model],
                    breaker=breakers,
                    budget=bookings,
                    try_sec=5,
                    total_sec=10,
                    fallback=False,
                    cap_fallback=False,
                )
            )
    assert caught.value.retry_after_sec == 5
    assert breakers.told == [("failed", "m")] * 2
    assert list(bookings.settled.values()) == [(0, 0.0)] * 2


@pytest.mark.parametrize(("try_sec", "total_sec", "at_least"), [(0.2, 5.0, 0.4), (5.0, 0.3, 0.3), (0.3, 0.5, 0.45)])
def test_a_slow_server_costs_no_more_than_the_time_there_is(try_sec: float, total_sec: float, at_least: float) -> None:
    outcome = write([SLOW], try_sec=try_sec, total_sec=total_sec, fallback=True)
    assert_template(outcome)
    assert set(outcome.written.failures) == {"timeout"}
    assert at_least - 0.05 <= outcome.took_sec < at_least + 4


def test_no_time_at_all_is_no_call() -> None:
    outcome = write([Reply()], total_sec=-1, fallback=True)
    assert_template(outcome)
    assert (outcome.received, outcome.written.attempts, outcome.written.cost_usd) == ([0], 0, 0)


# Caps


def test_a_call_is_booked_by_estimate_and_settled_by_use() -> None:
    outcome = write([Reply()], price=(10.0, 100.0))
    sent = sum(len(message["content"]) for message in PROMPT.render(CONTEXT, 3))
    prompt_tokens, most = -(-sent // 4), PROMPT.parameters.max_tokens
    usd = (prompt_tokens * 10 + most * 100) / 1e6
    ((booked_tokens, booked_usd),) = outcome.bookings.booked
    assert booked_tokens == prompt_tokens + most
    assert booked_usd == pytest.approx(usd)
    cost = (100 * 10 + 20 * 100) / 1e6
    tokens, settled_usd = outcome.bookings.settled[0]
    assert tokens == 120
    assert settled_usd == pytest.approx(cost)
    assert outcome.written.cost_usd == pytest.approx(cost)


def test_without_usage_the_texts_are_charged() -> None:
    outcome = write([tips_reply(*CONTENTS, usage=None)], price=(10.0, 100.0))
    (tokens, usd), (booked, _) = outcome.bookings.settled[0], outcome.bookings.booked[0]
    assert booked - PROMPT.parameters.max_tokens < tokens < booked
    assert usd > 0


@pytest.mark.parametrize(
    ("reply", "billed"),
    [
        (SLOW, True),
        (CUT_OFF, True),
        (EMPTY_CHOICES, True),
        (HUGE, True),
        (Reply(status=500), False),
        (rate_limited(), False),
        (Reply(status=401), False),
        (Reply(status=400), False),
    ],
)
def test_a_failed_call_is_charged_where_it_may_be_billed(reply: Reply, billed: bool) -> None:
    try_sec, total_sec = (0.2, 1.0) if reply is SLOW else (5.0, 10.0)
    outcome = write([reply], try_sec=try_sec, total_sec=total_sec, price=(10.0, 100.0))
    booked = outcome.bookings.booked
    assert list(outcome.bookings.settled.values()) == (booked if billed else [(0, 0.0)] * len(booked))
    assert outcome.written.cost_usd == (None if billed else 0.0)


def test_a_cancelled_request_is_settled_and_counted() -> None:
    bookings = Bookings()

    async def give_up(url: str) -> None:
        work = write_tips(
            PROMPT,
            CONTEXT,
            3,
            [Model("m", f"{url}/v1", "k")],
            breaker=Breakers(),
            budget=bookings,
            try_sec=5,
            total_sec=10,
            fallback=True,
            cap_fallback=True,
        )
        await asyncio.wait_for(work, 0.2)

    with ModelServer(SLOW) as server, pytest.raises(TimeoutError):
        run(give_up(server.url))
    assert bookings.settled == dict(enumerate(bookings.booked))
    assert len(bookings.booked) == 1


@pytest.mark.parametrize("cap_fallback", [False, True])
def test_a_cap_that_is_reached_ends_the_calls(cap_fallback: bool) -> None:
    outcome = write(
        [INVALID_JSON], [Reply()], bookings=Bookings(1), fallback=not cap_fallback, cap_fallback=cap_fallback
    )
    assert (outcome.received, outcome.written.failures) == ([1, 0], ["not_json", "cap_reached"])
    if cap_fallback:
        assert_template(outcome)
    else:
        assert isinstance(outcome.error, CapReached)
        assert outcome.error.retry_after_sec == 3600


@pytest.mark.parametrize("fallback", [False, True])
def test_a_cap_that_cannot_be_read_is_kept(fallback: bool) -> None:
    bookings = Bookings(0, TableUnavailable("away"))
    outcome = write([Reply()], [Reply()], bookings=bookings, fallback=fallback, cap_fallback=not fallback)
    assert (outcome.received, outcome.written.failures) == ([0, 0], ["cap_unknown"])
    if fallback:
        assert_template(outcome)
    else:
        assert isinstance(outcome.error, TableUnavailable)


# local/template as the model


def test_the_template_is_neither_booked_nor_broken_nor_held_against_what_was_seen() -> None:
    breakers, bookings = Breakers({"local/template"}), Bookings(0)

    def once(recent: Sequence[Signature] = ()) -> Written:
        return run(
            write_tips(
                PROMPT,
                {**CONTEXT, "snippets": ["Call +49 170 1234567 back"]},
                5,
                [Model("local/template")],
                breaker=breakers,
                budget=bookings,
                recent=recent,
                try_sec=5,
                total_sec=10,
                fallback=False,
                cap_fallback=False,
            )
        )

    first = once()
    again = once([signature(tip.content) for tip in first.tips])
    assert again.tips == first.tips
    assert len(first.tips) == 5
    assert (first.model, first.fallback, first.attempts, first.cost_usd) == ("local/template", False, 1, 0.0)
    assert not any("1234567" in tip.content for tip in first.tips)
    assert (breakers.told, bookings.booked) == ([], [])


# Telling


def test_metrics_per_model_and_prompt_version(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.flush()
    capsys.readouterr()
    write([Reply(status=500)], [tips_reply(CONTENTS[0], SHORT), tips_reply(SHORT)], price=(10.0, 100.0))
    telemetry.flush()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first, second = ({name: value for name, value in line.items() if name not in ("_aws", "service")} for line in lines)
    assert first.pop("ModelLatencyMs")[0] > 0
    assert second.pop("ModelLatencyMs")[0] > 0
    dimensions = {"prompt_version": "v1"}
    zeros = {"ModelTokens": [0], "ModelCostMicroUsd": [0]}
    assert first == {**dimensions, "model": "m0", "ModelCalls": [2], "ModelFailure_unavailable": [2], **zeros}
    assert second == {
        **dimensions,
        "model": "m1",
        "ModelCalls": [2],
        "ModelTokens": [240],
        "ModelCostMicroUsd": [2 * 3000],
        "TipCheckFailed_too_short": [2],
    }


def test_nothing_the_person_or_the_model_wrote_is_told(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG, logger="tips"):
        outcomes = [
            write([Reply(status=500)], [INVALID_JSON]),
            write([tips_reply(SHORT)]),
            write([Reply(status=500)], fallback=True),
        ]
    telemetry.flush()
    errors = [f"{outcome.error!r} {outcome.error}" for outcome in outcomes]
    said = caplog.text + "".join(capfd.readouterr()) + "".join(errors)
    for text in ("passport", "rather not", "Too short"):
        assert text not in said


def test_one_loop_serves_request_after_request(recwarn: pytest.WarningsRecorder) -> None:
    async def several(url: str, work: Callable[[Model], Coroutine[Any, Any, Written]]) -> list[int]:
        model = Model("m", f"{url}/v1", "k")
        return [(await work(model)).attempts for _ in range(3)]

    def work(model: Model) -> Coroutine[Any, Any, Written]:
        return write_tips(
            PROMPT,
            CONTEXT,
            3,
            [model],
            breaker=Breakers(),
            budget=Bookings(),
            try_sec=5,
            total_sec=9,
            fallback=False,
            cap_fallback=False,
        )

    with ModelServer() as server:
        assert run(several(server.url, work)) == [1, 1, 1]
    gc.collect()
    assert not recwarn.list
