"""The checkers of Parts III and IV: right solutions pass, wrong ones are told what is wrong."""

import copy
import importlib.util
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import cebook as ce
from cebook.exercises import _practice, _sigmoid

EXERCISES = {e.name: e for e in (*_sigmoid.EXERCISES, *_practice.EXERCISES)}


# Right solutions, in no code of cebook's ----------------------------------------------------------


def sigmoid(z):
    e = np.exp(-abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def sigmoid_with_masks(z):
    a = np.empty_like(z)
    positive = z >= 0
    a[positive] = 1 / (1 + np.exp(-z[positive]))
    a[~positive] = np.exp(z[~positive]) / (1 + np.exp(z[~positive]))
    return a


def sigmoid_derivative(z):
    e = np.exp(-abs(z))
    return e / (1 + e) ** 2


def softplus(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-abs(z)))


def sigmoid_cross_entropy(z, y):
    return np.mean(y * softplus(-z) + (1 - y) * softplus(z))


def grouped_as_in_caffe(z, y):
    return np.mean(z * ((z > 0) - y) + np.log1p(np.exp(-abs(z))))


def sigmoid_cross_entropy_gradient(z, y):
    return (sigmoid(z) - y) / z.size


def gradient_with_its_digits(z, y):
    return ((1 - y) * sigmoid(z) - y * sigmoid(-z)) / z.size


def autoencoder_penalty(activations, rho):
    mean = activations.mean(axis=0)
    on = rho * np.log(rho / mean)
    off = (1 - rho) * np.log((1 - rho) / (1 - mean))
    return np.sum(on + off)


def combined_mean(means, counts):
    counted = counts > 0
    return np.sum(means[counted] * counts[counted]) / counts.sum()


def merge_logsumexp(a, b):
    m = np.maximum(a, b)
    return np.where(m == -np.inf, m, m + np.log1p(np.exp(-abs(a - b))))


def merge_softmax(one, other):
    m = np.maximum(one[0], other[0])
    near = np.where(m == -np.inf, 0, m)
    return m, one[1] * np.exp(one[0] - near) + other[1] * np.exp(other[0] - near)


def chunked_loss(blocks, labels):
    m, total = np.full(len(labels), -np.inf), np.zeros(len(labels))
    own, start = np.zeros(len(labels)), 0
    for z in blocks:
        largest = np.maximum(m, z.max(axis=1))
        near = np.where(largest == -np.inf, 0, largest)
        total = total * np.exp(m - near) + np.exp(z - near[:, np.newaxis]).sum(axis=1)
        here = np.flatnonzero((labels >= start) & (labels < start + z.shape[1]))
        own[here] = z[here, labels[here] - start]
        m, start = largest, start + z.shape[1]
    return np.mean(m - own + np.log(total))


def chunked_loss_by_merging(blocks, labels):
    lse, own, start = np.full(len(labels), -np.inf), np.empty(len(labels)), 0
    for z in blocks:
        lse = ce.merge_logsumexp(lse, ce.logsumexp(z, axis=1))
        for i, label in enumerate(labels - start):
            if 0 <= label < z.shape[1]:
                own[i] = z[i, label]
        start += z.shape[1]
    return (lse - own).mean()


RIGHT = [
    ("sigmoid", sigmoid),
    ("sigmoid", sigmoid_with_masks),
    ("sigmoid_derivative", sigmoid_derivative),
    ("sigmoid_derivative", lambda z: sigmoid(z) * sigmoid(-z)),
    ("softplus", softplus),
    ("softplus", lambda z: np.logaddexp(0, z)),
    ("sigmoid_cross_entropy", sigmoid_cross_entropy),
    ("sigmoid_cross_entropy", grouped_as_in_caffe),
    ("sigmoid_cross_entropy_gradient", sigmoid_cross_entropy_gradient),
    ("sigmoid_cross_entropy_gradient", gradient_with_its_digits),
    ("autoencoder_penalty", autoencoder_penalty),
    ("combined_mean", combined_mean),
    ("merge_logsumexp", merge_logsumexp),
    ("merge_logsumexp", np.logaddexp),
    ("merge_softmax", merge_softmax),
    ("chunked_loss", chunked_loss),
    ("chunked_loss", chunked_loss_by_merging),
]


