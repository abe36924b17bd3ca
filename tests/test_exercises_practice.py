"""The checkers of Parts III and IV: right solutions pass, wrong ones are told what is wrong."""

import copy
import importlib.util
import inspect
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
    near = np.where(m == -np.inf, 0, m)
    return m + np.log1p(np.exp(np.minimum(a, b) - near))


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


def clipped_where_float32_has_no_room(z, y):
    a = np.clip(sigmoid(z), 1e-12, 1 - 1e-12)
    return -np.mean(y * np.log(a) + (1 - y) * np.log(1 - a))


def max_form(z, y):
    return (np.maximum(z, 0) - z * y + np.log1p(np.exp(-abs(z)))).mean()


def chain_rule(a, y):
    return (a - y) / (a * (1 - a)) * (a * (1 - a)) / a.size


def chain_rule_of_logs(a, y):
    return (-y / a + (1 - y) / (1 - a)) * a * (1 - a) / a.size


def penalty_of(mean, rho):
    return rho * np.log(rho / mean) + (1 - rho) * np.log((1 - rho) / (1 - mean))


def sums_as_they_are(one, other):
    m = np.maximum(one[0], other[0])
    return m, np.exp(one[0]) * one[1] + np.exp(other[0]) * other[1]


def nan_from_nothing(one, other):
    m = np.maximum(one[0], other[0])
    return m, one[1] * np.exp(one[0] - m) + other[1] * np.exp(other[0] - m)


def warned_of_nothing(a, b):
    m = np.maximum(a, b)
    return np.where(m == -np.inf, m, m + np.log1p(np.exp(-abs(a - b))))


def warned_of_nothing_in_a_pair(one, other):
    m, total = nan_from_nothing(one, other)
    return m, np.where(m == -np.inf, 0, total)


def all_or_nothing(one, other):
    m = np.maximum(one[0], other[0])
    if np.isinf(m).any():
        return m, np.zeros_like(one[1])
    return merge_softmax(one, other)


def scaled_in_place(one, other):
    m = np.maximum(one[0], other[0])
    near = np.where(m == -np.inf, 0, m)
    total = one[1]
    total *= np.exp(one[0] - near)
    total += other[1] * np.exp(other[0] - near)
    return m, total


def unshifted(one, other, divided):
    m = np.maximum(one[0], other[0])
    return m, divided(one[1] * np.exp(one[0]) + other[1] * np.exp(other[0]), m)


def stand_in_returned(one, other):
    m, total = merge_softmax(one, other)
    return np.where(m == -np.inf, 0, m), total


def upside_down(one, other):
    m = np.maximum(one[0], other[0])
    return m, one[1] / np.exp(one[0] - m) + other[1] / np.exp(other[0] - m)


def rows_of_table(z, labels):
    m = z.max(axis=1)
    lse = m + np.log(np.exp(z - m[:, np.newaxis]).sum(axis=1))
    return lse - z[np.arange(len(z)), labels]


def loss_of_table(z, labels):
    return np.mean(rows_of_table(z, labels))


def collected(blocks, labels):
    return loss_of_table(np.hstack(list(blocks)), labels)


def copied(blocks, labels):
    return loss_of_table(np.hstack([block.copy() for block in blocks]), labels)


def normalised_by_block(blocks, labels):
    total, start = 0, 0
    for z in blocks:
        for row, label in zip(z, labels - start, strict=True):
            if 0 <= label < len(row):
                s = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
                total -= np.log(s[label])
        start += z.shape[1]
    return total / len(labels)


