"""Every formula exactly as the sources print it, kept because it breaks.

Do not use these. Each is right on paper and right on friendly numbers; the chapters take each of
them to the input on which it returns nan, a negative divergence, or a plausible number that is
wrong. The ids are those of the book's page of sources.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["cross_entropy", "entropy", "kl_divergence"]


def entropy(p: Any) -> Any:
    """Return ``-sum p log p`` (C1): nan as soon as one probability is 0.

    >>> import numpy as np
    >>> with np.errstate(all="ignore"):
    ...     print(entropy(np.array([0.5, 0.5, 0.0])))
    nan
    """
    return -np.sum(p * np.log(p))


def cross_entropy(p: Any, q: Any) -> Any:
    """Return ``-sum p log q`` (C2): nan when an outcome is impossible under both.

    >>> import numpy as np
    >>> with np.errstate(all="ignore"):
    ...     print(cross_entropy(np.array([0.5, 0.5, 0.0]), np.array([0.9, 0.1, 0.0])))
    nan
    """
    return -np.sum(p * np.log(q))


def kl_divergence(p: Any, q: Any) -> Any:
    """Return ``sum p log(p/q)`` (C5): nan at zeros, and negative when ``q`` is close to ``p``.

    >>> import numpy as np
    >>> p = np.array([0.1, 0.2, 0.7])
    >>> q = p * (1 + 1e-9 * np.array([1, -4, 1]))
    >>> bool(kl_divergence(p, q / q.sum()) < 0)
    True
    """
    return np.sum(p * np.log(p / q))
