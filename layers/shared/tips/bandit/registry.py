"""The policies that a request may name."""

from __future__ import annotations

from collections.abc import Mapping

from tips.bandit.epsilon_greedy import EpsilonGreedy
from tips.bandit.linucb import LinUCB
from tips.bandit.policy import Policy
from tips.errors import InvalidField
from tips.features import vectors

POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        LinUCB(name="linucb", schema=vectors.LINUCB),
        EpsilonGreedy(name="egreedy-v1", schema=vectors.EGREEDY_V1),
        EpsilonGreedy(name="egreedy-v2", schema=vectors.EGREEDY_V2),
    )
}


def policy_named(name: str) -> Policy:
    """Return the policy; raises `InvalidField` that lists the known ones."""
    try:
        return POLICIES[name]
    except KeyError:
        raise InvalidField(f"unknown policy; known are {', '.join(sorted(POLICIES))}", field="policy") from None
