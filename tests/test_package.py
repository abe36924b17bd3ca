"""The package as a whole: what is public, documented, tested, and imported."""

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cebook as ce

ROOT = Path(__file__).parents[1]
FLAT = [ce.information, ce.softmax_loss, ce.targets, ce.numerics]
MODULES = [*FLAT, ce.textbook, ce.figures]
FUNCTIONS = {
    f"{module.__name__.removeprefix('cebook.')}.{name}": getattr(module, name)
    for module in MODULES
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
}
# Printed formulas are documented by the formula and the input that breaks it.
DOCUMENTED = {name: f for name, f in FUNCTIONS.items() if not name.startswith("textbook.")}
TESTS = "\n".join(
    path.read_text(encoding="utf-8")
    for path in sorted(ROOT.glob("tests/test_*.py"))
    if path != Path(__file__)
)


def test_the_flat_namespace_holds_every_public_name():
    names = [name for module in FLAT for name in module.__all__]
    assert sorted(ce.__all__) == sorted(["__version__", "figures", "textbook", *names])
    for module in FLAT:
        for name in module.__all__:
            assert getattr(ce, name) is getattr(module, name)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_nothing_public_is_missing(module):
    defined = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }
    assert defined <= set(module.__all__)
    assert module.__doc__


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'cebook' has no attribute 'nonsense'"):
        ce.nonsense  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_typed_and_has_an_example(name):
    function = FUNCTIONS[name]
    assert ">>> " in function.__doc__
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.annotation is not parameter.empty
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_function_is_documented_in_sections(name):
    function = DOCUMENTED[name]
    documentation = inspect.getdoc(function)
    parts = re.split(r"\n([A-Z][a-z]+)\n-+\n", documentation)
    summary, sections = parts[0], dict(zip(parts[1::2], parts[2::2], strict=True))
    assert summary.splitlines()[0].endswith(".")
    signature = inspect.signature(function)
    wanted = ["Raises", "Examples"]
    if signature.parameters:
        wanted += ["Parameters"]
    if signature.return_annotation != "None":
        wanted += ["Returns"]
    if not name.startswith("figures."):
        assert ".. math::" in summary or "_gradient" in name
    if not name.startswith(("figures.", "targets.one_hot")):
        wanted += ["Notes"]
    assert set(wanted) <= set(sections)
    headings = re.findall(r"^(\w[\w, ]*) : ", sections.get("Parameters", ""), flags=re.MULTILINE)
    assert ", ".join(headings).split(", ") == list(signature.parameters) or not headings


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_named_in_a_test(name):
    assert re.search(rf"\b{name.split('.')[1]}\b", TESTS)


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {module.split(".")[0] for module in result.stdout.split()}


def test_numpy_is_all_that_is_imported():
    extra = loaded_by("import numpy, cebook") - loaded_by("import numpy")
    assert extra - sys.stdlib_module_names == {"cebook"}


def test_version_is_that_of_the_distribution():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert ce.__version__ == project["version"]
    assert [re.split(r"\W", requirement)[0] for requirement in project["dependencies"]] == ["numpy"]


def test_the_package_says_that_it_is_typed():
    assert (Path(ce.__file__).parent / "py.typed").exists()