@pytest.mark.parametrize(("name", "solution"), RIGHT)
def test_a_right_solution_passes(name, solution, capsys):
    ce.exercises.check(name, solution)
    lines = capsys.readouterr().out.splitlines()
    count = len(EXERCISES[name].cases)
    assert lines[-1] == f"all {count} cases pass"
    assert sum(line.startswith("passed  ") for line in lines) == count


# What cebook has itself passes too, under the names it has there.
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("sigmoid", ce.sigmoid),
        ("softplus", ce.softplus),
        ("sigmoid_cross_entropy", ce.sigmoid_cross_entropy),
        ("merge_logsumexp", ce.merge_logsumexp),
    ],
)
def test_the_package_passes(name, function, capsys):
    ce.exercises.check(name, function)
    assert "all " in capsys.readouterr().out


# Wrong solutions, and a piece of what each is told ------------------------------------------------


def plain_sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def plain_loss(z, y):
    a = plain_sigmoid(z)
    return np.mean(-y * np.log(a) - (1 - y) * np.log(1 - a))


def loss_with_epsilon(z, y, epsilon=1e-12):
    a = sigmoid(z)
    return np.mean(-y * np.log(a + epsilon) - (1 - y) * np.log(1 - a + epsilon))


def loss_with_clip(z, y):
    a = np.clip(sigmoid(z), 1e-7, 1 - 1e-7)
    return -(y * np.log(a) + (1 - y) * np.log(1 - a)).mean()


def max_form(z, y):
    return (np.maximum(z, 0) - z * y + np.log1p(np.exp(-abs(z)))).mean()


def penalty_of(mean, rho):
    return rho * np.log(rho / mean) + (1 - rho) * np.log((1 - rho) / (1 - mean))


def sums_as_they_are(one, other):
    m = np.maximum(one[0], other[0])
    return m, np.exp(one[0]) * one[1] + np.exp(other[0]) * other[1]


def nan_from_nothing(one, other):
    m = np.maximum(one[0], other[0])
    return m, one[1] * np.exp(one[0] - m) + other[1] * np.exp(other[0] - m)


def upside_down(one, other):
    m = np.maximum(one[0], other[0])
    return m, one[1] / np.exp(one[0] - m) + other[1] / np.exp(other[0] - m)


def loss_of_table(z, labels):
    m = z.max(axis=1)
    lse = m + np.log(np.exp(z - m[:, np.newaxis]).sum(axis=1))
    return np.mean(lse - z[np.arange(len(z)), labels])


def collected(blocks, labels):
    return loss_of_table(np.hstack(list(blocks)), labels)


def copied(blocks, labels):
    return loss_of_table(np.hstack([block.copy() for block in blocks]), labels)


def walked(blocks, labels, rescale=True, start_at=-np.inf, offset=True):
    m, total = np.full(len(labels), start_at), np.zeros(len(labels))
    own, start = np.zeros(len(labels)), 0
    for z in blocks:
        largest = np.maximum(m, z.max(axis=1))
        if rescale:
            total *= np.exp(m - largest)
        total += np.exp(z - largest[:, np.newaxis]).sum(axis=1)
        for i, label in enumerate(labels):
            if not offset:
                own[i] = z[i, label]
            elif start <= label < start + z.shape[1]:
                own[i] = z[i, label - start]
        m, start = largest, start + z.shape[1]
    return np.mean(m - own + np.log(total))


def plain_sums(blocks, labels):
    total, own, start = np.zeros(len(labels)), np.zeros(len(labels)), 0
    for z in blocks:
        total += np.exp(z).sum(axis=1)
        for i, label in enumerate(labels):
            if start <= label < start + z.shape[1]:
                own[i] = z[i, label - start]
        start += z.shape[1]
    return np.mean(np.log(total) - own)


def twice(blocks, labels):
    m = np.full(len(labels), -np.inf)
    for z in blocks:
        m = np.maximum(m, z.max(axis=1))
    total = np.zeros(len(labels))
    for z in blocks:
        total += np.exp(z - m[:, np.newaxis]).sum(axis=1)
    return np.mean(m + np.log(total))


