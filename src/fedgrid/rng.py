"""One seed, one named random stream per use.

A draw depends on the seed, on the stream's name and on its keys, and on nothing else: neither on the order in which
streams are asked for, nor on evaluation, resumption or the number of processes. No function here keeps a state.
"""

import hashlib

import numpy as np


def stream(seed: int, name: str, *keys: int) -> np.random.Generator:
    """The random stream of one use: `stream(seed, "cohort", t)`, `stream(seed, "client", t, k)`.

    The counter-based generator Philox (Salmon et al. 2011) takes its 128-bit key from the sha256 of the words.
    """
    words = "/".join([str(int(seed)), name, *(str(int(key)) for key in keys)])
    key = int.from_bytes(hashlib.sha256(words.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))
