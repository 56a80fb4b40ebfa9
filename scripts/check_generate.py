"""Make every kind of call that `generate` makes through LiteLLM, from what `make build` left; exit 1 when one fails.

    python check_generate.py .aws-sam/build

Nothing but the built function, its layer and the standard library is within reach: what was trimmed away or left out
of the requirements would be missed here. The servers it calls are on loopback.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "layers" / "shared")]

from tests.model_server import CUT_OFF, EMPTY_CHOICES, HUGE, OUT_OF_BUDGET, ModelServer, Reply  # noqa: E402

CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "[]"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 30, "outputTokens": 2, "totalTokens": 32},
    "metrics": {"latencyMs": 1},
}
REPLIES = {
    "good": Reply(),
    "schema": Reply(),
    "priced": Reply(model="gpt-4o-mini"),
    "uncounted": Reply(usage=None),
    "refusing": Reply(status=401),
    "limiting": Reply(status=429),
    "broken": Reply(status=500),
    "slow": Reply(delay=5.0),
    "charging": Reply(headers={"x-litellm-response-cost": "0.25"}),
    "spent": OUT_OF_BUDGET,
    "rejecting": Reply(status=400),
    "empty": EMPTY_CHOICES,
    "huge": HUGE,
    "cut_off": CUT_OFF,
    "no_json": Reply(body=b"<html>"),
    "bedrock": Reply(body=json.dumps(CONVERSE).encode()),
}
# What Lambda sets, with credentials as it gives a function's role; and nothing else of this environment.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "AWS_SESSION_TOKEN": "made-up",
    "AWS_REGION": "eu-west-1",
    "NO_PROXY": "127.0.0.1",
}


def inside(build: Path, servers: dict[str, str]) -> dict[str, Any]:
    """Run tests/generate_calls.py with the built folders alone on the path; see tests/built_function.py."""
    code = (ROOT / "tests" / "generate_calls.py").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        request, result = Path(folder, "request.json"), Path(folder, "result.json")
        folders = [str(build / "GenerateFunction"), str(build / "SharedLayer" / "python")]
        request.write_text(json.dumps({"folders": folders, "code": code}), encoding="utf-8")
        command = [
            sys.executable,
            "-I",
            "-S",
            "-B",
            str(ROOT / "tests" / "built_function.py"),
            str(request),
            str(result),
        ]
        environment = ENVIRONMENT | {"PATH": os.environ["PATH"], "HOME": folder, "SERVERS": json.dumps(servers)}
        subprocess.run(command, env=environment, cwd=folder, check=True)
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def make_all_calls(build: Path) -> tuple[dict[str, Any], dict[str, ModelServer]]:
    """Return what tests/built_function.py found, and the servers with what they were asked, by name."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(ModelServer(reply)) for name, reply in REPLIES.items()}
        unused = stack.enter_context(socket.socket())
        unused.bind(("127.0.0.1", 0))
        urls = {name: server.url for name, server in servers.items()}
        found = inside(build, urls | {"nobody": f"http://127.0.0.1:{unused.getsockname()[1]}"})
    return found, servers


def main(build: Path) -> int:
    found, servers = make_all_calls(build)
    failures = {name: error for name, error in found["answer"].items() if error}
    if found["strangers"]:
        failures["modules from outside"] = ", ".join(found["strangers"])
    if not all("response_format" in asked.body for asked in servers["schema"].received):
        failures["with_a_json_schema"] = "the server got no schema"
    signatures = [asked.authorization or "" for asked in servers["bedrock"].received]
    if not all(line.startswith("AWS4-HMAC-SHA256") and "x-amz-security-token" in line for line in signatures):
        failures["bedrock"] = "the request was not signed"
    for name in found["answer"]:
        print(f"{name.replace('_', ' ')}: {failures.get(name) or 'ok'}")
    for name in failures.keys() - found["answer"].keys():
        print(f"{name}: {failures[name]}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