WRONG = {
    "sigmoid": [
        (plain_sigmoid, "exp(-z) overflows for z below -88.7 in float32"),
        (lambda z: np.exp(z) / (np.exp(z) + 1), "inf/inf is nan"),
        (
            lambda z: np.where(z < 0, np.exp(z) / (np.exp(z) + 1), 1 / (np.exp(-z) + 1)),
            "np.where chooses after both sides were computed",
        ),
        (lambda z: plain_sigmoid(-z), "the sign in the exponent is the wrong one"),
        (np.tanh, "This is tanh(z)"),
        (lambda z: 0.5 * np.tanh(0.5 * z) + 0.5, "takes from 1 what is nearly 1"),
        (lambda z: plain_sigmoid(np.clip(z, -80, 80)), "logits are clipped"),
        (lambda z: plain_sigmoid(np.clip(z, -30, 30)), "logits are clipped"),
        (sigmoid_derivative, "This is the slope of the sigmoid"),
    ],
    "sigmoid_derivative": [
        (lambda z: sigmoid(z) * (1 - sigmoid(z)), "1 - a loses its digits"),
        (lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2, "The square of 1 + e^-z overflows"),
        (lambda z: plain_sigmoid(z) * plain_sigmoid(-z), "its sigmoid overflows on one side"),
        (lambda z: z * (1 - z), "takes the logit for the output"),
        (sigmoid, "the sigmoid itself, not its slope"),
        (lambda z: 1 - np.tanh(z) ** 2, "the slope of tanh"),
    ],
    "softplus": [
        (lambda z: np.log(1 + np.exp(z)), "below -36.7 it vanishes beside 1"),
        (lambda z: np.log1p(np.exp(z)), "Take it out of the logarithm"),
        (
            lambda z: np.where(z < 0, np.log1p(np.exp(z)), z + np.log1p(np.exp(-z))),
            "np.where chooses after both sides were computed",
        ),
        (lambda z: np.maximum(z, 0) + np.log(np.exp(-abs(z)) + 1), "log1p(x) is log(1 + x)"),
        (lambda z: np.where(z > 20, z, np.log1p(np.exp(z))), "a threshold of 20"),
        (lambda z: z * (z > 0), "This is the ReLU"),
        (lambda z: softplus(-z), "This is softplus(-z)"),
        (lambda z: np.log1p(np.exp(-abs(z))), "The term max(z, 0) is missing"),
        (lambda z: softplus(z) / np.log(2), "This logarithm has base 2"),
    ],
    "sigmoid_cross_entropy": [
        (plain_loss, "computed from the probability"),
        (lambda z, y: -sigmoid_cross_entropy(z, y), "The minus sign is missing"),
        (lambda z, y: z.size * sigmoid_cross_entropy(z, y), "This is the sum"),
        (
            lambda z, y: sigmoid_cross_entropy(z, y) * (z.shape[1] if z.ndim > 1 else 1),
            "over the entries of a row",
        ),
        (lambda z, y: np.mean(y * softplus(-z)), "The half for no"),
        (lambda z, y: sigmoid_cross_entropy(z, 1 - y), "Yes and no are swapped"),
        (loss_with_epsilon, "an epsilon added"),
        (loss_with_clip, "the probability were clipped"),
        (max_form, "max(z, 0) - z y is a small difference"),
        (lambda z, y: np.mean(z - z * y + softplus(-z)), "is a small difference"),
        (lambda z, y: np.mean((1 - y) * z + softplus(-z)), "cancels where z is far below 0"),
        (
            lambda z, y: np.mean(z * ((z > 0) - y) + np.log(1 + np.exp(-abs(z)))),
            "log(1 + e^-|z|) is exactly 0",
        ),
        (lambda z, y: np.mean(np.log(1 + np.exp(z)) - z * y), "e^z overflows"),
        (lambda z, y: sigmoid_cross_entropy(z, y) / np.log(2), "This is in bits"),
        (lambda z, y: np.mean((sigmoid(z) - y) ** 2) / 2, "the quadratic cost"),
    ],
    "sigmoid_cross_entropy_gradient": [
        (lambda z, y: (y - sigmoid(z)) / z.size, "The sign is wrong"),
        (lambda z, y: sigmoid(z) - y, "the gradient of the sum"),
        (lambda z, y: (sigmoid(z) - y) / len(z), "divides by the number of rows"),
        (lambda z, y: (sigmoid(z) - y) * sigmoid_derivative(z) / z.size, "it cancels"),
        (lambda z, y: (sigmoid(z) - y) * sigmoid_derivative(z), "belongs to the quadratic cost"),
        (lambda z, y: (sigmoid(z) - y) / sigmoid_derivative(z) / z.size, "in the probability a"),
        (lambda z, y: (z - y) / z.size, "not the logit minus the target"),
        (lambda z, y: np.mean(sigmoid(z) - y), "an entry for every logit"),
        (lambda z, y: (plain_sigmoid(z) - y) / z.size, "exp(-z) overflows on the way"),
    ],
    "autoencoder_penalty": [
        (
            lambda c, rho: (
                -np.sum(rho * np.log(c.mean(axis=0)) + (1 - rho) * np.log(1 - c.mean(axis=0)))
            ),
            "larger by h(rho) for every unit",
        ),
        (lambda c, rho: np.sum(rho * np.log(rho / c.mean(axis=0))), "The second term"),
        (lambda c, rho: penalty_of(c, rho).mean(axis=0).sum(), "averages afterwards"),
        (lambda c, rho: penalty_of(c, rho).sum(), "all single activations"),
        (lambda c, rho: penalty_of(c.mean(axis=1), rho).sum(), "over the units of an image"),
        (lambda c, rho: penalty_of(c.mean(axis=0), rho).mean(), "the mean over the units"),
        (lambda c, rho: penalty_of(c.mean(axis=0), rho), "penalties of the single units"),
        (
            lambda c, rho: penalty_of(np.full(c.shape[1], rho), c.mean(axis=0)).sum(),
            "The arguments of the divergence are swapped",
        ),
        (lambda c, rho: -autoencoder_penalty(c, rho), "The sign is wrong"),
    ],
    "combined_mean": [
        (lambda means, counts: means.mean(), "This is the mean of the means"),
        (lambda means, counts: np.nanmean(means), "the means that are not nan"),
        (lambda means, counts: (means * counts).sum() / counts.sum(), "nan times 0 is nan"),
        (lambda means, counts: np.nansum(means * counts), "Divide by their number"),
        (
            lambda means, counts: np.nansum(means * counts) / len(counts),
            "divides by the number of chunks",
        ),
        (
            lambda means, counts: np.average(np.nan_to_num(means), weights=counts),
            "np.average raises where there is nothing",
        ),
        (
            lambda means, counts: np.nansum(means * counts) / max(counts.sum(), 1),
            "The mean of nothing is not 0",
        ),
    ],
    "merge_logsumexp": [
        (lambda a, b: np.log(np.exp(a) + np.exp(b)), "taken as they are"),
        (lambda a, b: a + np.log(1 + np.exp(b - a)), "This takes out a"),
        (lambda a, b: b + np.log(1 + np.exp(a - b)), "This takes out b"),
        (
            lambda a, b: np.maximum(a, b) + np.log1p(np.exp(-abs(a - b))),
            "a line of its own: where m is -inf",
        ),
        (lambda a, b: np.where(a > b, a, b), "the larger part alone"),
        (lambda a, b: a + b, "the logarithm of a product"),
        (lambda a, b: np.log1p(np.exp(-abs(a - b))), "has to be added again"),
        (lambda a, b: np.logaddexp(a, b) - np.log(2), "the mean of the exponentials"),
    ],
    "merge_softmax": [
        (nan_from_nothing, "m_1 - m is -inf - (-inf)"),
        (
            lambda one, other: (np.maximum(one[0], other[0]), one[1] + other[1]),
            "The sums are relative to different maxima",
        ),
        (upside_down, "The sign in the exponents is wrong"),
        (sums_as_they_are, "not relative to anything"),
        (
            lambda one, other: (
                np.maximum(one[0], other[0]),
                one[1] * np.exp(one[0] - np.maximum(one[0], other[0])) + other[1],
            ),
            "Only the first sum is scaled",
        ),
        (
            lambda one, other: (
                np.maximum(one[0], other[0]),
                one[1] + other[1] * np.exp(other[0] - np.maximum(one[0], other[0])),
            ),
            "Only the second sum is scaled",
        ),
        (
            lambda one, other: (one[0] + other[0], one[1] * other[1]),
            "the product of the two sums",
        ),
        (lambda one, other: np.array(merge_softmax(one, other)), "a tuple of 2 is wanted"),
    ],
    "chunked_loss": [
        (collected, "each is written where the one before was"),
        (copied, "that needs the memory of all logits"),
        (plain_sums, "summed as they are, and overflow at 1000"),
        (lambda blocks, labels: walked(blocks, labels, rescale=False), "The sum is not rescaled"),
        (walked, "A block of nothing but -inf"),
        (lambda blocks, labels: walked(blocks, labels, start_at=0.0), "The maximum starts at 0"),
        (lambda blocks, labels: walked(blocks, labels, offset=False), "numbers the columns of all"),
        (twice, "The blocks come once"),
        (
            lambda blocks, labels: chunked_loss(blocks, labels) * len(labels),
            "the sum over the rows",
        ),
    ],
}


