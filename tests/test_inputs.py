"""What becomes of stored examples, and that training on distorted ones is Algorithm 1 all the same."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from fedgrid.algorithms import batches
from fedgrid.algorithms.sgd import SGD
from fedgrid.engine.convolutional import Conv2d, LocalResponse, MaxPool
from fedgrid.engine.evaluation import evaluate
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.layers import Linear, Relu, View
from fedgrid.engine.model import Layered
from fedgrid.engine.states import States
from fedgrid.partitions import Partition
from fedgrid.rng import stream
from fedgrid.tasks import inputs
from fedgrid.tasks.datasets import Dataset
from fedgrid.tasks.inputs.colour_images import cropped

EMPTY = Dataset("none", *[np.zeros(1)] * 4)
COLOUR = inputs.colour(EMPTY, "unit", torch.float64)
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(256, size=(6, 32 * 32 * 3), dtype=np.uint8))


def by_hand(image, top, left, mirror, bright, contrast):
    """TensorFlow's tutorial, pixel by pixel: a 24×24 window, mirrored, another brightness and contrast, whitened."""
    image, row, column = image.reshape(32, 32, 3).astype(float), int(top * 9), int(left * 9)
    seen = np.array([[image[row + i, column + (23 - j if mirror < 0.5 else j)] for j in range(24)] for i in range(24)])
    seen += -63 + 126 * bright
    for channel in range(3):
        mean = seen[:, :, channel].mean()
        seen[:, :, channel] = mean + (seen[:, :, channel] - mean) * (0.2 + 1.6 * contrast)
    return (seen - seen.mean()) / max(seen.std(), 1 / np.sqrt(24 * 24 * 3))


DRAW = st.floats(0, 1 - 2**-24, width=32)


@given(draws=st.tuples(*[DRAW] * 5), which=st.integers(0, 5))
def test_a_training_image_is_cropped_flipped_brightened_and_whitened_as_in_the_tutorial(draws, which):
    seen = COLOUR.distort(PIXELS[which : which + 1], torch.tensor([draws], dtype=torch.float32))
    assert seen.shape == (1, 24, 24, 3)
    assert np.abs(seen[0].numpy() - by_hand(PIXELS[which].numpy(), *draws)).max() < 1e-4


def test_a_test_image_is_its_whitened_middle():
    seen = COLOUR.prepare(PIXELS)
    middle = PIXELS.reshape(-1, 32, 32, 3)[:, 4:28, 4:28].double().numpy()
    for image, one in zip(middle, seen.numpy(), strict=True):
        assert np.abs(one - (image - image.mean()) / image.std()).max() < 1e-5
    assert COLOUR.prepare(torch.full((1, 3072), 7, dtype=torch.uint8)).abs().max() == 0  # a flat one


def test_every_place_of_the_window_and_both_sides_are_drawn():
    draws = torch.rand(5000, 5, generator=torch.Generator().manual_seed(0))
    image = torch.arange(32 * 32).view(1, 32, 32, 1).expand(5000, 32, 32, 3)
    seen = cropped(image, *draws[:, :2].T, draws[:, 2] < 0.5)
    corners = seen[:, 0, [0, -1], 0]
    straight = corners[:, 1] > corners[:, 0]
    assert set(corners[straight, 0].tolist()) == {32 * i + j for i in range(9) for j in range(9)}
    assert set(corners[~straight, 1].tolist()) == {32 * i + j for i in range(9) for j in range(9)}
    assert 2300 < straight.sum() < 2700


def test_the_end_of_a_text_is_read_as_any_character_and_nothing_else_changes():
    read = inputs.text(EMPTY, "unit", torch.float32).prepare(torch.tensor([[3, 255, -1, -1]], dtype=torch.int16))
    assert read.tolist() == [[3, 255, 0, 0]] and read.dtype == torch.int64


