"""The paper's models, each written once as a tuple of layers and checked by its parameter count."""

from itertools import pairwise

from fedgrid.engine.convolutional import Conv2d, LocalResponse, MaxPool
from fedgrid.engine.layers import CONVOLUTIONAL_START, Layer, Linear, Relu, Start, View
from fedgrid.engine.model import Layered
from fedgrid.engine.recurrent import Embedding, Lstm


def dense(*widths: int) -> Layered:
    """Fully connected layers of those widths with ReLU between them."""
    layers: list[Layer] = []
    for inputs, outputs in pairwise(widths):
        layers += [Linear(inputs, outputs), Relu()]
    return Layered(tuple(layers[:-1]))


def convolutional(size: int, classes: int, *channels: int, hidden: int, window: int = 5) -> Layered:
    """Convolutions of those channels on square grey images, each halved by max pooling; a hidden layer; the classes.

    ReLU stands after pooling, where it is the same function of a quarter of the numbers. In TensorFlow's tutorial of
    the same layers the first convolution's biases start at zero.
    """
    layers: list[Layer] = [View((size, size, 1))]
    start = Start(0.1, 0.0)
    for inputs, outputs in pairwise((1, *channels)):
        layers += [Conv2d(size, inputs, outputs, window, tutorial2015=start), MaxPool(), Relu()]
        start = CONVOLUTIONAL_START
        size = -(-size // 2)
    flat = size * size * channels[-1]
    return Layered((*layers, View((flat,)), Linear(flat, hidden), Relu(), Linear(hidden, classes)))


def tutorial_cifar() -> Layered:
    """The CNN of TensorFlow's CIFAR-10 tutorial (2016), with its initial values and L2 penalty.

    In its first year the tutorial drew the convolutions' weights with a deviation of 1e-4; all else is the same.
    """
    size, channels, widths, classes = 24, 64, (384, 192), 10
    flat = (size // 4) ** 2 * channels
    first, second, hidden, last = Start(0.05, 0.0), Start(0.05, 0.1), Start(0.04, 0.1), Start(1 / widths[1], 0.0)
    first2015, second2015 = Start(1e-4, 0.0), Start(1e-4, 0.1)
    return Layered(
        (
            *(View((size, size, 3)), Conv2d(size, 3, channels, 5, first, first2015)),
            *(MaxPool(3, 2), Relu(), LocalResponse()),
            *(Conv2d(size // 2, channels, channels, 5, second, second2015), Relu(), LocalResponse(), MaxPool(3, 2)),
            *(View((flat,)), Linear(flat, widths[0], hidden, 0.004, hidden), Relu()),
            *(Linear(*widths, hidden, 0.004, hidden), Relu()),
            Linear(widths[1], classes, last, tutorial2015=last),
        )
    )


def recurrent(vocabulary: int, width: int, units: int, depth: int, unroll: int, peephole: bool = True) -> Layered:
    """An embedding, `depth` layers of LSTM and a softmax over the vocabulary at each position."""
    memories = [Lstm(inputs, units, peephole) for inputs in (width, *[units] * (depth - 1))]
    return Layered((Embedding(vocabulary, width), *memories, Linear(units, vocabulary)), unroll)


# MNIST 2NN (section 3): 199,210 parameters.
MNIST_2NN = dense(784, 200, 200, 10)
# MNIST CNN (section 3): 1,663,370 parameters, a count that needs SAME padding.
MNIST_CNN = convolutional(28, 10, 32, 64, hidden=512)
# CIFAR-10's CNN (section 3): about 10⁶ parameters in the paper, 1,068,298 in the tutorial.
CIFAR_CNN = tutorial_cifar()
# Shakespeare's character LSTM (section 3): 866,578 parameters, which need peepholes and a vocabulary of 258.
CHAR_LSTM = recurrent(vocabulary=258, width=8, units=256, depth=2, unroll=80)
# The word LSTM (section 3): 4,950,544 parameters.
WORD_LSTM = recurrent(vocabulary=10_000, width=192, units=256, depth=1, unroll=10)
# The 2NN's small sister for scikit-learn's 8×8 digits: 55,210 parameters.
DIGITS_2NN = dense(64, 200, 200, 10)
