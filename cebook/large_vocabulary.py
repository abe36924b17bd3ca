"""The last chapter in code: softmax over more classes than memory has room for.

The logarithm of a sum of exponentials can be made of parts, in any order and of any size: a part is
its largest logit and a scaled sum, and two parts merge into one. From this follows a loss that
takes the last layer of a model with it, and never holds more than a block of its logits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _tiles
from ._rows import as_rows, as_table, rounded, working_dtype
from ._validation import (
    Array,
    Reduction,
    as_floating,
    check_count,
    check_same_shape,
    check_some_classes,
    check_weight,
    one_axis,
)
from .softmax_loss import _Terms, _terms, _write_softmax_loss

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["OnlineSoftmax", "linear_cross_entropy", "merge_logsumexp"]

Indices = np.ndarray[Any, np.dtype[np.intp]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


# Parts of a sum -----------------------------------------------------------------------------------


def merge_logsumexp(a: ArrayLike, b: ArrayLike) -> Any:
    r"""Return the logarithm of a sum of exponentials from those of its two parts.

    .. math::

        \log (e^a + e^b) &= m + \log (1 + e^{-|a - b|}), \\
        m &= \max(a, b).

    Parameters
    ----------
    a : array_like
        What :func:`logsumexp` returns for one part of each row; ``-inf`` for a part that is empty.
    b : array_like, shape of ``a``
        The same for the other part. Nothing is broadcast.

    Returns
    -------
    ndarray or scalar, shape of ``a``
        In the dtype of ``a`` and ``b``, the wider of the two if they differ. ``-inf`` if both are,
        inf if one is.

    Raises
    ------
    ValueError
        If the shapes differ.
    TypeError
        If ``a`` or ``b`` does not hold real numbers.

    Notes
    -----
    The operation is associative and commutative up to rounding, and ``-inf`` is its neutral
    element: parts may be merged in any order, and empty ones do no harm; of more than two,
    ``logsumexp(np.stack(parts), axis=0)`` makes one. At most 2 eps of the
    larger of \|m\| and the result. The derivative with respect to ``a`` is ``exp(a - result)``.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> a, b = ce.logsumexp([1000.0, 1001.0]), ce.logsumexp([1002.0])
    >>> with np.errstate(over="ignore"):
    ...     print(np.log(np.exp(a) + np.exp(b)))
    inf
    >>> print(f"{ce.merge_logsumexp(a, b):.4f}")
    1002.4076
    >>> print(ce.merge_logsumexp(-np.inf, -np.inf))
    -inf
    """
    one, other = as_floating("a", a), as_floating("b", b)
    check_same_shape(a=one, b=other)
    dtype = np.result_type(one, other)
    low, high = np.sort([one, other], axis=0).astype(working_dtype(dtype))  # nan is last
    merged = high + np.log1p(_exp_of_difference(low, high))
    return rounded(np.where(np.isinf(high), high, merged), dtype)


class OnlineSoftmax:
    r"""Running softmax: rows of logits, seen a block at a time, as two numbers for each row.

    The numbers are the largest logit so far and the sum of exponentials relative to it,

    .. math:: m = \max_k x_k, \qquad d = \sum_k e^{x_k - m},

    and two such pairs merge into that of all their logits:

    .. math::

        m &= \max(m_1, m_2), \\
        d &= d_1 e^{m_1 - m} + d_2 e^{m_2 - m}.

    Parameters
    ----------
    logits : array_like, shape (..., K)
        The first block of the rows. It may be empty, or all ``-inf``.

    Notes
    -----
    Merging is associative and commutative up to rounding, and a block without logits (or of nothing
    but ``-inf``) is neutral: m is ``-inf`` and d is 0. Pairs form a commutative monoid, so that a
    row may be split anywhere, and its parts be seen in any order or on different machines.

    What is kept is ``d - 1``, the sum without its largest term, whose digits d has no room for
    when they are small. The logarithm is therefore as accurate as that of :func:`logsumexp` on the
    whole row: 4 eps of the larger of \|m\| and the result. Every merge rounds again, by an eps at
    most where the larger of m stays the same; float16 and float32 are kept in float64.

    References
    ----------
    Milakov, Gimelshein, *Online normalizer calculation for softmax*, arXiv:1805.02867.

    Examples
    --------
    A sum of exponentials overflows where the pair does not.

    >>> import numpy as np
    >>> import cebook as ce
    >>> with np.errstate(over="ignore"):
    ...     print(np.exp([1000.0, 1001.0]).sum() + np.exp([1002.0]).sum())
    inf
    >>> seen = ce.OnlineSoftmax([1000.0, 1001.0])
    >>> print(seen)
    OnlineSoftmax(maximum=1001.0, total=1.3678794411714423)
    >>> seen.update([1002.0])
    >>> print(f"{seen.logsumexp():.4f}")
    1002.4076
    >>> print(seen.probabilities([1000.0, 1001.0, 1002.0]).round(4))
    [0.09   0.2447 0.6652]
    """

    def __init__(self, logits: ArrayLike) -> None:
        scores = as_floating("logits", logits)
        axis = one_axis("logits", scores, -1)
        self._dtype = scores.dtype
        rows = as_rows(scores, (axis,), working_dtype(scores.dtype))
        if rows.shape[-1] == 0:
            rows = np.full((*rows.shape[:-1], 1), -math.inf, rows.dtype)
        at = np.expand_dims(rows.argmax(axis=-1), -1)
        maximum = np.take_along_axis(rows, at, axis=-1)
        others = _exp_of_difference(rows, maximum)
        np.put_along_axis(others, at, 0, axis=-1)
        self._maximum = np.asarray(maximum[..., 0])
        # d is 1 and the rest. Where there is nothing it is 0.
        rest = np.where(self._maximum == -math.inf, -1, others.sum(axis=-1))
        self._rest = np.where(np.isnan(self._maximum), math.nan, rest)

    @property
    def maximum(self) -> Any:
        """The largest logit of each row; ``-inf`` if there is none."""
        return rounded(self._maximum, self._dtype)

    @property
    def total(self) -> Any:
        """The sum of exponentials of each row relative to the largest; 0 if there is none."""
        return rounded(1 + self._rest, self._dtype)

    def merge(self, other: OnlineSoftmax) -> OnlineSoftmax:
        """Return the pair for the logits of both."""
        if not isinstance(other, OnlineSoftmax):
            raise TypeError(
                f"other must be an OnlineSoftmax, but it is {other!r}. Logits go to update."
            )
        if self._maximum.shape != other._maximum.shape:
            raise ValueError(
                f"both must have seen the same rows, but these have shape {self._maximum.shape} "
                f"and those to merge have shape {other._maximum.shape}. The logits of a row lie "
                f"along the last axis."
            )
        merged = OnlineSoftmax.__new__(OnlineSoftmax)
        merged._dtype = np.result_type(self._dtype, other._dtype)
        merged._maximum = np.maximum(self._maximum, other._maximum)
        with np.errstate(invalid="ignore", under="ignore"):
            mine = _exp_of_difference(self._maximum, merged._maximum)
            others = _exp_of_difference(other._maximum, merged._maximum)
            # One of the two is 1, and its d = 1 + rest hands the 1 on.
            merged._rest = np.where(
                other._maximum > self._maximum,
                other._rest + (1 + self._rest) * mine,
                self._rest + (1 + other._rest) * others,
            )
        return merged

    def update(self, logits: ArrayLike) -> None:
        """Take in another block of the same rows."""
        vars(self).update(vars(self.merge(OnlineSoftmax(logits))))

    def logsumexp(self) -> Any:
        """Return the logarithm of the sum of exponentials of each row: m + log d."""
        with np.errstate(divide="ignore"):
            merged = self._maximum + np.log1p(self._rest)
        return rounded(np.where(np.isinf(self._maximum), self._maximum, merged), self._dtype)

    def probabilities(self, logits: ArrayLike) -> Any:
        """Return the softmax, over all that was seen, at some of the logits seen."""
        scores = as_floating("logits", logits)
        maximum, rest = self._maximum[..., np.newaxis], self._rest[..., np.newaxis]
        if scores.shape[:-1] != self._maximum.shape or scores.ndim == 0:
            raise ValueError(
                f"logits must have a last axis beside the rows that were seen, of shape "
                f"{self._maximum.shape}, but logits has shape {scores.shape}."
            )
        if (scores > maximum).any():
            raise ValueError(
                "logits must have been seen before, but one of them is larger than the largest of "
                "its row. Take its block in with update first."
            )
        certain = (scores == math.inf) & (rest == 0)
        with np.errstate(invalid="ignore", under="ignore"):
            shares = _exp_of_difference(scores.astype(maximum.dtype), maximum) / (1 + rest)
        return rounded(np.where(certain, 1, shares), scores.dtype)

    def __repr__(self) -> str:
        return f"OnlineSoftmax(maximum={self.maximum}, total={self.total})"


def _exp_of_difference(a: Array, b: Array) -> Array:
    """Return ``exp(a - b)`` to the last digits; 0 for a of ``-inf``."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        difference = np.where(a == -math.inf, a, a - b)
        # exp turns what the subtraction rounds away, 2**-44 at 700, into hundreds of eps.
        return np.exp(difference) * (1 + _tiles.rounded_away(a, b, difference))


