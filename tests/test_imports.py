"""What a function imports is what its users wait for at a cold start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"litellm", "openai", "boto3", "mlflow", "pandas", "requests", "aiohttp", "httpx", "hypothesis", "moto"}
HEAVY |= {"rich", "typer", "offline"}
# Sub-packages that are imported when they are first named, and what comes along with them.
HEAVY |= {f"numpy.{name}" for name in ("ma", "random", "fft", "polynomial", "testing", "f2py", "ctypeslib")}
# Of the standard library: what tests, debuggers, servers and other processes are for.
HEAVY |= {"unittest", "doctest", "pdb", "http.server", "multiprocessing", "sqlite3", "xmlrpc", "logging.config"}
HEAVY |= {"aws_lambda_powertools.event_handler", "aws_lambda_powertools.utilities.parser", "aws_xray_sdk"}
# Brought by Lambda's runtime; its hooks are registered under SnapStart alone.
HEAVY |= {"snapshot_restore_py", "awslambdaric"}
FORBIDDEN = {
    "score": HEAVY
    | {"tips.llm", "tips.prompts", "tips.ingest"}
    # What comes with the first request that decides nothing.
    | {"tips.person_routes", "tips.views", "tips.state.erasure", "tips.state.reactions", "pydantic.v1"},
    "consume": HEAVY
    | {"asyncio", "anyio", "opentelemetry"}
    | {"fastapi", "starlette", "mangum", "tips.llm", "tips.prompts", "tips.http", "tips.scoring"},
    "generate": HEAVY | {"tips.ingest", "tips.scoring", "tips.state.decisions", "tips.state.reactions"},
}


@pytest.mark.parametrize("function", FORBIDDEN)
def test_a_function_imports_nothing_it_does_not_need(function: str) -> None:
    code = "import sys, app; print('\\n'.join(sorted(sys.modules)))"
    path = os.pathsep.join(map(str, (ROOT / "functions" / function, ROOT / "layers" / "shared")))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "TABLE_NAME": "tips", "AWS_REGION": "eu-west-1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "app" in imported
    assert not imported & FORBIDDEN[function]


@pytest.mark.parametrize("function", FORBIDDEN)
def test_garbage_is_looked_for_once_a_function_has_started(function: str) -> None:
    code = (
        "import gc, sys\n"
        "from tips.llm import gateway, loading\n"
        "gateway._load = lambda: sys\n"  # not what takes seconds
        "import app\n"
        "assert loading.done_within(30)\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 10_000)"
    )
    path = os.pathsep.join(map(str, (ROOT / "functions" / function, ROOT / "layers" / "shared")))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": path,
        "TABLE_NAME": "tips",
        "AWS_REGION": "eu-west-1",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "DYNAMODB_ENDPOINT": "http://127.0.0.1:1",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["True True"], done.stderr


@pytest.mark.parametrize(
    ("package", "may_import"),
    [
        ("contracts", {"contracts", "errors"}),
        ("features", {"features", "contracts", "errors"}),
        ("bandit", {"bandit", "features", "contracts", "errors"}),
        ("prompts", {"prompts", "features", "contracts", "errors"}),
        ("state", {"state", "bandit", "features", "contracts", "errors", "settings", "telemetry"}),
        ("llm", {"llm", "prompts", "features", "contracts", "errors", "settings", "telemetry"}),
    ],
)
def test_arrows_point_one_way(package: str, may_import: set[str]) -> None:
    import ast

    for path in (ROOT / "layers" / "shared" / "tips" / package).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tips."):
                assert (node.module or "").split(".")[1] in may_import, f"{path.name} imports {node.module}"
