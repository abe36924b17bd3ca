"""cebook.training: gradients as torch's, training as a bare loop, and a bar for terminals alone."""

import io
import sys

import mpmath
import numpy as np
import pytest
import torch
from helpers import LAYOUTS, NOT_NUMBERS, message
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce

SAMPLES, FEATURES, HIDDEN, OUTPUTS = 5, 3, 4, 2
RNG = np.random.default_rng(2026)
X = RNG.normal(size=(SAMPLES, FEATURES))
TARGETS = {
    "softmax_cross_entropy": np.array([0, 1, 1, 0, 1]),
    "sigmoid_cross_entropy": RNG.uniform(size=(SAMPLES, OUTPUTS)),
    "squared_error": RNG.normal(size=(SAMPLES, OUTPUTS)),
}
TORCH_LOSS = {
    "softmax_cross_entropy": torch.nn.functional.cross_entropy,
    "sigmoid_cross_entropy": torch.nn.functional.binary_cross_entropy_with_logits,
    "squared_error": lambda a, y: torch.nn.functional.mse_loss(a, y) / 2,
}


def sparsity(activations):
    """Return how far the mean activity of every unit is from 0.1, and the gradient in each."""
    mean, rho = activations.mean(axis=0), 0.1
    gradient = 2 * (mean - rho) / len(activations)
    return float(((mean - rho) ** 2).sum()), np.broadcast_to(gradient, activations.shape)


def torch_sparsity(activations):
    return ((activations.mean(axis=0) - 0.1) ** 2).sum()


def linear(inputs, outputs, seed, dtype=np.float64):
    layer = ce.Linear(inputs, outputs, rng=seed, dtype=dtype)
    # A bias of 0 would hide that it is added, and one of its own sign that it is learnt.
    layer.bias = np.random.default_rng(seed + 100).normal(size=outputs).astype(dtype)
    return layer


STACKS = {
    "linear": lambda **kw: [linear(FEATURES, OUTPUTS, 0, **kw)],
    "sigmoid": lambda **kw: [
        linear(FEATURES, HIDDEN, 0, **kw),
        ce.Sigmoid(),
        linear(HIDDEN, OUTPUTS, 1, **kw),
    ],
    "relu": lambda **kw: [
        linear(FEATURES, HIDDEN, 0, **kw),
        ce.ReLU(),
        linear(HIDDEN, OUTPUTS, 1, **kw),
    ],
    "sigmoid at both ends": lambda **kw: [
        ce.Sigmoid(),
        linear(FEATURES, OUTPUTS, 0, **kw),
        ce.Sigmoid(),
    ],
    "deep, with two penalties": lambda **kw: [
        linear(FEATURES, HIDDEN, 0, **kw),
        ce.Sigmoid(),
        ce.ActivityPenalty(sparsity),
        linear(HIDDEN, HIDDEN, 1, **kw),
        ce.ReLU(),
        ce.ActivityPenalty(sparsity),
        linear(HIDDEN, OUTPUTS, 2, **kw),
    ],
}


def linears(network):
    return [layer for layer in network.layers if isinstance(layer, ce.Linear)]


def parameters(network):
    return [array for layer in linears(network) for array in (layer.weight, layer.bias)]


def gradients(network):
    return [array for layer in linears(network) for array in (layer.weight_grad, layer.bias_grad)]


def torch_gradients(network, x, targets, name):
    """Return the loss of the same network in torch, and its gradients in x and the parameters."""
    inputs = torch.tensor(x, requires_grad=True)
    weights = [torch.tensor(array, requires_grad=True) for array in parameters(network)]
    outputs, penalty, rest = inputs, 0.0, iter(weights)
    for layer in network.layers:
        if isinstance(layer, ce.Linear):
            outputs = torch.nn.functional.linear(outputs, next(rest), next(rest))
        elif isinstance(layer, ce.ActivityPenalty):
            penalty = penalty + torch_sparsity(outputs)
        else:
            outputs = torch.sigmoid(outputs) if isinstance(layer, ce.Sigmoid) else outputs.relu()
    loss = TORCH_LOSS[name](outputs, torch.tensor(targets)) + penalty
    loss.backward()
    return loss.item(), [tensor.grad.numpy() for tensor in [inputs, *weights]]


