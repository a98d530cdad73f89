"""A corpus of posts → arrays of words, made once, in memory that does not grow with it; then memory-mapped.

Section 3 of the paper: posts grouped by author, at most 5,000 words each; a vocabulary of 10,000; unroll 10; a test set
of 100,000 posts by other authors. Where the paper is silent:

- A word is letters and digits in lower case, with an apostrophe inside.
- Of an author the first 5,000 words are kept, in the order of the files. Who wrote no post of two words has nothing to
  predict and is left out.
- Test authors are drawn, by a hash of the name, until they have 100,000 posts or a tenth of all, if that is fewer.
- A post is read in stretches: every word but its first is predicted, once.
- Token 0 is the unknown word's place in the vocabulary, 1 to 9,999 are the most frequent words of the training authors.
  NOTHING stands for an unknown word, which is read as token 0 and never predicted, and after a post's end.

SQLite sorts the posts by author and adds up how often a word occurs, on disk; what it sorts lies in TMPDIR meanwhile.
"""

import hashlib
import json
import re
import shutil
import sqlite3
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fedgrid import files
from fedgrid.tasks.datasets.corpora import Post
from fedgrid.tasks.datasets.dataset import NOTHING, Dataset

VOCABULARY = 10_000
UNROLL = 10
AUTHOR_WORDS = 5_000
TEST_POSTS, TEST_SHARE = 100_000, 10  # so many, but at most one in ten
COUNTED = 2**15  # distinct words in memory while they are counted
WORD = re.compile(r"\w+(?:['’]\w+)*")
FILES = ("vocabulary.txt", "train.npy", "test.npy", "clients.npy", "summary.json")

Author = list[list[str]]  # posts, each a list of words


def encode(posts: Iterable[Post], folder: Path, source: str) -> dict[str, Any]:
    """Makes FILES of the posts in the folder, all or none, and says what is in them; `source` names the corpus.

    train.npy, test.npy: int16 (examples, UNROLL + 1), words that are read and predicted; clients.npy: int64 (K + 1,),
    where each training author's examples begin. The same posts make the same bytes. ValueError where there are too few
    authors or posts for both sides, or fewer words than the vocabulary has.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", suffix=".partial") as scratch:
        made = Path(scratch) / "made"
        with closing(sqlite3.connect(Path(scratch) / "posts.sqlite")) as database:
            database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE")
            summary = sort(database, posts) | write(database, made, source)
        summary["authors_left_out"] = summary["authors"] - sum(summary[side]["authors"] for side in ("train", "test"))
        files.write(made / "summary.json", json.dumps(summary, indent=1) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return summary


def words(text: str) -> list[str]:
    """The words of a post."""
    return WORD.findall(text.lower())


def place(author: bytes, use: str) -> bytes:
    """Where an author stands in an order that has nothing to do with names: sha256, of 32 bytes."""
    return hashlib.sha256(f"{use}/".encode() + author).digest()


def sort(database: sqlite3.Connection, posts: Iterable[Post]) -> dict[str, int]:
    """Keeps the posts on disk, author by author; how many there are, without a word, and authors."""
    rows = (
        (place(author.encode(errors="surrogatepass"), "order"), " ".join(words(text)))  # JSON has half surrogates
        for author, text in posts
    )
    database.execute("CREATE TABLE arrived (author BLOB, words TEXT)")
    database.executemany("INSERT INTO arrived VALUES (?, ?)", rows)
    database.execute("CREATE TABLE posts AS SELECT author, words FROM arrived ORDER BY author, rowid")
    database.execute("DROP TABLE arrived")
    counted = database.execute("SELECT count(*), coalesce(sum(words = ''), 0), count(DISTINCT author) FROM posts")
    return dict(zip(("posts", "empty_posts", "authors"), counted.fetchone(), strict=True))


def authors(database: sqlite3.Connection) -> Iterator[tuple[bytes, Author]]:
    """Each author with a word to predict, by place, and the posts in the order of the files."""
    rows = database.execute("SELECT author, words FROM posts WHERE words <> '' ORDER BY rowid")
    for who, posts in groupby(rows, key=itemgetter(0)):
        kept = first_words(post.split() for _, post in posts)
        if any(len(post) > 1 for post in kept):
            yield who, kept


def first_words(posts: Iterable[list[str]]) -> Author:
    """The posts that an author's first AUTHOR_WORDS words are from, the last of them cut."""
    kept, left = [], AUTHOR_WORDS
    for post in posts:
        if left:
            kept.append(post[:left])
            left -= len(kept[-1])
    return kept