def told(name, solution, capsys):
    """Return what the author of a wrong solution is told, in one line."""
    with pytest.raises(AssertionError) as caught:
        ce.exercises.check(name, solution)
    printed = capsys.readouterr().out
    message = str(caught.value)
    explanation = message.partition("\n")[2]
    assert explanation in printed
    assert printed.count("\nFAILED  ") + printed.startswith("FAILED  ") >= 1
    assert max(map(len, explanation.splitlines())) <= 70, explanation
    return re.sub(r"\s+", " ", message)


@pytest.mark.parametrize(
    ("name", "solution", "piece"),
    [(name, *wrong) for name, solutions in WRONG.items() for wrong in solutions],
)
def test_a_wrong_solution_is_told_what_is_wrong(name, solution, piece, capsys):
    message = told(name, solution, capsys)
    assert piece in message
    assert "section" in message


def test_every_exercise_has_right_and_wrong_solutions():
    assert {name for name, _ in RIGHT} == set(EXERCISES) == set(WRONG)
    assert len(EXERCISES) == 10
    assert all(len(solutions) >= 3 for solutions in WRONG.values())


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda exercise: exercise.name)
def test_every_exercise_has_cases_of_all_kinds_and_mistakes(exercise):
    assert {case.kind for case in exercise.cases} == {"ordinary", "edge", "adversarial"}
    assert len(exercise.mistakes) >= 3
    assert len({case.title for case in exercise.cases}) == len(exercise.cases)
    assert max(len(case.title) for case in exercise.cases) <= 50


