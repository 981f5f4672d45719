"""Damage to a study's file is found when it is opened, and named; a study without checksums is still served."""

import contextlib
import io
import json
import re
import shutil
import sqlite3
import time

import numpy as np
import pytest
from PIL import Image

from igan_tf.errors import InputError
from igan_tf.turing_test import contents
from igan_tf.turing_test.encoding import encode_images, png_head
from igan_tf.turing_test.storage import FILE, Storage
from tests.turing_test.served import as_version_1, everything, make_study, served, truth

ANNOTATORS, ANSWERED = 3, 6


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contents") / "study"
    make_study(folder, generated=("gan", "other"))
    storage = Storage(folder, serve=True)
    for number in range(ANNOTATORS):
        annotator = storage.enrol(f"form {number}").result()
        for token in storage.tokens(annotator, 0, ANSWERED):
            storage.answer(annotator, token, "real", 10 + number).result()
    storage.close()
    return folder


@pytest.fixture
def study(original, tmp_path):
    return shutil.copytree(original, tmp_path / "study")


@contextlib.contextmanager
def editing(folder):
    """A connection that may write what the file's own triggers and keys refuse; the triggers are there again after."""
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


def refusal(folder):
    with pytest.raises(InputError) as caught:
        Storage(folder)
    message = str(caught.value)
    assert "\n" not in message and str(folder / FILE) in message
    return message