def our_gradients(network, x, targets, name):
    loss, gradient = getattr(ce, name)(network.forward(x), targets, return_grad=True)
    in_x = network.backward(gradient)
    return loss + network.penalty(), [in_x, *gradients(network)]


# Gradients ----------------------------------------------------------------------------------------


@pytest.fixture(params=TARGETS)
def name(request):
    return request.param


@pytest.fixture(params=STACKS)
def stack(request):
    return STACKS[request.param]


@pytest.mark.parametrize("samples", [SAMPLES, 1])
def test_gradients_are_those_of_torch(stack, name, samples):
    network, x, targets = ce.Network(stack()), X[:samples], TARGETS[name][:samples]
    loss, ours = our_gradients(network, x, targets, name)
    torch_loss, theirs = torch_gradients(network, x, targets, name)
    assert loss == pytest.approx(torch_loss, rel=1e-14)
    for our, their in zip(ours, theirs, strict=True):
        assert our.shape == their.shape
        assert_allclose(our, their, rtol=0, atol=1e-12 * abs(their).max())


def test_gradients_are_those_of_central_differences(stack, name):
    network, loss = ce.Network(stack()), getattr(ce, name)
    _, (in_x, *in_parameters) = our_gradients(network, X, TARGETS[name], name)

    def value(x):
        return loss(network.forward(x), TARGETS[name]) + network.penalty()

    ce.check_gradient(value, in_x, X)
    names = [(layer, kind) for layer in linears(network) for kind in ("weight", "bias")]
    for (layer, kind), gradient in zip(names, in_parameters, strict=True):
        start = getattr(layer, kind)

        def value_at(parameter, layer=layer, kind=kind):
            setattr(layer, kind, parameter)
            return value(X)

        ce.check_gradient(value_at, gradient, start)
        setattr(layer, kind, start)


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble])
def test_the_dtype_stays(stack, name, dtype):
    network, x, targets = ce.Network(stack(dtype=dtype)), X.astype(dtype), TARGETS[name]
    targets = targets if targets.dtype.kind == "i" else targets.astype(dtype)
    assert network.forward(x).dtype == dtype
    _, ours = our_gradients(network, x, targets, name)
    assert {array.dtype for array in ours} == {np.dtype(dtype)}
    _, wide = our_gradients(ce.Network(stack()), X, TARGETS[name], name)
    for our, gradient in zip(ours, wide, strict=True):
        assert_allclose(our, gradient, rtol=0, atol=1e-5 * abs(gradient).max())
    history = ce.fit(network, x, targets, getattr(ce, name), learning_rate=0.1, epochs=2)
    assert {array.dtype for array in parameters(network)} == {np.dtype(dtype)}
    assert history.dtype == np.float64


@pytest.mark.parametrize("z", [0.0, 0.7, -3.0, 40.0, -40.0, 300.0])
def test_the_slope_of_the_sigmoid_does_not_round_to_0(z):
    layer = ce.Sigmoid()
    assert layer.forward(np.array([[z]])) == ce.sigmoid(z)
    slope = layer.backward(np.array([[2.0]]))
    with mpmath.workdps(400):
        exact = 2 / (2 + mpmath.exp(z) + mpmath.exp(-z))
    assert slope[0, 0] > 0
    assert ce.ulp_error(slope[0, 0], exact) <= 4


def test_the_slope_of_the_relu():
    layer = ce.ReLU()
    x = np.array([[-2.0, -0.0, 0.0, 5e-324, 3.0]])
    assert_array_equal(layer.forward(x), [[0, 0, 0, 5e-324, 3]])
    # At the kink it is 0, as torch's.
    assert_array_equal(layer.backward(np.full((1, 5), 7.0)), [[0, 0, 0, 7, 7]])


def test_backward_replaces_the_gradients_of_the_last_time():
    network = ce.Network(STACKS["sigmoid"]())
    before = our_gradients(network, X, TARGETS["squared_error"], "squared_error")[1]
    again = our_gradients(network, X, TARGETS["squared_error"], "squared_error")[1]
    for first, second in zip(before, again, strict=True):
        assert_array_equal(first, second)


def test_one_step_moves_against_the_gradients():
    network = ce.Network(STACKS["sigmoid"]())
    our_gradients(network, X, TARGETS["squared_error"], "squared_error")
    before = parameters(network)
    network.step(0.25)
    for after, start, gradient in zip(parameters(network), before, gradients(network), strict=True):
        assert_array_equal(after, start - 0.25 * gradient)


