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
from ._checker import Exercise, check_exercise

__all__ = ["check", "list"]

_PARTS: dict[str, tuple[Exercise, ...]] = {
    "Part I. Information": _information.EXERCISES,
    "Part II. Softmax": _softmax.EXERCISES,
    "Part III. Sigmoid": _sigmoid.EXERCISES,
    "Part IV. Practice": _practice.EXERCISES,
}
_EXERCISES = {exercise.name: exercise for part in _PARTS.values() for exercise in part}


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
    solution keeps. Arguments are copies, and must not be changed; a result has the dtype of the
    input. A warning is shown and fails no case, unless the exercise asks for silence. What a
    solution prints is not held back.

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
        close = difflib.get_close_matches(str(name), _EXERCISES, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(f"there is no exercise {name!r}.{hint} exercises.list() names all")
    if not callable(function):
        raise TypeError(
            f"pass the function itself, not its result: check({name!r}, your_function), "
            f"but it is a {type(function).__name__}"
        )
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"time_limit must be positive or None, but it is {time_limit}")
    check_exercise(_EXERCISES[name], function, time_limit)


def list() -> None:  # noqa: A001
    """Print all exercises under their chapters: stars, how yours is called, what it returns.

    Examples
    --------
    >>> import cebook as ce
    >>> ce.exercises.list()
    Part I. Information
    information/entropy
     *   entropy(p) ...
    """
    width = max(len(exercise.signature) for exercise in _EXERCISES.values())
    for number, (part, exercises) in enumerate(_PARTS.items()):
        print("\n" * (number > 0) + part)
        for page, of_page in itertools.groupby(exercises, lambda e: e.section.page):
            print(page)
            for e in of_page:
                print(f" {'*' * e.stars:3} {e.signature:{width}}  {e.title}")
