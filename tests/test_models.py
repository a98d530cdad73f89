"""Laws of the models. The reference is torch.nn."""

from functools import partial
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.states import States
from fedgrid.partitions import Partition
from fedgrid.rng import stream
from fedgrid.tasks.initial import INITS, initial_weights
from fedgrid.tasks.models import CHAR_LSTM, CIFAR_CNN, DIGITS_2NN, MNIST_2NN, MNIST_CNN, WORD_LSTM, dense

SMALL = dense(12, 8, 5)


def sequential(w, widths):
    """torch.nn's network of those widths, its weights copied out of the flat w by hand."""
    layers, place = [], 0
    for inputs, outputs in pairwise(widths):
        layer = torch.nn.Linear(inputs, outputs).double()
        with torch.no_grad():
            # (inputs, outputs) row by row, then the biases; torch.nn keeps the transpose
            layer.weight.copy_(w[place : place + inputs * outputs].reshape(inputs, outputs).T)
            place += inputs * outputs
            layer.bias.copy_(w[place : place + outputs])
            place += outputs
        layers += [layer, torch.nn.ReLU()]
    assert place == len(w)
    return torch.nn.Sequential(*layers[:-1])


def random_weights(model, *replicas):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*replicas, model.parameters, generator=generator, dtype=torch.float64) / 4


@pytest.mark.parametrize(
    ("widths", "parameters"), [((12, 8, 5), 12 * 8 + 8 + 8 * 5 + 5), ((3, 2), 8), ((64, 200, 200, 10), 55_210)]
)
def test_parameters_are_those_of_torch_nn(widths, parameters):
    model = dense(*widths)
    network = sequential(torch.zeros(model.parameters), widths)
    assert model.parameters == sum(p.numel() for p in network.parameters()) == parameters


def test_the_digits_2nn_is_the_small_one():
    assert dense(64, 200, 200, 10) == DIGITS_2NN


@pytest.mark.parametrize(
    ("model", "flops"),
    [
        # a multiply-add counts two; forward and by the weights for each layer, by the inputs for all but the first
        (dense(3, 2), 2 * 2 * 3 * 2),
        (dense(12, 8, 5), 2 * 2 * (12 * 8 + 8 * 5) + 2 * 8 * 5),
        (MNIST_2NN, 2 * 2 * (784 * 200 + 200 * 200 + 200 * 10) + 2 * (200 * 200 + 200 * 10)),
    ],
)
def test_flops_of_one_examples_training_step(model, flops):
    assert model.flops == flops


def test_weights_are_views_of_the_flat_vector_layer_by_layer():
    w = torch.arange(float(SMALL.parameters))
    (W1, b1), none, (W2, b2) = SMALL.weights(w)
    assert not none
    assert W1.tolist() == [[8.0 * i + j for j in range(8)] for i in range(12)]
    assert b1.tolist() == [[96.0 + j for j in range(8)]]
    assert W2.tolist() == [[104.0 + 5 * i + j for j in range(5)] for i in range(8)]
    assert b2.tolist() == [[144.0 + j for j in range(5)]]


def test_writing_to_a_view_writes_to_the_flat_vector():
    w = torch.zeros(3, SMALL.parameters)
    views = [view for layer in SMALL.weights(w) for view in layer]
    for view in views:
        assert len(view) == 3 and view.untyped_storage().data_ptr() == w.untyped_storage().data_ptr()
        view.add_(torch.tensor([1.0, 2.0, 3.0])[:, None, None])
    assert w.tolist() == [[float(r)] * SMALL.parameters for r in (1, 2, 3)]  # each weight once


@pytest.mark.parametrize("widths", [(12, 8, 5), (64, 200, 200, 10), (4, 3)])
def test_logits_and_descent_are_those_of_torch_nn_for_each_replica(widths):
    model = dense(*widths)
    w = random_weights(model, 3)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 17, widths[0])))
    y = torch.arange(17) % widths[-1]
    weights, into = model.stacked(w), model.stacked(w)
    logits, kept = model.forward(weights, x)
    slopes, stepped = [], []
    for r in range(3):
        network = sequential(w[r], widths)
        out = network(x[r])
        torch.testing.assert_close(logits[r], out.detach(), rtol=1e-12, atol=1e-12)
        out.retain_grad()
        cross_entropy(out, y).backward()
        slopes.append(out.grad)
        by_w = torch.cat([p.grad.t().ravel() for p in network.parameters()])  # t() leaves a vector as it is
        stepped.append(w[r] - by_w)
    model.descend(weights, into, kept, torch.stack(slopes))
    torch.testing.assert_close(model.flat(into), torch.stack(stepped), rtol=1e-12, atol=1e-14)


