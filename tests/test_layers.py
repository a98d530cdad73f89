"""Laws of the layers: forward and descent are those of torch.nn and of autograd, for one replica or several."""

import pytest
import torch
from torch.nn.functional import conv2d, embedding, local_response_norm, max_pool2d, pad, relu

from fedgrid.engine.convolutional import Conv2d, LocalResponse, MaxPool
from fedgrid.engine.layers import Linear, Relu, View
from fedgrid.engine.recurrent import Embedding, Lstm


def channels_first(function):
    """The function of (batch, channels, height, width) as one of (batch, height, width, channels)."""
    return lambda weights, x: function(weights, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def convolution(weights, x):
    W, b = weights
    return conv2d(x, W.permute(0, 3, 1, 2), b[0], padding="same")


def pool_3_2_of_even(weights, x):
    """TensorFlow's SAME for an even size: one pixel more, at the end."""
    return max_pool2d(pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)


def lstm(peephole):
    def function(weights, x):
        """The equations of the docstring, a step and a gate at a time."""
        W, U, b = weights[:3]
        n = U.shape[1]
        (W_i, W_f, W_g, W_o), (U_i, U_f, U_g, U_o) = W.split(n), U.split(n)
        b_i, b_f, b_g, b_o = b[0].split(n)
        p_i, p_f, p_o = weights[3] if peephole else torch.zeros(3, n, dtype=x.dtype)
        h = c = torch.zeros(len(x), n, dtype=x.dtype)
        out = []
        for x_t in x.unbind(1):
            i = torch.sigmoid(x_t @ W_i.T + h @ U_i.T + p_i * c + b_i)
            f = torch.sigmoid(x_t @ W_f.T + h @ U_f.T + p_f * c + b_f)
            g = torch.tanh(x_t @ W_g.T + h @ U_g.T + b_g)
            c = f * c + i * g
            o = torch.sigmoid(x_t @ W_o.T + h @ U_o.T + p_o * c + b_o)
            h = o * torch.tanh(c)
            out.append(h)
        return torch.stack(out, 1)

    return function


# Each layer with a reference for one replica, and the shape of an example.
LAYERS = {
    "linear": (Linear(4, 5), lambda weights, x: x @ weights[0] + weights[1], (4,)),
    "linear at each position": (Linear(4, 5), lambda weights, x: x @ weights[0] + weights[1], (6, 4)),
    "convolution": (Conv2d(6, 3, 4, 5), channels_first(convolution), (6, 6, 3)),
    "convolution of grey images": (Conv2d(6, 1, 4, 3), channels_first(convolution), (6, 6, 1)),
    "max pool": (MaxPool(), channels_first(lambda _, x: max_pool2d(x, 2)), (6, 6, 3)),
    "max pool, overlapping": (MaxPool(3, 2), channels_first(pool_3_2_of_even), (6, 6, 3)),
    "relu": (Relu(), lambda _, x: relu(x), (6, 3)),
    "local response": (  # torch divides alpha by the size of its window, TensorFlow does not
        LocalResponse(2, 1.5, 0.3, 0.75),
        channels_first(lambda _, x: local_response_norm(x, 5, 0.3 * 5, 0.75, 1.5)),
        (3, 3, 9),
    ),
    "view": (View((3, 4)), lambda _, x: x.reshape(-1, 3, 4), (2, 6)),
    "lstm": (Lstm(3, 4, peephole=False), lstm(peephole=False), (5, 3)),
    "lstm with peepholes": (Lstm(3, 4), lstm(peephole=True), (5, 3)),
}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("R", [1, 3])
@pytest.mark.parametrize(("layer", "reference", "shape"), LAYERS.values(), ids=LAYERS)
def test_a_layer_is_its_function_and_its_descent_a_gradient_step_of_autograd(layer, reference, shape, R):
    weights = [random(R, *each, seed=i) for i, each in enumerate(layer.shapes)]
    x = random(R, 7, *shape, seed=8)
    inputs = x.clone()
    expected, slopes, by_x = [], [], []
    for r in range(R):
        leaves = [tensor[r].clone().requires_grad_() for tensor in (*weights, x)]
        out = reference(leaves[:-1], leaves[-1])
        delta = random(*out.shape, seed=9 + r)
        gradients = torch.autograd.grad((out * delta).sum(), leaves)
        expected.append((out.detach(), *(w[r] - g for w, g in zip(weights, gradients[:-1], strict=True))))
        slopes.append(delta)
        by_x.append(gradients[-1])
    delta = torch.stack(slopes)
    for first in (True, False):
        out, kept = layer.forward(weights, x.clone())
        into = [w.clone() for w in weights]
        given = [w.clone() for w in weights]
        returned = layer.descend(given, into, kept, delta.clone(), first)
        for ours, theirs in zip((out, *into), zip(*expected, strict=True), strict=True):
            torch.testing.assert_close(ours, torch.stack(theirs), rtol=1e-10, atol=1e-12)
        assert all(a.equal(b) for a, b in zip(given, weights, strict=True))  # `into` alone moves
        layer.descend(given, given, layer.forward(weights, x.clone())[1], delta.clone(), first)
        for ours, theirs in zip(given, into, strict=True):  # where `into` is the weights, the step is the same
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(returned, torch.stack(by_x), rtol=1e-10, atol=1e-12)
    assert x.equal(inputs)


@pytest.mark.parametrize("R", [1, 3])
def test_an_embeddings_descent_sums_over_every_place_of_an_index(R):
    layer, W = Embedding(6, 3), random(R, 6, 3)
    x = torch.tensor([[0, 5, 5, 2], [5, 0, 1, 1]]).expand(R, 2, 4)
    leaf = W.clone().requires_grad_()
    out = torch.stack([embedding(x[r], leaf[r]) for r in range(R)])
    delta = random(*out.shape, seed=1)
    (gradient,) = torch.autograd.grad((out * delta).sum(), leaf)
    ours, kept = layer.forward([W], x)
    assert ours.equal(out.detach())
    layer.descend([W], [W], kept, delta, True)
    torch.testing.assert_close(W, leaf.detach() - gradient, rtol=1e-12, atol=1e-12)


def test_without_peepholes_the_memory_is_that_of_torch_nn():
    layer = Lstm(3, 4, peephole=False)
    W, U, b = (random(1, *shape, seed=i) for i, shape in enumerate(layer.shapes))
    theirs = torch.nn.LSTM(3, 4, batch_first=True).double()
    with torch.no_grad():
        for name, tensor in (("weight_ih_l0", W[0]), ("weight_hh_l0", U[0]), ("bias_ih_l0", b[0, 0])):
            getattr(theirs, name).copy_(tensor)
        theirs.bias_hh_l0.zero_()
    x = random(1, 7, 5, 3)
    torch.testing.assert_close(layer.forward([W, U, b], x)[0][0], theirs(x[0])[0].detach(), rtol=1e-12, atol=1e-12)


def test_the_native_memory_is_the_one_written_here():
    layer = Lstm(3, 4, peephole=False)
    weights, x = [random(1, *shape, seed=i) for i, shape in enumerate(layer.shapes)], random(1, 7, 5, 3)
    delta, made = random(1, 7, 5, 4, seed=9), {}
    for dtype in (torch.float32, torch.float64):  # oneDNN has no float64
        given = [weight.to(dtype) for weight in weights]
        assert layer.native(x.to(dtype)) == (dtype == torch.float32 and torch.backends.mkldnn.is_available())
        with torch.inference_mode():
            out, kept = layer.forward(given, x.to(dtype))
            by_x = layer.descend(given, given, kept, delta.to(dtype), False)
        made[dtype] = [tensor.double() for tensor in (out, by_x, *given)]
    for ours, theirs in zip(made[torch.float32], made[torch.float64], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not Lstm(3, 4).native(x.float()) and not layer.native(random(2, 7, 5, 3).float())


@pytest.mark.parametrize(
    ("size", "window", "stride", "edges"),
    # tf.nn.max_pool's SAME: ceil(size / stride) windows, what is missing split evenly, the odd pixel at the end
    [(28, 2, 2, (0, 0)), (24, 3, 2, (0, 1)), (12, 3, 2, (0, 1)), (7, 2, 2, (0, 1)), (5, 3, 2, (1, 1))],
)
def test_max_pool_pads_as_tensorflow_does(size, window, stride, edges):
    layer = MaxPool(window, stride)
    assert layer.edges(size) == edges
    x = random(1, 2, size, size, 3)
    out, _ = layer.forward([], x)
    assert out.shape == (1, 2, -(-size // stride), -(-size // stride), 3)
    assert out.amax() == x.amax() and out.isfinite().all()


def test_relus_descent_is_autograds_also_at_zero():
    x = torch.tensor([[[-1.0, 0.0, 2.0, -0.0, 1e-300]]], dtype=torch.float64).requires_grad_()
    delta = torch.tensor([[[3.0, 4.0, 5.0, 6.0, 7.0]]], dtype=torch.float64)
    (by_x,) = torch.autograd.grad((relu(x) * delta).sum(), x)
    out, kept = Relu().forward([], x.detach().clone())
    assert out.tolist() == relu(x).tolist()
    assert Relu().descend([], [], kept, delta, first=False).tolist() == by_x.tolist()