EDITS = {
    "a setting": (
        "UPDATE study SET value = replace(value, '\"trials\": 12', '\"trials\": 10') WHERE name = 'settings'",
        "table study, name 'settings': it is not as it was written",
    ),
    "a fact gone": ("DELETE FROM study WHERE name = 'seed'", "table study is damaged: .*'seed' is a required property"),
    "a source's kind": (
        "UPDATE sources SET generated = 0 WHERE source = 1",
        "table sources, source 1: it is not as it was written",
    ),
    "an image of another item": (
        "UPDATE items SET image = (SELECT image FROM items WHERE item = 9) WHERE item = 8",
        "table items, item 8: it is not as it was written",
    ),
    "an image as text": (
        "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = replace(sql, 'image BLOB', 'image TEXT')",
        "its tables are not those of a study",
    ),
    "an image gone": ("DELETE FROM items WHERE item = 8", "table items, item 9: item 8 is missing before it"),
    "a condition": (
        "UPDATE annotators SET feedback = 1 WHERE annotator = 2",
        "table annotators, annotator 2: it is not as it was written",
    ),
    "an annotator gone": ("DELETE FROM annotators WHERE annotator = 1", "annotator 2: annotator 1 is missing before"),
    "trials of two images swapped": (
        "UPDATE trials SET position = 99 - position WHERE annotator = 2 AND position IN (3, 4);"
        "UPDATE trials SET position = position - 92 WHERE annotator = 2 AND position > 90",
        "table trials, annotator 2, position 3: it is not as it was written",
    ),
    "a plan without its end": (
        "DELETE FROM trials WHERE annotator = 2 AND position = 13",
        "table trials, annotator 2: they are not those of the study's settings",
    ),
    "an answer": (
        "UPDATE answers SET choice = 'generated' WHERE annotator = 2 AND position = 3",
        "table answers, annotator 2, position 3: it is not as it was written",
    ),
    "an answer's time": (
        "UPDATE answers SET answered_at = answered_at + 1 WHERE annotator = 2 AND position = 3",
        "table answers, annotator 2, position 3: it is not as it was written",
    ),
    "an answer gone": (
        "DELETE FROM answers WHERE annotator = 2 AND position = 3",
        "table answers, annotator 2, position 4: position 3 is missing before it",
    ),
    "an answer moved to another annotator": (
        f"UPDATE answers SET annotator = 3, position = {ANSWERED} WHERE annotator = 2 AND position = {ANSWERED - 1}",
        f"table answers, annotator 3, position {ANSWERED}: it is not as it was written",
    ),
    "a table more": ("CREATE TABLE more (x)", "its tables are not those of a study"),
    "a trigger more": (
        "CREATE TRIGGER more AFTER INSERT ON annotators BEGIN DELETE FROM study; END",
        "its tables are not those of a study",
    ),
    "an older version's number": ("PRAGMA user_version = 1", "its tables are not those of a study of version 1"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_refused_by_table_and_row(study, name):
    statements, message = EDITS[name]
    with editing(study) as connection:
        connection.executescript(statements)
    assert re.search(message, refusal(study))


def test_an_answer_to_no_trial_is_refused(study):
    with editing(study) as connection:
        rows = [(4, 0, "real", 5, 1.0)]
        contents.insert(connection, contents.VERSION, "answers", rows)
    assert "refers to a row of table trials that is missing" in refusal(study)


@pytest.mark.parametrize("seed", range(25))
def test_five_flipped_bits_are_refused_or_in_unused_bytes(study, seed):
    path = study / FILE
    generator = np.random.default_rng(seed)
    storage = Storage(study)
    before = everything(storage)
    storage.close()
    data = np.frombuffer(path.read_bytes(), "uint8").copy()
    data[generator.integers(len(data), size=5)] ^= np.uint8(1) << generator.integers(8, size=5, dtype="uint8")
    path.write_bytes(data.tobytes())
    try:
        storage = Storage(study)
    except InputError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        assert everything(storage) == before
        storage.close()


def test_bytes_that_are_no_text_are_named(study):
    path = study / FILE
    data = path.read_bytes()
    assert data.count(b"photographs") == 1
    path.write_bytes(data.replace(b"photographs", b"\xff\xfeotographs"))
    assert "table sources, source 0: it is not as it was written" in refusal(study)


def test_an_entry_of_an_index_that_leads_elsewhere_is_refused(study):
    """A cookie that belongs to nobody: rows are whole, and yet an annotator would not be found."""
    with contextlib.closing(sqlite3.connect(study / FILE)) as connection:
        (session,) = connection.execute("SELECT session FROM annotators WHERE annotator = 2").fetchone()
    path = study / FILE
    data = path.read_bytes()
    places = [found.start() for found in re.finditer(re.escape(session.encode()), data)]
    assert len(places) == 2
    for place in places:
        path.write_bytes(data[:place] + b"A" + data[place + 1 :])
        refusal(study)


BAD_FACTS = {
    "settings": ({"trials": "12"}, {"trials": 11}, {"trials": 10**30}, {"trials": 12.0}, {"unknown": 1}, [], "x"),
    "seed": (-1, 2**64, 1.5, True, None, "1"),
    "created_at": ("now", None),
    "form_secret": ("", 1, "x" * 23, "x" * 21 + "\n"),
    "image_shape": ([8, 8], [8, 8, 2], [0, 8, 1], [2**16, 8, 1], [8.0, 8, 1], [16, 8, 1], {}),
}


@pytest.mark.parametrize("name", BAD_FACTS)
def test_facts_are_of_their_types_and_within_their_bounds(study, name):
    for value in BAD_FACTS[name]:
        write_fact(study, name, json.dumps(value))
        refusal(study)


@pytest.mark.parametrize("text", ["", "{", "NaN", "[" * 100_000, "9" * 5000])
def test_a_fact_that_is_no_json_is_named(study, text):
    write_fact(study, "created_at", text)
    assert "table study, name 'created_at' is damaged" in refusal(study)


def write_fact(folder, name, text):
    """With the right checksum: somebody's own file."""
    with editing(folder) as connection:
        connection.execute("DELETE FROM study WHERE name = ?", (name,))
        contents.insert(connection, contents.VERSION, "study", [(name, text)])


def test_an_image_of_another_size_is_refused(study):
    """A file of a few bytes can ask for gigabytes when it is opened."""
    (image,) = encode_images(np.zeros((1, 8, 8, 1), "uint8"))
    assert image.startswith(png_head((8, 8, 1)))
    huge = png_head((2**30, 2**30, 3)) + image[len(png_head((8, 8, 1))) :]
    with editing(study) as connection:
        (row,) = connection.execute("SELECT item, source, practice FROM items WHERE item = 3")
        connection.execute("DELETE FROM items WHERE item = 3")
        contents.insert(connection, contents.VERSION, "items", [(*row, huge)])
    assert "table items, item 3: it is no PNG file of the study's size" in refusal(study)


def test_a_compressed_image_is_refused(tmp_path):
    """A study's own are stored: a few kilobytes could ask for gigabytes at the study's own size, too."""
    make_study(tmp_path / "study", shape=(64, 64, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), "uint8")).save(buffer, format="PNG")
    assert buffer.getvalue().startswith(png_head((64, 64, 3)))
    with editing(tmp_path / "study") as connection:
        (row,) = connection.execute("SELECT item, source, practice FROM items WHERE item = 3")
        connection.execute("DELETE FROM items WHERE item = 3")
        contents.insert(connection, contents.VERSION, "items", [(*row, buffer.getvalue())])
    assert "table items, item 3: it is no PNG file of the study's size" in refusal(tmp_path / "study")


@pytest.mark.parametrize("name", ["", "-1+1", "a" * 41, "a=b", "a\n", "<b>", "\x1b[2J"])
def test_a_source_has_a_name_that_the_command_would_take(study, name):
    with editing(study) as connection:
        connection.execute("DELETE FROM sources WHERE source = 1")
        contents.insert(connection, contents.VERSION, "sources", [(1, name, 1, "gan.npz")])
    assert f"table sources, source 1: {name!a} is no name of a source" in refusal(study)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What a killed server leaves: ten answers stand in the log alone."""
    folder = tmp_path_factory.mktemp("killed") / "study"
    make_study(folder)
    storage = Storage(folder, serve=True)
    annotator = storage.enrol("form").result()
    for token in storage.tokens(annotator, 0, 10):
        storage.answer(annotator, token, "real", 1).result()
    copy = shutil.copytree(folder, folder.with_name("copy"), ignore=shutil.ignore_patterns(".lock"))
    storage.close()
    return copy


@pytest.mark.parametrize("serve", [False, True])
def test_a_flipped_bit_in_the_log_of_a_killed_server_loses_no_answer(killed, tmp_path, serve):
    name = f"{FILE}-wal"
    data = (killed / name).read_bytes()
    frame = 24 + 4096
    last = (len(data) - 32) // frame - 2
    # The last place is a salt, which no sum covers, in the last transaction but one.
    within = [32 + at * frame + 10 * at for at in range(0, last, 3)]
    for number, place in enumerate([5, 20, 30, *within, 32 + last * frame + 9]):
        study = shutil.copytree(killed, tmp_path / str(number))
        (study / name).write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(InputError, match=re.escape(name)):
            Storage(study, serve=serve)
        # Nothing is taken over from it: what it holds is there for who can repair it.
        assert (study / name).stat().st_size == len(data)


def test_what_a_killed_server_leaves_is_taken_over(killed, tmp_path):
    study = shutil.copytree(killed, tmp_path / "whole")
    storage = Storage(study)
    assert storage.num_answers() == 10
    storage.close()
    # The last transaction cut off in the middle: a power failure, before it was acknowledged.
    study = shutil.copytree(killed, tmp_path / "cut")
    log = study / f"{FILE}-wal"
    log.write_bytes(log.read_bytes()[:-2000])
    storage = Storage(study, serve=True)
    assert storage.num_answers() == 9
    storage.close()


def test_rows_written_while_it_is_served_have_their_checksums(study):
    storage = Storage(study, serve=True)
    annotator = storage.enrol("another").result()
    for token in storage.tokens(annotator, 0, 2):
        storage.answer(annotator, token, "generated", 1).result()
    storage.close()
    Storage(study).close()
    with editing(study) as connection:
        connection.execute("UPDATE answers SET choice = 'real' WHERE annotator = 4 AND position = 1")
    assert "table answers, annotator 4, position 1" in refusal(study)


def test_a_study_without_checksums_is_served_and_checked_as_far_as_it_goes(study):
    as_version_1(study)
    with served(study) as server:
        assert server.output.startswith("This study is older than checksums of rows")
    storage = Storage(study, serve=True)
    assert storage.version == contents.WITHOUT_CHECKSUMS
    annotator = storage.enrol("another").result()
    (token,) = storage.tokens(annotator, 0, 1)
    storage.answer(annotator, token, truth(storage.image(annotator, token)), 1).result()
    assert storage.num_answers() == ANNOTATORS * ANSWERED + 1
    storage.close()
    with editing(study) as connection:
        connection.execute("DELETE FROM answers WHERE annotator = 2 AND position = 3")
    assert "answers, annotator 2, position 4: position 3 is missing" in refusal(study)


def test_two_thousand_images_are_checked_in_well_under_a_second(tmp_path):
    make_study(tmp_path / "study", count=1000, shape=(32, 32, 3))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        Storage(tmp_path / "study").close()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5