# A small sister of the CIFAR-10 model: 6×6 images in 3 colours, overlapping pools, normalisation, two penalties.
PENALTY = 0.3
SISTER = Layered(
    (
        *(View((6, 6, 3)), Conv2d(6, 3, 5, 3), MaxPool(3, 2), Relu(), LocalResponse(alpha=0.1)),
        *(Conv2d(3, 5, 5, 3), Relu(), LocalResponse(alpha=0.1), MaxPool(3, 2), View((20,))),
        *(Linear(20, 7, penalty=PENALTY), Relu(), Linear(7, 6, penalty=PENALTY), Relu(), Linear(6, 4)),
    )
)
SHAPES = [(5, 3, 3, 3), (5,), (5, 3, 3, 5), (5,), (20, 7), (7,), (7, 6), (6,), (6, 4), (4,)]


def sister(w, x):
    """The same by torch alone: TensorFlow pads the odd pixel at the end."""
    parts = w.split([int(np.prod(shape)) for shape in SHAPES])
    W1, b1, W2, b2, W3, b3, W4, b4, W5, b5 = (part.view(shape) for part, shape in zip(parts, SHAPES, strict=True))

    def pool(x):
        edge = (0, 1, 0, 1) if x.shape[-1] % 2 == 0 else (1, 1, 1, 1)
        return functional.max_pool2d(functional.pad(x, edge, value=-torch.inf), 3, 2)

    def norm(x):  # torch divides alpha by the window's 9 channels
        return functional.local_response_norm(x, 9, alpha=0.9, beta=0.75, k=1)

    x = functional.conv2d(x.view(-1, 6, 6, 3).permute(0, 3, 1, 2), W1.permute(0, 3, 1, 2), b1, padding=1)
    x = norm(pool(x.relu()))
    x = pool(norm(functional.conv2d(x, W2.permute(0, 3, 1, 2), b2, padding=1).relu()))
    x = x.permute(0, 2, 3, 1).flatten(1)
    logits = ((x @ W3 + b3).relu() @ W4 + b4).relu() @ W5 + b5
    return logits, PENALTY / 2 * ((W3**2).sum() + (W4**2).sum())


def noisy(x, draws):
    return x.view(-1, 6, 6, 3).double() * (1 + draws[:, :1, None, None].double()) - draws[:, 1:, None, None].double()


N = 40
X, Y = torch.randn(N, 108, generator=torch.Generator().manual_seed(2)), torch.arange(N) % 4
UNEQUAL = Partition(np.random.default_rng(1).permutation(N), np.array([0, 5, 16, 24, N]))
LRS = (0.05, 0.3)


def gradient(w, x, y):
    w = w.clone().requires_grad_()
    logits, penalty = sister(w, x)
    return torch.autograd.grad(functional.cross_entropy(logits, y) + penalty, w)[0]


def expected(w, lr, t, E, B):
    """A round of all clients by hand; each epoch of a client's examples is distorted by the next of its draws."""
    total = torch.zeros_like(w)
    for k in range(len(UNEQUAL)):
        n_k, w_k = len(UNEQUAL[k]), w
        draws = stream(3, "distort", t, k).random((E * n_k, 2), np.float32).reshape(E, n_k, 2)
        orders = list(batches.epochs(UNEQUAL[k], E, stream(3, "client", t, k)))
        if E == 1 and np.inf == B:  # one batch, whose order is no matter: the draws follow the client's own
            orders = [UNEQUAL[k]]
        for order, drawn in zip(orders, torch.from_numpy(draws), strict=True):
            for some in torch.arange(n_k).split(int(min(B, n_k))):
                b = order[some.numpy()]
                w_k = w_k - lr * gradient(w_k, noisy(X[b], drawn[some]), Y[b])
        total += n_k / N * w_k
    return total


def sisters(**settings):
    data = Examples(X, Y, Inputs(lambda x: noisy(x, torch.zeros(len(x), 2)), noisy, 2))
    return Federation(SISTER, data, UNEQUAL, 1.0, stream=partial(stream, 3), dtype=torch.float64, **settings)