# Loss and last layer in one -----------------------------------------------------------------------

# Blocks of logits are twice as high as wide, and rows are left whole from so many on: lower blocks
# waste the matrix product. The products of a gradient come in slices of so many classes.
LOWEST_WHOLE = 128
SLICE = 2048


def linear_cross_entropy(
    features: ArrayLike,
    weight: ArrayLike,
    targets: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    return_grad: bool = False,
    max_logits_bytes: int = 1 << 23,
) -> Any:
    r"""Return the softmax loss of a linear layer, whose logits are never held in full.

    .. math::

        z_{ik} &= \sum_j x_{ij} W_{kj} + b_k, \\
        \ell_i &= -\sum_k w_k\, p_{ik} \log \operatorname{softmax}(z_i)_k,

    the same as ``softmax_cross_entropy(features @ weight.T + bias, targets)`` with its options,
    where those logits would be the largest array of all. With G the gradient with respect to them,
    the gradients of the layer are

    .. math::

        \frac{\partial \ell}{\partial X} = G W, \qquad
        \frac{\partial \ell}{\partial W} = G^T X, \qquad
        \frac{\partial \ell}{\partial b_k} = \sum_i G_{ik}.

    Parameters
    ----------
    features : array_like, shape (..., D)
        The input of the layer, one row for each target.
    weight : array_like, shape (K, D)
        The matrix of the layer, one row for each class, as in ``torch.nn.Linear``.
    targets : array_like
        Class indices, shape (...), or distributions, shape (..., K): see
        :func:`softmax_cross_entropy`.
    bias : array_like, shape (K,), optional
        What the layer adds; ``-inf`` rules a class out (with ``label_smoothing``, which gives it a
        part of every target, the loss is then inf).
    class_weight : array_like, shape (K,), optional
        A finite, non-negative factor for each class: the ``weight`` of
        :func:`softmax_cross_entropy`.
    ignore_index : int, optional
        The class index that marks rows to leave out: they cost no time, and may hold anything.
    label_smoothing : float
        The share of every target that is spread evenly over the classes.
    reduction : {"mean", "sum", "none"}
        What to make of the losses of the rows, as in :func:`softmax_cross_entropy`.
    return_grad : bool
        Whether to return the gradients of the (summed) result too.
    max_logits_bytes : int
        How much memory logits may take at a time, in bytes: 8 MiB unless given; below some 100,000
        the blocks become slow. Where rows are taken whole (see Notes), at least one of them is
        held, and its gradient.

    Returns
    -------
    loss : scalar, or ndarray of shape (...) for "none"
        In the dtype of ``features``, ``weight`` and ``bias``, the widest if they differ.
    grads : tuple of ndarray
        Only with ``return_grad``: the gradients with respect to ``features`` and ``weight`` and, if
        there is one, ``bias``, each in dtype and shape of its own.

    Raises
    ------
    ValueError
        If the shapes of ``features``, ``weight`` and ``bias`` do not match, ``max_logits_bytes`` is
        below 1, or as :func:`softmax_cross_entropy`.
    TypeError
        If an argument does not hold real numbers, or class indices come as floats.

    Warns
    -----
    RuntimeWarning
        If the mean is over nothing; it is nan.

    Notes
    -----
    The logits are computed a block of rows and classes at a time. A first walk over the blocks
    merges their sums of exponentials, as :class:`OnlineSoftmax` does. With the sums known, a second
    walk computes each block again, makes the gradient in its place, and multiplies it into the
    three results. The price of not keeping the logits is a fourth matrix product. Where
    ``max_logits_bytes`` has room for 128 whole rows, their logits are kept from the first walk to
    the second, and three do. Not counted are the gradients that are returned, one or two copies of
    the features of a block, a few numbers for each row and class and, where rows are taken whole,
    some ten copies in float64 of one or a few of them.

    Each logit carries the rounding of a product of D terms: at most about
    ``D eps sum_j |x_ij W_kj|``, and typically with the square root of D instead of D. Loss and
    gradient inherit that, as they do from logits held in full. All else is as accurate as in
    :func:`softmax_cross_entropy`. float16 is computed in float32, logits included.

    Distributions as targets, and rows with nan or with logits so large that their differences
    leave the range of floats, go through :func:`softmax_cross_entropy` a few whole rows at a time;
    ``-inf`` does not matter. The matrix products take the threads of the BLAS (for one, set
    ``OPENBLAS_NUM_THREADS=1`` before NumPy is imported), all else those of
    ``CEBOOK_NUM_THREADS``.

    References
    ----------
    Milakov, Gimelshein, *Online normalizer calculation for softmax*, arXiv:1805.02867; Wijmans et
    al., *Cut Your Losses in Large-Vocabulary Language Models*, arXiv:2411.09009; Hsu et al., *Liger
    Kernel: Efficient Triton Kernels for LLM Training*, arXiv:2410.10989.

    Examples
    --------
    The logits of this batch take 32 MB.

    >>> import tracemalloc
    >>> import numpy as np
    >>> import cebook as ce
    >>> def peak(function):
    ...     tracemalloc.start()
    ...     print(f"loss {function():.4f}")
    ...     peak = tracemalloc.get_traced_memory()[1]
    ...     tracemalloc.stop()
    ...     return peak
    >>> rng = np.random.default_rng(0)
    >>> x, W = rng.normal(size=(200, 8)), rng.normal(size=(20_000, 8))
    >>> y = rng.integers(20_000, size=200)
    >>> peak(lambda: ce.softmax_cross_entropy(x @ W.T, y)) > 32e6
    loss 13.6388
    True
    >>> peak(lambda: ce.linear_cross_entropy(x, W, y, max_logits_bytes=200_000)) < 1e6
    loss 13.6388
    True
    >>> loss, (grad_x, grad_W) = ce.linear_cross_entropy(x, W, y, return_grad=True)
    >>> grad_x.shape, grad_W.shape
    ((200, 8), (20000, 8))
    """
    x, w = as_floating("features", features), as_floating("weight", weight)
    b = None if bias is None else as_floating("bias", bias)
    _check_layer(x, w, b)
    check_count("max_logits_bytes", max_logits_bytes, at_least=1)
    dtype = np.result_type(x, w, *([] if b is None else [b]))
    # The shape and dtype of the logits, in the memory of one of them.
    logits = np.broadcast_to(dtype.type(0), (*x.shape[:-1], len(w)))
    if class_weight is not None:
        class_weight = _checked_class_weight(class_weight, len(w))
    terms = _terms(
        "logits", logits, targets, -1, class_weight, ignore_index, label_smoothing, reduction
    )
    layer = _Layer(as_table(x, (x.ndim - 1,)), w, b, _tiles.compute_dtype(dtype))
    grads = _Gradients(layer) if return_grad else None
    losses = np.zeros(len(layer.features), terms.dtype)
    elements = max(1, max_logits_bytes // layer.dtype.itemsize)
    with np.errstate(all="ignore"):
        rows = np.flatnonzero(~terms.ignored)
        if terms.from_indices and len(w) > 1:
            rows = _by_blocks(layer, terms, rows, elements, losses, grads)
        _by_whole_rows(layer, terms, rows, elements, losses, grads)
    with np.errstate(under="ignore"):
        if reduction == "none":
            loss = rounded(losses.reshape(x.shape[:-1]), dtype)
        else:
            loss = rounded(np.asarray(math.nan if terms.empty_mean else losses.sum()), dtype)
    return loss if grads is None else (loss, grads.results(x.shape))


def _check_layer(x: Array, w: Array, b: Array | None) -> None:
    """Raise unless features, weight and bias make a layer."""
    if x.ndim == 0:
        raise ValueError(
            f"features must have a last axis of inputs, but it is the single number {x[()]}."
        )
    if w.ndim != 2:
        raise ValueError(
            f"weight must have two axes, one row for each class and one column for each feature, "
            f"but its shape is {w.shape}. Factors for the classes are class_weight."
        )
    if w.shape[1] != x.shape[-1]:
        hint = (
            "It looks transposed: pass weight.T."
            if w.shape[0] == x.shape[-1]
            else "It must have one column for each feature."
        )
        raise ValueError(
            f"weight must have the shape (classes, {x.shape[-1]}) for features of shape {x.shape}, "
            f"but it has shape {w.shape}. {hint}"
        )
    check_some_classes("weight", w, (0,))
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(
            f"bias must have one entry for each class, shape {w.shape[:1]}, but it has shape "
            f"{b.shape}."
        )


def _checked_class_weight(class_weight: ArrayLike, num_classes: int) -> Array:
    try:
        return check_weight(class_weight, num_classes)
    except (TypeError, ValueError) as error:
        # Here weight is the matrix of the layer.
        raise type(error)(re.sub(r"^weight|\bweight(?=\[)", "class_weight", str(error))) from None


class _Layer(NamedTuple):
    """A linear layer, to be computed a block at a time, in a dtype that matrix products know."""

    features: Array
    weight: Array
    bias: Array | None
    dtype: np.dtype[Any]

    def inputs(self, rows: Indices | slice) -> Array:
        return np.ascontiguousarray(self.features[rows], self.dtype)

    def matrix(self, classes: slice) -> Array:
        return np.ascontiguousarray(self.weight[classes], self.dtype)

    def logits(self, x: Array, classes: slice, buffer: Array) -> Array:
        """Write the logits of some rows and classes to the buffer."""
        matrix = self.matrix(classes)
        out = buffer[: len(x) * len(matrix)].reshape(len(x), len(matrix))
        np.matmul(x, matrix.T, out=out)
        if self.bias is not None:
            out += self.bias[classes].astype(self.dtype)
        return out


class _Gradients:
    """The gradients of a layer, to which blocks of the gradient of its logits add their part."""

    def __init__(self, layer: _Layer) -> None:
        self.layer = layer
        self.of_features = np.zeros(layer.features.shape, layer.dtype)
        self.of_weight = np.empty(layer.weight.shape, layer.dtype)
        classes = 0 if layer.bias is None else len(layer.weight)
        self.of_bias = np.zeros(classes, _tiles.wide_dtype(layer.dtype))
        self.begun = 0  # the classes to which something was written
        self.scratch = np.empty((0, layer.features.shape[1]), layer.dtype)

    def add(self, g: Array, x: Array, rows: Indices | slice, classes: slice) -> None:
        """Add what a block of the gradient of the logits makes to its rows and its classes."""
        longest = max(len(g), min(g.shape[1], SLICE))
        if len(self.scratch) < longest:
            self.scratch = np.empty((longest, x.shape[1]), x.dtype)
        # A product cannot be added to what is there, but the first can be written there.
        of_x = self.of_features[rows]
        if classes.start == 0:
            np.matmul(g, self.layer.matrix(classes), out=of_x)
        else:
            of_x += np.matmul(g, self.layer.matrix(classes), out=self.scratch[: len(g)])
        if not isinstance(rows, slice):
            self.of_features[rows] = of_x
        for columns in _tiles.spans(g.shape[1], SLICE):
            part = g[:, columns]
            k = slice(classes.start + columns.start, classes.start + columns.stop)
            if k.start >= self.begun:
                np.matmul(part.T, x, out=self.of_weight[k])
                self.begun = k.stop
            else:
                self.of_weight[k] += np.matmul(part.T, x, out=self.scratch[: part.shape[1]])
            if self.layer.bias is not None:
                self.of_bias[k] += np.ones(len(g), g.dtype) @ part

    def results(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        """Return the gradients in dtype and shape of what they belong to."""
        self.of_weight[self.begun :] = 0
        of_all = self.of_features.reshape(shape), self.of_weight, self.of_bias
        return tuple(
            gradient.astype(array.dtype, copy=False)
            for gradient, array in zip(of_all, self.layer[:3], strict=True)
            if array is not None
        )


def _as_slice(rows: Indices) -> Indices | slice:
    """Return rows as a slice, if they are neighbours, so that what it takes is a view."""
    first, last = rows[0], rows[-1]
    return slice(first, last + 1) if last - first == len(rows) - 1 else rows


def _some(terms: _Terms, rows: Indices | slice) -> _Terms:
    return terms._replace(targets=terms.targets[rows], ignored=terms.ignored[rows])


def _block_shape(
    rows: int, classes: int, elements: int, dtype: np.dtype[Any], keep: bool
) -> tuple[int, int]:
    """Return how many rows and classes a block of logits takes.

    If the logits are worth keeping for a second walk, it takes all classes where it can.
    """
    widest = min(classes, 2 * _tiles.TILE_BYTES // dtype.itemsize)
    whole = elements // classes
    if keep and widest == classes and whole >= min(rows, LOWEST_WHOLE):
        height = min(rows, whole)
    else:
        height = min(rows, max(whole, math.isqrt(2 * elements)))
    # The last rows are not left to a block of their own that is much lower.
    height = -(-rows // -(-rows // height))
    return height, min(widest, max(1, elements // height))


def _by_blocks(
    layer: _Layer,
    terms: _Terms,
    rows: Indices,
    elements: int,
    losses: Array,
    grads: _Gradients | None,
) -> Indices:
    """Write the losses of rows with labels; return the rows that have to be taken whole."""
    num_classes = len(layer.weight)
    if len(rows) == 0:
        return rows
    height, width = _block_shape(len(rows), num_classes, elements, layer.dtype, grads is not None)
    buffer = np.empty(height * width, layer.dtype)
    blocks = list(_tiles.spans(num_classes, width))
    left = []
    for some in _tiles.spans(len(rows), height):
        at = _as_slice(rows[some])
        x = layer.inputs(at)
        state = _Rows(_some(terms, at), layer.dtype)
        for classes in blocks:
            z = layer.logits(x, classes, buffer)
            state.see(z, classes)
        losses[at] = state.losses()
        left.append(rows[some][~state.done])
        if grads is None:
            continue
        state.prepare_gradient()
        for classes in blocks:
            if len(blocks) > 1:
                z = layer.logits(x, classes, buffer)
            state.write_gradient(z, classes)
            grads.add(z, x, at, classes)
    return np.concatenate(left)


class _Rows:
    """The labels of some rows, and what is known of their logits after some blocks of them.

    The sum of exponentials of all logits but the label's is relative to a shift, a whole number
    near the largest logit or 0: as a pair the two merge like those of :class:`OnlineSoftmax`.

    Label smoothing gives every class a part of the target. The cost of that part is made of the
    logarithm of the sum, relative to the largest logit, and of what each logit lacks of that.
    """

    def __init__(self, terms: _Terms, dtype: np.dtype[Any]) -> None:
        self.labels, self.dtype = terms.targets, dtype
        wide = _tiles.wide_dtype(dtype)
        self.sums, self.lost = np.zeros((2, len(self.labels)), wide)
        self.shift = np.full(len(self.labels), -math.inf, wide)
        self.own = np.empty(len(self.labels), wide)  # the logits of the labels
        smoothing = terms.dtype.type(terms.label_smoothing)
        self.of_label = (1 - smoothing) * terms.scale()
        self.of_class = None
        if smoothing:
            weights = np.ones(terms.classes) if terms.weights is None else terms.weights
            self.of_class = weights * (smoothing / terms.classes / terms.divisor)
        self.of_seen = terms.dtype.type(0)  # the sum of of_class
        self.largest = np.full(len(self.labels), -math.inf, wide)
        self.lacking = np.zeros(len(self.labels), terms.dtype)

    def find(self, classes: slice) -> tuple[Indices, Indices]:
        """Return rows and columns of the labels that lie in a block."""
        at = np.flatnonzero((self.labels >= classes.start) & (self.labels < classes.stop))
        return at, self.labels[at] - classes.start

    def see(self, z: Array, classes: slice) -> None:
        """Add the exponentials of a block; the logits of labels in it become ``-inf``."""
        at = self.find(classes)
        self.own[at[0]] = z[at]
        if self.of_class is not None:
            self._see_gaps(z, self.of_class[classes])
        z[at] = -math.inf
        sums, shift = _sums_of_exponentials(z)
        top = np.maximum(self.shift, shift)
        near = np.where(top == -math.inf, 0, top)
        factor, sums = np.exp(self.shift - near), sums * np.exp(shift - near)
        before, self.shift = self.sums * factor, top
        self.sums = before + sums
        # Many blocks are many additions. What each rounds away is added up beside.
        self.lost = self.lost * factor + _tiles.rounded_away(before, -sums, self.sums)

    def _see_gaps(self, z: Array, of_class: Array) -> None:
        """Add what the logits of a block lack of the largest, each times the part of its class."""
        largest, lacking = np.empty(len(z), self.largest.dtype), np.empty_like(self.lacking)
        factors, free = of_class.astype(self.dtype), np.flatnonzero(of_class == 0)

        def work(rows: slice) -> None:
            tile = z[rows]
            high = tile.max(axis=1)
            gaps = _tiles.scratch("gaps", tile.shape, tile.dtype)
            near = np.where(high == -math.inf, 0, high)
            _tiles._by_row(np.subtract, tile, near, gaps)
            np.multiply(gaps, factors, out=gaps)
            gaps[:, free] = 0  # also where the logit is -inf
            largest[rows], lacking[rows] = high, 0.0 - _tiles._row_sums(gaps)

        _over_rows(z, work)
        of_block = of_class.sum()
        top = np.maximum(self.largest, largest)
        self.lacking += _lift(self.of_seen, self.largest, top)
        lacking += _lift(of_block, largest, top)
        self.lacking += lacking
        self.of_seen += of_block
        self.largest = top

    def losses(self) -> Array:
        """Return the losses, of those rows that are ``done`` after it."""
        self.sums = self.sums + self.lost
        self.of_own = _exp_of_difference(self.own, self.shift)
        self.total = self.sums + self.of_own
        # A label so far above all others that its exponential overflows is for the careful form.
        self.done = (self.total > 0) & (self.total < math.inf)
        costs = _tiles._losses(self.sums, self.of_own, self.own - self.shift)
        losses = np.where(self.of_label == 0, 0, self.of_label * costs)
        if self.of_class is not None:
            of_largest = np.log(self.total / _exp_of_difference(self.largest, self.shift))
            costs = np.where(self.own < self.largest, np.maximum(of_largest, 0), costs)
            losses += self.of_seen * costs + self.lacking
        return losses

    def prepare_gradient(self) -> None:
        """Find what multiplies the exponentials of a row, and the gradient at its label."""
        pull = self.of_label + self.of_seen
        # Exponentials must not be smaller than the gradient, or they are subnormal before it is;
        # nor may they be so large that the factor is.
        margin, exponent = _tiles._range(self.dtype).margin, np.log(self.total)
        fine = (self.total >= pull) & (exponent <= 1.5 * margin)
        exponent = np.where(fine, 0, np.rint(exponent - margin))
        unit = np.exp(-exponent)
        factors = 1 / (self.total * unit)
        self.factors = (pull * factors).astype(self.dtype)
        own = self.of_seen * self.of_own - self.of_label * self.sums
        self.at_label = 0.0 + (own * unit) * factors
        if self.of_class is not None:
            self.at_label -= self.of_class[self.labels]
        self.shift = np.where(self.done, self.shift + exponent, 0).astype(self.dtype)

    def write_gradient(self, z: Array, classes: slice) -> None:
        """Replace a block of logits by the gradient; it is 0 in rows that are not done."""
        shifted = self.shift.any() or _tiles.first_way(z, z.dtype, _tiles.PLAIN).shift
        of_class = None if self.of_class is None else self.of_class[classes].astype(self.dtype)

        def work(rows: slice) -> None:
            tile = z[rows]
            if shifted:
                out = _tiles.scratch("exponentials", tile.shape, tile.dtype)
                low, high = (_tiles.row_extremes(f, tile) for f in (np.minimum, np.maximum))
                _tiles.write_exponentials(tile, _tiles.Shifts(low, high, self.shift[rows]), out)
                np.copyto(tile, out)
            else:
                np.exp(tile, out=tile)
            _tiles._by_row(np.multiply, tile, self.factors[rows], tile)
            if of_class is not None:
                np.subtract(tile, of_class, out=tile)

        _over_rows(z, work)
        at = self.find(classes)
        z[at] = self.at_label[at[0]]
        z[~self.done] = 0


def _lift(part: Array, largest: Array, top: Array) -> Array:
    """Return what a part of the targets lacks more if the largest logit is another."""
    return np.where((part > 0) & (largest < top), part * (top - largest), 0)


def _over_rows(z: Array, work: Callable[[slice], None]) -> None:
    """Call ``work`` with the rows of a tile at a time, on several threads if there are many."""
    cut = _tiles.grid(z.shape, z.dtype)
    tiles = max(1, _tiles.CHUNK_ELEMENTS // (cut.rows[0].stop * z.shape[1]))
    pieces = [cut.rows[i : i + tiles] for i in range(0, len(cut.rows), tiles)]

    def of_piece(piece: list[slice]) -> None:
        for rows in piece:
            work(rows)

    with np.errstate(all="ignore"):  # which takes back the size of the buffers too
        if z.shape[1] >= 200:
            np.setbufsize(16)  # or NumPy fills its buffers with copies of a column
        # Rows that are split are shared out part by part.
        _tiles.run(of_piece, pieces, 0 if cut.splits_rows else z.size)


def _sums_of_exponentials(z: Array) -> tuple[Array, Array]:
    """Return the sum of exponentials of every row of a block, after a shift, and the shift.

    The shift of a row of nothing but ``-inf`` is ``-inf``, and nan is that of a row without answer.
    """
    sums, shift = np.zeros((2, len(z)), _tiles.wide_dtype(z.dtype))
    way = _tiles.first_way(z, z.dtype, _tiles.TO_ADD_UP)

    def plain(rows: slice) -> None:
        sums[rows] = _tiles.exponentiate(z[rows], None, way)

    def shifted(at: Indices) -> None:
        tile = z[at]
        shifts = _tiles.shifts_of(tile)
        sums[at] = _tiles.exponentiate(tile, None, _tiles.SHIFTED, shifts)
        shift[at] = shifts.shift
        nothing = at[tile.max(axis=1) == -math.inf]
        sums[nothing], shift[nothing] = 0, -math.inf

    if not way.shift:
        _over_rows(z, plain)
    left = np.flatnonzero(way.shift | ~_tiles._trusted(z, sums))
    if len(left):
        _over_rows(z[: len(left)], lambda rows: shifted(left[rows]))
    return sums, shift


def _by_whole_rows(
    layer: _Layer,
    terms: _Terms,
    rows: Indices,
    elements: int,
    losses: Array,
    grads: _Gradients | None,
) -> None:
    """Write the losses of rows, and add up their gradients, by way of all their logits."""
    every = slice(0, len(layer.weight))
    height = min(len(rows), max(1, elements // (2 * every.stop)))  # the logits and their gradient
    buffer = np.empty(height * every.stop, layer.dtype)
    for some in _tiles.spans(len(rows), max(1, height)):
        at = _as_slice(rows[some])
        x = layer.inputs(at)
        z = layer.logits(x, every, buffer)
        some_losses = np.empty(len(x), losses.dtype)
        gradient = None if grads is None else np.empty_like(z)
        _write_softmax_loss(_some(terms, at), z, some_losses, gradient)
        losses[at] = some_losses
        if grads is not None and gradient is not None:
            grads.add(gradient, x, at, every)
