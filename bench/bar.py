"""Whether the default policy meets what is asked of it, problem by problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.learners import DEFAULT, OURS, VARIANTS

Result = dict[str, Any]

MARGIN = 0.03
"""How far, in absolute loss, the default may be off the best learner without probabilities to divide by. On the wheel
it is the same share of what uniform choice loses: 3 points of 100."""

RIVALS = {"level_floor": ("floor",), "level": ("floor", "positive"), "close": ("partial", "none")}
"""Question: whom the default is compared with, by what their probabilities are."""


def is_wheel(problem: str) -> bool:
    return problem.startswith("wheel")


def verdicts(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return for each problem how the default compares; only what was tuned in the same way is compared.

    `level`: it is the best of all with full support, or within one standard error (of the best one's mean) of it.
    `level_floor`: the same among those whose probabilities have a floor, as the default's have. `close`: it is at most
    MARGIN worse than the best of all others. None where there is nobody to compare with.
    """
    judged = []
    for problem in dict.fromkeys(result["problem"] for result in results):
        of_it = [result for result in results if result["problem"] == problem]
        default = next(result for result in of_it if (result["library"], result["learner"]) == (OURS, DEFAULT))
        others = [result for result in of_it if result is not default and result["learner"] not in VARIANTS]
        verdict: dict[str, Any] = {"problem": problem, "default": default["mean"]}
        for question, supports in RIVALS.items():
            rivals = [other for other in others if other["support"] in supports]
            verdict[question] = _compared(default, rivals, question) if rivals else None
        judged.append(verdict)
    return judged


def _compared(default: Result, rivals: Sequence[Result], question: str) -> dict[str, Any]:
    best = min(rivals, key=lambda result: float(result["mean"]))
    margin = MARGIN * (100.0 if is_wheel(default["problem"]) else 1.0)
    allowed = margin if question == "close" else best["standard_error"] or 0.0
    behind = default["mean"] - best["mean"]
    rival = f"{best['library']} {best['learner']}"
    return {"rival": rival, "behind": behind, "allowed": allowed, "met": behind <= allowed}
