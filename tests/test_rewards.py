"""The reward map and the rule by which one reaction counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tips.bandit.rewards import MAX_EVENT_IDS, Reaction, ReactionLog, Verdict, derived_event_id, reward_of


@pytest.mark.parametrize(
    ("action", "dwell_ms", "reward"),
    [
        ("dismiss", None, -1.0),
        ("dismiss", 30_000, -1.0),
        ("snooze", None, 0.1),
        ("helpful", None, 0.5),
        ("not_helpful", None, -0.5),
        ("done", None, 0.6),
        ("done", 0, -0.3),
        ("done", 14_999, -0.3),
        ("done", 15_000, 1.0),
        ("done", 119_999, 1.0),
        ("done", 120_000, 0.6),
        ("done", 600_000, 0.6),
        ("done", 600_001, 0.3),
    ],
)
def test_reward_map(action: str, dwell_ms: int | None, reward: float) -> None:
    assert reward_of(action, dwell_ms) == reward  # type: ignore[arg-type]


def replayed(reactions: list[Reaction]) -> ReactionLog:
    log = ReactionLog()
    for reaction in reactions:
        verdict = log.judge(reaction)
        if verdict is not Verdict.DUPLICATE:
            log = log.record(reaction, counts=verdict is Verdict.COUNTS, learned_reward=reaction.reward)
    return log


distinct_reactions = st.lists(
    st.builds(Reaction, reward=st.floats(-1, 1), occurred_at=st.integers(0, 3), event_id=st.text(min_size=1)),
    min_size=1,
    max_size=6,
    unique_by=lambda reaction: reaction.event_id,
)


@given(distinct_reactions, st.data())
def test_the_latest_counts_in_any_order_however_often_told(reactions: list[Reaction], data: st.DataObject) -> None:
    told = data.draw(st.permutations(reactions + data.draw(st.lists(st.sampled_from(reactions), max_size=6))))
    assert replayed(told).counted == max(reactions, key=lambda one: (one.occurred_at, one.event_id))


def test_a_known_id_is_never_dated_again() -> None:
    first, second = Reaction(1.0, 10, "a"), Reaction(-1.0, 20, "b")
    log = replayed([first, second, Reaction(1.0, 30, "a")])
    assert log.counted == second
    assert log.event_ids == ("a", "b")


def test_the_counted_id_stays_known_when_the_list_has_moved_on() -> None:
    counted = Reaction(1.0, 100, "counted")
    log = replayed([counted, *(Reaction(0.0, 1, f"old-{i}") for i in range(2 * MAX_EVENT_IDS))])
    assert len(log.event_ids) == MAX_EVENT_IDS
    assert log.judge(Reaction(1.0, 200, "counted")) is Verdict.DUPLICATE


def test_derived_ids_differ_in_every_part_and_in_nothing_else() -> None:
    same: tuple[Any, ...] = ("u", "d", "done", None, 1000)
    others: list[tuple[Any, ...]] = [
        ("v", "d", "done", None, 1000),
        ("u", "e", "done", None, 1000),
        ("u", "d", "snooze", None, 1000),
    ]
    others += [("u", "d", "done", 1.0, 1000), ("u", "d", "done", None, None), ("ud", "", "done", None, 1000)]
    ids = [derived_event_id(*parts) for parts in [same, *others]]
    assert len(set(ids)) == len(ids)
    assert derived_event_id(*same) == ids[0]
    assert all(len(one) <= 128 for one in ids)