def draw_test(database: sqlite3.Connection, source: str) -> dict[bytes, int]:
    """The test authors, each with how many posts are tested: all of them, but the last author's up to the limit."""
    rows = ((place(who, "test"), who, len(posts)) for who, posts in authors(database))
    database.execute("CREATE TABLE authors (turn BLOB, author BLOB, posts INTEGER)")
    database.executemany("INSERT INTO authors VALUES (?, ?, ?)", rows)
    everyone, posts = database.execute("SELECT count(*), coalesce(sum(posts), 0) FROM authors").fetchone()
    left, drawn = min(TEST_POSTS, posts // TEST_SHARE), {}
    for who, own in database.execute("SELECT author, posts FROM authors ORDER BY turn"):
        if not left:
            break
        drawn[who] = min(own, left)
        left -= drawn[who]
    if not drawn or len(drawn) == everyone:
        few = f"{everyone or 'no'} authors of two words in a post, and {posts} posts"
        raise ValueError(f"{source}: {few}, which is too few to train on some and test on others; add authors")
    return drawn


def write(database: sqlite3.Connection, made: Path, source: str) -> dict[str, Any]:
    """Writes the vocabulary and the arrays; what is in them."""
    drawn = draw_test(database, source)

    def train() -> Iterator[Author]:
        return (posts for who, posts in authors(database) if who not in drawn)

    tested = (posts[: drawn[who]] for who, posts in authors(database) if who in drawn)
    distinct = count_words(database, train())
    if distinct < VOCABULARY - 1:
        few = f"{distinct} distinct words of training authors"
        raise ValueError(f"{source}: {few}, and the vocabulary has {VOCABULARY - 1}; add posts")
    frequent = database.execute("SELECT word FROM counts ORDER BY n DESC, word LIMIT ?", (VOCABULARY - 1,))
    vocabulary = [word for (word,) in frequent]
    files.write(made / "vocabulary.txt", "\n".join(vocabulary) + "\n")
    token = {word: number for number, word in enumerate(vocabulary, 1)}
    train_counts, clients = write_side(train(), token, made / "train.npy")
    test_counts, _ = write_side(tested, token, made / "test.npy")
    if not test_counts["examples"]:
        raise ValueError(f"{source}: no post of two words among the {len(drawn)} test authors'; add authors")
    with files.whole(made / "clients.npy") as partial, partial.open("wb") as file:
        np.save(file, clients)
    return {"distinct_words": distinct, "train": train_counts, "test": test_counts}


def count_words(database: sqlite3.Connection, clients: Iterator[Author]) -> int:
    """How many distinct words the clients have, counted on disk in the table `counts`."""
    database.execute("CREATE TABLE counts (word TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID")
    upsert = "INSERT INTO counts VALUES (?, ?) ON CONFLICT (word) DO UPDATE SET n = n + excluded.n"
    for several in tallies(clients):
        database.executemany(upsert, sorted(several.items()))
    ((distinct,),) = database.execute("SELECT count(*) FROM counts")
    return distinct


def tallies(clients: Iterator[Author]) -> Iterator[Counter[str]]:
    """How often words occur, a part of the clients at a time: COUNTED distinct words, and an author's more."""
    several: Counter[str] = Counter()
    for posts in clients:
        several.update(chain.from_iterable(posts))
        if len(several) >= COUNTED:
            yield several
            several = Counter()
    yield several


def write_side(clients: Iterator[Author], token: dict[str, int], path: Path) -> tuple[dict[str, float], np.ndarray]:
    """Writes the clients' examples one after another; how many of what there are, and where each client's begin."""
    said, unknown, begins = 0, 0, array("q", [0])
    with files.whole(path) as partial, partial.open("wb") as file:
        header(file, 0)
        for posts in clients:
            begins.append(begins[-1])
            for post in posts:
                tokens = [token.get(word, NOTHING) for word in post]
                rows = stretches(tokens)
                file.write(rows.tobytes())
                begins[-1] += len(rows)
                said, unknown = said + len(tokens), unknown + tokens.count(NOTHING)
        header(file, begins[-1])
    counts = {"authors": len(begins) - 1, "words": said, "unknown_share": unknown / said, "examples": begins[-1]}
    return counts, np.array(begins, np.int64)


def header(file: BinaryIO, examples: int) -> None:
    """Begins an .npy file of so many examples; numpy leaves room for any number, so it may be written again."""
    file.seek(0)
    described = {"descr": "<i2", "fortran_order": False, "shape": (examples, UNROLL + 1)}
    np.lib.format.write_array_header_1_0(file, described)


def stretches(tokens: list[int]) -> np.ndarray:
    """A post in stretches of UNROLL + 1 words, the last of one being the first of the next: int16 (stretches, …)."""
    starts = range(0, len(tokens) - 1, UNROLL)
    rows = np.full((len(starts), UNROLL + 1), NOTHING, "<i2")
    for row, start in zip(rows, starts, strict=True):
        some = tokens[start : start + UNROLL + 1]
        row[: len(some)] = some
    return rows


def load(folder: Path) -> Dataset:
    """The encoded corpus in the folder, memory-mapped; ValueError naming a file that is damaged."""
    arrays = {}
    for name in ("train", "test", "clients"):
        path = folder / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="c", allow_pickle=False)  # "c": writable, as torch wants it
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path}: damaged ({error}); delete {folder} and encode it again") from error
    train, test = arrays["train"], arrays["test"]
    clients = np.array(arrays["clients"])
    return Dataset(folder.name, train[:, :-1], train[:, 1:], test[:, :-1], test[:, 1:], clients=clients)