# Layers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "outputs"), [(2, 4000), (4000, 2), (60, 60)])
def test_initial_weights_fill_the_range_of_glorot(inputs, outputs):
    layer = ce.Linear(inputs, outputs, rng=0)
    bound = np.sqrt(6 / (inputs + outputs))
    assert layer.weight.shape == (outputs, inputs)
    assert layer.bias.shape == (outputs,)
    for end in (layer.weight.max(), -layer.weight.min()):
        assert 0.99 * bound < end <= bound
    assert layer.weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.03)
    assert abs(layer.weight.mean()) < 0.03 * bound
    assert_array_equal(layer.bias, 0)


def test_a_seed_reproduces_the_weights():
    def weights(rng):
        return ce.Linear(3, 4, rng=rng).weight

    assert_array_equal(weights(7), weights(7))
    assert_array_equal(weights(7), weights(np.random.default_rng(7)))
    assert (weights(7) != weights(8)).all()
    assert (weights(None) != weights(None)).all()
    shared = np.random.default_rng(7)
    assert (weights(shared) != weights(shared)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_weights_of_a_dtype(dtype):
    layer = ce.Linear(3, 4, rng=7, dtype=dtype)
    kept = [layer.weight, layer.bias, layer.weight_grad, layer.bias_grad]
    assert {array.dtype for array in kept} == {np.dtype(dtype)}
    assert_array_equal(layer.weight, ce.Linear(3, 4, rng=7).weight.astype(dtype))
    assert ce.Linear(3, 4).weight.dtype == np.float64


@pytest.mark.parametrize("x", [[[1, 0, 2]], [[True, False, True]], [[1.0, 0.0, 2.0]]])
def test_a_network_takes_what_becomes_an_array(x):
    network = ce.Network(STACKS["relu"]())
    assert_array_equal(network.forward(x), network.forward(np.array(x, dtype=np.float64)))


def test_the_sequence_of_layers_is_copied_and_the_layers_are_not():
    layers = STACKS["sigmoid"]()
    network = ce.Network(tuple(layers))
    assert network.layers == layers
    network = ce.Network(layers)
    layers.pop()
    assert len(network.layers) == 3


def test_a_penalty_leaves_the_way_forward_and_adds_itself_on_the_way_back():
    layer = ce.ActivityPenalty(lambda a: (float((a**3).sum()), 3 * a**2))
    x, gradient = np.array([[1.0, -2.0]]), np.array([[10.0, 20.0]])
    assert layer.penalty() == 0
    assert_array_equal(layer.forward(x), x)
    assert layer.penalty() == -7
    assert_array_equal(layer.backward(gradient), [[13, 32]])
    assert_array_equal(gradient, [[10, 20]])
    layer.forward(2 * x)
    assert layer.penalty() == -56


def test_the_penalty_of_a_network_is_the_sum_of_its_layers():
    network = ce.Network(STACKS["deep, with two penalties"]())
    assert network.penalty() == 0
    network.forward(X)
    first, second = (layer for layer in network.layers if isinstance(layer, ce.ActivityPenalty))
    assert network.penalty() == first.penalty() + second.penalty()
    assert min(first.penalty(), second.penalty()) > 0
    assert ce.Network(STACKS["linear"]()).penalty() == 0


# Training -----------------------------------------------------------------------------------------


def fitted(**options):
    """Return a small network and the history of its training, which the options vary."""
    network = ce.Network(STACKS["deep, with two penalties"]())
    history = ce.fit(
        network,
        X,
        TARGETS["squared_error"],
        ce.squared_error,
        **{"learning_rate": 0.5, "epochs": 4, **options},
    )
    return network, history


def test_a_full_batch_is_a_bare_loop():
    network = ce.Network(STACKS["sigmoid"]())
    w1, b1, w2, b2 = parameters(network)
    y, rate, expected = TARGETS["sigmoid_cross_entropy"], 2.0, []
    for _ in range(21):
        z = X @ w1.T + b1
        a = ce.sigmoid(z)
        loss, delta = ce.sigmoid_cross_entropy(a @ w2.T + b2, y, return_grad=True)
        expected.append(loss)
        before = (delta @ w2) * a * ce.sigmoid(-z)
        last = [w1, b1, w2, b2]
        w2, b2 = w2 - rate * (delta.T @ a), b2 - rate * delta.sum(axis=0)
        w1, b1 = w1 - rate * (before.T @ X), b1 - rate * before.sum(axis=0)
    history = ce.fit(network, X, y, ce.sigmoid_cross_entropy, learning_rate=rate, epochs=20)
    assert_allclose(history, expected, rtol=1e-15)
    for trained, by_hand in zip(parameters(network), last, strict=True):
        assert_allclose(trained, by_hand, rtol=1e-14)
    assert (np.diff(history) < 0).all()


@pytest.mark.parametrize(
    ("layers", "loss", "end"),
    [
        # Nielsen's figure: the output is 0.20 at the end, and was 0.98.
        ([ce.Sigmoid()], "squared_error", 0.2028),
        ([], "sigmoid_cross_entropy", 0.0120),
    ],
)
def test_the_neuron_of_nielsen_learns_as_in_torch(layers, loss, end):
    x, y = np.array([[1.0]]), np.array([[0.0]])
    neuron = ce.Linear(1, 1)
    neuron.weight, neuron.bias = np.array([[2.0]]), np.array([2.0])
    network = ce.Network([neuron, *layers])
    history = ce.fit(network, x, y, getattr(ce, loss), learning_rate=0.15, epochs=300)

    w, b = (torch.tensor(2.0, dtype=torch.float64, requires_grad=True) for _ in range(2))
    descent, expected = torch.optim.SGD([w, b], lr=0.15), []
    for _ in range(301):
        z = w + b
        output = torch.sigmoid(z) if layers else z
        error = TORCH_LOSS[loss](output, torch.zeros((), dtype=torch.float64))
        expected.append(error.item())
        final = w.item(), b.item()
        descent.zero_grad()
        error.backward()
        descent.step()
    assert_allclose(history, expected, rtol=1e-12)
    assert_allclose([neuron.weight.item(), neuron.bias.item()], final, rtol=1e-12)
    assert ce.sigmoid(neuron.forward(x)).item() == pytest.approx(end, abs=5e-5)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_the_history_is_the_loss_over_all_samples_after_each_epoch(batch_size):
    x, y = X, TARGETS["squared_error"]
    for epochs in range(4):
        network, history = fitted(epochs=epochs, batch_size=batch_size, rng=0)
        assert isinstance(history, np.ndarray)
        assert history.shape == (epochs + 1,)
        # What the network says once it is returned is what the history ends with.
        error = ce.squared_error(network.forward(x), y)
        assert network.penalty() > 0
        assert history[-1] == error + network.penalty()
        assert_array_equal(history, fitted(epochs=3, batch_size=batch_size, rng=0)[1][: epochs + 1])


def test_no_epochs_leave_the_network_as_it_is():
    network, history = fitted(epochs=0, batch_size=2)
    untrained = ce.Network(STACKS["deep, with two penalties"]())
    for after, before in zip(parameters(network), parameters(untrained), strict=True):
        assert_array_equal(after, before)
    assert len(history) == 1


@pytest.mark.parametrize("options", [{}, {"batch_size": 2}])
def test_training_goes_on_where_it_ended(options):
    rng = np.random.default_rng(0)
    network, first = fitted(epochs=2, rng=rng, **options)
    y = TARGETS["squared_error"]
    second = ce.fit(
        network, X, y, ce.squared_error, learning_rate=0.5, epochs=3, rng=rng, **options
    )
    at_once = fitted(epochs=5, rng=0, **options)[1]
    assert_array_equal([*first[:-1], *second], at_once)


def test_a_hidden_layer_learns_exclusive_or():
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0], [1], [1], [0]])
    network = ce.Network([ce.Linear(2, 4, rng=1), ce.Sigmoid(), ce.Linear(4, 1, rng=2)])
    history = ce.fit(network, x, y, ce.sigmoid_cross_entropy, learning_rate=5.0, epochs=500)
    assert history[0] > 0.6
    assert history[-1] < 0.01
    assert_array_equal(network.forward(x) > 0, y)


