"""The reward map and the rule by which one reaction counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tips.bandit.rewards import MAX_REACTIONS, Reaction, ReactionLog, derived_event_id, reward_of


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


ALWAYS = 10**18


def told(reactions: list[Reaction], last_us: int | None = ALWAYS) -> ReactionLog:
    log = ReactionLog()
    for reaction in reactions:
        if not log.knows(reaction.event_id):
            log = log.with_reaction(reaction, last_us)
    return log


distinct_reactions = st.lists(
    st.builds(Reaction, reward=st.floats(-1, 1), occurred_at=st.integers(0, 3), event_id=st.text(min_size=1)),
    min_size=1,
    max_size=6,
    unique_by=lambda reaction: reaction.event_id,
)


@given(distinct_reactions, st.integers(-1, 3), st.data())
def test_the_latest_in_time_counts_in_any_order_however_often_told(
    reactions: list[Reaction], last_us: int, data: st.DataObject
) -> None:
    again = data.draw(st.permutations(reactions + data.draw(st.lists(st.sampled_from(reactions), max_size=6))))
    in_time = [one for one in reactions if one.occurred_at <= last_us]
    late = [one for one in reactions if one.occurred_at > last_us]
    log = told(again, last_us)
    assert log.counted(last_us) == max(in_time, key=lambda one: one.order, default=None)
    assert log.late(last_us) == max(late, key=lambda one: one.order, default=None)


def test_a_known_id_is_never_dated_again() -> None:
    first, second = Reaction(1.0, 10, "a"), Reaction(-1.0, 20, "b")
    log = told([first, second, Reaction(1.0, 30, "a")])
    assert log.counted(ALWAYS) == second
    assert log.reactions == (first, second)


def test_what_counts_and_what_is_late_stay_when_the_list_has_moved_on() -> None:
    counted, late = Reaction(1.0, 100, "counted"), Reaction(1.0, 900, "late")
    log = told([counted, late, *(Reaction(0.0, 1, f"old-{i}") for i in range(2 * MAX_REACTIONS))], 500)
    assert len(log.reactions) == MAX_REACTIONS
    assert (log.counted(500), log.late(500)) == (counted, late)
    assert log.knows("counted")
    assert log.knows(f"old-{2 * MAX_REACTIONS - 1}")
    assert not log.knows("old-0")


def test_what_a_decision_teaches() -> None:
    early, late = Reaction(0.5, 100, "a"), Reaction(-1.0, 900, "b")
    over = ReactionLog(wait_over=True)
    assert ReactionLog().reward(500, -0.2) is None
    assert over.reward(500, -0.2) == -0.2
    assert over.reward(None, -0.2) is None
    assert told([early, late], 500).reward(500, -0.2) == 0.5
    assert told([late], 500).reward(500, -0.2) is None
    assert over.with_reaction(late, 500).reward(500, -0.2) == -0.2
    assert over.with_reaction(early, 500).reward(500, -0.2) == 0.5
    assert told([early], None).reward(None, -0.2) is None


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
