"""Look the pinned packages up in the database of known vulnerabilities; exit 1 on a finding.

Where the database cannot be reached (no internet, a company index that does not carry it) this says so and
exits 0: that is no finding, and a build must not depend on somebody else's service.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# In pip-audit's errors when the service is out of reach, and not when, say, a requirement has no hash.
UNREACHABLE = ("ConnectionError", "ProxyError", "SSLError", "Timeout", "ServiceError", "vulnerability feed")


def audit(requirements: Path) -> list[dict[str, Any]] | None:
    """One record per package; None when the service could not be asked."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--disable-pip",
        "--require-hashes",
        "--progress-spinner=off",
    ]
    command += ["--format=json", "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stdout.strip():
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        return packages
    if any(word in done.stderr for word in UNREACHABLE):
        return None
    sys.exit(f"pip-audit could not check {requirements}:\n{done.stderr}")


def main() -> int:
    checked: set[str] = set()
    unknown: set[str] = set()
    findings: list[str] = []
    # The pins of the layer and the functions are dev's own (see scripts/lock.sh).
    for requirements in (ROOT / "requirements" / f"{name}.txt" for name in ("dev", "lab", "sam")):
        packages = audit(requirements)
        if packages is None:
            print("NOT AUDITED: the vulnerability service cannot be reached from here.")
            return 0
        for package in packages:
            (unknown if "skip_reason" in package else checked).add(package["name"])
            for found in package.get("vulns", []):
                fixed = ", ".join(found["fix_versions"]) or "no release yet"
                findings.append(f"{package['name']} {package['version']}: {found['id']}, fixed by {fixed}")
    for finding in sorted(set(findings)):
        print(finding)
    print(f"{len(checked)} packages looked up, {len(set(findings))} findings.")
    if unknown:
        print(f"NOT AUDITED: {len(unknown)} packages that the service, as reached from here, does not know.")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