# Batches ------------------------------------------------------------------------------------------


class Recorder(ce.Layer):
    """A layer that leaves everything as it is and keeps what it saw."""

    def __init__(self):
        self.seen = []

    def forward(self, x):
        self.seen.append(x.copy())
        return x

    def backward(self, gradient):
        return gradient


def numbered(samples, **options):
    """Train on samples 0, 1, 2, ...; return the batches by epoch, and how far the bias moved."""
    numbers = np.arange(samples)[:, np.newaxis]
    layer, recorder, batches = ce.Linear(1, 1), Recorder(), []

    def loss(outputs, targets, *, return_grad=False):
        assert outputs.shape == targets.shape
        if not return_grad:
            assert_array_equal(targets, numbers)  # the history looks at all of them, in order
            return 0.0
        assert_array_equal(recorder.seen[-1], targets)  # inputs and targets stay together
        batches.append(list(targets[:, 0]))
        return 0.0, np.full(outputs.shape, 1 / len(outputs))

    network = ce.Network([recorder, layer])
    epochs = options.setdefault("epochs", 3)
    ce.fit(network, numbers, numbers, loss, learning_rate=0.5, **options)
    steps = len(batches) // max(epochs, 1)
    by_epoch = [batches[start : start + steps] for start in range(0, len(batches), steps)]
    return by_epoch, -layer.bias.item() / 0.5


