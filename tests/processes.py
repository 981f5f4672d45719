"""Programs of this package in processes of their own, forked from one that has TensorFlow imported already.

They are real processes, with output, exit code and signals of their own; what they save is the seconds that every
import of TensorFlow takes. What the environment decides at import, and what is printed there, needs `subprocess`.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tensorflow", "igan_tf.experiments.training_runs", "igan_tf.experiments.sampling"])


class Program:
    """`python -m module arguments`, started; the part of `subprocess.Popen` that tests use.

    Args:
        module: The module.
        arguments: Of the command line.
        cwd: The folder it runs in.
        environment: Variables beside this process's.
    """

    def __init__(self, module, arguments, cwd, environment=None):
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        for path in self._outputs:
            path.touch()
        arguments = (module, list(map(str, arguments)), str(cwd), environment or {}, list(map(str, self._outputs)))
        self._process = _CONTEXT.Process(target=_run, args=arguments)
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        """The exit code, negative after a signal, or None."""
        return self._process.exitcode

    def send_signal(self, signum):
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def wait_for(self, text, timeout=240):
        """Polls until stdout has `text`; fails if the program ends before."""
        deadline = time.monotonic() + timeout
        while text not in self._outputs[0].read_text():
            assert self.poll() is None, self.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def communicate(self, timeout=300):
        """Waits for the end; returns what went to stdout and stderr."""
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        return tuple(path.read_text() for path in self._outputs)

    @property
    def returncode(self):
        return self.poll()


def run(module, arguments, cwd, timeout=300):
    """Runs a program to its end: a `subprocess.CompletedProcess`."""
    program = Program(module, arguments, cwd)
    try:
        stdout, stderr = program.communicate(timeout)
    finally:
        program.kill()
    return subprocess.CompletedProcess(arguments, program.returncode, stdout, stderr)


def _run(module, arguments, cwd, environment, outputs):
    for descriptor, path in enumerate(outputs, start=1):
        file = os.open(path, os.O_WRONLY)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(cwd)
    os.environ.update(environment)
    # As a program that a shell starts; a process of `multiprocessing` leaves Ctrl-C to its parent.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
