"""Print the worst error of every function in units of eps, beside those of other libraries.

``python tests/accuracy.py`` prints the tables of every part. Each has a module of its own, which
can be run alone, and which the tests of the part share. What the tables have in common is here.
"""

from __future__ import annotations

import contextlib
import warnings

import numpy as np

DTYPES = (np.float32, np.float64)
LIBRARIES = ("cebook", "SciPy", "PyTorch", "scikit-learn")


@contextlib.contextmanager
def quiet_peers(library):
    """Let a peer warn on inputs that it cannot handle: its number is what is measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("error" if library == "cebook" else "ignore")
        yield


def print_table(names, rows):
    """Print ``(labels, {library: worst error}, bound)`` as lines under the names of the labels."""
    rows = list(rows)
    libraries = [name for name in LIBRARIES if any(name in worst for _, worst, _ in rows)]
    rows = [
        [
            *labels,
            *(f"{worst[library]:.3g}" if library in worst else "" for library in libraries),
            f"{bound:g}",
        ]
        for labels, worst, bound in rows
    ]
    header = [*names, *libraries, "bound"]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for number, row in enumerate([header, *rows]):
        cells = zip(row, widths, strict=True)
        line = "  ".join(
            f"{cell:{'<' if column < len(names) else '>'}{width}}"
            for column, (cell, width) in enumerate(cells)
        )
        print(line, *["-" * len(line)] * (number == 0), sep="\n")
    print()


def main():
    # They import this module in their turn.
    import accuracy_information
    import accuracy_sigmoid
    import accuracy_softmax

    for part in (accuracy_information, accuracy_softmax, accuracy_sigmoid):
        part.main()


if __name__ == "__main__":
    main()
