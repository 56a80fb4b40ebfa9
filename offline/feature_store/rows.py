"""From the table's items to the rows of an export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from offline.feature_store.schema import OF_CANDIDATE, PROFILE_NAMES
from tips.errors import DecisionUnreadable, LearningUnreadable
from tips.state import keys
from tips.state.decision_codec import read_decision
from tips.state.generations import read_generation
from tips.state.learning import read_learning
from tips.state.profiles import read_profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.bandit.decision import Decision, Evaluation
    from tips.state.decision_codec import RememberedDecision
    from tips.state.table import Item

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = 1_000_000


class Unreadable(Exception):
    """An item that should be a row of the export holds something else."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. table: as the export names it; day: of its partition, ISO, empty where there are none."""

    table: str
    values: Mapping[str, Any]
    day: str = ""


@dataclass(frozen=True, slots=True)
class AsOf:
    """When the items were as they are read (microseconds since 1970), and what teaches who has not reacted."""

    us: int
    default_reward: float


def rows_of(item: Item, as_of: AsOf) -> Iterator[Row]:
    """Yield what an item adds to the export: a row, several, or none. Raises `Unreadable`."""
    pk, sk = item["pk"]["S"], item["sk"]["S"]
    try:
        if pk.startswith(keys.user("")):
            if sk.startswith(keys.DECISION_PREFIX):
                yield _decision(item, as_of)
            elif sk == keys.LEARNING:
                yield _person(item, pk.removeprefix(keys.user("")))
                yield from _statistics(item, pk.removeprefix(keys.user("")))
        elif pk.startswith(keys.generation("")):
            user_id = pk.removeprefix(keys.generation(""))
            if sk == keys.ARMS:
                yield from _statistics(item, user_id)
            elif sk == keys.PROFILE:
                yield _profile(item, user_id)
            elif sk.startswith(keys.generated("")):
                yield _generation(item)
        elif pk.startswith(keys.AUDIT):
            yield _change(item)
    except (DecisionUnreadable, LearningUnreadable, LookupError, ValueError, TypeError, AttributeError) as error:
        raise Unreadable(f"{pk}/{sk}") from error


def day_of(at_us: int) -> str:
    """Return the UTC date, ISO, of microseconds since 1970."""
    return (_EPOCH + timedelta(microseconds=at_us)).date().isoformat()


def _decision(item: Item, as_of: AsOf) -> Row:
    remembered = read_decision(item)
    decision = remembered.decision
    decided_at = keys.decided_at_us(decision.decision_id)
    active, shown = decision.active, decision.candidates[decision.chosen]
    situation = decision.situation
    profile = {name: None if value is None else float(value) for name, value in situation.profile.items()}
    values = {
        "user_id": decision.user_id,
        "decision_id": decision.decision_id,
        "decided_at": decided_at,
        "tip_id": decision.tip_id,
        "chosen": decision.chosen,
        "candidate_count": len(decision.candidates),
        "policy": decision.policy,
        "policy_version": active.policy_version,
        "schema_hash": active.schema_hash,
        "prior": active.prior,
        "propensity": float(active.distribution.propensity[decision.chosen]),
        "score": float(active.distribution.score[decision.chosen]),
        "explored": decision.explored,
        "degraded": decision.degraded,
        "deferred": decision.deferred,
        "epoch": decision.epoch,
        "took_ms": None if decision.took_us is None else decision.took_us / 1000,
        "hour_of_day": situation.hour_of_day,
        "day_of_week": situation.day_of_week,
        "timezone": decision.context.get("timezone"),
        "task_count": decision.context.get("task_count"),
        **{name: profile.pop(name, None) for name in PROFILE_NAMES},
        "profile_sources": list(decision.profile_sources.items()),
        "profile_other": list(profile.items()),
        "experiments": list(decision.experiments.items()),
        **{name: shown.get(name) for name in OF_CANDIDATE},
        "candidates": [_candidate(one) for one in decision.candidates],
        "evaluations": [_evaluation(one, decision) for one in decision.evaluations.values()],
        "shown_at": remembered.shown_at,
        "activated_at": remembered.activated_at,
        "wait_began_at": remembered.wait_began_at,
        "wait_ends_at": remembered.wait_ends_at,
        **_taught(remembered, as_of),
    }
    return Row("decisions", values, day_of(decided_at))


def _candidate(logged: Mapping[str, Any]) -> dict[str, Any]:
    features = logged["features"]
    return {
        "id": logged["id"],
        **{name: logged.get(name) for name in OF_CANDIDATE},
        "features": [(name, float(value)) for name, value in features.items()],
        "booleans": [name for name, value in features.items() if isinstance(value, bool)],
    }


