"""A handler's module, which tells what it imported until its first answer; runs under the emulator, beside a build.

COLD_MODULE names it, and COLD_NAMES the file that gets the list. Nothing is imported here that counts for less there.
"""

import os
import sys

before = set(sys.modules)
recorded = __import__(os.environ["COLD_MODULE"])


def handler(event: object, context: object) -> object:
    answer: object = recorded.handler(event, context)
    with open(os.environ["COLD_NAMES"], "w") as names:
        names.write("\n".join(name for name in sys.modules if name not in before))
    return answer
