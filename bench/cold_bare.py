"""The floor of `score` behind an application of one route: what answering HTTP with these libraries takes in any case.

Runs under the emulator, beside the same libraries.
"""

from typing import Any

floor = __import__("cold_floor")

from fastapi import FastAPI  # noqa: E402 - the floor imports in the function's order
from mangum import Mangum  # noqa: E402
from pydantic import BaseModel  # noqa: E402


class Candidate(BaseModel):
    """One of those that may be shown."""

    id: str
    kind: str | None = None
    source: str | None = None
    content: str | None = None
    features: dict[str, float | bool] = {}


class Body(BaseModel):
    """A request."""

    user_id: str
    candidates: list[Candidate]
    context: dict[str, Any] = {}


class Answer(BaseModel):
    """An answer."""

    statusCode: int
    body: str


app = FastAPI(openapi_url=None)


@app.post("/score")
async def score(body: Body) -> Answer:
    return Answer.model_validate(floor.handler(None, None))


handler = Mangum(app, lifespan="off")
