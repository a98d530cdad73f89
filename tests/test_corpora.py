"""Laws of the corpora's readers, on small files of each one's exact format, faults included."""

import json
import lzma
import sqlite3
import zipfile
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from fedgrid.tasks import fetch
from fedgrid.tasks.datasets import corpora, declared

PARAMS = Path(__file__).parents[1] / "params" / "datasets.yaml"
TWEETS = "training.1600000.processed.noemoticon.csv"
TWEET = (
    '"0","1467810369","Mon Apr 06 22:19:45 PDT 2009","NO_QUERY","_TheSpecialOne_","@switchfoot - Awww, ""bummer"" é"'
)


def refusal(reader, folder):
    """The one line that the reader says when it fails."""
    with pytest.raises(ValueError) as caught:
        list(reader(folder))
    message = str(caught.value)
    assert message.startswith(str(folder)) and "\n" not in message and ";" in message  # what to do
    return message


def names(folder):
    return [path.name for path in folder.iterdir()]


def tweets(folder, rows, member=TWEETS):
    with zipfile.ZipFile(folder / "trainingandtestdata.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("testdata.manual.2009.06.14.csv", '"4","3","d","q","nobody","not for training"\n')
        archive.writestr(member, "\n".join(rows).encode("latin-1"))


def test_a_tweets_author_and_text_are_the_fifth_and_sixth_columns_of_a_latin_1_csv(tmp_path):
    tweets(tmp_path, [TWEET, TWEET.replace("_TheSpecialOne_", "mattycus").replace("Awww", "Two\nlines")])
    first, second = corpora.sentiment140(tmp_path)
    assert first == ("_TheSpecialOne_", '@switchfoot - Awww, "bummer" é')
    assert second == ("mattycus", '@switchfoot - Two\nlines, "bummer" é')


def test_a_tweets_html_is_text(tmp_path):
    tweets(tmp_path, [TWEET.replace("Awww", "I &lt;3 R&amp;B &quot;so&quot;")])
    assert [text for _, text in corpora.sentiment140(tmp_path)] == ['@switchfoot - I <3 R&B "so", "bummer" é']


def test_a_tweet_of_too_few_columns_is_refused_by_file_and_line(tmp_path):
    tweets(tmp_path, [TWEET, TWEET, '"0","1","only three"'])
    assert f"{TWEETS}:3: 3 columns, not 6" in refusal(corpora.sentiment140, tmp_path)


def test_tweets_before_a_fault_are_read_before_it_is_found(tmp_path):
    tweets(tmp_path, [TWEET, '"0"'])
    assert next(corpora.sentiment140(tmp_path))[0] == "_TheSpecialOne_"


def test_an_archive_without_the_training_tweets_is_named(tmp_path):
    tweets(tmp_path, [TWEET], member=f"folder/{TWEETS}")
    assert f"no item named '{TWEETS}'" in refusal(corpora.sentiment140, tmp_path)


def test_a_field_without_end_is_refused(tmp_path):
    tweets(tmp_path, ['"' + "never closed " * 20_000])
    assert "trainingandtestdata.zip: damaged, or another file" in refusal(corpora.sentiment140, tmp_path)


def blog(*posts):
    """A blogger's file as the real ones are."""
    dated = "".join(f"<date>14,May,2004</date>\n<post>\n\n   {post}\n</post>\n" for post in posts)
    return f"<Blog>\n\n{dated}</Blog>\n".encode()


def bloggers(folder, **files):
    """Writes blogs.zip of those files and reads it: authors and words."""
    with zipfile.ZipFile(folder / "blogs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("blogs/", b"")
        for author, content in files.items():
            archive.writestr(f"blogs/{author[1:]}.female.37.indUnk.Leo.xml", content)
    return [(author, text.split()) for author, text in corpora.blogs(folder)]


def test_blogs_are_read_blogger_by_blogger_though_they_are_no_xml(tmp_path):
    found = bloggers(
        tmp_path, _1000866=blog("R&B <b>bold"), _1000331=blog("Salt & pepper &nbsp;urlLink", "A\x1fB\x00\nC")
    )
    assert found == [
        ("1000331", ["Salt", "&", "pepper", "urlLink"]),
        ("1000331", ["A", "B\x00", "C"]),
        ("1000866", ["R&B", "<b>bold"]),
    ]


def test_each_post_of_a_blog_has_an_encoding_of_its_own(tmp_path):
    mixed = blog("caf\u00e9", "it\u2019s", "na\u00efve").replace("ï".encode(), b"\xef").replace("’".encode(), b"\x92")
    assert [words for _, words in bloggers(tmp_path, _1=mixed)] == [["café"], ["it’s"], ["naïve"]]
    assert [words for _, words in bloggers(tmp_path, _1=blog("a\u00e9b").replace("é".encode(), b"\x81"))] == [
        ["a\ufffdb"]
    ]


def test_a_post_whose_end_is_missing_ends_where_the_next_begins(tmp_path):
    faulty = blog("one", "two", "three").replace(b"</post>", b"", 2).replace(b"<date>14,May,2004</date>\n", b"", 3)
    assert [words for _, words in bloggers(tmp_path, _1=faulty)] == [["one"], ["two"], ["three"]]
    cut = blog("one", "two").partition(b"wo")[0]
    assert [words for _, words in bloggers(tmp_path, _1=cut)] == [["one"], ["t"]]
    assert bloggers(tmp_path, _1=b"", _2=b"<Blog></Blog>", _3=b"\xff\xfe no tags") == []


def test_nothing_of_a_zip_is_written_nor_what_is_no_blog_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "blogs.zip", "w") as archive:
        archive.writestr("../7.male.15.Student.Leo.xml", blog("Stays inside."))
        archive.writestr("__MACOSX/blogs/._7.male.15.Student.Leo.xml", blog("A Mac's own."))
        archive.writestr("blogs/readme.txt", blog("No blog."))
    assert [author for author, _ in corpora.blogs(tmp_path)] == ["7"]
    assert names(tmp_path) == ["blogs.zip"] and not list(tmp_path.parent.glob("*.xml"))


def delimited(number, content):
    """A protocol buffer's field, written by hand."""
    size, digits = len(content), []
    while size > 127:
        digits.append(size % 128 + 128)
        size //= 128
    return bytes([number * 8 + 2, *digits, size]) + content


def example(score=b"", **features):
    """A serialized tf.train.Example of texts and, as in the real rows, a number in base 128."""
    lists = {key: delimited(1, delimited(1, text.encode())) for key, text in features.items()}
    if score:
        lists = {"score": delimited(3, delimited(1, score))} | lists
    entries = [delimited(1, delimited(1, key.encode()) + delimited(2, value)) for key, value in lists.items()]
    return delimited(1, b"".join(entries))


def federated(folder, rows):
    """Writes stackoverflow.sqlite.lzma of those rows, with the tables that TensorFlow Federated's has."""
    plain = folder / "plain.sqlite"
    with closing(sqlite3.connect(plain)) as database, database:
        database.execute(
            "CREATE TABLE examples (split_name TEXT NOT NULL, client_id TEXT NOT NULL, "
            "serialized_example_proto BLOB NOT NULL)"
        )
        database.execute(
            "CREATE TABLE client_metadata (client_id TEXT NOT NULL, split_name TEXT NOT NULL, "
            "num_examples INTEGER NOT NULL)"
        )
        database.executemany("INSERT INTO examples VALUES (?, ?, ?)", rows)
    packed = lzma.compress(plain.read_bytes(), lzma.FORMAT_ALONE)
    (folder / "stackoverflow.sqlite.lzma").write_bytes(packed)
    plain.unlink()


def test_stack_overflows_training_sentences_are_read_by_user(tmp_path):
    long = "where is the é " * 40  # a length of two digits in base 128
    rows = [
        ("train", "00001", example(b"\xac\x02", creation_date="2008", tokens="how to do this ?", title="t")),
        ("test", "00001", example(tokens="later than 2017")),
        ("heldout", "00010", example(tokens="another user's")),
        ("train", "00002", example(tags="c|python", tokens=long)),
        ("train", "00001", example(tokens="tokens")),
    ]
    federated(tmp_path, rows)
    assert list(corpora.stackoverflow(tmp_path)) == [
        ("00001", "how to do this ?"),
        ("00002", long),
        ("00001", "tokens"),
    ]
    assert names(tmp_path) == ["stackoverflow.sqlite.lzma"]


def test_a_reader_that_is_left_early_leaves_nothing(tmp_path):
    federated(tmp_path, [("train", "1", example(tokens="fine"))] * 3)
    reader = corpora.stackoverflow(tmp_path)
    assert next(reader) == ("1", "fine") and len(names(tmp_path)) == 2
    reader.close()
    assert names(tmp_path) == ["stackoverflow.sqlite.lzma"]


@pytest.mark.parametrize(
    "damaged",
    [
        example(title="t"),
        example(tokens="cut short")[:-3],
        example(tokens="not UTF-8").replace(b"UTF", b"\xff\xff\xff"),
        delimited(1, delimited(1, delimited(1, b"tokens"))),
        b"\x08\x01",
        b"\xff",
        b"",
        7,
    ],
)
def test_a_sentence_that_is_no_example_is_refused_by_its_row(tmp_path, damaged):
    federated(tmp_path, [("train", "1", example(tokens="fine")), ("train", "1", damaged)])
    assert "stackoverflow.sqlite.lzma: examples:2: no tf.train.Example" in refusal(corpora.stackoverflow, tmp_path)
    assert names(tmp_path) == ["stackoverflow.sqlite.lzma"]


def test_another_database_is_named(tmp_path):
    (tmp_path / "stackoverflow.sqlite.lzma").write_bytes(lzma.compress(b""))
    assert "stackoverflow.sqlite.lzma: damaged, or another file (no such table: " in refusal(
        corpora.stackoverflow, tmp_path
    )


ARCHIVES = {
    "trainingandtestdata.zip": (corpora.sentiment140, lambda folder: tweets(folder, [TWEET] * 5000)),
    "blogs.zip": (corpora.blogs, lambda folder: bloggers(folder, _1=blog("word " * 5000))),
    "stackoverflow.sqlite.lzma": (corpora.stackoverflow, lambda folder: federated(folder, [])),
}


DAMAGES = {
    "another": lambda whole: b"no archive",
    "cut": lambda whole: whole[: len(whole) // 2],
    "begun wrong": lambda whole: whole[:99] + b"x" * 20 + whole[119:],
    "overwritten": lambda whole: whole[: len(whole) // 2] + b"\xff" * 20 + whole[len(whole) // 2 + 20 :],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_damaged_archive_is_named(tmp_path, name, damage):
    reader, write = ARCHIVES[name]
    write(tmp_path)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    assert f"{name}: damaged, or another file" in refusal(reader, tmp_path) and names(tmp_path) == [name]


@pytest.mark.parametrize("corpus", corpora.READERS)
def test_a_missing_file_is_named_and_has_a_pin_declared(tmp_path, corpus):
    files = declared(corpus, PARAMS).files
    with pytest.raises(FileNotFoundError) as caught:
        next(corpora.READERS[corpus](tmp_path / corpus))
    assert [str(tmp_path / corpus / file) for file in files] == [str(caught.value.filename)]


def test_anyones_posts_are_lines_of_json(tmp_path):
    lines = '{"author": "ann", "posts": ["One.", ""], "age": 7}\n{"author": "bob", "posts": []}\n'
    (tmp_path / "posts.jsonl").write_text(lines + '{"posts": ["é \\u00e9"], "author": "ann"}', encoding="utf-8")
    assert list(corpora.json_lines(tmp_path)) == [("ann", "One."), ("ann", ""), ("ann", "é é")]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"author": "ann", "posts": ["caf\xe9"]}', "not UTF-8 from byte 33 of the line; convert"),
        (b'{"author": "ann", "posts": ["cut', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"", "not JSON"),
        (b'{"author": 7, "posts": ["x"]}', "not of the form"),
        (b'{"author": "ann", "posts": [7]}', "not of the form"),
        (b'{"author": "ann", "posts": "x"}', "not of the form"),
        (b'{"author": "ann"}', "not of the form"),
        (b'{"posts": ["x"]}', "not of the form"),
        (b"[]", "not of the form"),
    ],
)
def test_a_line_that_is_no_authors_posts_is_refused_by_file_and_line(tmp_path, line, says):
    (tmp_path / "posts.jsonl").write_bytes(b'{"author": "ann", "posts": ["x"]}\n' + line + b"\n")
    assert f"{tmp_path / 'posts.jsonl'}:2: {says}" in refusal(corpora.json_lines, tmp_path)


def test_the_generated_corpus_is_the_pinned_one_and_follows_its_chain(tmp_path):
    (path,) = fetch.fetch("generated", tmp_path, PARAMS)  # its sha256 is checked on the way
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    posts = [post.split() for line in lines for post in line["posts"]]
    assert len({line["author"] for line in lines}) == 400 and len(posts) == 16_000
    assert {len(post) for post in posts} == {12}
    assert len({post[0] for post in posts}) == 12_000  # every word begins one
    follows = {}
    for post in posts:
        for word, following in pairwise(post):
            follows.setdefault(word, []).append(following)
    often = [words for words in follows.values() if len(words) >= 100]
    right = sum(words.count(max(set(words), key=words.count)) for words in often) / sum(map(len, often))
    assert 0.58 < right < 0.64  # what knows the chain is right so often
