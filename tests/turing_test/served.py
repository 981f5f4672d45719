"""Studies, servers in processes of their own, and clients that speak to them over real sockets."""

import contextlib
import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from igan_tf.turing_test import contents
from igan_tf.turing_test.creation import create_study
from igan_tf.turing_test.encoding import decode_image
from igan_tf.turing_test.export import answers_csv
from igan_tf.turing_test.settings import StudySettings
from igan_tf.turing_test.sources import Source
from igan_tf.turing_test.storage import FILE
from igan_tf.turing_test.votes import load_votes

REPOSITORY = Path(__file__).parent.parent.parent
TABLES = ("study", "sources", "items", "annotators", "trials", "answers")
# Real images are dark, generated ones bright: so a test knows what an image is by its pixels, and only by them.
BRIGHT = 128


def images(count, generated, shape=(8, 8, 1), seed=0):
    """uint8 images, each of its own, dark or bright."""
    generator = np.random.default_rng([seed, generated])
    return (generator.integers(0, BRIGHT, (count, *shape)) + BRIGHT * generated).astype("uint8")


def sources(count=60, generated=("gan",), shape=(8, 8, 1)):
    made = [Source(name, True, f"{name}.npz", images(count, 1, shape, seed)) for seed, name in enumerate(generated)]
    return [Source("real", False, "photographs", images(count, 0, shape)), *made]


def make_study(folder, count=60, generated=("gan",), seed=1, shape=(8, 8, 1), **settings):
    """A study in `folder`; returns its settings."""
    settings = StudySettings(**{"trials": 12, "block_size": 4, "practice": 2, **settings})
    create_study(folder, settings, sources(count, generated, shape), seed)
    return settings


