"""A dense network and its training, to be read in one sitting.

Data are arrays with a sample a row. A layer maps them forward, and maps the gradient of the loss
with respect to its result backward to that with respect to its input, by the chain rule. The loss
is any function of this package that takes outputs and targets and knows ``return_grad``.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._validation import Array, as_array, as_floating, check_count, check_positive
from .sigmoid_loss import sigmoid

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    RandomSource = np.random.Generator | int | None

__all__ = ["ActivityPenalty", "Layer", "Linear", "Network", "ReLU", "Sigmoid", "fit"]


class Layer(ABC):
    r"""What a network is made of: write ``forward`` and ``backward`` to make one of your own.

    .. math::

        \frac{\partial \ell}{\partial x} =
            \left(\frac{\partial f(x)}{\partial x}\right)^T \frac{\partial \ell}{\partial f(x)}.

    Notes
    -----
    Most layers have nothing to learn and no penalty, and leave ``step`` and ``penalty`` as they
    are.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> class Double(ce.Layer):
    ...     def forward(self, x):
    ...         return 2 * x
    ...
    ...     def backward(self, gradient):
    ...         return 2 * gradient
    >>> print(ce.Network([Double(), Double()]).backward(np.array([[1.0]])))
    [[4.]]
    """

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """Return the layer's result, and keep what the way back will need."""

    @abstractmethod
    def backward(self, gradient: Array) -> Array:
        """Return the gradient in the last input, given that in the result."""

    def step(self, learning_rate: float) -> None:  # noqa: B027
        """Move what can be learnt against its gradient."""

    def penalty(self) -> float:
        """Return what the layer adds to the loss of the last batch."""
        return 0.0


