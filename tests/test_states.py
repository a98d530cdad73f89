"""Laws of what clients keep in a file: the bits that memory has, of one round with the checkpoint, or refused."""

import os
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedgrid.algorithms import FedAvg
from fedgrid.engine import federation as engine
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.rows import Form, Rows, named
from fedgrid.engine.states import States
from fedgrid.partitions import PARTITIONS, draw
from fedgrid.rng import stream
from fedgrid.tasks.models import dense
from tests.strangers import Controlled

K, MODEL = 25, dense(6, 5, 4)
X = torch.from_numpy(np.random.default_rng(0).normal(size=(70, 6)))
Y = torch.from_numpy(np.random.default_rng(1).integers(4, size=70))
FORM = Form(("a", "b"), 2, 3, "<f4")


@dataclass(frozen=True)
class InMemory:
    """What clients keep as tensors in a dict: what the file is held against."""

    server: dict
    kept: dict = field(default_factory=dict)

    def of_rates(self, stay):
        kept = {k: {name: one[stay] for name, one in state.items()} for k, state in self.kept.items()}
        return InMemory({name: one[stay] for name, one in self.server.items()}, kept)

    def of_clients(self, clients, first):
        return {name: torch.stack([self.kept.get(k, first)[name] for k in clients.tolist()]) for name in first}

    def keep(self, clients, kept, first, title):
        for k, state in zip(clients.tolist(), kept, strict=True):
            self.kept[k] = {name: one.clone() for name, one in state.items()}


def raced(states_of, algorithm, rounds=8, workers=1, leave=()):
    """The weights after each round, and the states after the last; leave: by round, which rates stay from then on."""
    P = draw(PARTITIONS["iid_unbalanced"](), Y.numpy(), K, stream(0, "partition"))
    data = Examples(X, Y, Inputs(lambda x: x.float()))
    draws = partial(stream, 3)
    clients = Federation(MODEL, data, P, 0.16, 2, 5, draws, workers=workers, algorithm=algorithm)
    w = torch.randn(MODEL.parameters, generator=torch.Generator().manual_seed(1)).repeat(3, 1) / 3
    lr, states, laps = torch.tensor([0.05, 0.2, 0.4]), states_of(algorithm.server_state(w)), []
    for t in range(1, rounds + 1):
        w, states, _ = clients.round(t, w, lr, states)
        laps.append(w)
        if t in leave:
            stay = torch.tensor(leave[t])
            w, lr, states = w[stay], lr[stay], states.of_rates(stay)
    return laps, states, algorithm.client_state(w)


@dataclass(frozen=True)
class TwoNames(Controlled):
    """What is kept twice, by names that do not stand in the order of the alphabet."""

    def client_state(self, w):
        return super().client_state(w) | {"a": torch.full_like(w, 7)}

    def kept(self, trained):
        return super().kept(trained) | {"a": trained.client["a"] + trained.w_k}


@pytest.mark.parametrize("leave", [{}, {1: [True, False, True]}, {3: [False, True, True], 6: [True, False]}])
@pytest.mark.parametrize("stacked", [(1, 1), (2, 3), (100, 100)])
@pytest.mark.parametrize("algorithm", [Controlled(), TwoNames()])
def test_states_in_a_file_give_the_bits_of_states_in_memory(tmp_path, monkeypatch, algorithm, stacked, leave):
    monkeypatch.setattr(engine, "replicas_at_once", lambda *_: stacked)
    inside, remembered, first = raced(InMemory, algorithm, leave=leave)
    for workers in (1, 3):
        states_of = lambda server: States(server, Rows(tmp_path / f"{workers}.clients"))  # noqa: B023, E731
        outside, written, _ = raced(states_of, algorithm, workers=workers, leave=leave)
        assert all(a.equal(b) for a, b in zip(inside, outside, strict=True))
        everyone = written.of_clients(np.arange(K), first)
        for k in range(K):
            kept = remembered.kept.get(k, first)
            assert all(everyone[name][k].equal(one) for name, one in kept.items())
    assert 1 < len(remembered.kept) < K  # some take part again, and some never do


def test_an_algorithm_whose_clients_keep_nothing_has_no_file(tmp_path):
    _, states, _ = raced(lambda server: States(server, Rows(tmp_path / "clients")), FedAvg())
    assert list(tmp_path.iterdir()) == [] and states.clients.index() == {} and len(states.clients.place) == 0


@dataclass(frozen=True)
class Odd(Controlled):
    """What is kept has another form than at first."""

    form: str = "name"

    def kept(self, trained):
        one = trained.client["c_k"]
        return {"name": {"c": one}, "shape": {"c_k": one[:, :1]}, "none": {}}[self.form]

    def message(self, trained):
        return {"d": trained.w_k - trained.w_t, "c": trained.w_k}