def as_version_1(folder):
    """Makes a study one as version 1 of the file was: without checksums of rows."""
    path, old = folder / FILE, folder / "old"
    path.rename(old)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(contents.schema(contents.WITHOUT_CHECKSUMS))
        connection.execute("ATTACH ? AS new", (str(old),))
        for table in TABLES:
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"INSERT INTO main.{table} SELECT {columns} FROM new.{table}")
        connection.commit()
        connection.execute("DETACH new")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {contents.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    old.unlink()


def everything(storage):
    """All that a study's file holds, and the export of its answers."""
    with contextlib.closing(storage.connect()) as connection:
        return [
            answers_csv(storage, load_votes(connection)),
            *(connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES),
        ]


def truth(png):
    """What an image of `images` is."""
    return "generated" if decode_image(png).min() >= BRIGHT else "real"


def of_patience(seconds):
    """For `Server`'s `before`: closes connections whose requests do not end in this time."""
    return f"from igan_tf.turing_test import serving\nserving.PATIENCE_SECONDS = {seconds}"


class Server:
    """The command in a process of its own.

    Args:
        study_dir: The study.
        *arguments: More flags.
        port: Where to serve; 0: anywhere.
        before: Python that the process runs first.
    """

    def __init__(self, study_dir, *arguments, port=0, before=""):
        program = f"import sys\n{before}\nfrom igan_tf.commands.turing_test import run\nrun(sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, f"--study_dir={study_dir}", f"--port={port}", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        self.output = "".join(lines)
        if self.process.poll() is not None or "Ctrl-C" not in self.output:
            raise RuntimeError(self.output + self.process.stderr.read())
        self.study_link, self.results_link = re.findall(r"http\S+", self.output)
        self.origin = re.match(r"https?://[^/]+", self.study_link)[0]
        self.address = self.origin.split("://")[1]
        self.port = port or int(self.address.split(":")[1])

    def path(self, link):
        return link.removeprefix(self.origin)

    def client(self):
        return Client(self.address, self.origin, self.path(self.study_link))

    def kill(self):
        """SIGKILL: no handler, no goodbye."""
        self.process.kill()
        self._reap()

    def stop(self):
        """Ctrl-C. Returns the exit code and what stands on stderr."""
        self.process.send_signal(signal.SIGINT)
        return self._reap()

    def _reap(self):
        code = self.process.wait(30)
        with self.process.stdout, self.process.stderr:
            return code, self.process.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
            self._reap()


class Reply:
    """An answer of the server: status, headers in their order, body."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.getheaders()
        self.body = response.read()

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self):
        return json.loads(self.body)


class Client:
    """An annotator's browser, as far as HTTP goes: cookies, the form, the answers.

    Args:
        address: Host and port.
        origin: What it says in `Origin`.
        study_path: Path of the study's link.
    """

    def __init__(self, address, origin, study_path):
        self.address, self.origin, self.study_path = address, origin, study_path
        self.cookies = {}
        self.form_token = None
        self._connection = http.client.HTTPConnection(address, timeout=60)

    def request(self, method, path, body=None, headers=()):
        """One request; a header given as None is left out."""
        sent = {"Origin": self.origin if method == "POST" else None, "Cookie": self._cookie_header(), **dict(headers)}
        try:
            self._connection.request(method, path, body, {k: v for k, v in sent.items() if v is not None})
            reply = Reply(self._connection.getresponse())
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        for name, value in reply.headers:
            if name.lower() == "set-cookie":
                key, _, content = value.split(";")[0].partition("=")
                self.cookies[key] = content
        return reply

    def _cookie_header(self):
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items()) or None

    def get(self, path, **keywords):
        return self.request("GET", path, **keywords)

    def form(self):
        """The fields of the welcome page's form."""
        page = self.get(self.study_path).body.decode()
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
        return {**fields, "consent": "yes"}

    def send_form(self, fields):
        body = "&".join(f"{name}={value}" for name, value in fields.items())
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.request("POST", f"{self.study_path}/enrol", body, headers)

    def enrol(self):
        """Agrees and begins; returns itself."""
        reply = self.send_form(self.form())
        assert reply.status == 303 and reply.header("location") == "/annotate", (reply.status, reply.body)
        return self.open()

    def open(self):
        """Opens the page with the images."""
        page = self.get("/annotate").body.decode()
        self.form_token = re.search(r'name="form-token" content="(\w+)"', page)[1]
        self.resume_path = re.search(r'href="http://[^/"]+(/resume/[^"]+)"', page)[1]
        return self

    def state(self):
        return self.get("/state").json()

    def image(self, token):
        return self.get(f"/image/{token}")

    def send_answer(self, token, choice, response_ms=500, headers=()):
        body = json.dumps({"trial": token, "choice": choice, "response_ms": response_ms})
        return self.send_raw_answer(body, headers)

    def send_raw_answer(self, body, headers=()):
        headers = {"X-Form-Token": self.form_token, "Content-Type": "application/json", **dict(headers)}
        return self.request("POST", "/answer", body, headers)

    def answer(self, token, choice, response_ms=500):
        """An answer that must succeed, if need be as slowly as the server allows."""
        while (reply := self.send_answer(token, choice, response_ms)).status == 429:
            time.sleep(0.05)
        assert reply.status == 200, (reply.status, reply.body)
        return reply.json()

    def answer_all(self, choose, state=None):
        """Goes through to the end; `choose(token)` gives each choice. Returns every outcome."""
        state = state or self.state()
        outcomes = []
        while state["trial"]:
            outcomes.append(self.answer(state["trial"], choose(state["trial"])))
            state = outcomes[-1]["state"]
        return outcomes

    def truth(self, token):
        return truth(self.image(token).body)

    def close(self):
        self._connection.close()


@contextlib.contextmanager
def served(study_dir, *arguments):
    """A server for the time of the scope, which must end without an error of its own."""
    with Server(study_dir, *arguments) as server:
        yield server
        if server.process.poll() is None:
            code, errors = server.stop()
            assert (code, errors) == (130, ""), (code, errors)
