"""Simulated people: personas that do as they are described, tasks that live on, reactions worth what the rule says."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline.experiments.sim.clock import DAY_SEC
from offline.experiments.sim.personas import PERSONAS, Individual, draw_individuals, load_of
from offline.experiments.sim.probes import together
from offline.experiments.sim.pulls import pulls
from offline.experiments.sim.reacting import expected, respond
from offline.experiments.sim.requests import Request, draw_request
from offline.experiments.sim.tasks import Candidates
from tips.features.vectors import Candidate

WAIT_SEC = 86_400.0
START = 1_790_000_000.0
NAMED = ("consistent-responder", "overdue-ignorer", "deadline-driven", "evening-relaxed", "low-priority-first")


def of(persona: str, count: int = 200, seed: int = 1) -> list[Individual]:
    return draw_individuals(count, [persona], np.random.default_rng(seed), "p")


def task(overdue: bool = False, age: float = 3.0, priority: int = 2) -> Candidate:
    return Candidate({"is_overdue": overdue, "task_age_days": age, "priority": priority}, "task", "todoist")


ADVICE = Candidate({}, "advice", "llm", "v1")
INSIGHT = Candidate({}, "insight", "llm", "v1")


def worth(persona: str, *candidates: Candidate, hour: int = 11, day: int = 2, progress: float = 0.0, load: float = 0.0):  # type: ignore[no-untyped-def]
    """Return what each candidate is worth to the persona's people, on average."""
    individuals = of(persona)
    people = together([one.at(progress, load) for one in individuals])
    return expected(people, [one.persona for one in individuals], Request(hour, day, candidates), 0.0).mean(axis=0)


def test_there_are_the_named_personas_and_five_more_each_described() -> None:
    assert set(NAMED) < set(PERSONAS)
    assert len(PERSONAS) >= 10
    assert len({persona.description for persona in PERSONAS.values()}) == len(PERSONAS)


def test_personas_like_what_they_are_said_to_like() -> None:
    def better(persona: str, one: Candidate, other: Candidate, **moment: int) -> bool:
        first, second = worth(persona, one, other, **moment)
        return bool(first > second + 0.15)

    assert better("consistent-responder", task(priority=4), task(priority=1))
    assert better("overdue-ignorer", task(age=0.0), task(overdue=True, age=20.0))
    assert better("deadline-driven", task(overdue=True), task())
    assert better("evening-relaxed", ADVICE, task(), hour=20)
    assert better("evening-relaxed", task(), ADVICE, hour=9)
    assert better("low-priority-first", task(priority=1), task(priority=4))
    assert better("advice-lover", ADVICE, task())
    assert worth("weekend", task(), day=5)[0] > worth("weekend", task(), day=2)[0] + 0.15
    assert worth("night-shift", task(), hour=0)[0] > worth("night-shift", task(), hour=12)[0] + 0.15


def test_night_shifts_look_at_tips_at_night() -> None:
    awake = {hour for hour in range(24) if PERSONAS["night-shift"].is_awake(hour)}
    assert awake == {*range(18, 24), *range(7)}
    assert {hour for hour in range(24) if PERSONAS["weekend"].is_awake(hour)} == set(range(7, 23))


def test_tastes_drift_from_tasks_to_advice() -> None:
    early = worth("drifting", task(), ADVICE, progress=0.0)
    late = worth("drifting", task(), ADVICE, progress=1.0)
    assert early[0] > early[1] + 0.15
    assert late[1] > late[0] + 0.15
    middle = worth("drifting", task(), ADVICE, progress=0.5)
    assert late[0] < middle[0] < early[0]
    assert (worth("weekend", task(), progress=1.0) == worth("weekend", task(), progress=0.0)).all()


def test_who_is_tired_of_tips_likes_less_after_many() -> None:
    fresh, tired = (worth("tip-tired", ADVICE, task(), load=load) for load in (0.0, 3.0))
    assert (fresh > tired + 0.1).all()
    assert (worth("weekend", ADVICE, load=3.0) == worth("weekend", ADVICE, load=0.0)).all()