class Linear(Layer):
    r"""A linear layer: every output is a weighted sum of the inputs.

    .. math:: Z = X W^T + b.

    With G the gradient of the loss in Z, those in the weights, the bias and the input are

    .. math:: G^T X, \qquad \sum_i G_i, \qquad G W.

    Parameters
    ----------
    in_features, out_features : int
        Lengths of a row of X and of Z. W has the shape (out_features, in_features).
    rng : numpy Generator or int, optional
        Where the initial weights come from, or its seed.
    dtype : dtype
        That of the weights.

    Raises
    ------
    ValueError
        If a number of features is not at least 1, or a row has another length.
    TypeError
        If a number of features is no integer, or ``dtype`` none of real floating-point numbers.

    Notes
    -----
    ``weight`` and ``bias`` hold W and b: assign to them to start elsewhere. ``backward`` leaves the
    gradient in them in ``weight_grad`` and ``bias_grad``.

    The weights start uniformly between plus and minus the square root of 6/(in + out), which keeps
    the size of signals and gradients about the same from layer to layer; the biases start at 0.

    References
    ----------
    Glorot, Bengio, *Understanding the difficulty of training deep feedforward neural networks*,
    AISTATS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> layer = ce.Linear(2, 1)
    >>> layer.weight, layer.bias = np.array([[1.0, -1.0]]), np.array([0.5])
    >>> print(layer.forward(np.array([[3.0, 1.0]])))
    [[2.5]]
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rng: RandomSource = None,
        dtype: DTypeLike = "float64",
    ) -> None:
        """Draw the weights."""
        check_count("in_features", in_features, at_least=1)
        check_count("out_features", out_features, at_least=1)
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"dtype must be a floating-point type, but it is {np.dtype(dtype)}.")
        bound = np.sqrt(6 / (in_features + out_features))
        shape = (out_features, in_features)
        self.weight: Array = np.random.default_rng(rng).uniform(-bound, bound, shape).astype(dtype)
        self.bias: Array = np.zeros(out_features, dtype)
        self.weight_grad, self.bias_grad = np.zeros_like(self.weight), np.zeros_like(self.bias)

    def forward(self, x: Array) -> Array:
        """Return ``x @ weight.T + bias``."""
        if x.ndim != 2 or x.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f"x must have a row of {self.weight.shape[1]} features for each sample, but its "
                f"shape is {x.shape}. For a single feature use x[:, np.newaxis], for a single "
                f"sample x[np.newaxis]."
            )
        self._x = x
        return np.asarray(x @ self.weight.T + self.bias)

    def backward(self, gradient: Array) -> Array:
        """Store the gradient in weight and bias; return that in the input."""
        self.weight_grad = gradient.T @ self._x
        self.bias_grad = gradient.sum(axis=0)
        return np.asarray(gradient @ self.weight)

    def step(self, learning_rate: float) -> None:
        """Move weight and bias against their gradients."""
        dtype = self.weight.dtype
        self.weight = self.weight - (learning_rate * self.weight_grad).astype(dtype)
        self.bias = self.bias - (learning_rate * self.bias_grad).astype(dtype)


class Sigmoid(Layer):
    r"""The sigmoid of every entry.

    .. math:: a = \sigma(z), \qquad \frac{\partial a}{\partial z} = \sigma(z)\, \sigma(-z).

    Notes
    -----
    The derivative is at most 1/4, and next to nothing where the sigmoid is flat.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> layer = ce.Sigmoid()
    >>> print(layer.forward(np.array([[0.0, 40.0]])))
    [[0.5 1. ]]
    >>> print(layer.backward(np.array([[1.0, 1.0]])))
    [[2.50000000e-01 4.24835426e-18]]
    """

    def forward(self, x: Array) -> Array:
        """Return ``sigmoid(x)``."""
        self._x = x
        return np.asarray(sigmoid(x))

    def backward(self, gradient: Array) -> Array:
        """Return ``gradient`` times the derivative of the sigmoid."""
        return np.asarray(gradient * sigmoid(self._x) * sigmoid(-self._x))


class ReLU(Layer):
    r"""The rectified linear unit of every entry.

    .. math:: a = \max(z, 0), \qquad \frac{\partial a}{\partial z} = [z > 0].

    Notes
    -----
    The derivative is 1 however large z is, and 0 below 0: there a unit learns nothing.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> print(ce.ReLU().forward(np.array([[-2.0, 3.0]])))
    [[0. 3.]]
    """

    def forward(self, x: Array) -> Array:
        """Return ``max(x, 0)``."""
        self._x = x
        return np.maximum(x, 0)

    def backward(self, gradient: Array) -> Array:
        """Return ``gradient`` where the input was positive, and 0 elsewhere."""
        return np.where(self._x > 0, gradient, 0)


class ActivityPenalty(Layer):
    r"""A layer that leaves its input as it is and adds a penalty on it to the loss.

    .. math:: \text{loss} + \Omega(A), \qquad A \text{ the activations of a batch}.

    Parameters
    ----------
    penalty : callable
        Takes activations of shape (samples, features) and returns the penalty, a number, and its
        gradient in them, an array of their shape.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> layer = ce.ActivityPenalty(lambda a: (np.sum(a**2), 2 * a))
    >>> print(layer.forward(np.array([[3.0, 4.0]])), layer.penalty())
    [[3. 4.]] 25.0
    """

    def __init__(self, penalty: Callable[[Array], tuple[float, Array]]) -> None:
        """Remember the penalty."""
        self._function = penalty
        self._value = 0.0

    def forward(self, x: Array) -> Array:
        """Return ``x``, and compute its penalty."""
        self._value, self._gradient = self._function(x)
        return x

    def backward(self, gradient: Array) -> Array:
        """Return ``gradient`` plus that of the penalty."""
        return gradient + self._gradient

    def penalty(self) -> float:
        """Return the penalty on the last activations."""
        return float(self._value)


class Network(Layer):
    r"""Layers, one after the other.

    .. math:: a = f_n(\ldots f_2(f_1(x)))

    Parameters
    ----------
    layers : sequence of layers
        From the input to the output. For :func:`sigmoid_cross_entropy` and
        :func:`softmax_cross_entropy` the last one is a :class:`Linear`, whose results are logits.

    Raises
    ------
    ValueError
        If one layer stands in two places.

    Notes
    -----
    The chain rule: the gradient in the result of a layer is that in the input of the next.
    ``forward`` leaves in each layer what ``backward`` needs, so that a way back belongs to the last
    way forward.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> network = ce.Network([ce.Linear(2, 3, rng=0), ce.Sigmoid(), ce.Linear(3, 1, rng=1)])
    >>> network.forward(np.zeros((5, 2))).shape
    (5, 1)
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        """Keep the layers."""
        self.layers = list(layers)
        if len({id(layer) for layer in self.layers}) < len(self.layers):
            raise ValueError(
                "layers must all be different objects, but one stands in two places, and would "
                "forget its first input. Make a second layer."
            )

    def forward(self, x: ArrayLike) -> Array:
        """Return the outputs for a batch of inputs, shape (samples, features)."""
        outputs = as_floating("x", x)
        for layer in self.layers:
            outputs = layer.forward(outputs)
        return outputs

    def backward(self, gradient: Array) -> Array:
        """Take the gradient of the loss in the last outputs back to the inputs of the network.

        On the way every :class:`Linear` layer stores the gradient in its weight and bias.
        """
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        return gradient

    def penalty(self) -> float:
        """Return the sum of the penalties on the last activations."""
        return sum((layer.penalty() for layer in self.layers), start=0.0)

    def step(self, learning_rate: float) -> None:
        """Move every weight and bias against its gradient."""
        for layer in self.layers:
            layer.step(learning_rate)


