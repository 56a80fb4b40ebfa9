"""Whether an experiment has the people it was configured to have: a mismatch says that something is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DOUBTFUL = 0.001
"""p-value below which the shares are not explained by chance: the customary one, since the check is made often."""


@dataclass(frozen=True)
class SampleRatio:
    """people: counted by arm; expected: by the configured shares. several_arms: people who were seen in more than one.

    p_value: of the chi-square test; None with fewer than two arms, or fewer than five people expected in one.
    """

    experiment: str
    people: Mapping[str, int]
    expected: Mapping[str, float]
    several_arms: int
    p_value: float | None

    @property
    def sentence(self) -> str:
        counted = ", ".join(f"{arm} {count} ({self.expected[arm]:.1f})" for arm, count in self.people.items())
        told = f"experiment {self.experiment}: people by arm (expected): {counted}"
        if self.several_arms:
            told += f"; {self.several_arms} more were seen in several arms"
        if self.p_value is None:
            return f"{told}; too few to tell"
        if self.p_value < DOUBTFUL:
            return f"{told}; MISMATCH (p = {self.p_value:.2g}): do not trust a comparison of its arms"
        return f"{told}; as configured (p = {self.p_value:.2g})"


def sample_ratio(experiment: str, seen: Iterable[tuple[str, str]], shares: Mapping[str, float]) -> SampleRatio:
    """Return the check. seen: person and arm of each decision; shares: of people by arm; the rest of 1 is no arm.

    People count, not decisions: an arm that is liked better is used more. Raises `ValueError` for an arm without share.
    """
    from scipy import stats

    arms: dict[str, set[str]] = {}
    for person, arm in seen:
        if arm not in shares:
            raise ValueError(f"experiment {experiment} has no arm {arm!r}; shares are given for {', '.join(shares)}")
        arms.setdefault(person, set()).add(arm)
    counted = Counter(next(iter(found)) for found in arms.values() if len(found) == 1)
    people = {arm: counted[arm] for arm in sorted(shares)}
    total, whole = sum(people.values()), sum(shares.values())
    expected = {arm: total * shares[arm] / whole for arm in people}
    p_value = None
    if len(people) > 1 and min(expected.values()) >= 5:
        p_value = float(stats.chisquare(list(people.values()), list(expected.values())).pvalue)
    return SampleRatio(experiment, people, expected, sum(len(found) > 1 for found in arms.values()), p_value)
