"""Checkers for the book's coding exercises: run your function, and learn which cases it gets wrong.

``check`` calls a function with ordinary, edge and adversarial inputs and compares it with cebook's
own; ``list`` prints the names. NumPy is all they need.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable
from typing import Any

from . import _information, _practice, _sigmoid, _softmax
from ._checker import Exercise, find_failure

__all__ = ["check", "list"]

_PARTS: dict[str, tuple[Exercise, ...]] = {
    "Part I. Information": _information.EXERCISES,
    "Part II. Softmax": _softmax.EXERCISES,
    "Part III. Sigmoid": _sigmoid.EXERCISES,
    "Part IV. Practice": _practice.EXERCISES,
}
_EXERCISES = {exercise.name: exercise for part in _PARTS.values() for exercise in part}

# The titles that the exercises of the book have, with the checkers of each.
_IN_THE_BOOK = {
    "Your own entropy": ("entropy",),
    "The length of a message": ("code_length",),
    "A divergence without a series": ("kl_divergence",),
    "Your own softmax": ("softmax",),
    "Jacobian times vector": ("jacobian_vector_product",),
    "A cold softmax": ("tempered_softmax",),
    "Your own log-sum-exp": ("logsumexp",),
    "Your own log-softmax": ("log_softmax",),
    "Your own gradient": ("softmax_loss_gradient",),
    "Rows that do not count": ("masked_loss",),
    "Every label a little": ("smoothed_loss",),
    "The slope in the temperature": ("gradient_check",),
    "Your own loss": ("softmax_loss",),
    "Your own sigmoid": ("sigmoid", "sigmoid_derivative"),
    "The gradient in code": ("sigmoid_cross_entropy_gradient",),
    "The loss from logits": ("softplus", "sigmoid_cross_entropy"),
    "The penalty in code": ("autoencoder_penalty",),
    "Averages that merge": ("combined_mean",),
    "Merging all rows at once": ("merge_softmax", "merge_logsumexp"),
    "A loss from blocks of columns": ("chunked_loss",),
}
_TITLES = {name: title for title, names in _IN_THE_BOOK.items() for name in names}


def check(name: str, function: Callable[..., Any], *, time_limit: float | None = 10.0) -> None:
    """Check a solution of an exercise: print a line for each case, and explain the first failure.

    Parameters
    ----------
    name : str
        The exercise, one of those that :func:`list` prints.
    function : function
        Your solution itself, not its result. Its parameters are passed by position, so that they
        may have any names.
    time_limit : float or None
        Seconds for all cases together; None is no limit.

    Raises
    ------
    AssertionError
        If a case fails. The message holds what is printed of it: the input, what is expected, what
        came, the mistake behind it where it is a known one, and the section that explains it.
    ValueError
        If there is no exercise of that name, or ``time_limit`` is not positive.
    TypeError
        If ``function`` is not callable.

    Notes
    -----
    Every case is compared with cebook's own function, to within a tolerance that a plain stable
    solution keeps in all exercises but a few, which say so. Arguments are copies, and must not be
    changed; an array has the dtype of the input, and one number may be float64 or a Python float,
    unless the exercise says otherwise. A warning is shown and fails no case, unless the exercise
    asks for silence. What a solution prints is not held back.

    IPython shows of the error its first line alone, because the rest is printed already; its
    message is whole.

    A loop without end is cut: by an alarm on the main thread of Unix, elsewhere by running the
    solution in a thread. In a browser, which has neither, it is not.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> def my_logsumexp(z):
    ...     m = z.max(axis=-1, keepdims=True)
    ...     return np.log(np.exp(z - m).sum(axis=-1)) + m[..., 0]
    >>> try:
    ...     ce.exercises.check("logsumexp", my_logsumexp)
    ... except AssertionError:
    ...     print("not yet")
    passed  ...
    not yet
    """
    if callable(name) and isinstance(function, str):
        raise TypeError(f'the name comes first: check("{function}", your_function)')
    if name not in _EXERCISES:
        raise ValueError(_unknown(str(name)))
    if not callable(function):
        raise TypeError(
            f"pass the function itself, not its result: check({name!r}, your_function), "
            f"but it is a {type(function).__name__}"
        )
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"time_limit must be positive or None, but it is {time_limit}")
    failure = find_failure(_EXERCISES[name], function, time_limit)
    if failure:
        __tracebackhide__ = True  # pytest then shows the line that called this one
        raise failure


def _unknown(name: str) -> str:
    """Say which names there are, to one who gave another."""
    start = f"there is no exercise {name!r}."
    for title, names in _IN_THE_BOOK.items():
        if name.casefold().strip(" .") == title.casefold():
            return f"{start} That is the title in the book; the name here is {' or '.join(names)}"
    if name.strip(" .").replace(".", "").isdigit():
        return f"{start} Exercises go by names, not by numbers; exercises.list() names all"
    close = difflib.get_close_matches(name, _EXERCISES, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"{start}{hint} exercises.list() names all"


def list() -> None:  # noqa: A001
    """Print all checkers by chapter and exercise: stars, how yours is called, what it returns.

    Examples
    --------
    >>> import cebook as ce
    >>> ce.exercises.list()
    Part I. Information
    information/entropy
     Your own entropy
      *   entropy(p)
          average surprise in nats
    information/cross-entropy
    ...
    """
    for number, (part, exercises) in enumerate(_PARTS.items()):
        print("\n" * (number > 0) + part)
        for page, of_page in itertools.groupby(exercises, lambda e: e.section.page):
            print(page)
            for title, of_title in itertools.groupby(of_page, lambda e: _TITLES[e.name]):
                print(f" {title}")
                for e in of_title:
                    print(f"  {'*' * e.stars:3} {e.signature}\n      {e.title}")
