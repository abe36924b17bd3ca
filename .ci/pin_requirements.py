"""Rewrite the second part of requirements.txt: what the pins of the first part need, pinned too.

Usage: python .ci/pin_requirements.py      (needs uv, which the book itself does not)
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"
MARKER = "# What the packages above need, written by .ci/pin_requirements.py\n"
COMPILE = [
    "uv", "pip", "compile", "-", "--universal", "--python-version=3.11",
    "--fork-strategy=fewest", "--no-annotate", "--no-header", "--quiet",
]  # fmt: skip
# A CPU build of torch has none of these, and a CUDA build names its own exact versions.
ACCELERATOR = re.compile(r"(nvidia|cuda|triton)\b")


def main() -> None:
    """Resolve the direct pins for every platform and Python from 3.11 on."""
    direct = REQUIREMENTS.read_text().split(MARKER)[0].rstrip() + "\n"
    names = set(re.findall(r"^([\w.-]+)==", direct, flags=re.MULTILINE))
    resolved = subprocess.run(COMPILE, input=direct, capture_output=True, text=True, check=True)
    needed = [
        line
        for line in resolved.stdout.splitlines()
        if line.split("==")[0] not in names and not ACCELERATOR.match(line)
    ]
    REQUIREMENTS.write_text(f"{direct}\n{MARKER}" + "\n".join(needed) + "\n\n-e .\n")


if __name__ == "__main__":
    main()
