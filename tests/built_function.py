"""What Lambda does with a built function, in a process that test_build.py and scripts/check_generate.py start.

    python -I -S built_function.py REQUEST RESULT

REQUEST (JSON): `folders`, the function's and the layer's, and either an `event` for app.handler, or `events` of which
there is an `answer` each, or `code` that leaves its `answer`. RESULT (JSON): `answer`, `compiled` (modules of the
folders without usable bytecode), `strangers` (modules from neither the folders nor the standard library) and
`imported` (the files of all modules from the folders).
"""

import importlib
import importlib.machinery
import json
import sys
import sysconfig
import time
import zoneinfo
from pathlib import Path
from typing import Any

REQUEST, RESULT = (Path(argument) for argument in sys.argv[1:])
request: dict[str, Any] = json.loads(REQUEST.read_text())
folders: list[str] = request["folders"]

assert not [entry for entry in sys.path if "site-packages" in entry], "only the built folders may be on the path"
sys.path[:0] = folders
zoneinfo.reset_tzpath(to=[])  # Lambda's image has no time zones of its own

compiled: list[str] = []
compile_source = importlib.machinery.SourceFileLoader.source_to_code


def recording(self: Any, data: Any, path: Any, **options: Any) -> Any:
    if str(path).startswith(tuple(folders)):
        compiled.append(str(path))
    return compile_source(self, data, path, **options)


importlib.machinery.SourceFileLoader.source_to_code = recording  # type: ignore[method-assign]


class Context:
    """The part of Lambda's context object that handlers may use."""

    function_name = "built"
    function_version = "1"
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:built:live"
    memory_limit_in_mb = 1024
    aws_request_id = "6bc28136-xmpl-4365-b021-0ce6b2e64ab0"

    def __init__(self) -> None:
        self._deadline = time.monotonic() + 25

    def get_remaining_time_in_millis(self) -> int:
        return int((self._deadline - time.monotonic()) * 1000)


if "event" in request:
    answer = importlib.import_module("app").handler(request["event"], Context())
elif "events" in request:
    answer = [importlib.import_module("app").handler(event, Context()) for event in request["events"]]
else:
    names: dict[str, Any] = {}
    exec(request["code"], names)  # noqa: S102 (the test's own code)
    answer = names["answer"]

allowed = (*folders, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(__file__)))
files = {name: str(getattr(module, "__file__", None) or "") for name, module in sys.modules.copy().items()}
strangers = {
    name: file for name, file in files.items() if file and (not file.startswith(allowed) or "site-packages" in file)
}
imported = sorted({file for file in files.values() if file.startswith(tuple(folders))})
RESULT.write_text(json.dumps({"answer": answer, "compiled": compiled, "strangers": strangers, "imported": imported}))
