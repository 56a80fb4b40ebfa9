"""One instance of one function, as a process of its own: loads the handler, then serves one request at a time.

Run by `devstack.instances`, which passes a connection and a lifeline as file descriptors. Standard output and error
are the function's log.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

Handler = Callable[[Any, Any], Any]


def main(connection: Connection, lifeline: int) -> None:
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()
    # The stand-in for the context is all that a worker needs of the repository; a function must not find the rest.
    root = str(Path(__file__).resolve().parent.parent)
    sys.path.insert(0, root)
    from devstack.events import LambdaContext

    sys.path.remove(root)
    try:
        handler = _load(os.environ["LAMBDA_TASK_ROOT"], os.environ["_HANDLER"])
    except BaseException as error:
        traceback.print_exc()
        connection.send_bytes(json.dumps(_described(error)).encode())
        return
    connection.send_bytes(b"")
    while True:
        try:
            head, payload = json.loads(connection.recv_bytes()), connection.recv_bytes()
        except EOFError:
            return
        context = LambdaContext(**head)
        ok, answer = _answer(handler, payload, context)
        connection.send_bytes(b"ok" if ok else b"error")
        connection.send_bytes(answer)


def _die_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)  # nothing is ever written: it returns when the parent is gone, however it went
    os._exit(1)


def _load(folder: str, name: str) -> Handler:
    module_name, _, function_name = name.rpartition(".")
    layer = Path(__file__).resolve().parent.parent / "layers" / "shared"
    sys.path[:0] = [folder, str(layer)]
    handler = getattr(importlib.import_module(module_name), function_name)
    if not callable(handler):
        raise TypeError(f"{name} is not callable")
    return cast(Handler, handler)


def _answer(handler: Handler, payload: bytes, context: Any) -> tuple[bool, bytes]:
    try:
        result = handler(json.loads(payload), context)
    except Exception as error:
        traceback.print_exc()
        return False, json.dumps({**_described(error), "requestId": context.aws_request_id}).encode()
    try:
        return True, json.dumps(result).encode()
    except (TypeError, ValueError) as error:
        fault = {
            "errorType": "Runtime.MarshalError",
            "errorMessage": f"Unable to marshal response: {error}",
            "requestId": context.aws_request_id,
            "stackTrace": [],
        }
        return False, json.dumps(fault).encode()


def _described(error: BaseException) -> dict[str, Any]:
    # The frames of this file are not the function's.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "stackTrace": traceback.format_list(frames),
    }


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), int(sys.argv[2]))
