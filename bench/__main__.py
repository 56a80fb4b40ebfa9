"""All measurements in one run: `make bench`, or `python -m bench [--quick] [--into FOLDER]`.

Writes results.json and results.md into `bench/` (a quick run: into a folder that has to be named) and prints the
tables. Speed comes first, while nothing else of this run keeps the machine busy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PARTS = (
    ("speed", "Speed", "bench.speed_tables:markdown"),
    ("generate", "Writing tips", "bench.generate_tables:markdown"),
    ("consume", "From events to learning", "bench.consume_tables:markdown"),
    ("cold", "Cold starts", "bench.cold_tables:markdown"),
    ("load", "Under load", "bench.load_tables:markdown"),
    ("mission", "The mission's own figure", "bench.mission:as_markdown"),
    ("learning", "Learning", "bench.learning_tables:markdown"),
)
"""Module of `bench`, its title, and what renders its results. Every module is run with --out FILE [--quick]."""

PACKAGES = (
    "numpy",
    "pydantic",
    "fastapi",
    "botocore",
    "litellm",
    "scikit-learn",
    "vowpalwabbit",
    "mabwiser",
    "bayesianbandits",
)


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or "unknown")


def measure(module: str, quick: bool) -> dict[str, Any]:
    """Run one module in a process of its own; raises `CalledProcessError` when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"{module}.json"
        command = [sys.executable, "-m", f"bench.{module}", "--out", str(out), *(["--quick"] if quick else [])]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)  # noqa: S603
        measured: dict[str, Any] = json.loads(out.read_text())
        return measured


def markdown(results: dict[str, Any]) -> str:
    """Return all tables, with what they were measured on. results: what is in results.json."""
    on = results["machine"]
    earlier = [title for module, title, _ in PARTS if module in results.get("earlier", ())]
    apart = f" Of an earlier run, by itself: {', '.join(earlier)}." if earlier else ""
    libraries = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
    parts = [
        "# Measurements",
        f"Written by `make bench`{' (quick: too short to mean anything)' if results['quick'] else ''}, {on['date']}: "
        f"{on['processor']}, {on['cores']} cores, {on['system']}, Python {on['python']}; {libraries}.{apart}",
    ]
    for module, title, renderer in PARTS:
        if module not in results:  # as yet measured with `--only` of another
            continue
        where, _, name = renderer.partition(":")
        parts += [f"## {title}", getattr(import_module(where), name)(results[module])]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run, to see that everything works")
    parser.add_argument("--into", type=Path, help="folder for results.json and results.md")
    parser.add_argument(
        "--earlier", action="append", default=[], metavar="MODULE=FILE", help="take a part from what it wrote before"
    )
    names = [module for module, *_ in PARTS]
    parser.add_argument(
        "--only", action="append", choices=names, help="measure this part anew and keep the others of results.json"
    )
    options = parser.parse_args(arguments)
    earlier = dict(one.split("=", 1) for one in options.earlier)
    if options.quick and options.into is None:
        options.into = Path(tempfile.mkdtemp(prefix="bench-"))
    folder: Path = options.into or HERE
    kept = json.loads((HERE / "results.json").read_text()) if options.only else {}
    results: dict[str, Any] = {"quick": options.quick, "machine": machine()}
    if kept and any(kept["machine"][what] != results["machine"][what] for what in ("processor", "cores", "system")):
        parser.error(f"{HERE / 'results.json'} is of another machine: measure all parts on this one")
    results["earlier"] = [*earlier, *(module for module in names if options.only and module not in options.only)]
    for module in names:
        if options.only and module not in options.only:
            if module in kept:
                results[module] = kept[module]
        elif module in earlier:
            results[module] = json.loads(Path(earlier[module]).read_text())
        else:
            results[module] = measure(module, options.quick)
    tables = markdown(results)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text(tables)
    print(tables)
    print(f"Written: {folder / 'results.json'} and results.md", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
