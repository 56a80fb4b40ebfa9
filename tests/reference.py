"""The bandit's arithmetic in plain Python, written from the design and importing nothing of `tips`."""

from __future__ import annotations

import math

Vector = list[float]
Matrix = list[Vector]


def vector(schema: str, candidate: dict, context: dict, profile: dict) -> Vector:  # type: ignore[type-arg]
    """The vector of one candidate under `linucb`, `egreedy-v1` or `egreedy-v2`."""
    hour, day = context.get("hour_of_day"), context.get("day_of_week")

    def around(value: float | None, period: int) -> Vector:
        if value is None:
            return [0.0, 0.0]
        angle = 2 * math.pi * value / period
        return [math.sin(angle), math.cos(angle)]

    age = candidate.get("task_age_days") or 0
    x = around(hour, 24)
    x.append(1.0 if candidate.get("is_overdue") else 0.0)
    x.append(max(0, min(30, age)) / 30)
    x.append(((candidate.get("priority") or 1) - 1) / 3)
    if schema == "linucb":
        return x
    x += around(day, 7)
    if schema == "egreedy-v1":
        return x
    preferred = profile.get("preferred_hour")
    x.append(profile.get("completion_rate_30d") or 0.0)
    x.append(profile.get("dismiss_rate_30d") or 0.0)
    x.append(max(0.0, min(1.0, (profile.get("mean_dwell_ms_30d") or 0.0) / 600000)))
    if preferred is None or hour is None:
        x.append(0.5)
    else:
        x.append((math.cos(2 * math.pi * (preferred - hour) / 24) + 1) / 2)
    x.append(max(0.0, min(1.0, math.log(1 + (profile.get("tip_volume_30d") or 0.0)) / math.log(101))))
    return x


def crossed(candidate: dict, context: dict, profile: dict) -> Vector:  # type: ignore[type-arg]
    """The vector of one candidate (with kind, source, prompt_version and features) under `crossed-v3`."""
    features = candidate.get("features") or {}
    kind, source, prompt = (candidate.get(name) for name in ("kind", "source", "prompt_version"))
    hour, day = context.get("hour_of_day"), context.get("day_of_week")
    sin = math.sin(2 * math.pi * hour / 24) if hour is not None else 0.0
    cos = math.cos(2 * math.pi * hour / 24) if hour is not None else 0.0
    weekend = 0.0 if day is None else (1.0 if day in (5, 6) else -0.4)
    overdue = 1.0 if features.get("is_overdue") else 0.0
    age = max(0, min(30, features.get("task_age_days") or 0)) / 30
    priority = ((features.get("priority") or 1) - 1) / 3
    task = 1.0 if kind == "task" else 0.0
    other = 1.0 if kind in ("advice", "insight", "reminder") else 0.0

    def rate(name: str) -> float:
        return 0.0 if profile.get(name) is None else 2 * profile[name] - 1

    preferred = profile.get("preferred_hour")
    around = 0.0 if preferred is None or hour is None else math.cos(2 * math.pi * (preferred - hour) / 24)
    dwell = max(0.0, min(1.0, (profile.get("mean_dwell_ms_30d") or 0.0) / 600000))
    volume = max(0.0, min(1.0, math.log(1 + (profile.get("tip_volume_30d") or 0.0)) / math.log(101)))
    x = [1.0]
    x += [1.0 if kind == one else 0.0 for one in ("task", "advice", "insight", "reminder")]
    x += [1.0 if source == one else 0.0 for one in ("llm", "advice", "fallback")]
    x.append(1.0 if source not in (None, "todoist", "llm", "advice", "fallback") else 0.0)
    x += [1.0 if prompt == one else 0.0 for one in ("v1", "v2-mentor", "v3-few-shot")]
    x.append(1.0 if prompt not in (None, "v1", "v2-mentor", "v3-few-shot") else 0.0)
    x += [overdue, age, priority]
    x += [part * what for what in (task, other, overdue, priority) for part in (sin, cos)]
    x += [weekend * what for what in (task, other, priority)]
    x += [rate("completion_rate_30d") * task, around * task]
    return [*x, rate("dismiss_rate_30d") * other, dwell * other, volume * other]


def solve(a: Matrix, b: Vector) -> Vector:
    """Gaussian elimination with partial pivoting."""
    n = len(b)
    rows = [[*a[i], b[i]] for i in range(n)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(i + 1, n):
            factor = rows[r][i] / rows[i][i]
            for c in range(i, n + 1):
                rows[r][c] -= factor * rows[i][c]
    x = [0.0] * n
    for i in reversed(range(n)):
        x[i] = (rows[i][n] - sum(rows[i][c] * x[c] for c in range(i + 1, n))) / rows[i][i]
    return x


def sums(observations: list[tuple[Vector, float]], d: int) -> tuple[Matrix, Vector]:
    """Sum of x x^T and of reward * x."""
    xx = [[0.0] * d for _ in range(d)]
    rx = [0.0] * d
    for x, reward in observations:
        for i in range(d):
            rx[i] += reward * x[i]
            for j in range(d):
                xx[i][j] += x[i] * x[j]
    return xx, rx


def predict(observations: list[tuple[Vector, float]], x: Vector) -> tuple[float, float]:
    """Mean and standard deviation of the reward of x, ridge prior with lambda = 1."""
    d = len(x)
    xx, rx = sums(observations, d)
    a = [[xx[i][j] + (1.0 if i == j else 0.0) for j in range(d)] for i in range(d)]
    theta = solve(a, rx)
    z = solve(a, x)
    mean = sum(t * v for t, v in zip(theta, x, strict=True))
    return mean, math.sqrt(max(0.0, sum(v * w for v, w in zip(x, z, strict=True))))