@pytest.mark.parametrize(
    ("samples", "batch_size", "lengths"),
    [
        (7, 3, [3, 3, 1]),
        (6, 3, [3, 3]),
        (4, 1, [1, 1, 1, 1]),
        (4, 4, [4]),
        (4, 9, [4]),
        (4, np.int64(3), [3, 1]),
        (4, None, [4]),
    ],
)
def test_batches_cover_every_sample_once_an_epoch(samples, batch_size, lengths):
    epochs, steps = numbered(samples, batch_size=batch_size, rng=0)
    assert len(epochs) == 3
    for batches in epochs:
        assert [len(batch) for batch in batches] == lengths
        assert sorted(np.concatenate(batches)) == list(range(samples))
    # Each batch has a gradient of 1 in the bias.
    assert steps == pytest.approx(3 * len(lengths), rel=1e-14)


def orders(rng, **options):
    return [
        np.concatenate(batches) for batches in numbered(20, rng=rng, batch_size=6, **options)[0]
    ]


def test_samples_are_shuffled_anew_before_every_epoch():
    first, second, third = orders(0)
    in_order = np.arange(20)
    assert (first != in_order).any()
    assert (first != second).any()
    assert (second != third).any()


def test_a_seed_reproduces_the_batches():
    assert_array_equal(orders(0), orders(0))
    assert_array_equal(orders(0), orders(np.random.default_rng(0)))
    assert (np.array(orders(0)) != orders(1)).any()
    assert (np.array(orders(None)) != orders(None)).any()
    shared = np.random.default_rng(0)
    assert (np.array(orders(shared)) != orders(shared)).any()


def test_without_batches_nothing_is_shuffled():
    rng = np.random.default_rng(0)
    epochs, _ = numbered(20, rng=rng)
    assert_array_equal(epochs, np.broadcast_to(np.arange(20), (3, 1, 20)))
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_and_targets_are_not_modified(layout, batch_size):
    x, y = LAYOUTS[layout](X), LAYOUTS[layout](TARGETS["squared_error"])
    before = x.copy(), y.copy()
    network = ce.Network(STACKS["deep, with two penalties"]())
    options = {"learning_rate": 0.5, "epochs": 4, "batch_size": batch_size, "rng": 0}
    history = ce.fit(network, x, y, ce.squared_error, **options)
    assert_array_equal(x, before[0])
    assert_array_equal(y, before[1])
    assert_allclose(history, fitted(batch_size=batch_size, rng=0)[1], rtol=1e-12)


def test_lists_and_integers_are_samples_too():
    x, labels = [[0, 1], [1, 0], [1, 1]], [0, 1, 1]
    layers = [ce.Linear(2, 2, rng=0) for _ in range(2)]
    histories = [
        ce.fit(ce.Network([layer]), a, b, ce.softmax_cross_entropy, learning_rate=1, epochs=3)
        for layer, a, b in zip(
            layers, (x, np.array(x, float)), (labels, np.array(labels)), strict=True
        )
    ]
    assert_array_equal(*histories)


# Progress -----------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drawn(monkeypatch, stream, **options):
    monkeypatch.setattr(sys, "stderr", stream)
    _, history = fitted(**options)
    return stream.getvalue(), history


