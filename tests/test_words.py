"""Laws of the encoded corpora: what is predicted, by whom, in which words; once, whole, and in little memory."""

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgrid.__main__ import main
from fedgrid.grid import plan
from fedgrid.run import job
from fedgrid.tasks.datasets import words

ROOT = Path(__file__).parents[1]
FILES = {"vocabulary.txt", "train.npy", "test.npy", "clients.npy", "summary.json"}


def corpus(authors=120, posts=12, distinct=10_500, seed=0):
    """Posts of random length whose words are w0, w1, …; every word occurs, low numbers more often."""
    rng, unused = random.Random(seed), list(range(distinct))
    made = []
    for author in range(authors):
        for _ in range(posts):
            some = [int(distinct ** rng.random()) - 1 for _ in range(rng.randrange(1, 25))]
            some += [unused.pop() for _ in range(min(len(unused), 9))]
            made.append((f"author{author}", " ".join(f"w{number}" for number in some)))
    return made


def pairs(authors=200, posts=60):
    """Posts of two words that nobody else uses: an example each."""
    return [(f"author{a}", f"w{a}x{post} v{a}x{post}") for a in range(authors) for post in range(posts)]


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """The folder of an encoded corpus, and its posts."""
    posts = corpus()
    folder = tmp_path_factory.mktemp("encoded") / "corpus"
    words.encode(posts, folder, "corpus")
    return folder, posts


def held(folder):
    """Every file's content, hidden ones included."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(folder):
    """What lies in the folder, hidden or not."""
    return {path.name for path in folder.iterdir()}


def spelt(folder, name):
    """Every row of tokens as words, None for −1."""
    vocabulary = [None, *(folder / "vocabulary.txt").read_text().split()]
    return [[vocabulary[token] if token > 0 else None for token in row] for row in np.load(folder / name)]


def by_author(folder):
    """The training rows of each client."""
    rows, clients = spelt(folder, "train.npy"), np.load(folder / "clients.npy").tolist()
    return [rows[start:end] for start, end in pairwise(clients)]


def texts(posts):
    """The words of each author's posts."""
    said = {}
    for author, text in posts:
        said.setdefault(author, []).append(text.split())
    return said


def expected(said, known):
    """The rows that an author's posts make where those words are known."""
    marked = [[word if word in known else None for word in post] for post in said]
    return [(post[i : i + 11] + [None] * 11)[:11] for post in marked for i in range(0, len(post) - 1, 10)]


def test_the_vocabulary_is_the_most_frequent_words_of_the_training_authors(encoded):
    folder, posts = encoded
    vocabulary = (folder / "vocabulary.txt").read_text().split()
    clients, said = by_author(folder), texts(posts)
    training = [own for own in said.values() if expected(own, set(vocabulary)) in clients]
    counts = Counter(word for own in training for post in own for word in post)
    assert len(training) == len(clients) == 108 and len(counts) > 9_999
    assert vocabulary == sorted(counts, key=lambda word: (-counts[word], word))[:9_999]


def test_words_that_are_counted_in_parts_add_up(encoded, tmp_path, monkeypatch):
    monkeypatch.setattr(words, "COUNTED", 50)
    words.encode(encoded[1], tmp_path / "corpus", "corpus")
    assert held(tmp_path / "corpus") == held(encoded[0])


