"""The processes of a converter: started, fed with shards, and kept apart from those of another converter."""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import signal
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from igan_tf.errors import DataError
from igan_tf.files.locks import LOCK_NAME, held
from igan_tf.records import shards

# The processes of a converter that was killed need a moment to notice.
_SECONDS_FOR_THE_DYING = 5.0


def start_fork_server(without_interrupts: bool = False) -> ForkServerContext:
    """Begins to start the small process that all others are copies of, and returns its context.

    Copies of this process would not be safe once TensorFlow's threads run in it. Called early, it saves waiting later.

    Args:
        without_interrupts: Whether no copy ever gets Ctrl-C, not even one that has just begun: for a program that
            starts no other processes by this server.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([shards.__name__])
    # Starting the resource tracker would unblock what is blocked.
    multiprocessing.resource_tracker.ensure_running()
    # Copies inherit it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT} if without_interrupts else ())
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


@contextlib.contextmanager
def pool(processes: int, lock_path: Path) -> Iterator[tuple[concurrent.futures.ProcessPoolExecutor, Synchronized]]:
    """Starts processes for `shards.write_shard`, which give up at once after an error in the scope.

    Args:
        processes: How many.
        lock_path: The file that each locks, shared, as long as it lives.

    Yields:
        The pool, and the number of images done as a shared value.
    """
    context = start_fork_server()
    progress, stop = context.Value("q", 0), context.Event()
    arguments = (progress, stop, lock_path)
    executor = concurrent.futures.ProcessPoolExecutor(processes, context, shards.start_process, arguments)
    try:
        yield executor, progress
    except BaseException:
        stop.set()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def sole_converter(output_dir: Path, processes_lock: Path) -> Iterator[None]:
    """Holds `output_dir` against other converters, and against what is left of one that was killed.

    Args:
        output_dir: The folder.
        processes_lock: The file that each process of a converter locks, shared, as long as it lives.

    Raises:
        DataError: where another converter, or a process of one, goes on working there.
    """
    refusal = DataError(f"`output_dir={output_dir}` is in use by another converter")
    with held(output_dir / LOCK_NAME, refusal, patience=_SECONDS_FOR_THE_DYING):
        if processes_lock.exists():
            with held(processes_lock, refusal, patience=_SECONDS_FOR_THE_DYING):
                pass
        yield