def walked(
    blocks, labels, rescale=True, start_at=-np.inf, offset=True, lowest=0, counts=True
):  # with one thing wrong
    m, total = np.full(len(labels), start_at), np.zeros(len(labels))
    own, start = np.zeros(len(labels)), 0
    for number, z in enumerate(blocks):
        start = start if counts else number * z.shape[1]
        largest = np.maximum(m, z.max(axis=1))
        if rescale:
            total *= np.exp(m - largest)
        total += np.exp(z - largest[:, np.newaxis]).sum(axis=1)
        for i, label in enumerate(labels):
            if not offset:
                own[i] = z[i, label]
            elif lowest <= label - start < z.shape[1]:
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
        (np.tanh, "This is np.tanh(z)"),
        (lambda z: 0.5 * np.tanh(0.5 * z) + 0.5, "takes from 1 what is nearly 1"),
        (lambda z: plain_sigmoid(np.clip(z, -80, 80)), "logits are clipped"),
        (lambda z: plain_sigmoid(np.clip(z, -30, 30)), "logits are clipped"),
        (sigmoid_derivative, "This is the slope of the sigmoid"),
    ],
    "sigmoid_derivative": [
        (lambda z: sigmoid(z) * (1 - sigmoid(z)), "1 - a loses its digits"),
        (lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2, "The square of 1 + np.exp(-z) overflows"),
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
        (lambda z: np.log1p(np.exp(-abs(z))), "The term np.maximum(z, 0) is missing"),
        (lambda z: np.log1p(np.exp(np.minimum(z, 700))), "as if z were clipped"),
        (lambda z: np.log(1 + np.exp(np.clip(z, -80, 80))), "as if z were clipped"),
        (lambda z: softplus(z) / np.log(2), "This logarithm has base 2"),
    ],
    "sigmoid_cross_entropy": [
        (plain_loss, "computed from the probability"),
        (lambda z, y: -sigmoid_cross_entropy(z, y), "The minus sign is missing"),
        (
            lambda z, y: y * softplus(-z) + (1 - y) * softplus(z),
            "that is, one number. These are the losses of the entries. Take the mean of these",
        ),
        (lambda z, y: np.log(1 + np.exp(z)) - z * y, "Take the mean of these numbers"),
        (lambda z, y: z.size * sigmoid_cross_entropy(z, y), "This is the sum"),
        (
            lambda z, y: sigmoid_cross_entropy(z, y) * (z.shape[1] if z.ndim > 1 else 1),
            "over the entries of a row",
        ),
        (lambda z, y: np.mean(y * softplus(-z)), "The half for no"),
        (lambda z, y: sigmoid_cross_entropy(z, 1 - y), "Yes and no are swapped"),
        (loss_with_epsilon, "an epsilon added"),
        (loss_with_clip, "the probability were clipped"),
        (clipped_where_float32_has_no_room, "nothing is clipped, because 1 - 1e-12 is 1"),
        (max_form, "np.maximum(z, 0) - z * y is a small difference"),
        (lambda z, y: np.mean(z - z * y + softplus(-z)), "is a small difference"),
        (lambda z, y: np.mean((1 - y) * z + softplus(-z)), "cancels where z is far below 0"),
        (
            lambda z, y: np.mean(z * ((z > 0) - y) + np.log(1 + np.exp(-abs(z)))),
            "np.log(1 + np.exp(-abs(z))) is exactly 0",
        ),
        (lambda z, y: np.mean(np.log(1 + np.exp(z)) - z * y), "np.exp(z) overflows"),
        (
            lambda z, y: np.where(y == 1, softplus(-z), softplus(z)).mean(),
            "A target may lie between 0 and 1",
        ),
        (lambda z, y: sigmoid_cross_entropy(z, y) / np.log(2), "This is in bits"),
        (lambda z, y: np.mean((sigmoid(z) - y) ** 2) / 2, "the quadratic cost"),
    ],
    "sigmoid_cross_entropy_gradient": [
        (lambda z, y: (y - sigmoid(z)) / z.size, "The sign is wrong"),
        (lambda z, y: sigmoid(z) - y, "the gradient of the sum"),
        (lambda z, y: y - sigmoid(z), "the gradient is a - y; and that of the mean is divided"),
        (lambda z, y: (sigmoid(z) - y) / len(z), "divides by the number of rows"),
        (lambda z, y: (sigmoid(z) - y) * sigmoid_derivative(z) / z.size, "it cancels"),
        (lambda z, y: (sigmoid(z) - y) * sigmoid_derivative(z), "belongs to the quadratic cost"),
        (lambda z, y: (sigmoid(z) - y) / sigmoid_derivative(z) / z.size, "in the probability a"),
        (lambda z, y: (z - y) / z.size, "not the logit minus the target"),
        (lambda z, y: np.mean(sigmoid(z) - y), "an entry for every logit"),
        (
            lambda z, y: (plain_sigmoid(z) - y) / z.size,
            "overflow encountered in exp. np.exp(-z) overflows on the way",
        ),
        (lambda z, y: chain_rule(sigmoid(z), y), "0/0 in floats. Cancel it on paper: a - y."),
        (lambda z, y: chain_rule(plain_sigmoid(z), y), "Cancel it on paper: a - y."),
        (lambda z, y: chain_rule_of_logs(sigmoid(z), y), "Cancel it on paper: a - y."),
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
        (lambda c, rho: penalty_of(c.mean(), rho), "over images and units together"),
        (
            lambda c, rho: penalty_of(np.clip(c.mean(axis=0), 1e-10, 1 - 1e-10), rho).sum(),
            "as if the mean activation were clipped",
        ),
        (
            lambda c, rho: penalty_of(c.mean(axis=0) + 1e-8, rho).sum(),
            "or an epsilon added",
        ),
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
            "one nan is enough for the row. Where m is -inf, subtract 0 instead",
        ),
        (warned_of_nothing, "The result is right, but came with a RuntimeWarning"),
        (warned_of_nothing, "np.log1p(np.exp(low - base)) with low = np.minimum(a, b)"),
        (
            lambda a, b: np.maximum(a, b) if -np.inf in np.maximum(a, b) else merge_logsumexp(a, b),
            "Some rows are empty, others are not",
        ),
        (lambda a, b: np.where(a > b, a, b), "the larger part alone"),
        (lambda a, b: a + b, "the logarithm of a product"),
        (lambda a, b: np.log1p(np.exp(-abs(a - b))), "has to be added again"),
        (lambda a, b: np.logaddexp(a, b) - np.log(2), "the mean of the exponentials"),
    ],
    "merge_softmax": [
        (nan_from_nothing, "m1 - m is -inf - (-inf)"),
        (all_or_nothing, "Some rows are empty, others are not: decide for each row"),
        (warned_of_nothing_in_a_pair, "The result is right, but came with a RuntimeWarning"),
        (warned_of_nothing_in_a_pair, "base = np.where(m > -np.inf, m, 0), and S1 *"),
        (scaled_in_place, "It changed its argument number 1."),
        (
            lambda one, other: unshifted(one, other, lambda V, m: V * np.exp(-m)),
            "exp(m1) is not shifted",
        ),
        (
            lambda one, other: unshifted(one, other, lambda V, m: V / np.exp(m)),
            "exp(m1) is not shifted",
        ),
        (stand_in_returned, "the m that is returned stays -inf"),
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
        (collected, "the iterator reuses one array, and the next block overwrites the last"),
        (copied, "that needs the memory of all logits"),
        (plain_sums, "summed as they are, and overflow at 1000"),
        (lambda blocks, labels: walked(blocks, labels, rescale=False), "The sum is not rescaled"),
        (walked, "A block of nothing but -inf"),
        (lambda blocks, labels: walked(blocks, labels, start_at=0.0), "The maximum starts at 0"),
        (lambda blocks, labels: walked(blocks, labels, offset=False), "numbers the columns of all"),
        (
            lambda blocks, labels: walked(blocks, labels, lowest=-np.inf),
            "a negative column belongs to an earlier block; NumPy counts it from the end",
        ),
        (
            lambda blocks, labels: walked(blocks, labels, counts=False),
            "Keep a running count of the columns seen",
        ),
        (normalised_by_block, "Each block was normalised on its own"),
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
    of_python = "where a tuple of 2 is wanted", "It changed its argument"
    assert "section" in message or any(fault in message for fault in of_python)


@pytest.mark.parametrize(
    ("name", "solution"),
    [
        (
            "masked_loss",
            lambda z, y, i: -ce.log_softmax(z[y != i])[np.arange(sum(y != i)), y[y != i]],
        ),
        (
            "smoothed_loss",
            lambda z, y, e: ce.softmax_cross_entropy(z, y, label_smoothing=e, reduction="none"),
        ),
        ("chunked_loss", lambda blocks, y: rows_of_table(np.hstack([b.copy() for b in blocks]), y)),
    ],
)
def test_losses_without_their_mean_are_told_so(name, solution, capsys):
    assert "Take the mean of these numbers." in told(name, solution, capsys)


@pytest.mark.parametrize("threaded", [False, True])
def test_sys_exit_is_an_error_of_the_function(threaded, monkeypatch):
    if threaded:
        monkeypatch.delattr("signal.setitimer")
    with pytest.raises(AssertionError, match=r"It raised SystemExit: 3 \(in <lambda>, line"):
        ce.exercises.check("softplus", lambda z: sys.exit(3))


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


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


SCRIPT, MARK = load_script("release"), load_script("mark")
MASTER = SCRIPT.MASTER.read_text(encoding="utf-8")
QUESTIONS = ["softmax", "logsumexp", "softmax-loss", "gradient", "masked-loss"]


def marked(tmp_path, handed_in, master=MASTER):
    """Return the points of every question, and the errors of those that have one."""
    for name, text in (("master.ipynb", master), ("ada.ipynb", handed_in)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    marks = MARK.marks(tmp_path / "master.ipynb", tmp_path / "ada.ipynb")
    assert all(mark.maximum == 2 for mark in marks)
    return {m.question: m.points for m in marks}, {m.question: m.error for m in marks if m.error}


def points(*lost):
    """Return the points of the assignment to somebody who is wrong in these questions."""
    marks = {f"{name}-marks": 2 * (name not in lost) for name in QUESTIONS}
    return {**marks, "in-words": None}


def execute(notebook):
    """Run a notebook as nbgrader does, on past cells that raise; return the errors by cell id."""
    notebook = copy.deepcopy(notebook)
    MARK.run(notebook)
    return {
        cell.id: output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    }


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
    assert set(errors) == ({"marks"} if not expected else set())
    if not expected:
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


def run_pytest(folder, solutions):
    """Return what pytest prints of the page's test file with a module that was handed in."""
    block = code_blocks()["import pytest"]
    (folder / "test_solutions.py").write_text(block, encoding="utf-8")
    (folder / "solutions.py").write_text(solutions, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--tb=line", "-p", "no:cacheprovider", "--rootdir=."],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout + run.stderr


WRONG_LOSS = f"""\
import numpy as np
from cebook import logsumexp

{STABLE}

def softmax_loss(z, labels):
    return 0.0
"""


def test_the_file_for_pytest_passes_and_fails(tmp_path):
    printed = run_pytest(tmp_path, WRONG_LOSS)
    assert "1 failed, 2 passed" in printed
    assert "AssertionError: softmax_loss fails in the case" in printed


def test_a_module_cannot_replace_the_checker_of_pytest(tmp_path):
    cheat = "import cebook as ce\nce.exercises.check = lambda *_: None\n"
    assert "1 failed, 2 passed" in run_pytest(tmp_path, WRONG_LOSS + cheat)


def test_a_module_is_made_of_a_notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "softmax-loss.ipynb").write_text(MASTER, encoding="utf-8")
    exec(code_blocks()["from pathlib import Path"], {})
    module = {}
    exec((tmp_path / "solutions.py").read_text(encoding="utf-8"), module)
    np.testing.assert_allclose(module["softmax"](np.zeros(2)), 0.5)
    assert {"logsumexp", "softmax_loss", "softmax_loss_gradient", "masked_loss"} <= set(module)


def test_the_reference_stands_in_for_an_earlier_function():
    block = code_blocks()["from unittest.mock import patch"]
    student = {"ce": ce, "np": np, "softplus": lambda z: z}
    exec(inspect.getsource(sigmoid_cross_entropy), student)
    theirs = student["softplus"]
    exec(block, student)
    assert student["softplus"] is theirs
    with pytest.raises(AssertionError):
        ce.exercises.check("sigmoid_cross_entropy", student["sigmoid_cross_entropy"])


@pytest.mark.parametrize("divided_by", ["size", "rows"])
def test_the_hidden_test_of_the_page_passes_and_fails(divided_by):
    (block,) = (b for b in code_blocks().values() if "row_loss" in b)

    def row_loss(z, y):
        losses = (1 - y) * softplus(z) + y * softplus(-z)
        return losses.sum() / (z.size if divided_by == "size" else len(z))

    names = {"np": np, "ce": ce, "row_loss": row_loss}
    if divided_by == "rows":
        exec(block, names)
        return
    with pytest.raises(AssertionError, match="then take the mean over the rows"):
        exec(block, names)


# A plain stable form of every exercise, if it is not in RIGHT as it stands.


def plain_log_softmax(z):
    d = z - z.max(axis=-1, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=-1, keepdims=True))


def plain_softmax(z):
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def plain_logsumexp(z):
    m = z.max(axis=-1, keepdims=True)
    return m[..., 0] + np.log(np.exp(z - m).sum(axis=-1))


def plain_gradient_check(function, x):
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[index] = 1e-5
        gradient[index] = (function(x + step) - function(x - step)) / 2e-5
    return gradient


def one_hot(z, labels):
    return np.eye(z.shape[1], dtype=z.dtype)[labels]


PLAIN = {
    "entropy": lambda p: np.sum(p[p > 0] * np.log(1 / p[p > 0])),
    "code_length": lambda p, q: -np.sum(p[p > 0] * np.log2(q[p > 0])),
    "kl_divergence": lambda p, q: np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])),
    "softmax": plain_softmax,
    "jacobian_vector_product": lambda z, v: (
        plain_softmax(z) * (v - (plain_softmax(z) * v).sum(axis=-1, keepdims=True))
    ),
    "tempered_softmax": lambda z, t: plain_softmax(z / t),
    "logsumexp": plain_logsumexp,
    "log_softmax": plain_log_softmax,
    "softmax_loss": lambda z, y: -plain_log_softmax(z)[np.arange(len(z)), y].mean(),
    "softmax_loss_gradient": lambda z, y: (plain_softmax(z) - one_hot(z, y)) / len(z),
    "gradient_check": plain_gradient_check,
    "masked_loss": lambda z, y, i: PLAIN["softmax_loss"](z[y != i], y[y != i]),
    "smoothed_loss": lambda z, y, e: (
        -np.mean((((1 - e) * one_hot(z, y) + e / z.shape[1]) * plain_log_softmax(z)).sum(axis=-1))
    ),
    "sigmoid_derivative": lambda z: sigmoid(z) * (1 - sigmoid(z)),
    "sigmoid_cross_entropy": max_form,
    "combined_mean": lambda means, counts: np.sum(means * counts) / np.sum(counts),
    "merge_logsumexp": lambda a, b: np.maximum(a, b) + np.log1p(np.exp(-abs(a - b))),
    "merge_softmax": nan_from_nothing,
    "chunked_loss": walked,
}