@pytest.mark.parametrize("options", [{}, {"progress": False}, {"batch_size": 2}])
def test_without_a_terminal_nothing_is_printed(capsys, options):
    fitted(**options)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("stream", "progress"), [(Terminal, None), (io.StringIO, True)])
def test_the_bar_is_drawn_over_the_last_one(monkeypatch, capsys, stream, progress):
    text, history = drawn(monkeypatch, stream(), epochs=4, progress=progress)
    start, *bars = text.split("\r")
    assert start == ""
    assert len(bars) == 4
    for epoch, bar in enumerate(bars, start=1):
        done = [0, 7, 15, 22, 30][epoch]
        assert bar.startswith(
            f"[{'#' * done}{'.' * (30 - done)}] {epoch}/4 loss {history[epoch]:.4g} "
        )
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert capsys.readouterr().out == ""


def test_the_bar_goes_to_standard_error_as_it_moves(capsys):
    fitted(progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\r") == 4

    flushed = []

    class Buffered(Terminal):
        def flush(self):
            flushed.append(self.getvalue())

    with pytest.MonkeyPatch.context() as patch:
        drawn(patch, Buffered())
    assert len(set(flushed)) == 4


def test_no_bar_where_none_is_wanted(monkeypatch):
    assert drawn(monkeypatch, Terminal(), progress=False)[0] == ""
    assert drawn(monkeypatch, Terminal(), epochs=0)[0] == ""
    assert drawn(monkeypatch, Terminal(), epochs=1)[0].startswith(f"\r[{'#' * 30}] 1/1 loss ")


@pytest.mark.parametrize("progress", [True, False])
def test_the_bar_changes_nothing_else(monkeypatch, progress):
    _, history = drawn(monkeypatch, Terminal(), progress=progress)
    assert_array_equal(history, fitted()[1])


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["in_features", "out_features"])
@pytest.mark.parametrize(
    ("count", "error", "problem"),
    [
        (0, ValueError, "must be at least 1, but it is 0."),
        (-3, ValueError, "must be at least 1, but it is -3."),
        (2.0, TypeError, "must be an integer, but it is 2.0."),
        (True, TypeError, "must be an integer, but it is True."),
        ("2", TypeError, "must be an integer, but it is '2'."),
        (None, TypeError, "must be an integer, but it is None."),
    ],
)
def test_a_linear_layer_counts_its_features(name, count, error, problem):
    features = {"in_features": 2, "out_features": 2, name: count}
    assert message(error, ce.Linear, **features) == f"{name} {problem}"


def test_features_may_be_counted_by_numpy():
    assert ce.Linear(np.int64(2), np.int32(3)).weight.shape == (3, 2)


@pytest.mark.parametrize(
    "x",
    [np.ones((5, 2)), np.ones((3, 5)), np.ones(3), np.ones((5, 3, 3)), np.ones((5, 3, 1)), 1.0],
    ids=np.shape,
)
def test_a_row_has_a_number_for_each_feature(x):
    network = ce.Network(STACKS["sigmoid"]())
    text = message(ValueError, network.forward, x)
    assert "must have a row of 3 features for each sample" in text
    assert f"its shape is {np.shape(x)}." in text
    assert "x[:, np.newaxis]" in text
    assert "x[np.newaxis]" in text


def test_layers_that_do_not_fit_together():
    network = ce.Network([ce.Linear(3, 4), ce.Linear(5, 2)])
    assert "row of 5 features" in message(ValueError, network.forward, X)
    assert "its shape is (5, 4)" in message(ValueError, network.forward, X)


def fails(error, x=X, y=TARGETS["squared_error"], loss=ce.squared_error, **options):
    network = ce.Network(STACKS["linear"]())
    before = parameters(network)
    options = {"learning_rate": 0.1, "epochs": 2, **options}
    text = message(error, ce.fit, network, x, y, loss, **options)
    for after, start in zip(parameters(network), before, strict=True):
        assert_array_equal(after, start)
    return text


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, TARGETS["squared_error"][:4]),
        (X[:4], TARGETS["squared_error"]),
        (X[:1], TARGETS["squared_error"]),
        (X[:0], TARGETS["squared_error"][:0]),
        (X[:, :0], TARGETS["squared_error"]),
        (X, np.float64(1)),
    ],
    ids=lambda array: str(array.shape),
)
def test_inputs_and_targets_are_as_many_and_some(x, y):
    text = fails(ValueError, x, y)
    assert "the same number of samples along their first axis, and at least one" in text
    assert f"their shapes are {x.shape} and {y.shape}." in text