def _evaluation(one: Evaluation, decision: Decision) -> dict[str, Any]:
    seen = one.distribution
    return {
        "policy": one.policy,
        "policy_version": one.policy_version,
        "schema_hash": one.schema_hash,
        "prior": one.prior,
        "role": "active" if one.policy == decision.policy else "shadow",
        "parameters": list(one.parameters.items()),
        "names": list(one.names),
        "vector": _floats(one.vector),
        "mean": _floats(seen.mean),
        "width": _floats(seen.width),
        "score": _floats(seen.score),
        "propensity": _floats(seen.propensity),
    }


def _floats(array: NDArray[Any]) -> list[float]:
    floats: list[float] = array.tolist()
    return floats


def _taught(remembered: RememberedDecision, as_of: AsOf) -> dict[str, Any]:
    """Return what the decision teaches. The wait is over by the clock: that TTL says so may come days late."""
    log, ends_at = remembered.reactions, remembered.wait_ends_at
    counted, late = log.counted(ends_at), log.late(ends_at)
    began_at = remembered.wait_began_at
    taught: dict[str, Any] = dict.fromkeys(
        ("reward", "reward_source", "action", "dwell_ms", "reacted_at", "reward_delay_sec", "reward_event_id")
    )
    if counted is not None and began_at is not None:
        taught = {
            "reward": counted.reward,
            "reward_source": "reaction",
            "action": counted.action,
            "dwell_ms": counted.dwell_ms,
            "reacted_at": counted.occurred_at,
            "reward_delay_sec": (counted.occurred_at - began_at) / _US,
            "reward_event_id": counted.event_id,
        }
    elif ends_at is not None and (log.wait_over or ends_at < as_of.us):
        taught |= {"reward": as_of.default_reward, "reward_source": "default"}
    return {
        **taught,
        "late_reward": None if late is None else late.reward,
        "late_action": None if late is None else late.action,
        "late_at": None if late is None else late.occurred_at,
        "learned_reward": log.learned,
    }


def _person(item: Item, user_id: str) -> Row:
    learning = read_learning(item)
    values = {"user_id": user_id, "epoch": learning.epoch, "epoch_began_at": learning.epoch_at or None}
    return Row("people", values)


def _statistics(item: Item, user_id: str) -> Iterator[Row]:
    stored = item["schemas"]["M"]
    for digest, learned in read_learning(item).schemas.items():
        values = {
            "user_id": user_id,
            "schema": learned.schema_name,
            "schema_hash": digest,
            "names": list(learned.names),
            "pulls": learned.statistics.pulls,
            "weight": float(learned.statistics.weight),
            "updated_at": learned.updated_at,
            "data": bytes(stored[digest]["B"]),
        }
        yield Row("statistics", values)


def _profile(item: Item, user_id: str) -> Row:
    counters = read_profile(item)
    updated_at = max(counters.reactions_at, counters.shown_at)
    if not updated_at:
        raise ValueError("a profile that was never updated")
    stored = counters.features()
    values = {
        "user_id": user_id,
        "event_timestamp": updated_at,
        **{name: stored[name].value if name in stored else None for name in PROFILE_NAMES},
        "reactions_at": counters.reactions_at or None,
        "shown_at": counters.shown_at or None,
    }
    return Row("profiles", values)


def _generation(item: Item) -> Row:
    generation = read_generation(item)
    generated_at = keys.decided_at_us(generation.generation_id)
    versions = list(generation.versions)
    values = {
        "user_id": generation.user_id,
        "generation_id": generation.generation_id,
        "generated_at": generated_at,
        "model": generation.model,
        "prompt_version": generation.version,
        "policy": generation.policy,
        "policy_version": generation.policy_version,
        "prior": generation.prior,
        "propensity": float(generation.propensity[versions.index(generation.version)]),
        "versions": versions,
        "propensities": list(map(float, generation.propensity)),
        **({} if generation.spent is None else asdict(generation.spent)),
    }
    return Row("generations", values, day_of(generated_at))


def _change(item: Item) -> Row:
    """Return a change of the configuration, or of which prior is in use: the trail's name says of which schema."""
    kind, _, schema = item["pk"]["S"].removeprefix(keys.AUDIT).removeprefix("#").partition("#")
    values = {
        "at": (datetime.fromisoformat(item["at"]["S"]) - _EPOCH) // timedelta(microseconds=1),
        **{name: item[name]["S"] for name in ("actor", "command", "reason")},
        "kind": kind.lower() or "configuration",
        "schema": schema or None,
        **{name: item[name]["S"] for name in ("before", "after")},
    }
    return Row("audit", values)
