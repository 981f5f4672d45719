"""Workers that train together: real processes on this machine, each with the TF_CONFIG of its place."""

import json
import socket

from tests.command_line import REPOSITORY
from tests.processes import Program


class Cluster:
    """Processes with the addresses of each other.

    Args:
        module: The program of all.
        *arguments: Of all.
        own: Further arguments of each.
        started: The numbers of those that are started at once.
        count: How many there are.
        folders: Those that they run in.
    """

    def __init__(self, module, *arguments, own=((), (), ()), started=(0, 1), count=2, folders=(REPOSITORY,) * 3):
        sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
        self.addresses = [f"localhost:{server.getsockname()[1]}" for server in sockets]
        for server in sockets:
            server.close()
        self._module = module
        self._folders = folders
        self._arguments = [[*arguments, *more] for more in own]
        self.processes = {}
        for index in started:
            self.start(index)

    def start(self, index):
        """Starts a worker, also in place of one that has ended."""
        config = {"cluster": {"worker": self.addresses}, "task": {"type": "worker", "index": index}}
        environment = {"TF_CONFIG": json.dumps(config)}
        self.processes[index] = Program(self._module, self._arguments[index], self._folders[index], environment)

    def wait(self, index, timeout=300):
        """A worker's exit code and output."""
        output, errors = self.processes[index].communicate(timeout=timeout)
        return self.processes[index].returncode, output + errors

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in self.processes.values():
            process.kill()
            process.communicate()