def test_the_page_says_which_checks_ask_for_more_than_a_plain_form(capsys):
    text = "\n".join(cell.source for cell in TEACHING.cells)
    table = text.partition("(teaching-demands)=\n")[2].partition("\n\n")[0].splitlines()
    rows = [set(re.findall(r"`([a-z_]+)`", line)) for line in table[2:]]
    silent, lean, refusing, *rest = rows
    exercises = ce.exercises._EXERCISES
    assert silent == {n for n, e in exercises.items() if any(c.quiet for c in e.cases)}
    assert lean == {n for n, e in exercises.items() if any(c.max_bytes for c in e.cases)}
    assert refusing == {n for n, e in exercises.items() if any(c.raises for c in e.cases)}
    failing = set()
    for name, function in ({**dict(reversed(RIGHT)), **PLAIN}).items():
        try:
            ce.exercises.check(name, function)
        except AssertionError:
            failing.add(name)
    assert set(PLAIN) | {name for name, _ in RIGHT} == set(exercises)
    assert failing == set.union(refusing, *rest)


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


def test_the_release_is_what_the_script_makes_of_the_master(tmp_path):
    script = [sys.executable, str(FOLDER / "release.py"), SCRIPT.MASTER, "made.ipynb"]
    run = subprocess.run(script, cwd=tmp_path, check=True, capture_output=True, text=True)
    made = (tmp_path / "made.ipynb").read_bytes()
    assert made == SCRIPT.RELEASE.read_bytes(), "run python assignments/release.py"
    removed = "5 solutions, 1 hidden test and 1 answer in words removed"
    assert run.stdout == f"made.ipynb: {removed}\n"
    for path in (SCRIPT.MASTER, SCRIPT.RELEASE):
        nbformat.validate(nbformat.read(path, as_version=4))


