"""An evaluation in words and columns, for a terminal."""

from __future__ import annotations

from offline.command import aligned
from offline.experiments.evaluation import Evaluation
from offline.experiments.intervals import Interval

_NAMES = {
    "ips": "IPS    inverse probability weighting",
    "snips": "SNIPS  the same, self-normalised",
    "dm": "DM     direct method: the reward model alone",
    "dr": "DR     doubly robust",
    "sndr": "SNDR   the same, self-normalised",
    "dros": "DRos   doubly robust, weights shrunk",
}
MIN_ESS_SHARE = 0.01


def report(result: Evaluation) -> str:
    """Return the lines for a person, the verdict last."""
    logs, overlap = result.logs, result.overlap
    by = "its logged distributions" if result.method == "shadow" else "its distributions recomputed in time order"
    rows = [("mean reward per decision", "value", "bootstrap 95 %", "empirical Bernstein 95 %")]
    for name, one in result.estimates.items():
        rows.append((_NAMES[name], f"{one.value:+.4f}", _shown(one.bootstrap), _shown(one.bernstein)))
    logged = result.logged_value
    rows.append(("as it was", f"{logged.value:+.4f}", _shown(logged.bootstrap), _shown(logged.bernstein)))
    shrinkage = f"{result.shrinkage:g}"
    below = ", ".join(f"{share:.1%} under {limit}" for limit, share in overlap.support_below.items())
    quantiles = ", ".join(f"{float(q):.1%} {value:.3g}" for q, value in overlap.weight_quantiles.items())
    lines = [
        f"{result.policy} against {result.against}, by {by}",
        f"{logs['used']} of {logs['decisions']} decisions of {logs['people']} people, {logs['from']} to {logs['to']}",
        *result.notes,
        "",
        aligned(rows),
        f"(lambda of DRos, by SLOPE: {shrinkage}; intervals describe this one look; Bernstein's takes decisions to be "
        "independent)",
        "",
        f"effective sample size {overlap.effective_sample_size:.0f} of {logs['used']} ({overlap.ess_share:.1%})",
        f"weights: largest {overlap.max_weight:.4g}; quantiles {quantiles}",
        f"probability of {result.policy} on tips that were shown with little: {below}",
        f"mean weight {overlap.mean_weight:.3f}, bootstrap 99 % {_shown(overlap.mean_weight_interval)}; 1 is right, "
        f"against it speaks p = {overlap.propensity_p_value:.2g}",
        *(one.sentence for one in result.sample_ratios),
        "",
        _gain(result),
    ]
    return "\n".join([*lines, *_doubts(result)])


def _gain(result: Evaluation) -> str:
    sequence = result.sequence
    low, high = float(sequence.lows[-1]), float(sequence.highs[-1])
    said = (
        f"gain of {result.policy} over {result.against}: {result.gain:+.4f} per decision (DR, bootstrap 95 % "
        f"{_shown(result.gain_interval)});\nat any time, with {1 - sequence.alpha:.0%} confidence: "
        f"{low:+.4f} to {high:+.4f}"
    )
    if low > 0:
        verdict = f"{result.policy} is better."
    elif high < 0:
        verdict = f"{result.policy} is worse."
    else:
        verdict = f"Undecided: it may be worse by up to {-low:.4f}, or better by up to {high:.4f}."
    return f"{said}\n{verdict}"


def _doubts(result: Evaluation) -> list[str]:
    doubts = []
    if result.overlap.ess_share < MIN_ESS_SHARE:
        doubts.append("The logs hardly show what this policy would: the estimates rest on a handful of decisions.")
    if result.overlap.propensities_doubtful:
        doubts.append("The weights cannot be those of the logged probabilities: something above is wrong.")
    return doubts


def _shown(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}"