@pytest.mark.parametrize("form", ["name", "shape", "none"])
def test_clients_keep_what_they_began_with_in_kind(form):
    with pytest.raises(ValueError, match=r"^FedAvg: kept gives \{.*\}, client_state \{'c_k': \(3, 59\)\}; they must"):
        raced(States, Odd(form=form))


# The file.


def rows_of(clients, seed):
    return np.random.default_rng(seed).normal(size=(len(clients), *FORM.shape)).astype(FORM.dtype)


STEPS = st.one_of(
    st.lists(st.integers(0, 19), min_size=1, max_size=8, unique=True),  # these clients write
    st.sampled_from(["checkpoint", "kill", "fail"]),  # fail: a checkpoint that could not be written
)


@given(steps=st.lists(STEPS, max_size=40))
def test_a_process_killed_at_any_moment_finds_the_rows_of_its_last_checkpoint(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("rows") / "clients"
    rows, now, index, then, dirty, most = Rows(path), {}, {}, {}, set(), 0
    for n, step in enumerate(steps):
        match step:
            case "checkpoint":
                rows.flush()
                index, then, dirty = rows.index(), dict(now), set()
                rows.checkpointed()
            case "fail":
                rows.flush()
            case "kill":
                rows, now, dirty = named(path, index, FORM, 20), dict(then), set()
                assert list(rows.faults()) == []
            case clients:
                written = rows_of(clients, n)
                rows.write(np.array(clients), FORM, written)
                now |= dict(zip(clients, written, strict=True))
                dirty |= set(clients)
        most = max(most, len(then) + len(dirty))
        there, found = rows.read(np.arange(20))
        assert np.flatnonzero(there).tolist() == sorted(now)
        assert all(np.array_equal(row, now[k]) for k, row in zip(np.flatnonzero(there), found, strict=True))
        assert rows.end <= most  # each client at most twice: as the checkpoint has it, and as it is now
    assert list(named(path, index, FORM, 20).faults()) == []


def written(path, clients=(3, 1, 7, 2)):
    """The index of a checkpoint of the file's rows."""
    rows = Rows(path)
    for some in (clients, clients[:2]):
        rows.write(np.array(some), FORM, rows_of(some, 5))
        rows.flush()
        index = rows.index()
        rows.checkpointed()
    return index


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def altered(path):
    whole = bytearray(path.read_bytes())
    whole[-5] ^= 1
    path.write_bytes(whole)


def swapped(path):
    """Two rows, each whole, in each other's place."""
    whole, n = path.read_bytes(), FORM.nbytes
    path.write_bytes(whole[: 2 * n] + whole[3 * n : 4 * n] + whole[2 * n : 3 * n] + whole[4 * n :])


def emptied(path):
    path.write_bytes(b"")


def removed(path):
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "was cut"),
        (emptied, "was cut"),
        (removed, "is not there"),
        (altered, "does not hold what client 1 kept"),
        (swapped, "does not hold what client 7 kept"),
    ],
)
def test_a_file_that_is_not_what_the_checkpoint_names_is_found(tmp_path, damage, says):
    index = written(path := tmp_path / "clients")
    assert list(named(path, index, FORM, 8).faults()) == []
    damage(path)
    assert list(named(path, index, FORM, 8).faults()) == [f"{path} {says}"]


@pytest.mark.parametrize(
    "change",
    [
        {"rates": np.array(3)},
        {"names": np.array(["a", "c"])},
        {"dtype": np.array("<f8")},
        {"clients": np.array([1, 2, 3, 8])},
        {"clients": np.array([-1, 2, 3, 7])},
        {"clients": np.array([1, 1, 3, 7])},
        {"clients": np.array([1, 2, 3])},
        {"clients": np.array([1.0, 2, 3, 7])},
        {"places": np.array([0, 1, 2, 2])},
        {"places": np.array([0, 1, 2, -1])},
        {"places": np.array([[0, 1, 2, 3]])},
        {"digests": np.zeros(3, np.uint64)},
    ],
)
def test_an_index_of_other_rows_is_refused(tmp_path, change):
    with pytest.raises(ValueError, match=r"^(what its clients keep is|its clients|it names clients)"):
        named(tmp_path, written(tmp_path / "clients") | change, FORM, 8)


def test_what_was_written_after_the_checkpoint_is_room_again(tmp_path):
    """A killed process leaves rows behind that nothing names; the next one writes where they lie."""
    index, path = written(tmp_path / "clients"), tmp_path / "clients"
    sizes = []
    for _ in range(3):
        rows = named(path, index, FORM, 8)
        rows.write(np.array([0, 1, 2]), FORM, rows_of([0, 1, 2], 1))
        sizes.append(path.stat().st_size)
    assert len(set(sizes)) == 1