def test_inputs_of_the_wrong_kind():
    assert "row of 3 features" in fails(ValueError, X[:, :2])
    assert "shape is (5,)" in fails(ValueError, X[:, 0])
    # The loss knows what it wants.
    assert "targets and outputs must have the same shape" in fails(ValueError, y=X)


@pytest.mark.parametrize("kind", NOT_NUMBERS)
def test_inputs_are_real_numbers(kind):
    x, came, hint = NOT_NUMBERS[kind]
    text = fails(TypeError, x)
    assert text.startswith("inputs ")
    assert came in text
    assert hint in text
    assert message(TypeError, ce.Network([]).forward, x).startswith("x ")


@pytest.mark.parametrize("rate", [0, 0.0, -0.1, -np.inf, np.nan], ids=str)
def test_a_learning_rate_is_above_0(rate):
    text = fails(ValueError, learning_rate=rate)
    assert text == f"learning_rate must be above 0 and finite, but it is {rate!r}."


@pytest.mark.parametrize(
    ("option", "value", "error", "problem"),
    [
        ("epochs", -1, ValueError, "must be at least 0, but it is -1."),
        ("epochs", 2.0, TypeError, "must be an integer, but it is 2.0."),
        ("epochs", True, TypeError, "must be an integer, but it is True."),
        ("epochs", None, TypeError, "must be an integer, but it is None."),
        ("batch_size", 0, ValueError, "must be at least 1, but it is 0."),
        ("batch_size", -2, ValueError, "must be at least 1, but it is -2."),
        ("batch_size", 2.0, TypeError, "must be an integer, but it is 2.0."),
        ("batch_size", True, TypeError, "must be an integer, but it is True."),
    ],
)
def test_epochs_and_batch_size_are_counts(option, value, error, problem):
    assert fails(error, **{option: value}) == f"{option} {problem}"


def printed_loss(outputs, targets, *, return_grad=False):
    """The printed formulas, one after the other: nan for an answer that is right and certain."""
    with np.errstate(all="ignore"):
        a = ce.textbook.sigmoid(outputs)
        loss = -ce.textbook.binary_cross_entropy(a, targets).mean()
    return (loss, (a - targets) / a.size) if return_grad else loss


def test_training_stops_where_the_loss_is_nan():
    # The last sample lies so far on its side that its logit is the first beyond 16.6.
    x, y = np.array([[-1], [1], [8]], np.float32), np.array([[0], [1], [1]], np.float32)

    def train(loss, epochs):
        network = ce.Network([ce.Linear(1, 1, rng=0, dtype=np.float32)])
        return ce.fit(network, x, y, loss, learning_rate=1.0, epochs=epochs)

    stable = train(ce.sigmoid_cross_entropy, 200)
    assert np.isfinite(stable).all()
    # Up to a logit of 16.6 both say the same; then 1 - a is 0, and 0 times its logarithm nan.
    text = message(FloatingPointError, train, printed_loss, 200)
    epoch = int(text.split()[6])
    assert text.startswith(f"The loss is nan after epoch {epoch} of 200.")
    assert "learning rate of 1.0 too large" in text
    assert epoch > 1
    assert_allclose(train(printed_loss, epoch - 1), stable[:epoch], rtol=1e-3, atol=1e-7)


def test_a_loss_that_is_nan_before_training():
    x = X.copy()
    x[3, 1] = np.nan
    text = fails(FloatingPointError, x)
    assert text.startswith("The loss is nan after epoch 0 of 2.")
    assert "after epoch 0 of 0." in fails(FloatingPointError, x, epochs=0)


def test_a_penalty_that_is_nan():
    network = ce.Network([linear(3, 2, 0), ce.ActivityPenalty(lambda a: (np.nan, 0 * a))])
    y = TARGETS["squared_error"]
    with pytest.raises(FloatingPointError, match="nan after epoch 0 of 2"):
        ce.fit(network, X, y, ce.squared_error, learning_rate=0.1, epochs=2)