@given(tokens=st.lists(st.integers(-1, 9_999), max_size=60))
def test_every_word_of_a_post_but_the_first_is_predicted_once_from_the_one_before(tokens):
    rows = words.stretches(tokens)
    assert rows.dtype == np.int16 and rows.shape == ((max(len(tokens), 1) + 8) // 10, 11)
    read_and_next = [both for row in rows.tolist() for both in pairwise(row)]
    told = list(pairwise(tokens))
    assert read_and_next[: len(told)] == told
    assert all(following == -1 for _, following in read_and_next[len(told) :])  # padding is never predicted


def test_an_authors_examples_are_his_posts_in_order_and_nobody_elses(encoded):
    folder, posts = encoded
    known = set((folder / "vocabulary.txt").read_text().split())
    every = [expected(own, known) for own in texts(posts).values()]
    clients, tested = by_author(folder), spelt(folder, "test.npy")
    assert all(rows in every for rows in clients)
    others = [rows for rows in every if rows not in clients]
    assert len(clients) + len(others) == 120 and sorted(map(str, chain(*others))) == sorted(map(str, tested))
    assert any(None in row[:2] for row in tested)  # a word that only test authors use


def test_authors_in_another_order_in_the_file_make_the_same_bytes(encoded, tmp_path):
    folder, posts = encoded
    turn, mingled = Counter(), []
    for author, text in reversed(posts):
        mingled.append((turn[author], author, text))
        turn[author] -= 1  # each author's own order stays
    words.encode([(author, text) for _, author, text in sorted(mingled)], tmp_path / "again", "corpus")
    assert held(tmp_path / "again") == held(folder)


def test_an_author_keeps_his_first_five_thousand_words(tmp_path):
    posts = corpus() + [("talker", f"mine{number} " * 1200) for number in range(6)]
    words.encode(posts, tmp_path / "corpus", "corpus")
    rows = [row for name in ("train.npy", "test.npy") for row in spelt(tmp_path / "corpus", name)]
    said = Counter(word for row in rows for word in row[1:])
    kept = [said[f"mine{number}"] for number in range(6)]
    assert kept == [1199, 1199, 1199, 1199, 199, 0]  # 5,000, but each post's first


def test_one_hash_of_the_names_orders_the_clients_and_another_draws_the_tested(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "VOCABULARY", 21_601)  # every word is known, and tells its author
    words.encode(pairs(), tmp_path / "corpus", "corpus")

    def order(author):
        return sha256(f"order/author{author}".encode()).digest()

    tested = sorted(range(200), key=lambda author: sha256(b"test/" + order(author)).digest())[:20]
    clients = [rows[0][0].strip("w").split("x")[0] for rows in by_author(tmp_path / "corpus")]
    assert clients == [str(author) for author in sorted(range(200), key=order) if author not in tested]


def test_a_tenth_of_all_posts_is_tested(tmp_path):
    summary = words.encode(pairs(), tmp_path / "corpus", "corpus")
    assert summary["test"]["examples"] == 1200 and summary["train"]["examples"] == 10_800


def test_the_last_test_authors_posts_over_the_limit_are_in_neither_set(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "TEST_POSTS", 100)
    summary = words.encode(pairs(), tmp_path / "corpus", "corpus")
    assert (summary["test"]["authors"], summary["test"]["examples"]) == (2, 100)  # 60 posts, and 40 of 60
    assert (summary["train"]["authors"], summary["train"]["examples"]) == (198, 198 * 60)


def test_single_words_and_empty_posts_give_nothing_and_are_counted(tmp_path):
    posts = [*corpus(), ("silent", "… !"), ("monosyllabic", "yes"), ("monosyllabic", "No!")]
    summary = words.encode(posts, tmp_path / "corpus", "corpus")
    assert summary == json.loads((tmp_path / "corpus" / "summary.json").read_text())
    counts = [summary[count] for count in ("posts", "empty_posts", "authors", "authors_left_out")]
    assert counts == [1443, 1, 122, 2]
    assert summary["train"]["authors"] + summary["test"]["authors"] == 120


def test_the_summary_tells_words_and_the_share_that_is_unknown(encoded):
    folder, posts = encoded
    summary = json.loads((folder / "summary.json").read_text())
    known = set((folder / "vocabulary.txt").read_text().split())
    said = [word for _, text in posts for word in text.split()]
    assert summary["train"]["words"] + summary["test"]["words"] == len(said)
    unknown = sum(summary[side]["words"] * summary[side]["unknown_share"] for side in ("train", "test"))
    assert unknown == pytest.approx(sum(word not in known for word in said)) and unknown > 0
    assert summary["distinct_words"] < 10_500 and summary["train"]["examples"] == len(np.load(folder / "train.npy"))


def test_a_word_is_letters_and_digits_in_lower_case_with_an_apostrophe_inside():
    assert words.words("Don't SHOUT, it’s 2009-é: 'quoted' @user_1") == [
        *("don't", "shout", "it’s", "2009", "é", "quoted", "user_1")
    ]


def test_a_name_may_be_any_string(tmp_path):
    """JSON can write half of a surrogate pair, which no encoding has."""
    posts = corpus()
    words.encode([*posts, ("\ud800", "two words"), ("", "two words")], tmp_path / "corpus", "corpus")
    assert json.loads((tmp_path / "corpus/summary.json").read_text())["authors"] == 122


@pytest.mark.parametrize(
    ("posts", "says"),
    [
        ([], "no authors of two words in a post"),
        ([("ann", "!"), ("bob", "word")], "no authors of two words in a post"),
        ([("ann", f"two words{i}") for i in range(100)], "1 authors of two words in a post, and 100 posts"),
        ([(f"a{i}", "two words") for i in range(9)], "9 authors of two words in a post, and 9 posts"),
        ([(f"a{i}", "two words") for i in range(100)], "2 distinct words .* vocabulary has 9999"),
    ],
)
def test_a_corpus_that_cannot_serve_is_refused_by_its_name_and_leaves_nothing(tmp_path, posts, says):
    with pytest.raises(ValueError, match=f"^mine: .*{says}.*; add ") as caught:
        words.encode(posts, tmp_path / "corpus", "mine")
    assert "\n" not in str(caught.value)
    assert not names(tmp_path)


def test_test_posts_without_a_second_word_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "VOCABULARY", 2)
    posts = [(f"author{author}", text) for author in range(5) for text in ("one", "two words")]
    with pytest.raises(ValueError, match=r"^mine: no post of two words among the 1 test authors'; add authors"):
        words.encode(posts, tmp_path / "corpus", "mine")  # a tenth is one post, of one word
    assert not names(tmp_path)