def test_load_counts_what_was_shown_lately() -> None:
    assert load_of([]) == 0.0
    assert load_of([0.0]) == 1.0
    assert 0.0 < load_of([10.0]) < 0.01
    assert load_of([0.0, 1.0]) > load_of([0.0, 2.0])


def test_new_users_have_the_tastes_of_the_others_and_few_rounds() -> None:
    assert PERSONAS["new-user"].rounds < 0.5
    individuals = of("new-user", 45)
    overdue = [float(one.people.overdue[0]) for one in individuals]
    assert max(overdue) > 2.0
    assert min(overdue) < -1.5


@pytest.mark.parametrize("persona", list(PERSONAS))
def test_what_is_expected_is_the_mean_of_what_reactions_teach(persona: str) -> None:
    rng = np.random.default_rng(3)
    individual = of(persona, 1)[0]
    request = draw_request(rng)
    people = individual.at(0.2, 0.5)
    means = expected(people, [individual.persona], request, 0.0)[0]
    for chosen in (0, len(request.candidates) - 1):
        taught = []
        for _ in range(3000):
            response = respond(people, individual.persona, request, chosen, rng)
            taught.append(0.0 if response is None or response.delay_sec > WAIT_SEC else response.reward)
        assert means[chosen] == pytest.approx(np.mean(taught), abs=4.5 * np.std(taught) / 3000**0.5 + 1e-9)


def test_what_comes_too_late_teaches_the_default() -> None:
    rng = np.random.default_rng(8)
    individual = of("consistent-responder", 1)[0]
    slow = replace(individual.persona, delay_minutes=24 * 60.0)
    request = Request(11, 2, (task(priority=4),))
    assert slow.in_time == pytest.approx(0.5)
    responses = [respond(individual.people, slow, request, 0, rng) for _ in range(4000)]
    taught = [0.0 if one is None or one.delay_sec > WAIT_SEC else one.reward for one in responses]
    mean = expected(individual.people, [slow], request, 0.0)[0, 0]
    assert mean == pytest.approx(np.mean(taught), abs=4.5 * np.std(taught) / 4000**0.5)
    prompt = expected(individual.people, [individual.persona], request, 0.0)[0, 0]
    assert mean == pytest.approx(prompt / 2.0, abs=1e-6)


def test_a_default_reward_stands_for_what_is_ignored() -> None:
    individual = of("consistent-responder", 1)[0]
    silent = replace(individual.persona, ignores=1.0, delay_minutes=1e9, delay_spread=0.01)
    request = draw_request(np.random.default_rng(4))
    assert expected(individual.people, [silent], request, -0.25) == pytest.approx(-0.25, abs=1e-9)


def test_delays_and_silence_are_the_personas() -> None:
    rng = np.random.default_rng(5)
    for name in ("consistent-responder", "night-shift", "tip-tired"):
        individual, request = of(name, 1)[0], draw_request(rng)
        persona = individual.persona
        responses = [respond(individual.people, persona, request, 0, rng) for _ in range(2000)]
        delays = np.log([one.delay_sec / 60.0 for one in responses if one is not None])
        assert np.median(delays) == pytest.approx(math.log(persona.delay_minutes), abs=0.2)
        late = np.mean(delays > math.log(24 * 60))
        assert 1.0 - persona.in_time == pytest.approx(late, abs=0.02)
        silent = sum(one is None for one in responses) / 2000
        assert 0.5 * persona.ignores - 0.05 < silent < persona.ignores + 0.05


def test_dwell_times_vary_within_what_their_reward_allows() -> None:
    rng = np.random.default_rng(6)
    request = Request(10, 1, (task(),))
    individual = of("deadline-driven", 1)[0]
    responses = [respond(individual.people, individual.persona, request, 0, rng) for _ in range(3000)]
    dwells = {one.dwell_ms for one in responses if one is not None and one.action == "done"}
    assert len(dwells) > 100
    rewards = {one.reward for one in responses if one is not None and one.action == "done"}
    assert rewards == {-0.3, 1.0, 0.6, 0.3}
    assert all(one.dwell_ms is None for one in responses if one is not None and one.action != "done")


# Tasks


