"""The study's file: whole or not there, one server at a time, answers final, changes grouped and apart."""

import contextlib
import os
import sqlite3
import stat
import threading
import time

import pytest

from igan_tf.turing_test import creation
from igan_tf.turing_test.creation import create_study
from igan_tf.turing_test.settings import StudyError, StudySettings
from igan_tf.turing_test.storage import FILE, OutOfOrder, Storage, UnknownTrial
from igan_tf.turing_test.writer import Writer
from tests.turing_test.served import make_study, sources, truth


@pytest.fixture
def study(tmp_path):
    make_study(tmp_path / "study")
    storage = Storage(tmp_path / "study", serve=True)
    yield storage
    storage.close()


def test_every_connection_syncs_each_commit(study):
    for connection in (study._reader, study._writer._connection, study.connect()):
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_only_the_owner_reads_the_folder(study):
    assert stat.S_IMODE(os.stat(study.study_dir).st_mode) == 0o700


def test_secrets_have_128_bits_and_are_new(tmp_path):
    found = []
    for name in ("a", "b"):
        make_study(tmp_path / name)
        storage = Storage(tmp_path / name, serve=True)
        annotator = storage.enrol("1").result()
        found += [storage.study_token, storage.results_token, storage.form_secret, annotator.session, annotator.resume]
        found += storage.tokens(annotator, 0, 99)
        storage.close()
    # Equal seeds, equal plans: but secrets come from the system.
    assert len(set(found)) == len(found) and all(len(secret) == 22 for secret in found)


def test_an_error_while_it_is_made_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(creation, "_fill", fail)
    with pytest.raises(RuntimeError):
        create_study(tmp_path / "study", StudySettings(trials=12, practice=2), sources())
    assert list(tmp_path.iterdir()) == []


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years' work")
    with pytest.raises(StudyError, match=f"`study_dir={tmp_path}` holds other files and no study"):
        make_study(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "ten years' work"


def test_no_study_is_overwritten(study):
    with pytest.raises(StudyError, match="holds other files"):
        make_study(study.study_dir)


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, None], ids=["empty", "text", "cut"])
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    make_study(tmp_path / "study")
    path = tmp_path / "study" / FILE
    path.write_bytes(path.read_bytes()[: 3 * 4096] if content is None else content)
    with pytest.raises(StudyError, match=str(path)):
        Storage(tmp_path / "study")


def test_a_foreign_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE study (x)")
    with pytest.raises(StudyError, match=r"is not a study of this version\. Received: id 0, version 0"):
        Storage(tmp_path)


@pytest.mark.parametrize("serve", [False, True])
def test_a_foreign_database_is_left_as_it_is(tmp_path, serve):
    path = tmp_path / FILE
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE study (x)")
    before = path.read_bytes()
    with pytest.raises(StudyError, match="is not a study of this version"):
        Storage(tmp_path, serve=serve)
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} <= {FILE, ".lock"}


def test_a_study_whose_log_was_switched_off_has_one_again(tmp_path):
    """As another program may have left it: answers are acknowledged by the log."""
    make_study(tmp_path / "study")
    with contextlib.closing(sqlite3.connect(tmp_path / "study" / FILE)) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    storage = Storage(tmp_path / "study", serve=True)
    assert storage._writer._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    storage.close()


def test_a_link_to_a_file_is_no_study(tmp_path):
    make_study(tmp_path / "study")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FILE).symlink_to(tmp_path / "study" / FILE)
    with pytest.raises(StudyError, match=f"{tmp_path}/other/{FILE} is a symbolic link"):
        Storage(tmp_path / "other")
    assert not list((tmp_path / "other").glob(".lock"))
    # The whole folder may be one.
    (tmp_path / "linked").symlink_to(tmp_path / "study")
    Storage(tmp_path / "linked", serve=True).close()


def test_a_missing_study_is_named(tmp_path):
    with pytest.raises(StudyError, match=f"`study_dir={tmp_path}` holds no study: {FILE} is missing"):
        Storage(tmp_path)


def test_a_second_server_is_refused_and_a_report_is_not(study):
    with pytest.raises(StudyError, match="is being served by another process"):
        Storage(study.study_dir, serve=True)
    Storage(study.study_dir).close()


def test_settings_and_sources_come_back(tmp_path):
    settings = make_study(tmp_path / "study", generated=("a", "b"), feedback="both", title="Überschrift")
    storage = Storage(tmp_path / "study")
    assert storage.settings == settings and storage.seed == 1
    assert storage.sources == [("real", 0, "photographs", 59), ("a", 1, "a.npz", 59), ("b", 1, "b.npz", 60)]
    assert (storage.height, storage.width, storage.channels) == (8, 8, 1)
    storage.close()


def test_images_come_back_bit_for_bit(study):
    originals = {image.tobytes(): source.generated for source in sources() for image in source.images}
    connection = study.connect()
    rows = connection.execute("SELECT image, generated FROM items JOIN sources USING (source)").fetchall()
    connection.close()
    from igan_tf.turing_test.encoding import decode_image

    assert len(rows) == len(originals) == 120
    for file, generated in rows:
        assert originals[decode_image(file).tobytes()] == bool(generated)
        assert truth(file) == ("generated" if generated else "real")


