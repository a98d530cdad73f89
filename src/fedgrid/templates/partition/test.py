"""Laws of NAME: everything is dealt once, to clients none of which is empty, and α is what skews their labels."""

import numpy as np
import pytest

from fedgrid import extensions
from fedgrid.partitions import draw
from fedgrid.rng import stream

Name = extensions.load("NAME").Name
LABELS = np.arange(1000) % 10  # a hundred examples of each of ten labels


def drawn(alpha, seed=0, K=20):
    return draw(Name(alpha), LABELS, K, stream(seed, "partition"))


def largest_share(alpha):
    """The share of a client's most frequent label, averaged over the clients: from 0.1, if IID, to 1."""
    counts = [np.bincount(LABELS[held], minlength=10) for held in drawn(alpha)]
    return np.mean([count.max() / count.sum() for count in counts])


@pytest.mark.parametrize("alpha", [0.1, 1, 100])
def test_every_example_is_dealt_once_and_no_client_is_empty(alpha):
    held = list(drawn(alpha))
    assert sorted(np.concatenate(held)) == list(range(len(LABELS)))
    assert min(map(len, held)) >= 1


def test_the_smaller_alpha_is_the_fewer_labels_a_client_has():
    assert largest_share(0.1) > 0.5 > largest_share(1) > largest_share(100)
    assert largest_share(10_000) < 0.2


def test_the_seed_alone_decides():
    assert drawn(1).digest == drawn(1).digest != drawn(1, seed=1).digest


def test_an_alpha_that_is_no_positive_number_is_refused():
    with pytest.raises(ValueError, match="alpha is 0"):
        Name(0)