def test_an_infinite_loss_is_an_answer():
    # A certain probability that is wrong, and a made-up gradient that leads away from it.
    def loss(outputs, targets, *, return_grad=False):
        value = ce.binary_cross_entropy(outputs, targets)
        return (value, outputs) if return_grad else value

    layer = ce.Linear(1, 1)
    layer.weight = np.ones((1, 1))
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    history = ce.fit(ce.Network([layer]), one, zero, loss, learning_rate=0.25, epochs=1)
    assert_allclose(history, [np.inf, np.log(2)])


@pytest.mark.parametrize("rate", [np.float64(0.1), 0.1], ids=["numpy", "python"])
@pytest.mark.parametrize("x", [np.ones((3, 2)), np.ones((3, 2), np.float32), [[1, 2]] * 3])
def test_weights_keep_their_dtype_in_training(x, rate):
    layer = ce.Linear(2, 1, dtype=np.float32, rng=0)
    before = layer.weight
    y = np.ones((3, 1))
    ce.fit(ce.Network([layer]), x, y, ce.squared_error, learning_rate=rate, epochs=1)
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    assert (layer.weight != before).any()


def test_a_network_within_a_network_learns_too():
    inner = ce.Network([linear(FEATURES, HIDDEN, 0), ce.ActivityPenalty(sparsity)])
    network = ce.Network([inner, ce.Sigmoid(), linear(HIDDEN, OUTPUTS, 1)])
    flat = ce.Network([linear(FEATURES, HIDDEN, 0), ce.ActivityPenalty(sparsity)])
    flat.layers += [ce.Sigmoid(), linear(HIDDEN, OUTPUTS, 1)]
    y = TARGETS["squared_error"]
    options = {"learning_rate": 0.3, "epochs": 5}
    histories = [ce.fit(each, X, y, ce.squared_error, **options) for each in (network, flat)]
    assert_array_equal(*histories)
    assert_array_equal(inner.layers[0].weight, flat.layers[0].weight)


def test_a_layer_stands_in_one_place():
    layer = linear(2, 2, 0)
    assert "Make a second layer" in message(ValueError, ce.Network, [layer, ce.Sigmoid(), layer])


@pytest.mark.parametrize("dtype", [int, bool, complex, object], ids=lambda dtype: dtype.__name__)
def test_weights_are_floats(dtype):
    text = message(TypeError, ce.Linear, 2, 2, dtype=dtype)
    assert text == f"dtype must be a floating-point type, but it is {np.dtype(dtype)}."


def test_a_layer_of_ones_own_has_nothing_to_learn_and_no_penalty():
    layer = Recorder()
    assert layer.penalty() == 0
    assert layer.step(1.0) is None
    with pytest.raises(TypeError, match="abstract"):
        ce.Layer()


def test_masked_targets_lose_no_mask():
    masked = np.ma.masked_array(TARGETS["squared_error"], TARGETS["squared_error"] > 0)
    assert "targets is a masked array" in fails(TypeError, y=masked)


def test_weights_that_run_away_are_one_error_and_no_warning():
    network, y = ce.Network([linear(FEATURES, OUTPUTS, 0)]), TARGETS["squared_error"]
    options = {"learning_rate": 1.0, "epochs": 100}
    text = message(FloatingPointError, ce.fit, network, 1e3 * X, y, ce.squared_error, **options)
    assert "Is the learning rate of 1.0 too large" in text


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, y, **kw: ce.squared_error(a, y, reduction="none", **kw),
        lambda a, y, **_: ce.squared_error(a, y, return_grad=True),
    ],
    ids=["one for each sample", "always a pair"],
)
def test_a_loss_is_one_number(loss):
    assert "loss must return one number for all samples" in fails(ValueError, loss=loss)


@pytest.mark.parametrize("rate", ["a", None, True, np.array([0.1, 0.2])], ids=repr)
def test_a_learning_rate_is_a_number(rate):
    assert fails(TypeError, learning_rate=rate).startswith("learning_rate must be a number, but ")


def test_a_bar_covers_the_last_one_and_needs_no_stream(monkeypatch):
    losses = iter([1, 0.0001234, 1e-5, 0.5])

    def loss(outputs, _, return_grad=False):
        return (0, outputs) if return_grad else next(losses)

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    ce.fit(ce.Network([]), X, X, loss, learning_rate=1, epochs=3)
    assert len({len(line.rstrip("\n")) for line in stream.getvalue().split("\r")[1:]}) == 1
    monkeypatch.setattr(sys, "stderr", None)
    fitted(progress=True)
