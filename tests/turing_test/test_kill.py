"""The server killed under load: every acknowledged answer is there, once, and the file is whole."""

import contextlib
import http.client
import sqlite3
import threading

import pytest

from igan_tf.turing_test.storage import FILE
from tests.turing_test.served import Server, make_study

ANNOTATORS = 6


class Annotator(threading.Thread):
    """Answers without a pause; when the connection breaks, sends the same answer again to the server that comes next.

    Args:
        client: An enrolled `Client`.
        count: Called after each acknowledged answer.
        alive: An event, set while there is a server.
    """

    def __init__(self, client, count, alive):
        super().__init__()
        self.client, self.count, self.alive = client, count, alive
        self.acknowledged = []
        self.error = None
        self.broken = 0

    def run(self):
        try:
            state = self._until_it_works(self.client.state)
            while state["trial"]:
                token = state["trial"]
                # A token's own choice, so that an answer in the file can be told from another one's.
                choice = "real" if ord(token[0]) % 2 else "generated"
                outcome = self._until_it_works(lambda t=token, c=choice: self.client.answer(t, c))
                self.acknowledged.append((token, outcome["choice"]))
                self.count()
                state = outcome["state"]
        except Exception as error:
            self.error = error

    def _until_it_works(self, ask):
        while True:
            self.alive.wait(60)
            try:
                return ask()
            except (OSError, http.client.HTTPException):
                self.broken += 1


def kill_under_load(folder, kills, trials):
    """Kills the server `kills` times while annotators answer, then lets them finish and compares.

    A kill comes after a number of acknowledged answers, not after a time, so that there is always load.
    """
    make_study(folder, count=trials, trials=trials, block_size=trials, practice=0)
    alive, progress, acknowledged = threading.Event(), threading.Condition(), [0]

    def count():
        with progress:
            acknowledged[0] += 1
            progress.notify()

    server = Server(folder)
    annotators = [Annotator(server.client().enrol(), count, alive) for _ in range(ANNOTATORS)]
    total = ANNOTATORS * trials
    alive.set()
    for annotator in annotators:
        annotator.start()
    for kill in range(1, kills + 1):
        with progress:
            assert progress.wait_for(lambda kill=kill: acknowledged[0] >= total * kill // (kills + 1), 120)
        alive.clear()
        server.kill()
        check(folder, annotators)
        server = Server(folder, port=server.port)
        alive.set()
    with server:
        for annotator in annotators:
            annotator.join(120)
        assert [annotator.error for annotator in annotators] == [None] * ANNOTATORS
        assert all(len(annotator.acknowledged) == trials for annotator in annotators)
        # There was load at the kills: connections broke.
        assert sum(annotator.broken for annotator in annotators) >= kills
    assert len(check(folder, annotators)) == total


def check(folder, annotators):
    """Every acknowledged answer stands in the file as it was acknowledged; returns all that stand there."""
    known = [answer for annotator in annotators for answer in list(annotator.acknowledged)]
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        stored = connection.execute(
            "SELECT token, choice FROM answers JOIN trials USING (annotator, position)"
        ).fetchall()
    assert len(stored) == len(dict(stored))
    assert set(known) <= set(stored)
    assert all(choice == ("real" if ord(token[0]) % 2 else "generated") for token, choice in stored)
    return stored


def test_five_kills_under_load(tmp_path):
    kill_under_load(tmp_path / "study", kills=5, trials=60)


@pytest.mark.slow
def test_fifty_kills_under_load(tmp_path):
    kill_under_load(tmp_path / "study", kills=50, trials=400)
