"""The connections between workers: who is there before TensorFlow starts, and who is gone afterwards.

TensorFlow's strategy waits for missing workers in C++, without a limit, and holds Python's interpreter meanwhile: no
handler and no thread runs. So the workers meet here first. The chief listens at its address in TF_CONFIG and the others
connect to it; when all have come it stops listening, and TensorFlow takes the port. The connections stay and carry
nothing until the end, when one that has trained to it says so. A process that ends without, however it ends, has its
connections closed by the system: that is how the others learn of it at once, whatever they are doing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import re
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from igan_tf.training.cluster import ClusterError, Worker, WorkerLostError
from igan_tf.training.interruption import Interrupted, StopRequest

# Seconds between lines about who is missing.
_LINES_EVERY = 10
# Seconds within which a worker ends by itself, with a message that says more, once another is gone.
_GRACE = 10
_DONE = b"done"


def meet(worker: Worker, minutes: float, report: Callable[[str], Any]) -> RollCall:
    """Waits until all workers are there.

    Args:
        worker: This one.
        minutes: The longest wait.
        report: Called now and then with a line that names the missing ones.

    Raises:
        ClusterError: where workers are missing after `minutes`, or the chief's address cannot be used.
        Interrupted: after a signal.
    """
    host, _, port = worker.addresses[0].rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) >= 2**16:
        raise ClusterError(f"TF_CONFIG's addresses must be host:port. Received: {worker.addresses[0]}")
    wait = _Wait(worker, minutes, report)
    with wait.stop.listening():
        if worker.is_chief:
            return RollCall(worker, _gather(int(port), wait))
        return RollCall(worker, {0: _join((host.strip("[]"), int(port)), wait)})


class _Wait:
    """What a wait tells the user, and what ends it."""

    def __init__(self, worker: Worker, minutes: float, report: Callable[[str], Any]) -> None:
        self.worker = worker
        self.stop = StopRequest()
        self._minutes = minutes
        self._report = report
        self._deadline = time.monotonic() + 60 * minutes
        self._next_line = 0.0

    def go_on(self, missing: Collection[int]) -> None:
        """Called about once a second while `missing` are."""
        names, now = self.worker.names(missing), time.monotonic()
        if self.stop.signum is not None:
            raise Interrupted(self.stop.signum, f" while waiting for {names}: nothing had begun")
        if now > self._deadline:
            raise ClusterError(f"{names} missing after `worker_timeout_minutes={self._minutes:g}`")
        if now > self._next_line:
            self._report(f"waiting for {names}")
            self._next_line = now + _LINES_EVERY


def _gather(port: int, wait: _Wait) -> dict[int, socket.socket]:
    """The chief's part: a connection with each of the others."""
    both = socket.has_dualstack_ipv6()
    try:
        family = socket.AF_INET6 if both else socket.AF_INET
        server = socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise ClusterError(f"{wait.worker.names([0])}, this one, cannot listen there: {error}") from error
    others = range(1, wait.worker.count)
    links: dict[int, socket.socket] = {}
    missing = [*others]
    with server:
        server.settimeout(1)
        while missing:
            wait.go_on(missing)
            # Nobody within a second, or somebody who is gone again.
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                link = stack.enter_context(server.accept()[0])
                link.settimeout(1)
                hello = re.fullmatch(rb"igan_tf worker (\d+) of (\d+)\n", link.recv(100))
                if hello and int(hello[1]) in others and int(hello[2]) == wait.worker.count:
                    links[int(hello[1])] = link
                    stack.pop_all()
            links = {index: link for index, link in links.items() if not _has_ended(link)}
            missing = [index for index in others if index not in links]
            if missing:
                _tell(links.values(), f"missing {' '.join(map(str, missing))}\n".encode())
    _tell(links.values(), b"missing \n")
    return links


