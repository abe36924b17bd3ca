"""cebook.figures: reproducible style, bars that are what they say, errors that name their cause."""

import io
import re
import subprocess
import sys
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
from matplotlib import pyplot as plt

import cebook as ce


@pytest.fixture
def axes():
    with mpl.rc_context():
        ce.figures.use_book_style()
        figure, axes = plt.subplots()
        yield axes
        plt.close(figure)


def test_a_figure_drawn_twice_is_the_same_file():
    def draw():
        with mpl.rc_context():
            ce.figures.use_book_style()
            figure, axes = plt.subplots()
            ce.figures.plot_distributions(axes, {"p": [0.5, 0.5], "q": [0.9, 0.1]})
            file = io.BytesIO()
            figure.savefig(file, format="svg", metadata={"Date": None})
            plt.close(figure)
        return file.getvalue()

    assert draw() == draw()


def test_bars_have_the_height_of_the_probabilities(axes):
    ce.figures.plot_distributions(axes, {"p": [0.25, 0.75], "q": [0.9, 0.1]}, ["heads", "tails"])
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[0.25, 0.75], [0.9, 0.1]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["heads", "tails"]
    assert [label.get_text() for label in axes.get_legend().get_texts()] == ["p", "q"]


def test_a_single_distribution_needs_no_legend(axes):
    ce.figures.plot_distributions(axes, {"p": [0.25, 0.75]})
    assert axes.get_legend() is None


@pytest.mark.parametrize(
    "distributions",
    [{"p": [1.0], "q": [0.5, 0.5]}, {name: [0.5, 0.5] for name in "pqrst"}, {}],
    ids=["two lengths", "five", "none"],
)
def test_what_cannot_be_drawn_is_a_value_error(axes, distributions):
    with pytest.raises(ValueError, match="distributions must be one to four vectors of one length"):
        ce.figures.plot_distributions(axes, distributions)


def test_without_matplotlib_the_message_says_what_to_install():
    code = "import sys; sys.modules['matplotlib'] = None; import cebook as ce; "
    result = subprocess.run(
        [sys.executable, "-c", code + "ce.figures.use_book_style()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cebook.figures needs matplotlib: pip install 'cebook[figures]'" in result.stderr


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_line_with_a_slider_keeps_all_its_points_in_the_drawing(axes, scale):
    steps = np.arange(301)
    (line,) = axes.plot(steps, 1.0 + steps)  # a straight one, of which two points would do
    axes.set_yscale(scale)
    ce.figures.add_slider({'loss "1" & <2>': line}, step="epoch")
    file = io.BytesIO()
    axes.figure.savefig(file, format="svg")
    (group,) = (
        element
        for element in ElementTree.fromstring(file.getvalue()).iter("{http://www.w3.org/2000/svg}g")
        if element.get("id", "").startswith("slider?")
    )
    data = dict(parse_qsl(group.get("id").removeprefix("slider?")))
    values = data.pop("values").split()
    assert data == {"step": "epoch", "label": 'loss "1" & <2>'}
    assert list(map(float, values)) == list(1.0 + steps)
    (path,) = group.iter("{http://www.w3.org/2000/svg}path")
    assert len(re.findall(r"[ML] [\d.]+ [\d.]+", path.get("d"))) == 301


@pytest.mark.parametrize("lengths", [(), (3, 4)])
def test_lines_of_several_lengths_share_no_slider(axes, lengths):
    lines = {f"line {n}": axes.plot(range(n))[0] for n in lengths}
    with pytest.raises(ValueError, match="all with the same number of points, but they have"):
        ce.figures.add_slider(lines, step="epoch")