def test_stacked_weights_are_copies_that_flatten_to_what_they_were():
    w = random_weights(SMALL, 3)
    stacked = SMALL.stacked(w)
    assert SMALL.flat(stacked).equal(w)
    for mine in stacked:
        for weight in mine:
            assert weight.is_contiguous() and weight.untyped_storage().data_ptr() != w.untyped_storage().data_ptr()
            weight.zero_()
    assert w.ne(0).all()


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (MNIST_2NN, 199_210),
        (MNIST_CNN, 1_663_370),
        (CIFAR_CNN, 1_068_298),
        (CHAR_LSTM, 866_578),
        (WORD_LSTM, 4_950_544),
    ],
)
def test_the_models_have_the_papers_parameters(model, parameters):
    assert model.parameters == parameters == model.flat(model.stacked(torch.zeros(1, model.parameters))).numel()


def test_the_lstms_forward_pass_costs_what_its_matrices_do():
    matrices = (8 + 256) * 1024 + (256 + 256) * 1024 + 256 * 258
    assert CHAR_LSTM.forward_flops == 80 * 2 * matrices
    assert CHAR_LSTM.flops == 3 * CHAR_LSTM.forward_flops  # an embedding costs none, so no derivative is saved


# Standard deviation and bound of a weight of a layer of i inputs and o outputs; the truncated normal's variance is
# 1 − 2·2·φ(2)/(Φ(2) − Φ(−2)) = 0.77374 of the normal's.
SHAPES = {
    "glorot": (lambda i, o: sqrt(2 / (i + o)), lambda i, o: sqrt(6 / (i + o))),
    "he": (lambda i, o: sqrt(2 / i), None),
    "tutorial": (lambda i, o: sqrt(0.77374 / i), lambda i, o: 2 / sqrt(i)),
    "uniform2015": (lambda i, o: 1 / sqrt(i), lambda i, o: sqrt(3 / i)),
    "tutorial2015": (lambda i, o: 0.1 * sqrt(0.77374), lambda i, o: 0.2),
    "torch": (lambda i, o: 1 / sqrt(3 * i), lambda i, o: 1 / sqrt(i)),
}
# Kurtosis E[x⁴]/σ⁴: tells the uniform, the normal and the truncated normal apart, and gives the variance's own error.
KURTOSIS = {"glorot": 1.8, "he": 3, "tutorial": 2.3655, "uniform2015": 1.8, "tutorial2015": 2.3655, "torch": 1.8}


@pytest.mark.parametrize("init", INITS)
def test_initial_weights_have_the_distribution_that_their_name_says(init):
    model = dense(784, 200, 10)
    w = initial_weights(model, init, stream(0, "init"))
    assert w.dtype == torch.float64 and w.shape == (model.parameters,)
    sigma, bound = SHAPES[init]
    for (inputs, outputs), (W, _) in zip(((784, 200), (200, 10)), model.weights(w)[::2], strict=True):
        W, n = W.numpy().ravel(), inputs * outputs
        expected = sigma(inputs, outputs)
        assert abs(W.mean()) < 5 * expected / sqrt(n)
        assert abs(W.var() / expected**2 - 1) < 5 * sqrt((KURTOSIS[init] - 1) / n)
        if n > 100_000:  # enough for a fourth moment
            assert (W**4).mean() / expected**4 == pytest.approx(KURTOSIS[init], rel=0.05)
        if bound:
            assert 0.98 * bound(inputs, outputs) < np.abs(W).max() <= bound(inputs, outputs)
        else:
            assert np.abs(W).max() > 3 * expected


@pytest.mark.parametrize("init", [init for init in INITS if init not in ("torch", "tutorial2015")])
def test_biases_start_at_zero(init):
    w = initial_weights(SMALL, init, stream(0, "init"))
    for layer in SMALL.weights(w)[::2]:
        assert layer[1].eq(0).all()
        assert layer[0].ne(0).all()


def starts_from(model, init, deviations, biases):
    """Whether each layer's weights are a truncated normal of its deviation, and its biases equal."""
    w = initial_weights(model, init, stream(0, "init"))
    starts = [mine for mine in model.weights(w) if mine]
    for (W, b), deviation, bias in zip(starts, deviations, biases, strict=True):
        assert b.eq(bias).all() and W.abs().max() <= 2 * deviation
        assert W.var().item() / deviation**2 == pytest.approx(0.77374, rel=5 * sqrt(1.3655 / W.numel()))
    return w


