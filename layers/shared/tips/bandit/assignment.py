"""Which arm of an experiment a person is in: sticky, without anything being stored.

A person's place is SHA-256 of the experiment's salt and their id, read as a number in [0, 1). The arms, in the order of
their names, lie on [0, 1) one after the other, each as wide as its share; what they leave at the end is no arm.
What follows from that:

- A person stays in their arm as long as salt and shares stay, in every function and in offline code alike.
- Growing the last arm (by name) moves nobody from one arm to another: it takes people from the remainder. Shrinking it
  gives them back. Growing an earlier arm shifts the arms behind it, and people at their edges change arms. So a
  treatment that is to grow step by step gets the name that sorts last, or the experiment a remainder.
- Experiments with different salts split people independently; with the same salt, along the same line. A new
  experiment therefore takes a new salt, unless it is to go on with the same groups.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from tips.contracts.configuration import Configuration, Experiment


def assign(experiment: Experiment, user_id: str, at: datetime) -> str | None:
    """Return the person's arm at that time (with an offset); None when it does not run, or in the remainder."""
    if not experiment.runs_at(at):
        return None
    place = _place(experiment.salt, user_id)
    edge = 0.0
    for name, share in sorted(experiment.arms.items()):
        edge += share
        if place < edge:
            return name
    return None


def assignments(configuration: Configuration, user_id: str, at: datetime) -> dict[str, str]:
    """Return the person's arm by experiment, for all that run and have them in an arm."""
    arms = ((experiment.name, assign(experiment, user_id, at)) for experiment in configuration.experiments)
    return {name: arm for name, arm in arms if arm is not None}


def _place(salt: str, user_id: str) -> float:
    """Return the person's place in [0, 1). Neither part can hold the NUL between them."""
    digest = hashlib.sha256(f"{salt}\0{user_id}".encode("utf-8", "surrogatepass")).digest()
    # 53 bits are all that a float64 holds; more could round up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)