def test_the_release_has_no_solution_and_no_hidden_test():
    released, _ = SCRIPT.release(MASTER)
    cells = {cell["id"]: "".join(cell["source"]) for cell in json.loads(released)["cells"]}
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


SOLUTION, TEST = graded("code", "f", solution=True), graded("code", "f", grade=True)
WORDS = graded("markdown", "f", solution=True, grade=True)
STUB = "# YOUR CODE HERE\nraise NotImplementedError"


def released(source, metadata=SOLUTION, kind="code"):
    """Return what a master of one cell becomes, and what was removed."""
    cell = {"cell_type": kind, "id": "f", "metadata": metadata, "source": source}
    text, removed = SCRIPT.release(json.dumps({"cells": [cell]}))
    return "".join(json.loads(text)["cells"][0]["source"]), SCRIPT.counted(removed)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("hashes", ["#", "###"])
def test_comments_are_those_of_nbgrader(hashes, end):
    source = f"a = 1\n{hashes} BEGIN SOLUTION\nb = 2\n{hashes} END SOLUTION\nc = 3\n"
    text, removed = released(source.replace("\n", end))
    assert text == f"a = 1\n{STUB}\nc = 3"
    assert removed == "1 solution, 0 hidden tests and 0 answers in words removed"


@pytest.mark.parametrize(
    ("kind", "metadata", "stub"),
    [("code", SOLUTION, STUB), ("markdown", WORDS, "YOUR ANSWER HERE")],
)
def test_a_solution_without_comments_is_replaced_as_a_whole(kind, metadata, stub):
    text, removed = released("The answer is 42", metadata, kind)
    assert text == stub
    assert removed.count("1 ") == 1


