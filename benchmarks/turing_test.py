"""Load on the visual Turing test: annotators who answer without a pause. `python -m benchmarks.turing_test`.

Each annotator does what the page does: asks where it stands, loads the image, answers, loads the next one. Printed and,
with --json, written: answers acknowledged and stored, annotators with another number of answers than they gave, and the
time from sending an answer to its acknowledgement, which comes after it is on the disk. Clients and server share the
machine.
"""

import argparse
import asyncio
import contextlib
import json
import re
import sqlite3
import tempfile
import time
from pathlib import Path

import numpy as np

from igan_tf.turing_test.storage import FILE
from tests.turing_test.served import Server, make_study


class Connection:
    """One kept-open HTTP connection, with no more of HTTP than this server speaks."""

    def __init__(self, server):
        self.server = server
        self.headers = f"Host: {server.address}\r\nOrigin: {server.origin}\r\n"

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        return self

    async def request(self, method, path, body=b"", headers=""):
        """(status, head, body) of one request."""
        head = f"{method} {path} HTTP/1.1\r\n{self.headers}{headers}Content-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = int(re.search(r"content-length: (\d+)", head)[1])
        return int(head.split(" ", 2)[1]), head, await self.reader.readexactly(length)

    async def enrol(self):
        """Through the welcome page; returns the token that the page's answers carry."""
        study = self.server.path(self.server.study_link)
        _, head, page = await self.request("GET", study)
        fields = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.decode())
        form = "&".join(f"{name}={value}" for name, value in [*fields, ("consent", "yes")])
        visit = re.search(r"set-cookie: ([^;]+)", head)[1]
        _, head, _ = await self.request("POST", f"{study}/enrol", form.encode(), f"Cookie: {visit}\r\n")
        self.headers += f"Cookie: {re.search(r'set-cookie: ([^;]+)', head)[1]}\r\n"
        _, _, page = await self.request("GET", "/annotate")
        form_token = re.search(r'name="form-token" content="(\w+)"', page.decode())[1]
        self.form_header = f"X-Form-Token: {form_token}\r\n"


async def annotate(connection, times, refused):
    """Answers every image; notes the seconds that each answer took, and how often the server asked for patience."""
    state = json.loads((await connection.request("GET", "/state"))[2])
    await connection.request("GET", f"/image/{state['trial']}")
    while state["trial"]:
        body = json.dumps({"trial": state["trial"], "choice": "real", "response_ms": 1000}).encode()
        start = time.perf_counter()
        status, _, reply = await connection.request("POST", "/answer", body, connection.form_header)
        if status == 429:
            refused.append(1)
            await asyncio.sleep(0.05)
            continue
        assert status == 200, reply
        times.append(time.perf_counter() - start)
        state = json.loads(reply)["state"]
        if state["next"]:
            await connection.request("GET", f"/image/{state['next']}")


async def load(server, annotators):
    """(seconds of each answer, seconds of all together, refusals for haste)."""
    connections = await asyncio.gather(*(Connection(server).open() for _ in range(annotators)))
    await asyncio.gather(*(connection.enrol() for connection in connections))
    times, refused = [], []
    start = time.perf_counter()
    await asyncio.gather(*(annotate(connection, times, refused) for connection in connections))
    return times, time.perf_counter() - start, len(refused)


def measure(annotators, answers):
    """Runs the load on a new study of 28x28 images; returns the figures."""
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        make_study(study, count=max(answers, 500), shape=(28, 28, 1), trials=answers, block_size=50, practice=0)
        with Server(study) as server:
            times, seconds, refused = asyncio.run(load(server, annotators))
        with contextlib.closing(sqlite3.connect(study / FILE)) as connection:
            (stored,) = connection.execute("SELECT count(*) FROM answers").fetchone()
            (too_many,) = connection.execute(
                "SELECT count(*) FROM (SELECT 1 FROM answers GROUP BY annotator HAVING count(*) != ?)", (answers,)
            ).fetchone()
            (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
    milliseconds = np.array(times) * 1000
    return {
        "acknowledged": len(times),
        "stored": stored,
        "annotators_with_another_number": too_many,
        "integrity_check": integrity,
        "refused_for_haste": refused,
        "answers_per_second": round(len(times) / seconds, 1),
        **{f"milliseconds_{p}": round(float(np.percentile(milliseconds, p)), 1) for p in (50, 90, 99, 100)},
    }


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turing_test", description=__doc__)
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--answers", type=int, default=200, help="of each annotator; an even number")
    parser.add_argument("--json", help="file that gets the figures")
    arguments = parser.parse_args()
    figures = measure(arguments.annotators, arguments.answers)
    for name, value in figures.items():
        print(f"{name}: {value}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
