"""A DynamoDB endpoint on loopback that misbehaves: slow, throttling, failing, talking nonsense."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

usual_port = 0
"""Where the only endpoint of a test is found; 0: anywhere. Functions that are kept between tests find it again."""

THROTTLED = "ProvisionedThroughputExceededException"
ANSWERS = {
    "throttling": (
        400,
        json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{THROTTLED}", "message": "slow down"}),
    ),
    "failing": (500, json.dumps({"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError"})),
    "nonsense": (200, "<html>not DynamoDB</html>"),
    "empty": (200, ""),
    "list": (200, "[1, 2]"),
    "somebody else's": (200, json.dumps({"message": "welcome", "__type": "ThrottlingException"})),
    "misshapen": (
        200,
        json.dumps(dict.fromkeys(("Item", "Items", "Responses", "UnprocessedItems", "ItemCollectionMetrics"), 5)),
    ),
    "forbidden": (400, json.dumps({"__type": "com.amazon.coral.service#AccessDeniedException", "message": "no"})),
}


@contextmanager
def faulty_dynamodb(fault: str) -> Iterator[str]:
    """Serve `fault` (a key of `ANSWERS`, or "silent": no answer at all) and yield the endpoint."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            if fault == "silent":
                over.wait(30)
                return
            status, body = ANSWERS[fault]
            self.send_response(status)
            self.send_header("content-type", "application/x-amz-json-1.0")
            if fault in ("list", "misshapen"):
                self.send_header("x-amzn-requestid", "made-up")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", usual_port), Handler)
    except OSError:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
