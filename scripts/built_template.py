"""Make the built template agree with the artifacts beside it, whatever parameters it is deployed or run with.

    python -m scripts.built_template .aws-sam/build

The processor that the artifacts are for becomes the only one that the template allows, and so its default too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from scripts.artifacts import processors


def settle(build: Path) -> str:
    """Return the processor that the template in `build` now allows. Raises `ValueError` unless there is exactly one."""
    found = processors(build)
    if len(found) != 1:
        raise ValueError(f"the artifacts in {build} are for {', '.join(sorted(found)) or 'no processor'}: build anew")
    (processor,) = found
    path = build / "template.yaml"
    template: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    template["Parameters"]["Architecture"] |= {"Default": processor, "AllowedValues": [processor]}
    path.write_text(yaml.safe_dump(template, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return processor


if __name__ == "__main__":
    try:
        print(f"Built for {settle(Path(sys.argv[1]))}: the built template allows nothing else.")
    except ValueError as error:
        sys.exit(str(error))
