"""Laws of the named streams."""

import hashlib

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from fedgrid.rng import stream

NAMES = st.sampled_from(["cohort", "client", "partition", "init"])
WORDS = st.tuples(st.integers(0, 2**40), NAMES, st.lists(st.integers(0, 10**6), max_size=3).map(tuple))


def raw(words, count=4):
    seed, name, keys = words
    return stream(seed, name, *keys).bit_generator.random_raw(count).tolist()


@given(a=WORDS, b=WORDS, draws=st.integers(0, 50))
def test_a_draw_does_not_depend_on_what_was_drawn_before(a, b, draws):
    alone = raw(a)
    stream(*b[:2], *b[2]).standard_normal(draws)
    np.random.default_rng(0).random(draws)
    assert raw(a) == alone


def test_a_draw_does_not_depend_on_the_order_in_which_streams_are_asked_for():
    words = [(0, "client", (t, k)) for t in range(5) for k in range(5)]
    forwards = {w: raw(w) for w in words}
    backwards = {w: raw(w) for w in reversed(words)}
    streams = {w: stream(w[0], w[1], *w[2]).bit_generator for w in words}
    interleaved = {w: [] for w in words}
    for _ in range(4):
        for w in words:
            interleaved[w].append(int(streams[w].random_raw()))
    assert forwards == backwards == interleaved


@given(a=WORDS, b=WORDS)
def test_other_seeds_names_or_keys_are_other_streams(a, b):
    assume(a != b)
    assert raw(a) != raw(b)


def test_keys_do_not_run_together():
    words = [(1, "client", (1, 23)), (1, "client", (12, 3)), (1, "client", (123,)), (1, "client", (23, 1))]
    words += [(11, "client", (1, 23)), (1, "client", ()), (1, "client", (1, 2, 3)), (1, "client", (0, 1, 23))]
    assert len({tuple(raw(w)) for w in words}) == len(words)


def test_numpy_integers_name_the_stream_of_the_number():
    assert raw((np.int64(3), "client", (np.int32(4), np.uint8(5)))) == raw((3, "client", (4, 5)))


def test_a_stream_is_numpys_philox_keyed_by_the_sha256_of_its_words():
    key = int(hashlib.sha256(b"0/client/3/7").hexdigest()[:32], 16).to_bytes(16, "big")
    bits = np.random.Philox(key=np.frombuffer(key, "<u8"))
    assert stream(0, "client", 3, 7).bit_generator.random_raw(8).tolist() == bits.random_raw(8).tolist()


def test_golden_values_so_that_no_change_of_the_generator_is_silent():
    # Every curve ever recorded hangs on these.
    assert raw((0, "cohort", (1,)), 2) == [16147298685942180926, 9733424303893758387]
    assert stream(0, "cohort", 1).choice(100, 5, replace=False).tolist() == [52, 32, 61, 30, 84]
    assert stream(0, "client", 3, 7).permutation(10).tolist() == [5, 0, 4, 9, 3, 7, 2, 1, 8, 6]
    assert stream(1, "init").uniform(-1, 1, 2).tolist() == [0.2754366491711395, -0.9118640467372143]
    assert stream(1, "init").standard_normal(2).tolist() == [-0.2080257972192221, 0.5605375660528891]
