"""A process that applies batches through consume's real handler, one JSON line in, one out; it may die any moment."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from devstack.events import LambdaContext


def main() -> None:
    folder = Path(__file__).resolve().parents[1] / "functions" / "consume"
    spec = importlib.util.spec_from_file_location("app", folder / "app.py")
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    for line in sys.stdin:
        answer = app.handler(json.loads(line), LambdaContext("consume", 60.0))
        # Metrics are lines on the same output; an answer is marked.
        print("ANSWER " + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
