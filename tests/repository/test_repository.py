"""What the repository says of itself: the README's example, the pins, the version."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = [
    Requirement(line.split("#")[0])
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith(("#", "-e"))
]


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_example_of_the_readme_prints_what_it_says():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", readme, flags=re.DOTALL).group(1)
    assert run(code) == re.findall(r"\)  # (.*)", code)


@pytest.mark.parametrize("pin", PINS, ids=str)
def test_installed_version_is_the_pinned_one(pin):
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    if pin.marker is None or pin.marker.evaluate():
        # The CPU build of torch carries a local label, as in 2.13.0+cpu.
        assert Version(version(pin.name)).public == specifier.version


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = re.search(r"^version: (.*)$", citation, flags=re.MULTILINE).group(1)
    assert cited == PYPROJECT["project"]["version"] == version("cebook")