def start():
    return torch.randn(SISTER.parameters, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 3


@pytest.mark.parametrize(("E", "B"), [(1, np.inf), (1, 3), (2, 4), (3, np.inf)])
def test_training_on_distorted_examples_with_a_penalty_is_the_specification(E, B):
    clients, w = sisters(E=E, B=B), start().repeat(2, 1)
    wanted = list(w)
    for t in (1, 2):
        w, *_ = clients.round(t, w, torch.tensor(LRS, dtype=torch.float64), States())
        wanted = [expected(one, lr, t, E, B) for one, lr in zip(wanted, LRS, strict=True)]
    assert max((w[r] - wanted[r]).abs().max() for r in (0, 1)) < 1e-9
    assert (w[1] - start()).abs().max() > 0.01


def test_a_penalty_spares_the_clients_of_a_stack_that_have_no_batch_left():
    """Clients of 5, 11, 8 and 16 examples step together; the shorter ones end before the longest does."""
    clients, w = sisters(E=1, B=2), start().repeat(2, 1)
    clients.fits[2] = 4, 2  # all clients and rates in one stack
    got, *_ = clients.round(1, w, torch.tensor(LRS, dtype=torch.float64), States())
    assert (got[0] - expected(start(), LRS[0], 1, 1, 2)).abs().max() < 1e-9


def test_plain_sgd_goes_through_all_data_in_fresh_orders():
    clients, w = sisters(E=1, B=9, algorithm=SGD()), start().repeat(2, 1)
    wanted, seen = start(), []
    for t in range(1, 11):  # two epochs of 40 examples: batches of 9, 9, 9, 9 and 4
        w, _, count = clients.round(t, w, torch.tensor(LRS, dtype=torch.float64), States())
        order = stream(3, "epoch", (t - 1) // 5).permutation(N)
        b = UNEQUAL.indices[order[9 * ((t - 1) % 5) :][:9]]
        draws = torch.from_numpy(stream(3, "distort", t).random((len(b), 2), np.float32))
        wanted = wanted - LRS[1] * gradient(wanted, noisy(X[b], draws), Y[b])
        seen += b.tolist()
        assert count == len(b)
    assert sorted(seen[:N]) == sorted(seen[N:]) == list(range(N)) and seen[:N] != seen[N:]
    assert (w[1] - wanted).abs().max() < 1e-9
    assert clients.share == 1 / 5


def test_evaluation_distorts_nothing():
    data = sisters(E=1, B=9).data
    accuracy, loss = evaluate(SISTER, start().unsqueeze(0), data, torch.float64)
    logits, _ = sister(start(), X.double())
    assert loss[0] == pytest.approx(functional.cross_entropy(logits, Y).item(), abs=1e-12)
    assert accuracy[0] == (logits.argmax(1) == Y).double().mean().item()


def test_the_learning_rate_decays_by_passes_over_the_clients_or_by_rounds():
    assert [batches.DECAYS["epoch"](t, 0.1) for t in (1, 10, 11, 20, 21, 1001)] == [0, 0, 1, 1, 2, 100]
    assert [batches.DECAYS["epoch"](t, 1 / 500) for t in (500, 501, 1000, 1001)] == [0, 1, 1, 2]
    assert [batches.DECAYS["round"](t, 0.1) for t in (1, 2, 101)] == [0, 1, 100]


@pytest.mark.parametrize("white", [16, 255])
def test_a_centred_pixel_lies_between_minus_a_half_and_a_half(white):
    """TensorFlow's convolutional MNIST tutorial: (x − 127.5)/255."""
    x = np.arange(white + 1, dtype=np.uint8)
    centred = inputs.grey(Dataset("none", *[np.zeros(1)] * 4, white=white), "centred", torch.float32).prepare(
        torch.from_numpy(x)
    )
    wanted = (x.astype(np.float32) - np.float32(white / 2)) / np.float32(white)
    assert centred.tolist() == wanted.tolist()
    assert (centred[0], centred[-1]) == (-0.5, 0.5)
