"""One import in a fresh process: `python -P cold_import.py app|floor|imports < NAMES`; see bench.cold_start.

Prints the milliseconds it took, by the clock and of processor time, and what was imported on the way. Nothing is
imported before the clock runs that the function would have to import itself.
"""

import os
import sys
import time


def first_call() -> None:
    """Make the call that `tips.llm.gateway.load` makes: the first of a process costs as much as the import."""
    import asyncio
    import logging
    import socket
    import threading

    import httpx
    import litellm
    import openai
    from litellm._internal_context import is_internal_call

    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)

    class Refused(httpx.AsyncBaseTransport):
        """Fails as the function's own does, with no more than that imports."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            httpx.create_ssl_context()
            try:
                await asyncio.open_connection(request.url.host, request.url.port)
            except OSError:
                raise httpx.NetworkError("refused", request=request) from None
            raise RuntimeError("somebody listens there")

    async def call(port: int) -> None:
        is_internal_call.set(True)
        base = f"http://127.0.0.1:{port}/v1"
        connection = httpx.AsyncClient(transport=Refused())
        client = openai.AsyncOpenAI(api_key="no-key", base_url=base, http_client=connection, max_retries=0)
        messages = [{"role": "user", "content": "?"}]
        options = {"temperature": 0.7, "max_tokens": 800, "timeout": 5.0, "drop_params": True}
        try:
            await litellm.acompletion(
                "openai/tip-generator", messages, client=client, num_retries=0, max_retries=0, **options
            )
        except openai.APIError:  # theirs, too: nobody answers
            return
        raise RuntimeError("somebody listens there")

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: asyncio.run(call(unused.getsockname()[1])))
        thread.start()
        thread.join()


def table_client() -> None:
    from botocore.config import Config
    from botocore.session import Session

    config = Config(
        connect_timeout=0.2,
        read_timeout=0.2,
        retries={"total_max_attempts": 1},
        parameter_validation=False,
        tcp_keepalive=True,
        user_agent="floor",
    )
    endpoint, region = os.environ["DYNAMODB_ENDPOINT"], os.environ["AWS_REGION"]
    Session().create_client("dynamodb", region_name=region, endpoint_url=endpoint, config=config)


def main(side: str) -> None:
    names = sys.stdin.read().split()
    before = set(sys.modules)
    began, used = time.perf_counter(), time.process_time()
    for name in ["app"] if side == "app" else names:
        __import__(name)
    if side == "floor":
        first_call()
        table_client()
    used, began = time.process_time() - used, time.perf_counter() - began
    print(began * 1000, used * 1000)
    print(*(name for name in sys.modules if name not in before), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1])
