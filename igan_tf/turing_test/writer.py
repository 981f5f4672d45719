"""One thread that makes every change to the study's file, several in one commit."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

# Changes in one transaction: as many as wait, but no more, so that the first does not wait for ever.
_MOST_IN_A_COMMIT = 128

Value = TypeVar("Value")
_Waiting: TypeAlias = tuple[Callable[[sqlite3.Connection], Any], Future[Any]]


class Writer:
    """Runs changes one after the other and reports each as done only when it is on the disk.

    A commit waits for the disk. Changes that arrive meanwhile share the next commit, so that fifty annotators who
    answer at once wait for one or two commits and not for fifty. Each runs in a savepoint of its own: one that raises
    is undone and leaves the others alone.

    Args:
        connection: A `sqlite3.Connection` that nothing else uses from now on, in autocommit mode.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # None ends the thread.
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, change: Callable[[sqlite3.Connection], Value]) -> Future[Value]:
        """Queues `change`, a function of the connection.

        Returns:
            A `concurrent.futures.Future` of its value, set after the commit, or of the exception that it raised.
        """
        future: Future[Value] = Future()
        self._waiting.put((change, future))
        return future

    def close(self) -> None:
        """Finishes what waits, then closes the connection."""
        self._waiting.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        closing = False
        while not closing:
            batch = [self._waiting.get()]
            while len(batch) < _MOST_IN_A_COMMIT:
                try:
                    batch.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            closing = None in batch
            self._commit([entry for entry in batch if entry is not None])

    def _commit(self, batch: list[_Waiting]) -> None:
        # From here on nobody can cancel them.
        batch = [(change, future) for change, future in batch if future.set_running_or_notify_cancel()]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [(future, *self._attempt(change)) for change, future in batch]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            for _, future in batch:
                future.set_exception(error)
            return
        for future, value, failure in outcomes:
            if failure is None:
                future.set_result(value)
            else:
                future.set_exception(failure)

    def _attempt(self, change: Callable[[sqlite3.Connection], Any]) -> tuple[Any, Exception | None]:
        """(value, None) or (None, exception) of one change."""
        self._connection.execute("SAVEPOINT change")
        error: Exception | None
        try:
            value, error = change(self._connection), None
        except Exception as raised:
            value, error = None, raised
            self._connection.execute("ROLLBACK TO change")
        self._connection.execute("RELEASE change")
        return value, error
