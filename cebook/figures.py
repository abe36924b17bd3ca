"""The book's plotting style and its recurring figures: the one module that needs matplotlib.

Figures are small, so that on a telephone they keep their type size, and are stored as SVG. Text and
axes are drawn in one ink, which the site turns into the colour of the page's own text; the four
series colours are those of Okabe and Ito that keep a contrast of 3 to 1 on white and on black, and
each comes with a dash pattern of its own, for readers and printers without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from numpy.typing import ArrayLike

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "ORANGE",
    "PURPLE",
    "add_slider",
    "plot_distributions",
    "use_book_style",
]

INK = "#24292f"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
_HATCHES = ("", "////", "....", "xxxx")


def use_book_style() -> None:
    """Set matplotlib to the style of the book, and notebooks to store figures as reproducible SVG.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import cebook as ce
    >>> ce.figures.use_book_style()
    """
    matplotlib = _matplotlib()
    matplotlib.rcParams.update(matplotlib.rcParamsDefault | {"backend": matplotlib.get_backend()})
    matplotlib.rcParams.update(
        {
            "figure.figsize": (4.6, 2.9),
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "axes.facecolor": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": matplotlib.cycler(color=_COLOURS, linestyle=_DASHES),
            "axes.titlesize": 10,
            "font.size": 10,
            "legend.frameon": False,
            "legend.handlelength": 2.6,
            "lines.linewidth": 1.8,
            "hatch.linewidth": 0.7,
            # A stored figure must come out byte for byte the same when it is drawn again.
            "svg.hashsalt": "cebook",
            **dict.fromkeys(
                ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"),
                INK,
            ),
        }
    )
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return  # Outside Jupyter there is no notebook to store figures in.
    set_matplotlib_formats("svg", metadata={"Date": None})  # type: ignore[no-untyped-call]


def plot_distributions(
    axes: Axes, distributions: Mapping[str, ArrayLike], outcomes: Sequence[str] | None = None
) -> None:
    """Draw distributions over the same outcomes as groups of bars, by colour and hatching.

    Parameters
    ----------
    axes : matplotlib Axes
        Where to draw.
    distributions : mapping of str to array_like, shape (K,)
        The name of each distribution and its probabilities; at most four.
    outcomes : sequence of K str, optional
        The names of the outcomes. By default they are numbered from 1.

    Raises
    ------
    ValueError
        If there are more than four distributions or they differ in length.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import cebook as ce
    >>> figure, axes = plt.subplots()
    >>> ce.figures.plot_distributions(axes, {"p": [0.5, 0.5], "q": [0.9, 0.1]}, ["heads", "tails"])
    >>> axes.get_ylabel()
    'probability'
    """
    arrays = {name: np.asarray(values, dtype=float) for name, values in distributions.items()}
    lengths = {array.shape for array in arrays.values()}
    if len(arrays) > len(_COLOURS) or len(lengths) != 1:
        raise ValueError(
            f"distributions must be one to four vectors of one length, but there are {len(arrays)} "
            f"with shapes {sorted(lengths)}. Draw more of them as curves."
        )
    ((count,),) = lengths
    positions = np.arange(count)
    width = 0.8 / len(arrays)
    for i, (name, array) in enumerate(arrays.items()):
        axes.bar(
            positions + (i - (len(arrays) - 1) / 2) * width,
            array,
            width * 0.92,
            label=name,
            facecolor=_COLOURS[i] if not _HATCHES[i] else "none",
            edgecolor=_COLOURS[i],
            hatch=_HATCHES[i],
        )
    axes.set_xticks(
        positions, outcomes if outcomes is not None else [str(k + 1) for k in positions]
    )
    axes.set_ylabel("probability")
    if len(arrays) > 1:
        axes.legend()


def add_slider(lines: Mapping[str, Line2D], *, step: str) -> None:
    """Let the site move a dot along the lines of a figure, and read out where it is.

    The figure itself stays as it is. Where scripts run, the site puts a slider under it.

    Parameters
    ----------
    lines : mapping of str to matplotlib Line2D
        Lines of one figure by the name to read out; all with the same number of points, one a step.
    step : str
        What the points count, as "epoch".

    Raises
    ------
    ValueError
        If there is no line, or they differ in their number of points.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import cebook as ce
    >>> figure, axes = plt.subplots()
    >>> (line,) = axes.plot([0, 1, 2], [0.5, 0.3, 0.2])
    >>> ce.figures.add_slider({"loss": line}, step="epoch")
    """
    heights = {label: np.asarray(line.get_ydata(), float) for label, line in lines.items()}
    counts = {label: len(values) for label, values in heights.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(
            f"lines must be at least one, all with the same number of points, but they have "
            f"{counts}."
        )
    for label, line in lines.items():
        # Every point must arrive in the drawing, also where many lie on one straight line.
        line.get_path().should_simplify = False
        values = " ".join(f"{value:.4g}" for value in heights[label])
        # An SVG keeps the id of a line, and nothing else that could carry its numbers.
        line.set_gid("slider?" + urlencode({"step": step, "label": label, "values": values}))


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise ImportError(
            "cebook.figures needs matplotlib: pip install 'cebook[figures]'"
        ) from None
    return matplotlib
