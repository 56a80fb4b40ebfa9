"""A policy's card as Markdown, from its code and its evidence; the same of both give the same text."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from offline.registry.cards.texts import TEXTS
from tips.bandit.tuning import BOUNDS, parameters_of

if TYPE_CHECKING:
    from tips.bandit.policy import Policy

Section = tuple[str, str]


def identity(policy: Policy) -> dict[str, Any]:
    """Return what makes a card one of this policy as it is in the code."""
    return {
        "policy": policy.name,
        "policy_version": policy.version,
        "schema": policy.schema.name,
        "schema_hash": policy.schema.hash,
        "parameters": parameters_of(policy),
    }


def markdown(policy: Policy, evidence: Mapping[str, Any]) -> str:
    """Return the card. Raises `LookupError` or `TypeError` for evidence that lacks something."""
    parts = [f"# Model card: {policy.name}"]
    for heading, body in sections(policy, evidence):
        parts += [f"## {heading}", body]
    return "\n\n".join(parts) + "\n"


def sections(policy: Policy, evidence: Mapping[str, Any]) -> list[Section]:
    """Return the sections; one without a text is one that the card lacks."""
    return [
        ("What it is", _what(policy)),
        ("Intended use", TEXTS[policy.name].use if policy.name in TEXTS else ""),
        ("Inputs", _inputs(policy)),
        ("Parameters", _parameters(policy, evidence)),
        ("Data", _data(evidence)),
        ("Offline metrics", _metrics(evidence)),
        ("Fairness checks", _fairness(evidence)),
        ("Limits", "\n".join(f"- {one}" for one in TEXTS[policy.name].limits) if policy.name in TEXTS else ""),
        ("Rollout history", _history(evidence)),
    ]


def _what(policy: Policy) -> str:
    module = ast.parse(inspect.getsource(sys.modules[type(policy).__module__]))
    docstring = (ast.get_docstring(module) or "").split("See also:")[0].strip()
    return f"{docstring}\n\nVersion {policy.version}, on the schema {policy.schema.name} ({policy.schema.hash})."


def _inputs(policy: Policy) -> str:
    rows = [[f"`{one.name}`", one.definition] for one in policy.schema.encoders]
    said = (
        f"{policy.schema.dimension} numbers of each candidate, from the request's candidates and context and from "
        "profile features of the last 30 days. No text, no name, no place enters."
    )
    return f"{said}\n\n{_table(['input', 'definition'], rows)}"


def _parameters(policy: Policy, evidence: Mapping[str, Any]) -> str:
    rows = []
    for name, (low, high) in BOUNDS[policy.name].items():
        rows.append([f"`{name}`", f"{evidence['parameters'][name]:g}", f"{low:g} to {high:g}"])
    body = _table(["parameter", "value in the code", "a published model may set"], rows)
    model = evidence["model"]
    if model is None:
        return f"{body}\n\nNo model of this policy was registered when the card was made."
    said = ", ".join(f"{name} {value:g}" for name, value in model["parameters"].items())
    metrics = [[name, f"{value:.4f}"] for name, value in sorted(model["metrics"].items())]
    return (
        f"{body}\n\nRegistered: {model['name']} {model['version']}, with {said}; prior `{model['prior']}`, data "
        f"`{model['data_hash']}`, erased people {model['erased']}. What training measured:\n\n"
        f"{_table(['metric', 'value'], metrics)}"
    )


def _data(evidence: Mapping[str, Any]) -> str:
    logs = evidence["logs"]
    return (
        f"{logs['decisions']} decisions of {logs['people']} {logs['of']}, from {logs['from']} to {logs['to']}, all "
        f"whose reward wait was over; data hash `{logs['data_hash']}`. Reward a decision as logged: "
        f"{_told(logs['logged'])}; if candidates were chosen by chance: {_told(logs['chance'])}."
    )


def _metrics(evidence: Mapping[str, Any]) -> str:
    metrics = evidence["metrics"]
    how = {
        "logged": "Its probabilities are the logged ones.",
        "recomputed": "Its probabilities were recomputed in order of time, without a population prior.",
    }[evidence["method"]]
    rows = [
        ["reward a decision, doubly robust", _told(metrics["reward_dr"])],
        ["reward a decision, self-normalised weighting", _told(metrics["reward_snips"])],
        ["exploration: probability not to show what it holds best", _told(metrics["exploration"])],
        ["mean weight (1 if the logged probabilities are right)", _told(metrics["mean_weight"])],
        ["effective sample size, decisions", f"{metrics['effective_sample']:.0f}"],
    ]
    body = f"{how} Intervals: 95 %, over people.\n\n{_table(['metric', 'value'], rows)}"
    for one in evidence["evaluations"]:
        difference = one["difference"]
        estimates = [
            [name, f"{found['value']:.4f} ({found['interval'][0]:.4f} to {found['interval'][1]:.4f})"]
            for name, found in one["estimates"].items()
        ]
        body += (
            f"\n\nEvaluated against {one['against']} ({one['method']}, data `{one['data_hash']}`): difference "
            f"{difference['dr']:.4f}, confidence sequence at {1 - difference['alpha']:.0%} from "
            f"{difference['low']:.4f} to {difference['high']:.4f} after {difference['decisions']} decisions.\n\n"
            f"{_table(['estimator', 'reward a decision'], estimates)}"
        )
    return body


def _fairness(evidence: Mapping[str, Any]) -> str:
    if not evidence["slices"]:
        return ""
    thresholds = evidence["thresholds"]
    said = (
        f"Each slice against all other decisions. A slice fails if it is served worse than by chance, has "
        f"{thresholds['reward']:g} less reward, or {thresholds['exploration']:g} more exploration, each with its whole "
        "interval; it passes if both intervals stay within the thresholds. Intervals: 95 % for all slices together."
    )
    rows = [
        [
            one["name"],
            str(one["decisions"]),
            str(one["people"]),
            *(_told(one[key]) if key in one else "" for key in ("reward", "over_chance", "exploration")),
            *(_told(one[key]) if key in one else "" for key in ("reward_difference", "exploration_difference")),
            f"{one['verdict']}: {one['because']}",
        ]
        for one in evidence["slices"]
    ]
    columns = ["slice", "decisions", "people", "reward", "over chance", "exploration"]
    return f"{said}\n\n{_table([*columns, 'reward less others', 'exploration less others', 'verdict'], rows)}"


def _history(evidence: Mapping[str, Any]) -> str:
    if not evidence["history"]:
        return "The audit trail of the data above names no change of this policy."
    rows = [[one[key] for key in ("at", "change", "command", "reason")] for one in evidence["history"]]
    return _table(["at", "change", "command", "reason"], rows)


def _told(one: Mapping[str, float]) -> str:
    value, low, high = (round(one[name], 3) + 0.0 for name in ("value", "low", "high"))  # no negative zeros
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