# The references that are not cebook's own functions -----------------------------------------------


def test_reference_of_the_merge_is_the_online_softmax():
    generator = np.random.default_rng(4)
    z, other = generator.normal(size=(5, 3)) * 400, generator.normal(size=(5, 7)) * 400
    blocks = [ce.OnlineSoftmax(z), ce.OnlineSoftmax(other)]
    pairs = [(block.maximum, block.total) for block in blocks]
    m, total = EXERCISES["merge_softmax"].reference(*pairs)
    both = blocks[0].merge(blocks[1])
    np.testing.assert_array_equal(m, both.maximum)
    np.testing.assert_allclose(total, both.total, rtol=1e-15)


def test_reference_of_the_combined_mean_is_the_mean():
    values = np.random.default_rng(5).normal(size=20)
    parts = np.split(values, [3, 4, 11])
    means, counts = np.array([[part.mean(), part.size] for part in parts]).T
    combined = EXERCISES["combined_mean"].reference(means, counts)
    np.testing.assert_allclose(combined, values.mean(), rtol=1e-14)


def test_reference_of_the_penalty_is_the_formula_of_the_chapter():
    c, rho = np.random.default_rng(6).uniform(size=(9, 4)), 0.05
    expected = penalty_of(c.mean(axis=0), rho).sum()
    np.testing.assert_allclose(
        EXERCISES["autoencoder_penalty"].reference(c, rho), expected, rtol=1e-13
    )


# In a course --------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "assignments"
TEACHING = nbformat.read(ROOT / "book" / "reference" / "teaching.ipynb", as_version=4)
NAIVE = """\
def softmax(z):
    E = np.exp(z)
    return E / E.sum(axis=-1, keepdims=True)"""
STABLE = NAIVE.replace("np.exp(z)", "np.exp(z - z.max(axis=-1, keepdims=True))")


def graded(kind, grade_id, **flags):
    """Return a cell's metadata as nbgrader writes them."""
    nbgrader = {"grade": False, "solution": False, "locked": False, "task": False, **flags}
    return {"nbgrader": {**nbgrader, "cell_type": kind, "grade_id": grade_id, "schema_version": 3}}