def fit(
    network: Network,
    inputs: ArrayLike,
    targets: ArrayLike,
    loss: Callable[..., Any],
    *,
    learning_rate: float,
    epochs: int,
    batch_size: int | None = None,
    rng: RandomSource = None,
    progress: bool | None = None,
) -> Array:
    r"""Train a network by stochastic gradient descent, and return its loss epoch by epoch.

    .. math:: \theta \leftarrow \theta - \eta \frac{\partial \ell}{\partial \theta}.

    Parameters
    ----------
    network : Network
        Trained in place.
    inputs : array_like, shape (samples, features)
        What the network is given.
    targets : array_like, first axis of length samples
        What the loss compares its outputs with.
    loss : callable
        ``loss(outputs, targets)`` returns a number, and with ``return_grad=True`` also its gradient
        in the outputs, as the losses of this package do. ``functools.partial`` sets their options,
        as ``pos_weight``. A weight for each sample would have to come with the targets.
    learning_rate : float
        The step size eta, above 0.
    epochs : int
        How often to go through the samples.
    batch_size : int, optional
        The number of samples a step; the last batch of an epoch may be smaller. All of them by
        default.
    rng : numpy Generator or int, optional
        What shuffles the samples before every epoch, or its seed. Without batches nothing is
        shuffled.
    progress : bool, optional
        Whether to draw a progress bar on the standard error stream. By default only if that is a
        terminal, so that a notebook stores none.

    Returns
    -------
    ndarray of float64, shape (epochs + 1,)
        The loss over all samples, penalties included: before training, then after each epoch.

    Raises
    ------
    ValueError
        If inputs and targets are not equally many, a number is out of range, or the loss is not a
        single number.
    TypeError
        If a number is none.
    FloatingPointError
        If the loss becomes nan: what is learnt from it is nan too.

    Notes
    -----
    The history costs one forward pass an epoch more than the training. A penalty on the mean over a
    batch is one on the mean over all samples there.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> x, y = np.array([[-1.0], [1.0]]), np.array([[0.0], [1.0]])
    >>> network = ce.Network([ce.Linear(1, 1, rng=0)])
    >>> history = ce.fit(network, x, y, ce.sigmoid_cross_entropy, learning_rate=1.0, epochs=100)
    >>> len(history), bool(history[-1] < 0.03)
    (101, True)
    """
    samples, wanted = as_floating("inputs", inputs), as_array("targets", targets)
    if samples.shape[:1] != wanted.shape[:1] or samples.size == 0 or samples.ndim == 0:
        raise ValueError(
            f"inputs and targets must hold the same number of samples along their first axis, and "
            f"at least one, but their shapes are {samples.shape} and {wanted.shape}."
        )
    check_positive("learning_rate", learning_rate)
    check_count("epochs", epochs, at_least=0)
    size = len(samples) if batch_size is None else batch_size
    check_count("batch_size", size, at_least=1)
    generator = np.random.default_rng(rng)

    def loss_over_all(epoch: int) -> float:
        value = loss(network.forward(samples), wanted)
        if isinstance(value, tuple) or np.ndim(value) != 0:
            what = "a tuple" if isinstance(value, tuple) else f"shape {np.shape(value)}"
            raise ValueError(
                f"loss must return one number for all samples, but it returned {what}. Is its "
                f"reduction 'none', or return_grad always on?"
            )
        total = float(value) + network.penalty()
        if np.isnan(total):
            hint = (
                f"Is the learning rate of {learning_rate} too large, or the loss one that breaks?"
                if epoch
                else "No step was taken yet: is there nan in what the network was given?"
            )
            raise FloatingPointError(f"The loss is nan after epoch {epoch} of {epochs}. {hint}")
        return total

    history = [loss_over_all(0)]
    order = np.arange(len(samples))
    # Weights that run away overflow many times before the loss is nan, and that is said once.
    with np.errstate(over="ignore", invalid="ignore"):
        for epoch in range(1, epochs + 1):
            if batch_size is not None:
                order = generator.permutation(len(samples))
            for start in range(0, len(samples), size):
                batch = order[start : start + size]
                _, gradient = loss(network.forward(samples[batch]), wanted[batch], return_grad=True)
                network.backward(gradient)
                network.step(learning_rate)
            history.append(loss_over_all(epoch))
            _draw_progress(epoch, epochs, history[-1], progress)
    return np.array(history)


def _draw_progress(epoch: int, epochs: int, loss: float, progress: bool | None) -> None:
    """Draw the bar over the last one; a person at a terminal sees it move."""
    if sys.stderr is None or progress is False or (progress is None and not sys.stderr.isatty()):
        return
    width = 30
    done = width * epoch // epochs
    end = "\n" if epoch == epochs else ""
    bar = "#" * done + "." * (width - done)
    print(f"\r[{bar}] {epoch}/{epochs} loss {loss:<10.4g}", end=end, file=sys.stderr, flush=True)