@pytest.mark.parametrize(
    ("source", "metadata", "kind", "message"),
    [
        ("# BEGIN SOLUTION\nreturn 1\n", SOLUTION, "code", "'BEGIN SOLUTION' is not"),
        ("return 1\n### END SOLUTION\n", SOLUTION, "code", "'END SOLUTION' is not"),
        ("# begin solution\nf()\n# end solution\n", SOLUTION, "code", "'begin solution' is not"),
        ("# BEGIN SOLUTION of 1\nf()\n# END SOLUTION\n", SOLUTION, "code", "SOLUTION of 1' is not"),
        ("return 1  # SOLUTION", SOLUTION, "code", "'# SOLUTION' is not"),
        ("# BEGIN HIDDEN TESTS\nf()\n# END SOLUTION\n", TEST, "code", "HIDDEN TESTS' is not"),
        ("# BEGIN HIDDEN TEST\nf()\n# END HIDDEN TEST\n", TEST, "code", "HIDDEN TEST' is not"),
        ("# BEGIN SOLUTION\n42\n# END SOLUTION\n", {}, "markdown", "'BEGIN SOLUTION' is not"),
        ("# BEGIN SOLUTION\n42\n# END SOLUTION\n", {}, "raw", "'BEGIN SOLUTION' is not"),
        ("# BEGIN SOLUTION\nf()\n# END SOLUTION\n", {}, "code", "do not say solution: true"),
        ("# BEGIN HIDDEN TESTS\nf()\n# END HIDDEN TESTS\n", {}, "code", "do not say grade: true"),
        (f"def f():\n{STUB}", SOLUTION, "code", "removed already. Is this the master"),
        ("YOUR ANSWER HERE", WORDS, "markdown", "removed already. Is this the master"),
    ],
)
def test_what_would_reach_the_students_is_an_error_that_names_the_cell(
    source, metadata, kind, message
):
    with pytest.raises(ValueError, match=rf"^cell 1 \(f\): .*{message}"):
        released(source, metadata, kind)