def _join(address: tuple[str, int], wait: _Wait) -> socket.socket:
    """The others' part: a connection with the chief, once it says that nobody is missing."""
    while True:
        wait.go_on([0])
        # It is not there yet, or it is TensorFlow of a run that has not ended yet.
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            link = stack.enter_context(socket.create_connection(address, timeout=5))
            link.sendall(b"igan_tf worker %d of %d\n" % (wait.worker.index, wait.worker.count))
            with link.makefile("rb") as lines:
                for line in lines:
                    if not (told := re.fullmatch(rb"missing ([\d ]*)\n", line)):
                        break
                    if not told[1]:
                        stack.pop_all()
                        return link
                    wait.go_on([int(index) for index in told[1].split()])
        time.sleep(1)


def _has_ended(link: socket.socket) -> bool:
    """Whether the other side has closed: it says nothing before."""
    return bool(select.select([link], [], [], 0)[0])


def _tell(links: Collection[socket.socket], word: bytes) -> None:
    for link in links:
        with contextlib.suppress(OSError):
            link.sendall(word)


class RollCall:
    """The connections of one worker: the chief's with all others, another's with the chief.

    Args:
        worker: This one.
        links: A connection by the number of the worker at its other end.
    """

    def __init__(self, worker: Worker, links: Mapping[int, socket.socket]) -> None:
        self._worker = worker
        self._links = links
        # Of what may end the training, an error here or another worker's end, the first takes it.
        self._ending = threading.Lock()
        self._threads = [threading.Thread(target=self._follow, args=link, daemon=True) for link in links.items()]
        for link in links.values():
            link.settimeout(None)
            # A machine without power closes nothing; the system asks after 10 s and gives up after another 30.
            for option, value in (("KEEPIDLE", 10), ("KEEPINTVL", 10), ("KEEPCNT", 3)):
                link.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{option}"), value)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @contextlib.contextmanager
    def starting(self, minutes: float) -> Iterator[None]:
        """In this scope, in which the interpreter may be held, the system ends the process where another is gone.

        So do signals, and `minutes`. Afterwards threads watch the others.
        """
        for link in self._links.values():
            # Anything to be read, the end of the connection too, is a SIGIO, which ends the process (status 157).
            fcntl.fcntl(link, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(link, fcntl.F_SETFL, fcntl.fcntl(link, fcntl.F_GETFL) | os.O_ASYNC)
        faulthandler.dump_traceback_later(60 * minutes, exit=True, file=2)
        on_interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            if gone := [index for index, link in self._links.items() if _has_ended(link)]:
                raise WorkerLostError(self._sentence(gone))
            yield
        finally:
            signal.signal(signal.SIGINT, on_interrupt)
            faulthandler.cancel_dump_traceback_later()
            for link in self._links.values():
                fcntl.fcntl(link, fcntl.F_SETFL, fcntl.fcntl(link, fcntl.F_GETFL) & ~os.O_ASYNC)
        for thread in self._threads:
            thread.start()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """In this scope the workers train. One that leaves it by an error takes the others with it.

        Otherwise they leave after the chief, whose status is then that of all.
        """
        try:
            yield
        except Interrupted:
            self._leave()
            raise
        except BaseException:
            self._ending.acquire(blocking=False)
            self._close()
            raise
        self._leave()

    def _leave(self) -> None:
        _tell(self._links.values(), _DONE)
        if self._worker.is_chief:
            self._ending.acquire(blocking=False)
        else:
            for thread in self._threads:
                thread.join()

    def _close(self) -> None:
        for link in self._links.values():
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def _follow(self, index: int, link: socket.socket) -> None:
        """Waits, in a thread, for what another worker says at its end; ends the process where it says nothing."""
        said = b""
        with contextlib.suppress(OSError):
            while said != _DONE and (more := link.recv(100)):
                said += more
        if said == _DONE or not self._ending.acquire(blocking=False):
            return
        # The chief tells whom it has lost before it ends.
        gone = int(said) if said.isdigit() else index
        _tell(self._links.values(), b"%d" % gone)
        self._close()
        time.sleep(_GRACE)
        print(f"igan_tf: {self._sentence([gone])}", file=sys.stderr, flush=True)
        os._exit(1)

    def _sentence(self, gone: Collection[int]) -> str:
        return f"{self._worker.names(gone)} is gone; all started again continue from the last checkpoint"
