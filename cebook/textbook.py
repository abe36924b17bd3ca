"""Every formula exactly as the sources print it, kept because it breaks.

Do not use these. Each is right on paper and right on friendly numbers; the chapters take each of
them to the input on which it returns nan, a negative divergence, or a plausible number that is
wrong. The ids are those of the book's page of sources.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "binary_cross_entropy",
    "caffe_fused_layer",
    "caffe_separate_layers",
    "caffe_sigmoid_layer",
    "clipped_binary_cross_entropy",
    "cross_entropy",
    "entropy",
    "kl_divergence",
    "log_softmax",
    "logsumexp",
    "patched_binary_cross_entropy",
    "pytorch_binary_cross_entropy",
    "reconstruction_cross_entropy",
    "sigmoid",
    "softmax",
    "softmax_loss",
    "softmax_loss_gradient",
    "sparsity_penalty",
]


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


def softmax(z: Any) -> Any:
    """Return ``e^z / sum e^z`` (A2): nan as soon as one exponential overflows.

    >>> import numpy as np
    >>> with np.errstate(all="ignore"):
    ...     print(softmax(np.array([0.0, 710.0])))
    [ 0. nan]
    """
    return np.exp(z) / np.sum(np.exp(z), axis=-1, keepdims=True)


def logsumexp(z: Any) -> Any:
    """Return ``log sum e^z``: inf when an exponential overflows, -inf when all underflow.

    >>> import numpy as np
    >>> with np.errstate(all="ignore"):
    ...     print(logsumexp(np.array([[0.0, 710.0], [-800.0, -801.0]])))
    [ inf -inf]
    """
    return np.log(np.sum(np.exp(z), axis=-1))


def log_softmax(z: Any) -> Any:
    """Return ``log(softmax(z))`` (P1): -inf for a small probability, 0 for one next to 1.

    >>> import numpy as np
    >>> with np.errstate(all="ignore"):
    ...     print(log_softmax(np.array([0.0, -40.0, -800.0])))
    [  0. -40. -inf]
    """
    return np.log(softmax(z))


def softmax_loss(z: Any, y: Any) -> Any:
    """Return ``-sum y log(softmax(z))`` for one-hot y (A6, C3): nan when a logit is large.

    >>> import numpy as np
    >>> with np.errstate(all="ignore"):
    ...     print(softmax_loss(np.array([0.0, 800.0, 0.0]), np.array([0, 1, 0])))
    nan
    """
    return -np.sum(y * log_softmax(z), axis=-1)


def softmax_loss_gradient(z: Any, y: Any) -> Any:
    """Return the softmax Jacobian times ``-y/s`` (P2): the chain rule, one layer after the other.

    >>> import numpy as np
    >>> with np.errstate(all="ignore"):
    ...     print(softmax_loss_gradient(np.array([0.0, -800.0]), np.array([0, 1])))
    [nan nan]
    """
    s = softmax(z)
    jacobian = np.diag(s) - np.outer(s, s)
    return jacobian @ (-y / s)


def caffe_separate_layers(z: Any, label: int) -> tuple[Any, Any]:
    """Return loss and gradient of Caffe's Softmax layer under its MultinomialLogisticLoss (P3).

    The loss layer sees only probabilities and floors the one of the label at 1e-20, so that no loss
    exceeds 46.05 and the gradient fades once the probability is below that.

    >>> import numpy as np
    >>> loss, gradient = caffe_separate_layers(np.array([0, -60], dtype=np.float32), 1)
    >>> print(f"{loss:.2f}, {gradient[0]:.1e}")
    46.05, 8.8e-07
    """
    s = softmax(z - np.max(z))
    floored = np.maximum(s[label], s.dtype.type(1e-20))
    from_above = np.zeros_like(s)
    from_above[label] = -1 / floored
    # Caffe's backward pass of softmax: the Jacobian times a vector, without the matrix.
    return -np.log(floored), s * (from_above - s @ from_above)


def caffe_fused_layer(z: Any, label: int) -> tuple[Any, Any]:
    """Return loss and gradient of Caffe's SoftmaxWithLoss layer (P3).

    The gradient is ``s - y`` and lives at any gap. The probability in the loss is floored at
    FLT_MIN, the smallest normal float32, so that no loss exceeds 87.34.

    >>> import numpy as np
    >>> loss, gradient = caffe_fused_layer(np.array([0, -200], dtype=np.float32), 1)
    >>> print(f"{loss:.2f}, {gradient[0]:.1f}")
    87.34, 1.0
    """
    s = softmax(z - np.max(z))
    gradient = s.copy()
    gradient[label] -= 1
    return -np.log(np.maximum(s[label], np.finfo(np.float32).smallest_normal)), gradient


def sigmoid(z: Any) -> Any:
    """Return ``1/(1 + e^-z)`` (B5): overflows on the way to 0, and rounds to 1 soon.

    >>> import numpy as np
    >>> with np.errstate(all="ignore"):
    ...     print(sigmoid(np.array([-740.0, 37.0])))
    [0. 1.]
    """
    return 1 / (1 + np.exp(-z))


def binary_cross_entropy(a: Any, y: Any) -> Any:
    """Return ``y ln a + (1 - y) ln(1 - a)`` (B3), without the minus sign that a loss needs.

    >>> import numpy as np
    >>> with np.errstate(all="ignore"):
    ...     print(binary_cross_entropy(np.array([0.0, 0.5, 0.0]), np.array([0, 1, 1])))
    [        nan -0.69314718        -inf]
    """
    return y * np.log(a) + (1 - y) * np.log(1 - a)


def patched_binary_cross_entropy(a: Any, y: Any) -> Any:
    """Return ``y ln((a + 0.05)/1.05) + (1 - y) ln((1.05 - a)/1.05)`` (B4): finite, and no score.

    The sign is that of the source too. A target of 0.9 is best met by 0.94.

    >>> import numpy as np
    >>> a = np.array([0.9, 0.94])
    >>> print(patched_binary_cross_entropy(a, 0.9).round(4))
    [-0.2847 -0.2786]
    """
    return y * np.log((a + 0.05) / 1.05) + (1 - y) * np.log((1.05 - a) / 1.05)


def clipped_binary_cross_entropy(a: Any, y: Any, epsilon: float = 1e-7) -> tuple[Any, Any]:
    """Return loss and gradient in ``a`` with the probability clipped, as Keras does.

    No loss exceeds 16.12, and outside the bounds the gradient is 0.

    >>> import numpy as np
    >>> loss, gradient = clipped_binary_cross_entropy(np.array([1e-8, 0.5]), np.array([1, 1]))
    >>> print(loss.round(4), gradient)
    [16.1181  0.6931] [ 0. -2.]
    """
    clipped = np.clip(a, epsilon, 1 - epsilon)
    inside = (a >= epsilon) & (a <= 1 - epsilon)
    loss = -(y * np.log(clipped) + (1 - y) * np.log(1 - clipped))
    return loss, np.where(inside, (clipped - y) / (clipped * (1 - clipped)), 0)


def pytorch_binary_cross_entropy(a: Any, y: Any) -> tuple[Any, Any]:
    """Return loss and gradient in ``a`` of PyTorch's ``binary_cross_entropy``.

    Each logarithm is at least -100, and the ``a (1 - a)`` under the gradient at least 1e-12.

    >>> import numpy as np
    >>> loss, gradient = pytorch_binary_cross_entropy(np.array([1.0, 0.5]), np.array([0, 1]))
    >>> print(loss.round(4), gradient)
    [100.       0.6931] [ 1.e+12 -2.e+00]
    """
    with np.errstate(divide="ignore"):
        log_a, log_rest = np.maximum(np.log(a), -100), np.maximum(np.log1p(-a), -100)
    return -(y * log_a + (1 - y) * log_rest), (a - y) / np.maximum(a * (1 - a), 1e-12)


def caffe_sigmoid_layer(z: Any, y: Any) -> tuple[Any, Any]:
    """Return loss and gradient in ``z`` of Caffe's SigmoidCrossEntropyLoss layer.

    Nothing overflows, but ``log(1 + exp)`` drops what is small beside 1: in float32 a right and
    certain answer costs exactly 0 from 17 on.

    >>> import numpy as np
    >>> loss, gradient = caffe_sigmoid_layer(np.float32([20, -20]), np.array([1, 1]))
    >>> print(loss, gradient)
    [-0. 20.] [ 0. -1.]
    """
    positive = z >= 0
    loss = -(z * (y - positive) - np.log(1 + np.exp(z - 2 * z * positive)))
    with np.errstate(over="ignore"):
        return loss, sigmoid(z) - y


def reconstruction_cross_entropy(x: Any, z: Any) -> Any:
    """Return ``-sum x log z + (1 - x) log(1 - z)`` (C4): nan for a black pixel that is drawn black.

    >>> import numpy as np
    >>> with np.errstate(all="ignore"):
    ...     print(reconstruction_cross_entropy(np.array([0.0, 0.5]), np.array([0.0, 0.5])))
    nan
    """
    return -(x @ np.log(z) + (1 - x) @ np.log(1 - z))


def sparsity_penalty(rho: Any, rho_hat: Any) -> Any:
    """Return ``-sum rho log rho_hat + (1 - rho) log(1 - rho_hat)`` (C6), which no choice makes 0.

    >>> import numpy as np
    >>> print(f"{sparsity_penalty(0.05, np.array([0.05])):.4f}")
    0.1985
    """
    return -np.sum(rho * np.log(rho_hat) + (1 - rho) * np.log(1 - rho_hat))