def test_a_master_without_a_solution_is_refused():
    with pytest.raises(ValueError, match="no cell of it is a solution"):
        released("f()", TEST)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.ipynb"], "name both notebooks, or none"),
        (["a.ipynb", "./a.ipynb"], "the release would overwrite the master"),
        (["missing.ipynb", "b.ipynb"], "No such file"),
        (["a.ipynb", "b.ipynb"], "a.ipynb: cell 4"),
    ],
)
def test_the_script_writes_nothing_when_it_refuses(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    release = SCRIPT.RELEASE.read_text(encoding="utf-8")
    (tmp_path / "a.ipynb").write_text(release, encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        SCRIPT.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.ipynb"]
    assert (tmp_path / "a.ipynb").read_text(encoding="utf-8") == release


@pytest.mark.parametrize("script", [SCRIPT, MARK])
def test_the_scripts_say_how_they_are_used(script, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    assert stop.value.code == 0
    assert script.__doc__.splitlines()[0] in capsys.readouterr().out


# Its marks ----------------------------------------------------------------------------------------

RIGHT_SOFTMAX = "np.exp(z - z.max(axis=-1, keepdims=True))"


def test_the_master_has_full_marks(tmp_path):
    assert marked(tmp_path, MASTER) == (points(), {})


def test_the_release_has_none_and_is_told_why(tmp_path):
    release = SCRIPT.RELEASE.read_text(encoding="utf-8")
    of_release, errors = marked(tmp_path, release)
    assert of_release == points(*QUESTIONS)
    assert all(" fails in the case " in error for error in errors.values())
    notebook = nbformat.reads(release, as_version=4)
    MARK.put_tests(nbformat.reads(MASTER, as_version=4), notebook)
    for error in execute(notebook).values():
        assert "It is not written yet: it raises" in error.evalue


def test_a_mistake_costs_its_marks_once(tmp_path):
    wrong = MASTER.replace(RIGHT_SOFTMAX, "np.exp(z)")
    wrong = wrong.replace("np.where(np.isinf(m), 0, m)", "m")
    assert marked(tmp_path, wrong) == (
        points("softmax", "logsumexp"),
        {
            "softmax-marks": 'softmax fails in the case "a logit of 1000"',
            "logsumexp-marks": 'logsumexp fails in the case "only -inf: the sum of nothing"',
        },
    )


def test_what_a_student_does_to_locked_cells_and_to_the_checker_does_not_count(tmp_path):
    notebook = nbformat.reads(MASTER.replace(RIGHT_SOFTMAX, "np.exp(z)"), as_version=4)
    cells = {cell.id: cell for cell in notebook.cells}
    cells["softmax-marks"].source = "pass"
    cells["softmax-marks"].outputs = []
    cells["logsumexp"].source = (
        "def logsumexp(z): return 0\n"
        "ce.exercises.check = ce.exercises._checker.find_failure = lambda *_, **__: None\n"
        "ce.logsumexp, ce.softmax, ce = logsumexp, softmax, None"
    )
    notebook.cells.remove(cells["logsumexp-marks"])
    notebook.cells.append(copy.deepcopy(cells["softmax-marks"]))
    notebook.cells[-1].id = "again"
    of_student, errors = marked(tmp_path, nbformat.writes(notebook))
    assert of_student == points("softmax", "logsumexp")
    assert set(errors) == {"softmax-marks", "logsumexp-marks"}


def test_a_question_is_marked_where_it_stands(tmp_path):
    notebook = nbformat.reads(MASTER.replace(RIGHT_SOFTMAX, "shifted(z)"), as_version=4)
    cells = {cell.id: cell for cell in notebook.cells}
    cells["softmax"].source += f"\n\ndef shifted(z): return {RIGHT_SOFTMAX}"
    cells["masked-loss"].source += "\n\ndef shifted(z): return None"
    assert marked(tmp_path, nbformat.writes(notebook)) == (points(), {})


@pytest.mark.parametrize(
    ("answer", "error"),
    [("def softmax(z)", ""), ("def softmax(z): sys.exit()", "softmax fails in the case")],
)
def test_an_answer_that_is_no_python_or_exits_costs_one_question(answer, error, tmp_path):
    notebook = nbformat.reads(MASTER, as_version=4)
    (cell,) = (cell for cell in notebook.cells if cell.id == "softmax")
    cell.source = answer
    of_student, errors = marked(tmp_path, nbformat.writes(notebook))
    assert of_student == points("softmax")
    assert errors["softmax-marks"].startswith(error or "NameError")


def test_nothing_is_won_by_ending_the_kernel(tmp_path):
    dead = MASTER.replace(RIGHT_SOFTMAX, "__import__('os')._exit(0)")
    of_dead, errors = marked(tmp_path, dead)
    assert of_dead == points(*QUESTIONS)
    assert set(errors.values()) == {"the kernel died before its end"}


def test_the_table_has_a_row_for_each_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    wrong = MASTER.replace(RIGHT_SOFTMAX, "np.exp(z)")
    for name, text in (("master", MASTER), ("ada", wrong), ("ben", "no notebook")):
        (tmp_path / f"{name}.ipynb").write_text(text, encoding="utf-8")
    MARK.main(["master.ipynb", "ada.ipynb", "ben.ipynb", "--csv", "marks.csv"])
    printed = capsys.readouterr().out
    assert '  softmax-marks        0 of 2\n    softmax fails in the case "a logit' in printed
    assert (
        "  in-words             by hand, of 2\n  together             8\nben.ipynb: no" in printed
    )
    header, ada, ben = (tmp_path / "marks.csv").read_text(encoding="utf-8").splitlines()
    assert header == ",".join(["notebook", *points(), "together"])
    assert ada == "ada.ipynb,0,2,2,2,2,,8"
    assert ben == "ben.ipynb,,,,,,,"