def test_tensorflows_first_tutorials_start_as_printed_there():
    """Convolutional MNIST: 0.1, biases 0 and then 0.1. CIFAR-10: 1e-4 for the convolutions, the rest as in 2016."""
    starts_from(MNIST_CNN, "tutorial2015", [0.1] * 4, (0, 0.1, 0.1, 0.1))
    starts_from(MNIST_2NN, "tutorial2015", [0.1] * 3, [0.1] * 3)
    starts_from(CIFAR_CNN, "tutorial2015", (1e-4, 1e-4, 0.04, 0.04, 1 / 192), (0, 0.1, 0.1, 0.1, 0))


def test_the_cifar_model_starts_and_is_penalised_as_in_tensorflows_tutorial():
    """Truncated normals of .05, .05, .04, .04, 1/192; biases 0, .1, .1, .1, 0; L2 of .004 on the hidden layers."""
    w = starts_from(CIFAR_CNN, "tutorial", (0.05, 0.05, 0.04, 0.04, 1 / 192), (0, 0.1, 0.1, 0.1, 0))
    assert [getattr(layer, "penalty", 0) for layer in CIFAR_CNN.layers if layer.shapes] == [0, 0, 0.004, 0.004, 0]
    stacked = CIFAR_CNN.stacked(w.repeat(2, 1))
    (one, first), (two, _) = CIFAR_CNN.penalties(stacked, torch.tensor([0.5, 2.0]))
    assert [CIFAR_CNN.layers[place].inputs for place in (one, two)] == [2304, 384]
    torch.testing.assert_close(first[1], 2.0 * 0.004 * stacked[one][0][1])


@pytest.mark.parametrize("init", [init for init in INITS if init != "torch"])
def test_an_lstms_biases_start_at_zero(init):
    for mine in CHAR_LSTM.weights(initial_weights(CHAR_LSTM, init, stream(0, "init")))[1:3]:
        assert not mine[2].any() and mine[3].any()


def test_at_the_papers_rate_a_fresh_character_lstm_does_not_explode():
    """Section 3 trains it by η = 1.47. Open by 1 from the start, its cell states reach the unroll's 80 in ten steps."""
    rng = np.random.default_rng(0)
    lines = torch.from_numpy(rng.choice(258, (12, 10, 81), p=rng.dirichlet(np.full(258, 0.1))))
    lines[..., 42:] = 257  # what half of a line is, on the average
    clients = Examples(lines[..., :-1].flatten(0, 1), lines[..., 1:].flatten(0, 1), Inputs(lambda x: x))
    moved = {}
    for forget in (0.0, 1.0):
        w = initial_weights(CHAR_LSTM, "glorot", stream(0, "init")).float()
        for mine in CHAR_LSTM.weights(w)[1:3]:
            mine[2][0, 256:512] = forget
        alone = Partition(np.arange(120), np.array([0, 120]))
        federation = Federation(CHAR_LSTM, clients, alone, 1, 1, 10, partial(stream, 0))
        after, *_ = federation.round(1, w[None].clone(), torch.tensor([1.47]), States())
        moved[forget] = (after[0] - w).norm().item()
    assert moved[0.0] < 10 < moved[1.0]


def test_the_biases_of_torch_are_as_wide_as_its_weights():
    model = dense(784, 2000, 10)
    (_, b1), _, (_, b2) = model.weights(initial_weights(model, "torch", stream(0, "init")))
    assert 0.99 / sqrt(784) < b1.abs().max() <= 1 / sqrt(784)  # by the layer's inputs
    assert 0.5 / sqrt(2000) < b2.abs().max() <= 1 / sqrt(2000)
    assert b1.var().item() == pytest.approx(1 / (3 * 784), rel=5 * sqrt(0.8 / 2000))
    # torch.nn itself, drawn by torch
    torch.manual_seed(0)
    theirs = torch.nn.Linear(784, 2000)
    assert theirs.bias.abs().max().item() == pytest.approx(b1.abs().max().item(), rel=0.01)
    assert theirs.weight.var().item() == pytest.approx(1 / (3 * 784), rel=0.01)


@pytest.mark.parametrize("init", INITS)
def test_initial_weights_are_a_function_of_the_stream(init):
    first, again, other = (initial_weights(SMALL, init, stream(seed, "init")) for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


@pytest.mark.parametrize("init", INITS)
def test_no_two_layers_start_alike(init):
    (W1, _), _, (W2, _) = dense(6, 6, 6).weights(initial_weights(dense(6, 6, 6), init, stream(0, "init")))
    assert not W1.equal(W2)
