"""Fuzzing score by its OpenAPI document: answers keep the contract and are never a 5xx."""

from __future__ import annotations

from typing import Any

import pytest
from schemathesis import GenerationMode

from tests.handler_adapter import fuzz, routes

pytestmark = pytest.mark.thorough

ROUTES = {
    "POST /score": {200, 422},
    "POST /score/egreedy": {200, 422},
    "POST /score/egreedy/v2": {200, 422},
    "POST /reward": {200, 422},
    "POST /reward/egreedy": {200, 422},
    "POST /reward/egreedy/v2": {200, 422},
    "GET /stats/{user_id}": {200},
    "GET /stats/egreedy/{user_id}": {200},
    "GET /stats/egreedy/v2/{user_id}": {200},
    "GET /features/{user_id}": {200},
    "GET /profile/{user_id}": {200},
    "GET /decisions/{decision_id}": {404},
    "POST /activate": {404},
    "POST /reset/{user_id}": {200},
    "DELETE /users/{user_id}": {200},
    "GET /health": {200},
}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
@pytest.mark.parametrize("route", ROUTES)
def test_every_answer_keeps_the_contract(load_function: Any, table: Any, route: str, mode: GenerationMode) -> None:
    score = load_function("score", TABLE_DEADLINE_MS="30000")  # a busy machine is no fault of the answer
    if mode is GenerationMode.NEGATIVE and route == "GET /health":
        mode = GenerationMode.POSITIVE  # it takes nothing that could be bad
    fuzz(score, route, mode, ROUTES[route], examples=60 if route in ("POST /score", "POST /reward") else 20)


def test_no_route_is_left_out(score: Any) -> None:
    assert set(routes(score.module.app.openapi())) == set(ROUTES)
