"""What a first answer costs without any code of ours; runs under the emulator, beside the same libraries.

The module `given` beside it, which `bench.cold_sides` writes, holds what the function did: the modules it imported, in
their order, its calls to the table and to a model, and its answer.
"""

import gc
import os

if os.environ.get("COLD_FLOOR") == "spared":  # what `tips.start` does
    gc.disable()
given = __import__("given")
for _name in given.MODULES:
    __import__(_name)

from typing import Any  # noqa: E402 - the function's modules come first, in their order

from botocore.config import Config  # noqa: E402
from botocore.session import Session  # noqa: E402

# As `tips.state.table` makes its own.
_table: Any = Session().create_client(
    "dynamodb",
    region_name=os.environ["AWS_REGION"],
    endpoint_url=os.environ["DYNAMODB_ENDPOINT"],
    config=Config(
        connect_timeout=5.0,
        read_timeout=5.0,
        retries={"total_max_attempts": 1},
        parameter_validation=False,
        tcp_keepalive=True,
        user_agent="floor",
    ),
)
if os.environ.get("COLD_FLOOR") == "spared":
    gc.freeze()
    gc.enable()


def _complete() -> None:
    import asyncio
    import logging

    import litellm

    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    call = litellm.acompletion(**given.COMPLETION, api_base=f"{os.environ['LITELLM_URL']}/v1", api_key="no-key")
    asyncio.new_event_loop().run_until_complete(call)


def handler(event: Any, context: Any) -> Any:
    if given.COMPLETION:
        _complete()
    for operation, arguments in given.CALLS:
        getattr(_table, operation)(**arguments)
    return given.ANSWER
