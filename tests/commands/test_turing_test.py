"""The command line in processes of its own, and what an installed copy holds."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from igan_tf.commands import turing_test as command
from igan_tf.turing_test import serving
from igan_tf.turing_test.settings import StudyError
from igan_tf.turing_test.storage import FILE
from tests.turing_test.served import REPOSITORY, Client, Server, images, make_study

SMALL = ("--trials=4", "--practice=2", "--block_size=2")


def run(*arguments):
    """Return code and everything printed; for commands that end by themselves."""
    done = subprocess.run(
        [sys.executable, "-m", "igan_tf.turing_test", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def sources(tmp_path):
    np.savez(tmp_path / "real.npz", images(20, 0))
    np.savez(tmp_path / "gan.npz", images(20, 1))
    return f"--real={tmp_path}/real.npz", f"--generated=gan={tmp_path}/gan.npz"


def parsed(*arguments):
    line = command.command_line()
    line.parse(arguments)
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--study_dir must name the folder of the study. Received: --study_dir="),
        (["--study_dir=x", "--port=65536"], "--port must be at most 65535. Received: --port=65536"),
        (["--study_dir=x", "--host=0.0.0.0"], "--host other than 127.0.0.1 needs --public_url"),
        (["--study_dir=x", "--insecure_lan"], "--insecure_lan goes with --host=0.0.0.0"),
        (["--study_dir=x", "--insecure_lan", "--host=::", "--public_url=http://a.example"], "--insecure_lan goes with"),
        (["--study_dir=x", "--public_url=study.example.org"], "Received: --public_url=study.example.org"),
        (["--study_dir=x", "--public_url=https://a.example/path"], "Received: --public_url=https://a.example/path"),
        (["--study_dir=x", "--public_url=ftp://a.example"], "Received: --public_url=ftp://a.example"),
        (["--study_dir=x", "--public_url=https://me@a.example"], "Received: --public_url=https://me@a.example"),
        (["--study_dir=x", "--public_url=https://a.example#b"], "Received: --public_url=https://a.example#b"),
        (
            ["--study_dir=x", "--public_url=https://münchen.example"],
            "https://name:port, in punycode. Received: --public_url=",
        ),
        (["--study_dir=x", "--public_url=https://[v1.a]"], "--public_url is no address: "),
    ],
)
def test_flags_that_are_refused_before_anything_is_read(arguments, words):
    line = parsed(*arguments)
    with pytest.raises(StudyError) as caught:
        line.read(command.CommandSettings)
    assert words in line.in_flags(caught.value)


def test_a_source_that_is_refused_is_named_by_its_flag(tmp_path):
    for given, received in (("b", "b"), ("=real=x", "=real=x")):
        code, output = run(f"--study_dir={tmp_path}/study", "--real=x", f"--generated={given}")
        assert code == 1 and "igan_tf: --generated must be name=place" in output
        assert f"Received: --generated={received}\n" in output


def test_flags_of_image_files_need_a_folder_of_them(tmp_path, sources, capsys):
    with pytest.raises(
        SystemExit, match=r"--fit is for image files, and no source is a folder of them. Received: --fit=pad"
    ):
        command.run([*sources, *SMALL, "--fit=pad", f"--study_dir={tmp_path}/study", "--port=0"])
    assert not (tmp_path / "study").exists()


def test_the_defaults_are_the_settings_own():
    from igan_tf.turing_test.settings import StudySettings

    assert parsed().read(StudySettings) == StudySettings()


def test_refusals_end_with_one_message_and_make_nothing(tmp_path, sources):
    folder = tmp_path / "study"
    code, output = run(f"--study_dir={folder}", *sources, "--trials=50")
    assert code == 1 and "Traceback" not in output
    assert re.search(r"igan_tf: --real=.*real.npz must have at least 28 images", output)
    assert not folder.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["gan.npz", "real.npz"]


def test_a_port_in_use_is_named_before_the_sources_are_read(tmp_path, sources):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = run(f"--study_dir={tmp_path}/study", *sources, f"--port={port}")
    assert code == 1 and f"--port={port} cannot be served on" in output and "Traceback" not in output
    assert not (tmp_path / "study").exists()


def test_sockets_send_at_once():
    """Asyncio sets TCP_NODELAY only where the socket says it is TCP; without it every answer waits for 40 ms."""
    with serving.listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_make_serve_go_on_and_report(tmp_path, sources):
    folder = tmp_path / "study"
    with Server(folder, *sources, *SMALL, "--feedback=on") as server:
        assert "1,533 votes, 384 annotators of 4 each" in server.output
        client = server.client().enrol()
        client.answer_all(client.truth)
        code, errors = server.stop()
        assert (code, errors) == (130, "")
    # Served again with no flag, and with the same ones; not with others.
    with Server(folder) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server._reap() == (143, "")
    code, output = run(f"--study_dir={folder}", "--trials=6", "--feedback=on", "--real=other", "--port=0")
    assert code == 1 and "holds a study with other settings" in output
    assert "--trials: the study has 4, now 6" in output and "--real: the study has" in output
    assert "--feedback" not in output
    code, output = run(f"--study_dir={folder}", "--report")
    assert code == 0, output
    assert "4 votes of 1 annotator\n" in output and "accuracy" in output and "1.000" in output
    names = {path.name for path in (folder / "report").iterdir()}
    assert {"report.json", "answers.csv", "annotators.csv", "accuracy.png"} <= names


def test_a_folder_without_a_study_is_not_gone_on_with(tmp_path):
    code, output = run(f"--study_dir={tmp_path}/stduy", "--port=0")
    assert code == 1 and f"igan_tf: --study_dir={tmp_path}/stduy holds no study to go on with" in output
    assert f"--real and --generated must name images. Received: --study_dir={tmp_path}/stduy --real= " in output
    assert not (tmp_path / "stduy").exists()


def test_a_host_in_capitals_is_served_and_answered(tmp_path):
    make_study(tmp_path / "study")
    with Server(tmp_path / "study", "--host=LocalHost") as server:
        port = server.study_link.rpartition(":")[2].partition("/")[0]
        client = Client(f"127.0.0.1:{port}", f"http://localhost:{port}", server.path(server.study_link))
        assert client.get(client.study_path, headers={"Host": f"LocalHost:{port}"}).status == 200
        assert server.stop() == (130, "")


def test_a_report_on_nothing(tmp_path):
    code, output = run(f"--study_dir={tmp_path}", "--report")
    assert code == 1 and f"--study_dir={tmp_path} holds no study: {FILE} is missing" in output


def test_behind_https_cookies_are_secure(tmp_path):
    make_study(tmp_path / "study")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Server(tmp_path / "study", "--public_url=https://study.example.org", port=port) as server:
        assert server.origin == "https://study.example.org"
        own = f"127.0.0.1:{port}"
        for host, origin, secure in (("study.example.org", server.origin, True), (own, f"http://{own}", False)):
            client = Client(own, origin, server.path(server.study_link))
            reply = client.get(client.study_path, headers={"Host": host})
            assert reply.status == 200 and ("; Secure" in reply.header("set-cookie")) == secure
        # Through a proxy that puts its own name for the server into Host.
        reply = Client(own, server.origin, client.study_path).request("POST", f"{client.study_path}/enrol", b"")
        assert reply.status == 421 and b"must pass on the Host" in reply.body
        results = client.get(server.path(server.results_link), headers={"Host": own})
        assert f"{server.origin}/study/".encode() in results.body


def test_a_wheel_holds_pages_and_schema(tmp_path):
    """What is not Python goes into a wheel only where setup.py says so."""
    out = [f"--build-base={tmp_path}/build", "egg_info", f"--egg-base={tmp_path}", "bdist_wheel"]
    build = [sys.executable, "setup.py", "-q", "build", *out, f"--bdist-dir={tmp_path}/bdist", f"--dist-dir={tmp_path}"]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if name.startswith("igan_tf/turing_test/")}
    package = REPOSITORY / "igan_tf" / "turing_test"
    present = {
        str(path.relative_to(REPOSITORY))
        for path in package.rglob("*")
        if path.is_file() and path.suffix in (".py", ".html", ".css", ".js", ".svg", ".sql")
    }
    assert present == held and {path.rsplit(".")[-1] for path in held} == {"py", "html", "css", "js", "svg", "sql"}


def test_a_study_in_ones_own_network(tmp_path, monkeypatch):
    """It answers at the machine's address there and on the machine itself, under no other name, and warns."""
    address = "127.0.0.2"
    make_study(tmp_path / "study")
    before = f"from igan_tf.turing_test import serving\nserving.address_in_network = lambda: {address!r}"
    with Server(tmp_path / "study", "--host=0.0.0.0", "--insecure_lan", before=before) as server:
        port = server.study_link.rpartition(":")[2].partition("/")[0]
        assert server.study_link.startswith(f"http://{address}:{port}/study/")
        for name, status in ((address, 200), ("127.0.0.1", 200), ("localhost", 200), ("192.168.7.9", 421)):
            connection = http.client.HTTPConnection(address, int(port), timeout=30)
            connection.request("GET", server.study_link.partition(f":{port}")[2], headers={"Host": f"{name}:{port}"})
            assert connection.getresponse().status == status
            connection.close()
        _, errors = server.stop()
        assert f"warning: unencrypted at http://{address}:{port}: whoever is in this network" in errors


@pytest.mark.parametrize(
    ("public_url", "host", "port", "expected"),
    [
        ("", "127.0.0.1", 8765, "http://127.0.0.1:8765"),
        ("", "127.0.0.1", 80, "http://127.0.0.1"),
        ("", "192.168.7.9", 8765, "http://192.168.7.9:8765"),
        ("", "fd00::9", 80, "http://[fd00::9]"),
        ("", "FD00:0:0:0:0:0:0:9", 8765, "http://[fd00::9]:8765"),
        ("", "LAB.local", 8765, "http://lab.local:8765"),
        ("", "LocalHost", 8765, "http://127.0.0.1:8765"),
        ("https://[FD00:0::9]:443", "0.0.0.0", 8765, "https://[fd00::9]"),
        ("https://A.example/", "0.0.0.0", 8765, "https://a.example"),
        ("https://a.example:443", "0.0.0.0", 8765, "https://a.example"),
        ("http://a.example:80", "0.0.0.0", 80, "http://a.example"),
        ("https://a.example:80", "0.0.0.0", 80, "https://a.example:80"),
    ],
)
def test_origins_are_those_that_browsers_name(public_url, host, port, expected):
    assert command._origins(public_url, host, port)[0] == expected