def met(days: float, seed: int = 1) -> Candidates:
    candidates = Candidates("ann", (seed, 0), START)
    candidates.prepare(START + days * DAY_SEC)
    return candidates


def test_tasks_live_on_age_and_get_overdue() -> None:
    candidates = met(30)
    first = {body["id"]: body["features"] for body in candidates.offer(START, 0).bodies if body["kind"] == "task"}
    known = {task.id: task for task in candidates.tasks}
    candidates.offer(START + 2 * DAY_SEC, 1)
    still = {task.id: task for task in candidates.tasks}
    assert first.keys() & known.keys()
    assert known.keys() & still.keys()
    assert known.keys() - still.keys(), "some were done or dropped"
    assert still.keys() - known.keys(), "and others have come"
    one = next(task for task in still.values() if task.due is not None and task.due > task.created + DAY_SEC)
    assert one.due is not None
    before, after = one.candidate(one.due - 1.0), one.candidate(one.due + DAY_SEC)
    assert (before.features["is_overdue"], after.features["is_overdue"]) == (False, True)
    assert float(after.features["task_age_days"] or 0) > float(before.features["task_age_days"] or 0)


def test_some_tasks_come_again() -> None:
    candidates = met(30)
    ids: dict[str, set[str]] = {}
    for day in range(30):
        candidates.offer(START + day * DAY_SEC, day)
        for task in candidates.tasks:
            if task.every_days is not None:
                ids.setdefault(task.title, set()).add(task.id)
    assert len(ids) == 2
    assert all(len(numbers) > 3 for numbers in ids.values())


def test_what_is_done_is_gone() -> None:
    candidates = met(10)
    candidates.offer(START, 0)
    done = candidates.tasks[0].id
    candidates.drop(done)
    for number in range(1, 6):
        offer = candidates.offer(START + number * 3600.0, number)
        assert done not in {body["id"] for body in offer.bodies}


def test_candidates_are_about_those_of_a_drawn_request() -> None:
    tasks, overdue, ages, kinds = [], [], [], set()
    for person in range(20):
        candidates = met(40, person)
        for number in range(20):
            offer = candidates.offer(START + number * 2 * DAY_SEC, number)
            assert len({body["id"] for body in offer.bodies}) == len(offer.bodies)
            kinds |= {body["kind"] for body in offer.bodies}
            features = [body["features"] for body in offer.bodies if body["kind"] == "task"]
            tasks.append(len(features))
            overdue += [one["is_overdue"] for one in features]
            ages += [one["task_age_days"] for one in features]
    assert 3.5 < np.mean(tasks) < 6.0
    assert 0.3 < np.mean(overdue) < 0.55
    assert 4.0 < np.mean(ages) < 12.0
    assert kinds == {"task", "advice", "insight", "reminder"}


def test_the_same_seed_offers_the_same() -> None:
    def offered(seed: int) -> list[str]:
        candidates = met(10, seed)
        return [str(body) for number in range(4) for body in candidates.offer(START + number * DAY_SEC, number).bodies]

    assert offered(1) == offered(1) != offered(2)


# How many pulls


def test_the_sample_size_is_the_textbooks() -> None:
    # Two proportions around a half, 0.1 apart, 5 % and 80 %: 392.4 a group.
    assert pulls(0.25, 0.25, 0.1).needed == 393


@given(variance=st.floats(0.01, 1.0), difference=st.floats(0.001, 1.0))
def test_with_the_pulls_needed_the_power_is_what_was_asked_for(variance: float, difference: float) -> None:
    needed = pulls(variance, variance, difference).needed
    normal = NormalDist()
    power = normal.cdf(difference / math.sqrt(2 * variance / needed) - normal.inv_cdf(0.975))
    one_less = normal.cdf(difference / math.sqrt(2 * variance / max(1, needed - 1)) - normal.inv_cdf(0.975))
    assert power >= 0.8 - 1e-9
    assert one_less < 0.8 + 1e-9 or needed == 1


def test_a_hundred_pulls_do_not_tell_the_originals_policies_apart() -> None:
    found = pulls(0.45, 0.45)
    assert found.needed > 10_000
    assert found.half_width > 10 * 0.013
    assert found.power_then < 0.06