def execute(notebook):
    """Run a notebook as nbgrader does, on past cells that raise; return the errors by cell id."""
    notebook = copy.deepcopy(notebook)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        allow_errors=True,
        timeout=60,
        resources={"metadata": {"path": str(ROOT)}},
    )
    client.execute()
    return {
        cell.id: output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    }


def points(notebook, errors):
    """Return the points of every cell that is graded by running it."""
    tests = [
        cell
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code"
    ]
    return {cell.id: cell.metadata.nbgrader.points * (cell.id not in errors) for cell in tests}


@pytest.fixture(scope="module", autouse=True)
def _kernel_of_this_environment():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
        yield


@pytest.mark.parametrize(
    ("solution", "expected"), [(STABLE, 2), (NAIVE, 0)], ids=["right", "wrong"]
)
def test_a_hidden_test_of_nbgrader_gives_marks(solution, expected):
    hidden = '# BEGIN HIDDEN TESTS\nce.exercises.check("softmax", softmax)\n# END HIDDEN TESTS'
    new_cell = nbformat.v4.new_code_cell
    notebook = nbformat.v4.new_notebook(
        cells=[
            new_cell("import numpy as np\nimport cebook as ce"),
            new_cell(solution, metadata=graded("code", "softmax", solution=True)),
            new_cell(
                hidden,
                id="marks",
                metadata=graded("code", "softmax-test", grade=True, locked=True, points=2),
            ),
        ]
    )
    errors = execute(notebook)
    assert points(notebook, errors) == {"marks": expected}
    if not expected:
        assert list(errors) == ["marks"]
        assert errors["marks"].ename == "AssertionError"
        assert "Subtract the largest logit" in re.sub(r"\s+", " ", errors["marks"].evalue)


def code_blocks():
    """Return the blocks of Python on the teachers' page by their first line."""
    text = "\n".join(cell.source for cell in TEACHING.cells if cell.cell_type == "markdown")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return {block.splitlines()[0]: block for block in blocks}


@pytest.mark.parametrize("mark", ["test_case", "name", "points"])
def test_the_file_for_otter_has_what_otter_reads(mark):
    assert re.search(rf"\b{mark}\b", code_blocks()["from otter.test_files import test_case"])


def test_the_file_for_otter_raises_for_a_wrong_solution(monkeypatch, capsys):
    otter = types.ModuleType("otter.test_files")
    otter.test_case = lambda: lambda function: function
    monkeypatch.setitem(sys.modules, "otter", types.ModuleType("otter"))
    monkeypatch.setitem(sys.modules, "otter.test_files", otter)
    test_file = {}
    exec(code_blocks()["from otter.test_files import test_case"], test_file)
    assert test_file["OK_FORMAT"] is False
    of_student = {"np": np}
    exec(STABLE, of_student)
    test_file["test_softmax"](of_student["softmax"])
    exec(NAIVE, of_student)
    with pytest.raises(AssertionError, match="softmax fails in the case"):
        test_file["test_softmax"](of_student["softmax"])
    assert "FAILED" in capsys.readouterr().out


