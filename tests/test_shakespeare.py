"""Shakespeare's roles: the counts that the paper prints or implies, on the real text; the rules, on small plays."""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fedgrid.tasks import fetch
from fedgrid.tasks.datasets import shakespeare

PARAMS = Path(__file__).parents[1] / "params" / "datasets.yaml"
MIRROR = os.environ.get("FEDGRID_MIRROR", "")

PLAY = b"""\
A PLAY

by William Shakespeare


  FIRST LORD. What, ho!
    Who's there?
  SECOND. Nobody.
  [Exit]
FIRST LORD. Not indented, so no speech.
    Nor this, but it goes on.
  FIRST LORD. Then I go.
  First Lord. Another spelling, another role.
"""
ERRORS = b"""\
THE COMEDY OF ERRORS

by William Shakespeare

ACT I. SCENE 1
A hall; nobody speaks yet.
DUKE. One.
  Two.

AEGEON. Mine.
<<NOTICE. Of the publisher.>>
Still nobody's.
ACT II. SCENE 1
Nobody's again.
DUKE. Three.
<<NOTICE. Again.>>
"""
SONNETS = b"THE SONNETS\n\nby William Shakespeare\n\n  POET. Not a role.\n"
END = b"THE END\n\nby William Shakespeare\n\n  NOBODY. After the last play.\n"


def spoken(play):
    file = (SONNETS + play + END).splitlines()
    ((title, lines),) = shakespeare.works(file)
    return title, shakespeare.speeches(title, lines)


def test_a_speech_begins_with_a_role_and_goes_on_by_indentation():
    title, said = spoken(PLAY)
    assert title == b"A PLAY"
    assert said == {
        b"FIRST LORD": [b"What, ho!", b"Who's there?", b"Then I go."],
        b"SECOND": [b"Nobody.", b"Nor this, but it goes on."],
        b"First Lord": [b"Another spelling, another role."],
    }


def test_in_the_comedy_of_errors_everything_between_speeches_is_said_but_acts_and_notices():
    _, said = spoken(ERRORS)
    assert said == {b"DUKE": [b"One.", b"  Two.", b"", b"Three."], b"AEGEON": [b"Mine."]}


def test_a_role_of_fewer_than_three_lines_is_no_client_nor_is_a_text_with_one_role():
    file = (SONNETS + PLAY + b"POEM\n\nby William Shakespeare\n\n  I. Said.\n    Much.\n    More.\n" + END).splitlines()
    assert [(play, role) for play, role, _ in shakespeare.roles(file)] == [(b"A PLAY", b"FIRST LORD")]


@pytest.mark.parametrize(("lines", "test"), [(3, 1), (5, 1), (9, 1), (10, 2), (1559, 311)])
def test_the_last_fifth_of_a_roles_lines_is_for_testing_and_at_least_one(lines, test):
    said = [b"%d" % line for line in range(lines)]
    train, held_out = shakespeare.split(said)
    assert len(held_out) == test and train + held_out == said


def test_after_each_byte_the_next_is_predicted_after_the_last_the_end_and_then_padding():
    read, follows = shakespeare.tokens([b"To be", b"", b"x" * 81, "é".encode("latin-1")])
    assert read.shape == follows.shape == (4, 80) and read.dtype == np.int16
    assert bytes(read[0, :5].tolist()) == b"To be" and follows[0, :5].tolist() == [*b"o be", 256]
    assert read[0, 5] == 256 and set(read[0, 6:]) == set(follows[0, 5:]) == {257}
    assert read[1, 0] == 256 and set(follows[1]) == {257}  # an empty line says nothing
    assert set(read[2]) == set(follows[2]) == {ord("x")}  # a line that is longer is read as far as it goes
    assert (read[3, 0], follows[3, 0], follows[3, 1]) == (233, 256, 257)


def test_another_posting_is_refused_by_the_name_of_the_file(tmp_path):
    (tmp_path / "pg100.txt").write_bytes(SONNETS + PLAY + END)
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path / 'pg100.txt'))}: 1 roles, not the 1146 .*2011"):
        shakespeare.load(tmp_path)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    if not Path(MIRROR, "shakespeare").is_dir():
        pytest.skip("FEDGRID_MIRROR is no folder with Shakespeare")
    folder = tmp_path_factory.mktemp("raw")
    fetch.fetch("shakespeare", folder, PARAMS)
    return folder / "shakespeare"


def test_the_real_works_have_the_papers_clients_and_characters(raw):
    """1146 clients (section 3) in 36 plays; characters with newlines, 0.13 and 0.11 % more than the paper prints."""
    clients = list(shakespeare.roles((raw / "pg100.txt").read_bytes().splitlines()))
    parts = [shakespeare.split(lines) for _, _, lines in clients]
    assert len(clients) == 1146 and len({play for play, _, _ in clients}) == 36
    counts = [sum(len(line) + 1 for part in parts for line in part[which]) for which in (0, 1)]
    assert counts == [3_569_256, 870_941]
    assert abs(counts[0] / 3_564_579 - 1) < 0.002 and abs(counts[1] / 870_014 - 1) < 0.002


def test_the_real_lines_are_the_datasets_examples_client_by_client(raw):
    data = shakespeare.load(raw)
    assert data.train_x.shape == (85_252, 80) and data.test_x.shape == (20_869, 80)
    assert len(data.clients) == 1147 and data.clients[-1] == 85_252 and (np.diff(data.clients) >= 2).all()
    assert pytest.approx(74.2, rel=0.005) == 85_252 / 1146  # u of Table 2's row E = 1, B = 10 is 7.4
    clients = list(shakespeare.roles((raw / "pg100.txt").read_bytes().splitlines()))
    for k in (0, 500, 1145):
        mine = slice(*data.clients[k : k + 2])
        read = [bytes(row[row < 256].astype(np.uint8).tolist()) for row in data.train_x[mine]]
        assert read == [line[:80] for line in shakespeare.split(clients[k][2])[0]]
    assert (data.train_y >= 0).all() and set(data.test_y[data.test_y > 255]) == {256}  # padding is learnt, never tested
    lengths = (data.test_y >= 0).sum(1)
    assert (np.diff(lengths) >= 0).all()  # test lines by length
    held_out = Counter(len(line[:80]) for _, _, lines in clients for line in shakespeare.split(lines)[1])
    assert Counter(lengths.tolist()) == held_out
