"""The policies that a request or the configuration may name."""

from __future__ import annotations

from collections.abc import Mapping

from tips.bandit.epsilon_greedy import EpsilonGreedy
from tips.bandit.igw_ucb import InverseGapUCB
from tips.bandit.lints import LinTS
from tips.bandit.linucb import LinUCB
from tips.bandit.policy import Policy
from tips.bandit.squarecb import SquareCB
from tips.errors import InvalidField
from tips.features import vectors
from tips.features.crossed_v3 import CROSSED_V3

POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        LinUCB(name="linucb", schema=vectors.LINUCB),
        EpsilonGreedy(name="egreedy-v1", schema=vectors.EGREEDY_V1),
        EpsilonGreedy(name="egreedy-v2", schema=vectors.EGREEDY_V2),
        LinTS(name="lints", schema=CROSSED_V3),
        SquareCB(name="squarecb", schema=CROSSED_V3),
        InverseGapUCB(name="igw-ucb", schema=CROSSED_V3),
    )
}


SCHEMAS = tuple({policy.schema.name: policy.schema for policy in POLICIES.values()}.values())


def policy_named(name: str, field: str = "policy") -> Policy:
    """Return the policy; raises `InvalidField` that lists the known ones."""
    try:
        return POLICIES[name]
    except KeyError:
        raise InvalidField(f"unknown policy; known are {', '.join(sorted(POLICIES))}", field=field) from None


def present_schemas() -> frozenset[str]:
    """Return the hashes of the schemas that there are policies for."""
    return frozenset(policy.schema.hash for policy in POLICIES.values())