def test_the_file_for_pytest_passes_and_fails(tmp_path):
    block = code_blocks()["import pytest"]
    (tmp_path / "test_solutions.py").write_text(block, encoding="utf-8")
    right = f"import cebook as ce\nimport numpy as np\n\n{STABLE}\n\nfrom cebook import logsumexp\n"
    (tmp_path / "solutions.py").write_text(
        f"{right}\ndef softmax_loss(z, labels):\n    return 0.0\n", encoding="utf-8"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 2 passed" in run.stdout, run.stdout + run.stderr
    assert "AssertionError: softmax_loss fails in the case" in run.stdout


def test_the_page_names_every_checker_beside_its_chapter():
    text = "\n".join(cell.source for cell in TEACHING.cells)
    rows = re.findall(r"^\| \d+ \| \{doc\}`\.\./(.*?)` \| (.*?) ?\|$", text, flags=re.MULTILINE)
    named = {page: re.findall(r"`(\w+)`", names) for page, names in rows}
    expected = dict.fromkeys(named, ())
    for part in ce.exercises._PARTS.values():
        for exercise in part:
            page = exercise.section.page
            expected[page] = (*expected[page], exercise.name)
    assert {page: sorted(names) for page, names in named.items()} == {
        page: sorted(names) for page, names in expected.items()
    }


# The assignment -----------------------------------------------------------------------------------


def load_script():
    spec = importlib.util.spec_from_file_location("release", FOLDER / "release.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


SCRIPT = load_script()
MASTER = SCRIPT.MASTER.read_text(encoding="utf-8")
QUESTIONS = ["softmax", "logsumexp", "softmax-loss", "gradient", "masked-loss"]


def test_the_release_is_what_the_script_makes_of_the_master(tmp_path, capsys):
    script = [sys.executable, str(FOLDER / "release.py"), SCRIPT.MASTER, tmp_path / "made.ipynb"]
    subprocess.run(script, check=True, capture_output=True)
    made = (tmp_path / "made.ipynb").read_bytes()
    assert made == SCRIPT.RELEASE.read_bytes(), "run python assignments/release.py"
    SCRIPT.main([str(SCRIPT.MASTER), str(tmp_path / "again.ipynb")])
    assert (tmp_path / "again.ipynb").read_bytes() == made
    assert capsys.readouterr().out == "again.ipynb: made of softmax-loss-master.ipynb\n"


def test_the_master_passes_all_its_checks():
    notebook = nbformat.reads(MASTER, as_version=4)
    nbformat.validate(notebook)
    errors = execute(notebook)
    assert not errors, errors
    assert sum(points(notebook, errors).values()) == 10


def test_a_released_function_is_told_that_it_is_not_written():
    notebook = nbformat.read(SCRIPT.RELEASE, as_version=4)
    nbformat.validate(notebook)
    errors = execute(notebook)
    assert set(errors) == {f"{name}-marks" for name in QUESTIONS}
    assert set(points(notebook, errors).values()) == {0}
    for name in QUESTIONS[:-1]:
        error = errors[f"{name}-marks"]
        assert error.ename == "AssertionError"
        assert "It is not written yet: it raises NotImplementedError." in error.evalue
    assert errors["masked-loss-marks"].ename == "NotImplementedError"


def test_the_release_has_no_solution_and_no_hidden_test():
    cells = {
        cell["id"]: "".join(cell["source"]) for cell in json.loads(SCRIPT.release(MASTER))["cells"]
    }
    stub = '    """Return the probabilities of every row of logits."""\n    # YOUR CODE HERE\n'
    assert cells["softmax"] == f"def softmax(z):\n{stub}    raise NotImplementedError"
    assert cells["in-words"] == "YOUR ANSWER HERE"
    assert "check" not in cells["masked-loss-marks"]
    for text in cells.values():
        assert not re.search("BEGIN|END|axis=-1, keepdims", text)


def test_outputs_do_not_reach_the_students():
    notebook = json.loads(MASTER)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"execution_count": 7, "outputs": [{"output_type": "stream", "text": "0.5"}]}
    assert SCRIPT.release(json.dumps(notebook)) == SCRIPT.release(MASTER)


@pytest.mark.parametrize(
    ("source", "mark"),
    [
        ("def f():\n    # BEGIN SOLUTION\n    return 1\n", "BEGIN SOLUTION"),
        ("    return 1\n    ### END SOLUTION\n", "END SOLUTION"),
        ("### BEGIN HIDDEN TESTS\nf()\n### END SOLUTION\n", "BEGIN HIDDEN TESTS"),
    ],
)
def test_a_mark_without_its_counterpart_is_an_error(source, mark):
    cell = {"cell_type": "code", "id": "f", "metadata": {}, "source": source}
    with pytest.raises(ValueError, match=f"cell f: {mark} has no counterpart"):
        SCRIPT.release(json.dumps({"cells": [cell]}))


@pytest.mark.parametrize("hashes", ["#", "###"])
def test_marks_are_those_of_nbgrader_and_of_otter(hashes):
    source = f"a = 1\n{hashes} BEGIN SOLUTION\nb = 2\n{hashes} END SOLUTION\nc = 3\n"
    cell = {"cell_type": "code", "id": "f", "metadata": {}, "source": source}
    (released,) = json.loads(SCRIPT.release(json.dumps({"cells": [cell]})))["cells"]
    assert (
        "".join(released["source"]) == "a = 1\n# YOUR CODE HERE\nraise NotImplementedError\nc = 3"
    )
