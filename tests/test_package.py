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
FLAT = [
    ce.information,
    ce.softmax_loss,
    ce.sigmoid_loss,
    ce.targets,
    ce.large_vocabulary,
    ce.training,
    ce.numerics,
]
MODULES = [*FLAT, ce.textbook, ce.exercises, ce.figures, ce.distributed]
PUBLIC = {
    f"{module.__name__.removeprefix('cebook.')}.{name}": getattr(module, name)
    for module in MODULES
    for name in module.__all__
}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
METHODS = {
    f"{name}.{method}": function
    for name, value in CLASSES.items()
    for method, function in inspect.getmembers(value, inspect.isroutine)
    if not method.startswith("_")
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
    assert sorted(ce.__all__) == sorted(
        ["__version__", "distributed", "exercises", "figures", "textbook", *names]
    )
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


def test_what_is_public_is_a_function_or_a_class():
    others = PUBLIC.keys() - FUNCTIONS.keys() - CLASSES.keys()
    assert all(name.startswith("figures.") for name in others)


def assert_typed(function):
    signature = inspect.signature(function)
    for name, parameter in signature.parameters.items():
        assert name == "self" or parameter.annotation is not parameter.empty
    assert signature.return_annotation is not signature.empty


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_typed_and_has_an_example(name):
    assert ">>> " in FUNCTIONS[name].__doc__
    assert_typed(FUNCTIONS[name])


def summary_and_sections(value):
    """Return what stands above the first heading, and the text under each."""
    parts = re.split(r"\n([A-Z][a-z]+)\n-+\n", inspect.getdoc(value))
    assert parts[0].splitlines()[0].endswith(".")
    return parts[0], dict(zip(parts[1::2], parts[2::2], strict=True))


def documented_names(section):
    """Return the names in a section; what is told of them is indented."""
    headings = re.findall(r"^(\w[\w, ]*)(?: : .*)?$", section, flags=re.MULTILINE)
    return ", ".join(headings).split(", ") if headings else []


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_function_is_documented_in_sections(name):
    function = DOCUMENTED[name]
    summary, sections = summary_and_sections(function)
    signature = inspect.signature(function)
    wanted = ["Examples"]
    if name != "exercises.list":
        wanted += ["Raises"]
    if signature.parameters:
        wanted += ["Parameters"]
    if signature.return_annotation != "None":
        wanted += ["Returns"]
    if not name.startswith(("exercises.", "figures.")):
        assert ".. math::" in summary or "_gradient" in name
    if not name.startswith(("exercises.list", "figures.", "targets.one_hot")):
        wanted += ["Notes"]
    assert set(wanted) <= set(sections)
    names = documented_names(sections.get("Parameters", ""))
    assert names in ([], list(signature.parameters))


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_documented_in_sections(name):
    value = CLASSES[name]
    assert value.__doc__  # its own: getdoc would take that of a base class
    summary, sections = summary_and_sections(value)
    parameters = list(inspect.signature(value).parameters)
    assert ">>> " in sections["Examples"]
    assert ".. math::" in summary or "Notes" in sections
    assert documented_names(sections.get("Parameters", "")) == parameters
    if parameters:
        assert_typed(value.__init__)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_typed_and_documented_with_a_line(name):
    assert METHODS[name].__doc__.splitlines()[0].endswith(".")
    assert_typed(METHODS[name])


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES])
def test_every_function_and_class_is_named_in_a_test(name):
    assert re.search(rf"\b{name.split('.')[1]}\b", TESTS)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_called_in_a_test(name):
    assert re.search(rf"\.{name.split('.')[2]}\b", TESTS)


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
