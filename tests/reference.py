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