def test_answers_are_final_in_the_file_itself(study):
    annotator = study.enrol("1").result()
    study.answer(annotator, study.tokens(annotator, 0, 1)[0], "real", 10).result()
    connection = sqlite3.connect(study.study_dir / FILE)
    for change in ("UPDATE answers SET choice = 'generated'", "DELETE FROM answers"):
        with pytest.raises(sqlite3.IntegrityError, match="an answer is"):
            connection.execute(change)
    connection.close()


def test_trials_that_are_not_the_annotators_or_not_next(study):
    annotator, other = study.enrol("1").result(), study.enrol("2").result()
    tokens = study.tokens(annotator, 0, 3)
    with pytest.raises(OutOfOrder):
        study.answer(annotator, tokens[1], "real", 10).result()
    for token in (study.tokens(other, 0, 1)[0], "nothing"):
        with pytest.raises(UnknownTrial):
            study.answer(annotator, token, "real", 10).result()
    assert study.position(annotator) == study.position(other) == 0


def test_the_first_answer_stands(study):
    annotator = study.enrol("1").result()
    (token,) = study.tokens(annotator, 0, 1)
    first = study.answer(annotator, token, "real", 10).result()
    assert study.answer(annotator, token, "generated", 20).result() == first
    assert study.position(annotator) == 1 and study.num_answers() == 1


def test_an_enrolment_twice_is_one(study):
    assert study.enrol("form").result() == study.enrol("form").result() != study.enrol("other").result()


def test_the_consent_says_what_is_stored(study):
    numbers = [study.enrol(str(form)).result().number for form in range(3)]
    assert numbers == [1, 2, 3]
    annotator = study.enrol("0").result()
    study.answer(annotator, study.tokens(annotator, 0, 1)[0], "real", 10).result()
    (stored,) = study.connect().execute("SELECT * FROM answers").fetchall()
    assert stored[:4] == (1, 0, "real", 10) and abs(stored[4] - time.time()) < 60
    consent = StudySettings().consent
    assert "random" not in consent and "its time and how long it took" in consent
    assert "a number that says how many began before me" in consent


# The writer.


@pytest.fixture
def writer(tmp_path):
    connection = sqlite3.connect(tmp_path / "file", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
    statements = []
    connection.set_trace_callback(statements.append)
    writer = Writer(connection)
    writer.statements, writer.path = statements, tmp_path / "file"
    yield writer
    writer.close()


def insert(number):
    return lambda connection: connection.execute("INSERT INTO numbers VALUES (?)", (number,)) and number


def numbers(path):
    connection = sqlite3.connect(path)
    found = [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY number")]
    connection.close()
    return found


def test_a_change_is_in_the_file_when_it_is_acknowledged(writer):
    for number in range(20):
        assert writer.submit(insert(number)).result() == number
        assert numbers(writer.path) == list(range(number + 1))


def test_changes_that_wait_share_a_commit(writer):
    gate = threading.Event()
    held = writer.submit(lambda connection: gate.wait(30))
    waiting = [writer.submit(insert(number)) for number in range(50)]
    gate.set()
    assert held.result() and [future.result() for future in waiting] == list(range(50))
    # One where the writer found all of them waiting, two where it had begun with the first.
    assert writer.statements.count("COMMIT") in (1, 2)


def test_a_change_that_fails_leaves_the_others(writer):
    gate = threading.Event()
    writer.submit(lambda connection: gate.wait(30))

    def half(connection):
        insert(1000)(connection)
        raise KeyError("after a change")

    futures = [writer.submit(change) for change in (insert(1), insert(1), half, insert(2))]
    gate.set()
    assert futures[0].result() == 1 and futures[3].result() == 2
    with pytest.raises(sqlite3.IntegrityError):
        futures[1].result()
    with pytest.raises(KeyError):
        futures[2].result()
    assert numbers(writer.path) == [1, 2]


def test_a_commit_that_fails_acknowledges_nothing_and_the_next_works(writer):
    blocker = sqlite3.connect(writer.path, isolation_level=None)
    writer.submit(lambda connection: connection.execute("PRAGMA busy_timeout = 0")).result()
    blocker.execute("BEGIN EXCLUSIVE")
    future = writer.submit(insert(1))
    with pytest.raises(sqlite3.OperationalError):
        future.result()
    blocker.execute("ROLLBACK")
    assert writer.submit(insert(2)).result() == 2 and numbers(writer.path) == [2]
    blocker.close()


def test_closing_finishes_what_waits(tmp_path):
    connection = sqlite3.connect(tmp_path / "file", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
    writer = Writer(connection)
    futures = [writer.submit(insert(number)) for number in range(30)]
    writer.close()
    assert [future.result(0) for future in futures] == list(range(30)) == numbers(tmp_path / "file")