def test_a_vocabulary_as_large_as_the_corpus_is_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "VOCABULARY", 2 * 180 * 60 + 1)
    assert words.encode(pairs(), tmp_path / "corpus", "mine")["distinct_words"] == 21_600
    monkeypatch.setattr(words, "VOCABULARY", 2 * 180 * 60 + 2)
    with pytest.raises(ValueError, match=r"21600 distinct words .* has 21601"):
        words.encode(pairs(), tmp_path / "corpus", "mine")


def test_an_encoding_that_fails_leaves_the_former_one(encoded, tmp_path):
    def cut():
        yield from posts[:100]
        raise ValueError("posts.jsonl:101: cut")

    _, posts = encoded
    words.encode(posts, tmp_path / "corpus", "corpus")
    before = held(tmp_path / "corpus")
    with pytest.raises(ValueError, match=":101: cut"):
        words.encode(cut(), tmp_path / "corpus", "corpus")
    assert names(tmp_path) == {"corpus"} and set(before) == FILES and held(tmp_path / "corpus") == before


SLOW = """
import sys, time
from pathlib import Path
from fedgrid.tasks.datasets import words
write = words.write_side
def slow(clients, token, path):
    if path.name == "test.npy":
        print("half made", flush=True)
        time.sleep(60)
    return write(clients, token, path)
words.write_side = slow
words.encode(((f"a{i // 60}", f"w{i} v{i}") for i in range(12000)), Path(sys.argv[1]), "corpus")
"""


@pytest.mark.fault
def test_an_encoding_that_is_killed_looks_like_none_and_the_next_succeeds(tmp_path):
    folder = tmp_path / "corpus"
    with subprocess.Popen([sys.executable, "-c", SLOW, folder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half made\n"
        process.send_signal(signal.SIGKILL)
    assert not folder.exists() and all(name.endswith(".partial") for name in names(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        words.load(folder)
    assert caught.value.filename == str(folder / "train.npy")
    words.encode(pairs(), folder, "corpus")
    assert set(held(folder)) == FILES


def test_what_is_loaded_is_memory_mapped_and_says_what_is_read_and_what_comes_next(encoded):
    folder, _ = encoded
    data = words.load(folder)
    rows = np.load(folder / "train.npy")
    assert (data.train_x == rows[:, :-1]).all() and (data.train_y == rows[:, 1:]).all()
    assert isinstance(data.train_x.base, np.memmap) and data.name == "corpus"
    assert data.train_x.dtype == np.int16 and rows.min() == -1 and not (rows == 0).any() and rows.max() == 9_999
    assert len(data.clients) == json.loads((folder / "summary.json").read_text())["train"]["authors"] + 1
    assert data.clients[-1] == len(data.train_x) and data.digest == words.load(folder).digest


@pytest.mark.parametrize("damage", [lambda whole: b"\x93NUMPY", lambda whole: whole[:-50], lambda whole: b""])
def test_a_damaged_encoding_is_named(encoded, tmp_path, damage):
    (tmp_path / "corpus").mkdir()
    for name, content in held(encoded[0]).items():
        (tmp_path / "corpus" / name).write_bytes(damage(content) if name == "test.npy" else content)
    with pytest.raises(ValueError, match=r"test\.npy: damaged .*encode it again"):
        words.load(tmp_path / "corpus")


MEASURE = """
import re, sys
from pathlib import Path
from fedgrid.tasks.datasets import words
def posts(n):
    for i in range(n):
        yield f"author{i // 50}", " ".join(f"w{(i * 31 + k * 977) % (4 * n)}" for k in range(12))
words.encode(posts(int(sys.argv[1])), Path(sys.argv[2]), "corpus")
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.fault
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="ru_maxrss is the parent's where that is larger")
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Ten times the posts, authors, words (1.2 million) and distinct words (400,000): less than 4 MiB more."""
    peaks = []
    for posts in (10_000, 100_000):
        command = [sys.executable, "-c", MEASURE, str(posts), str(tmp_path / str(posts))]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 4 * 1024  # KiB


def test_the_verb_makes_of_a_fetched_corpus_what_a_job_loads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params").mkdir()
    (tmp_path / "params/datasets.yaml").write_text((ROOT / "params/datasets.yaml").read_text())
    with pytest.raises(SystemExit):
        main(["encode", "generated"])
    assert "posts.jsonl: no such data; fetch it with `python -m fedgrid fetch generated`" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["encode", "generated", "mnist"])
    assert "unknown corpus 'mnist'; choose from sentiment140, " in capsys.readouterr().err
    main(["fetch", "generated"])
    with pytest.raises(
        ValueError, match=r"train\.npy: no such data; encode it with `python -m fedgrid encode generated`"
    ):
        job.load_data("generated")
    main(["encode", "generated"])
    assert capsys.readouterr().out.startswith("data/raw/generated/posts.jsonl\ndata/encoded/generated: {")
    data = job.load_data("generated")
    assert data.name == "generated" and names(Path("data/encoded")) == {"generated"}
    assert len(data.train_x) == plan.training_examples("generated", ROOT / "params/datasets.yaml")
