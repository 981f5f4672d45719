"""The pages over real sockets: who is told what, and that no answer counts twice or is lost."""

import asyncio
import contextlib
import re
import sqlite3
import threading
import time

import pytest
from starlette.requests import Request

from igan_tf.turing_test.security import form_token
from igan_tf.turing_test.server import Pages, build_app
from igan_tf.turing_test.storage import FILE, Storage
from tests.turing_test.served import Server, make_study, served

SETTINGS = {"trials": 12, "block_size": 4, "practice": 2}


@pytest.fixture(scope="module", params=["off", "on"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "study"
    make_study(folder, feedback=request.param)
    with served(folder) as server:
        server.study_dir, server.feedback = folder, request.param == "on"
        yield server


def answers(server):
    """(annotator, position, choice, right) of every answer, straight from the file."""
    with sqlite3.connect(server.study_dir / FILE) as connection:
        return connection.execute(
            "SELECT annotator, position, choice, (choice = 'generated') = generated FROM answers "
            "JOIN trials USING (annotator, position) JOIN items USING (item) JOIN sources USING (source) "
            "ORDER BY annotator, position"
        ).fetchall()


def test_a_whole_study(server):
    before = len(answers(server))
    client = server.client().enrol()
    seen, truths = [], []

    def choose(token):
        seen.append(token)
        truths.append(client.truth(token))
        return "real" if len(seen) % 3 else "generated"

    outcomes = client.answer_all(choose)
    assert len(outcomes) == len(set(seen)) == 14
    assert truths[2:].count("real") == truths[2:].count("generated") == 6
    assert truths[:2].count("real") == 1
    right = [outcome["choice"] == truth for outcome, truth in zip(outcomes, truths)]
    told = [outcome["feedback"] for outcome in outcomes]
    if server.feedback:
        assert told == [{"truth": truth, "right": was} for truth, was in zip(truths, right)]
    else:
        assert told == [None] * 14
    stored = answers(server)[before:]
    assert [choice for _, _, choice, _ in stored] == [outcome["choice"] for outcome in outcomes]
    assert [bool(was) for *_, was in stored] == right
    last = outcomes[-1]["state"]
    assert last["phase"] == "done" and last["result"] == {"right": sum(right[2:]), "of": 12}


def test_the_pauses_and_numbers(server):
    client = server.client().enrol()
    states = [client.state(), *(outcome["state"] for outcome in client.answer_all(lambda token: "real"))]
    assert [(state["phase"], state["number"], state["total"]) for state in states] == [
        *[("practice", n, 2) for n in (1, 2)],
        *[("trial", n, 12) for n in range(1, 13)],
        ("done", 12, 12),
    ]
    assert [(state["answered"], state["all"]) for state in states] == [(n, 14) for n in range(15)]
    # These and no others: each was looked at for what it tells of the image at hand.
    names = {"phase", "number", "total", "answered", "all", "trial", "next", "pause", "result"}
    assert all(set(state) == names for state in states)
    pauses = {state["answered"]: state["pause"] for state in states if state["pause"]}
    assert {place: (pause["kind"], pause["block"], pause["blocks"]) for place, pause in pauses.items()} == {
        2: ("practice", 0, 3),
        6: ("block", 1, 3),
        10: ("block", 2, 3),
    }
    for place, pause in pauses.items():
        if server.feedback:
            own = [was for number, *_, was in answers(server) if number == answers(server)[-1][0]]
            start = 0 if place == 2 else place - 4
            assert (pause["right"], pause["of"]) == (sum(own[start:place]), place - start)
            assert (pause["all_right"], pause["all_of"]) == (sum(own[2:place]), place - 2)
        else:
            assert not {"right", "of", "all_right", "all_of"} & set(pause)


def test_the_first_answer_stands(server):
    client = server.client().enrol()
    first = client.state()["trial"]
    assert client.answer(first, "real")["choice"] == "real"
    number_of_answers = len(answers(server))
    outcome = client.answer(first, "generated")
    assert outcome["choice"] == "real" and outcome["state"]["answered"] == 1
    assert len(answers(server)) == number_of_answers


def test_a_hundred_simultaneous_sendings_of_one_answer_count_once(server):
    client = server.client().enrol()
    token = client.state()["trial"]
    before = len(answers(server))
    outcomes = []

    def send(choice):
        other = server.client()
        other.cookies, other.form_token = client.cookies, client.form_token
        for _ in range(5):
            outcomes.append(other.answer(token, choice)["choice"])
        other.close()

    threads = [threading.Thread(target=send, args=(choice,)) for choice in ("real", "generated") * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 50 and len(set(outcomes)) == 1
    assert [choice for *_, choice, _ in answers(server)[before:]] == outcomes[:1]


def test_two_windows_go_on_together(server):
    client = server.client().enrol()
    other = server.client()
    other.cookies = client.cookies
    other.open()
    stale = other.state()
    client.answer(stale["trial"], "real")
    # The second window answers what it shows, the other way: the first answer stands, and it is told where it is.
    outcome = other.answer(stale["trial"], "generated")
    assert outcome["choice"] == "real" and outcome["state"]["trial"] == stale["next"] == client.state()["trial"]


def test_an_answer_before_its_turn_is_refused(server):
    client = server.client().enrol()
    state = client.state()
    reply = client.send_answer(state["next"], "real")
    assert reply.status == 409 and client.state() == state


def test_images_are_seen_when_their_turn_is_near(server):
    client = server.client().enrol()
    with sqlite3.connect(server.study_dir / FILE) as connection:
        tokens = [
            token
            for (token,) in connection.execute(
                "SELECT token FROM trials WHERE annotator = (SELECT max(annotator) FROM trials) ORDER BY position"
            )
        ]
    assert [client.image(token).status for token in tokens[:4]] == [200, 200, 404, 404]
    client.answer(tokens[0], "real")
    assert [client.image(token).status for token in tokens[:4]] == [200, 200, 200, 404]


def test_another_annotators_images_and_trials_are_not_there(server):
    client, other = server.client().enrol(), server.client().enrol()
    token = other.state()["trial"]
    assert client.image(token).status == 404
    assert client.send_answer(token, "real").status == 404
    assert other.state()["answered"] == 0


def test_coming_back_by_cookie_and_by_link(server):
    client = server.client().enrol()
    client.answer(client.state()["trial"], "real")
    state = client.state()
    again = server.client()
    again.cookies = dict(client.cookies)
    assert again.open().state() == state
    page = again.get(again.study_path).body.decode()
    assert "Welcome back" in page
    elsewhere = server.client()
    reply = elsewhere.get(client.resume_path)
    assert reply.status == 303 and reply.header("location") == "/annotate"
    assert elsewhere.open().state() == state
    elsewhere.answer(state["trial"], "real")
    assert client.state()["answered"] == 2


def send_resume(client, path, form_token, **headers):
    headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    return client.request("POST", path, f"form_token={form_token}", headers)


def test_a_link_to_come_back_replaces_nobody_without_being_asked(server):
    client, other = server.client().enrol(), server.client().enrol()
    cookies = dict(client.cookies)
    reply = client.get(other.resume_path)
    page = reply.body.decode()
    assert reply.status == 200 and client.cookies == cookies
    assert f'<form class="card" method="post" action="{other.resume_path}">' in page
    form_token = re.search(r'name="form_token" value="(\w+)"', page)[1]
    # Another page's form, another browser's, and one that would leave the cookies out.
    assert send_resume(client, other.resume_path, form_token, Origin="http://evil.example").status == 403
    assert send_resume(client, other.resume_path, "0" * 64).status == 403
    assert send_resume(client, server.client().enrol().resume_path, form_token).status == 403
    assert send_resume(server.client(), other.resume_path, form_token).status == 403
    assert client.cookies == cookies
    reply = send_resume(client, other.resume_path, form_token)
    assert reply.status == 303 and reply.header("location") == "/annotate"
    assert session_of(client) == session_of(other)
    # One's own link asks nothing.
    assert client.get(other.resume_path).status == 303


@pytest.mark.parametrize(("origin", "elsewhere"), [("http://127.0.0.1:1", False), ("https://study.example", True)])
def test_another_device_is_spoken_of_where_one_can_reach_the_server(tmp_path, origin, elsewhere):
    make_study(tmp_path / "study")
    storage = Storage(tmp_path / "study", serve=True)
    annotator = storage.enrol("form").result()
    pages = Pages(storage, [origin])
    cookie = f"{pages._session_cookie}={annotator.session}".encode()
    request = Request({"type": "http", "method": "GET", "path": "/annotate", "headers": [(b"cookie", cookie)]})
    page = asyncio.run(pages.annotate(request)).body.decode()
    storage.close()
    assert f'href="{origin}/resume/{annotator.resume}"' in page
    assert ("on another device" in page) == elsewhere == ("In another browser of this device" not in page)


def test_a_form_sent_twice_enrols_once(server):
    client = server.client()
    fields = client.form()
    client.send_form(fields)
    first = dict(client.cookies)
    client.send_form(fields)
    assert client.cookies == first
    # A new page is a new form: the next person at the same device.
    client.send_form(client.form())
    assert client.cookies != first


def test_two_windows_of_the_welcome_page_make_one_annotator(server):
    client = server.client()
    first, second = client.form(), client.form()
    assert first["number"] != second["number"]
    client.send_form(first)
    cookies = dict(client.cookies)
    client.open().answer(client.state()["trial"], "real")
    reply = client.send_form(second)
    assert reply.status == 303 and reply.header("location") == "/annotate"
    assert client.cookies == cookies and client.state()["answered"] == 1


def session_of(client):
    """Name and value of an annotator's cookie."""
    return next((name, value) for name, value in client.cookies.items() if name.startswith("annotator_"))


def test_a_session_from_outside_is_replaced_at_enrolment(server):
    attacker = server.client().enrol()
    name, session = session_of(attacker)
    before = attacker.state()
    for planted in ("planted", session):
        victim = server.client()
        fields = victim.form()
        victim.cookies[name] = planted
        assert victim.send_form(fields).status == 303
        assert session_of(victim)[1] not in (planted, session)
        victim.open().answer(victim.state()["trial"], "real")
    assert attacker.state() == before
    attacker.cookies[name] = "planted"
    assert attacker.get("/state").status == 403


@contextlib.contextmanager
def locked(server):
    """Another program's lock on the study's file, for the scope."""
    with contextlib.closing(sqlite3.connect(server.study_dir / FILE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_a_foreign_lock_gives_a_short_503_and_loses_nothing(server):
    client, newcomer = server.client().enrol(), server.client()
    token, fields = client.state()["trial"], newcomer.form()
    with locked(server):
        start = time.monotonic()
        reply = client.send_answer(token, "real")
        assert reply.status == 503 and reply.json() == {"error": "The study is busy for a moment. Please try again."}
        assert reply.header("retry-after") == "1" and time.monotonic() - start < 2
        start = time.monotonic()
        reply = newcomer.send_form(fields)
        assert reply.status == 503 and reply.header("content-type").startswith("text/html")
        assert b"Please try again" in reply.body and len(reply.body) < 2000 and time.monotonic() - start < 2
        # Reading goes on.
        assert client.state()["answered"] == 0 and client.image(token).status == 200
    assert client.answer(token, "generated")["choice"] == "generated"
    assert newcomer.send_form(fields).status == 303 and newcomer.open().state()["answered"] == 0


def test_answers_that_wait_behind_one_that_waits_are_told_in_time(server):
    clients = [server.client().enrol() for _ in range(6)]
    tokens = [client.state()["trial"] for client in clients]
    seconds, statuses = [], []

    def send(client, token):
        start = time.monotonic()
        statuses.append(client.send_answer(token, "real").status)
        seconds.append(time.monotonic() - start)

    threads = [threading.Thread(target=send, args=arguments) for arguments in zip(clients, tokens)]
    with locked(server):
        for thread in threads:
            thread.start()
            time.sleep(0.15)
        for thread in threads:
            thread.join()
    assert statuses == [503] * 6 and max(seconds) < 2, seconds
    assert [client.answer(token, "real")["state"]["answered"] for client, token in zip(clients, tokens)] == [1] * 6


def test_a_lock_that_is_short_is_waited_for(server):
    client = server.client().enrol()
    with locked(server):
        thread = threading.Thread(target=lambda: client.answer(client.state()["trial"], "real"))
        thread.start()
        time.sleep(0.2)
    thread.join()
    assert client.state()["answered"] == 1


JUMPING_CLOCK = """
import itertools, time
now, jumps = time.time, itertools.cycle([0, -3e8, 4e9, -1e9, 50, -50])
time.time = lambda: now() + next(jumps)
"""


def test_a_clock_that_jumps_changes_nothing_but_the_times_recorded(tmp_path):
    make_study(tmp_path / "study", feedback="on")
    with Server(tmp_path / "study", before=JUMPING_CLOCK) as server:
        for _ in range(2):
            client = server.client().enrol()
            outcomes = client.answer_all(client.truth)
            assert outcomes[-1]["state"]["result"] == {"right": 12, "of": 12}
        base = server.path(server.results_link)
        assert client.get(f"{base}/report.json").json()["results"][0]["accuracy"]["value"] == 1
        lines = client.get(f"{base}/answers.csv").body.decode().splitlines()[1:]
        assert [line.split(",")[3] for line in lines] == [str(n) for n in range(1, 13)] * 2
        assert {line.split(",")[9] for line in lines} == {"500"}
        times = [line.split(",")[10] for line in lines]
        assert times != sorted(times) and len({time[:3] for time in times}) > 1
        assert server.stop() == (130, "")
    Storage(tmp_path / "study").close()


def test_an_error_of_the_servers_own_has_the_security_headers(tmp_path, monkeypatch):
    make_study(tmp_path / "study")
    storage = Storage(tmp_path / "study", serve=True)

    def broken(session):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(storage, "annotator", broken)
    cookie = f"annotator_{form_token(storage.form_secret, 'cookie', '')[:8]}=x"
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/state",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:1"), (b"cookie", cookie.encode())],
    }
    sent = []

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    # Starlette answers, then hands the error to the server's log.
    with pytest.raises(sqlite3.OperationalError):
        asyncio.run(build_app(storage, ["http://127.0.0.1:1"])(scope, receive, send))
    storage.close()
    headers = dict(sent[0]["headers"])
    assert sent[0]["status"] == 500 and headers[b"cache-control"] == b"no-store"
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    assert headers[b"x-content-type-options"] == b"nosniff"


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(server):
    client = server.client()
    reply = client.get(client.study_path)
    replies = [reply, client.send_form(client.form())]
    cookies = [value for reply in replies for name, value in reply.headers if name.lower() == "set-cookie"]
    assert len(cookies) == 2
    for cookie in cookies:
        assert "; HttpOnly" in cookie and "; SameSite=lax" in cookie and "; Path=/" in cookie


def test_every_answer_has_the_security_headers(server):
    client = server.client().enrol()
    token = client.state()["trial"]
    paths = ["/", client.study_path, "/annotate", "/state", f"/image/{token}", "/static/style.css", "/nowhere"]
    for path in [*paths, server.path(server.results_link)]:
        reply = client.get(path)
        policy = reply.header("content-security-policy")
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy and "form-action 'self'" in policy
        assert reply.header("x-content-type-options") == "nosniff"
        assert reply.header("cache-control") == "no-store" and not reply.header("etag")
        if reply.header("content-type").startswith("text/html"):
            page = reply.body.decode()
            # What the policy would block, or fetch from elsewhere.
            assert "<style" not in page and " style=" not in page and " onclick" not in page and "//cdn" not in page
            assert page.count("<script") == page.count('<script src="/static/')


def test_the_results_page_and_its_files(server):
    client = server.client().enrol()
    client.answer_all(client.truth)
    base = server.path(server.results_link)
    page = client.get(base)
    assert page.status == 200
    for name in ("report.json", "answers.csv", "annotators.csv"):
        reply = client.get(f"{base}/{name}")
        assert reply.status == 200 and reply.header("content-disposition") == f'attachment; filename="{name}"'
    for name in ("accuracy", "annotators", "learning", "response_times"):
        reply = client.get(f"{base}/{name}.png")
        assert reply.status == 200 and reply.body.startswith(b"\x89PNG"), name
        assert f"{base}/{name}.png" in page.body.decode()
    assert client.get(f"{base}/secret.png").status == 404
    assert "Where people cannot tell, accuracy is 50% and d′ is 0;" in page.body.decode()
    # The report follows the answers.
    votes = client.get(f"{base}/report.json").json()["votes"]
    client = server.client().enrol()
    client.answer_all(client.truth)
    assert client.get(f"{base}/report.json").json()["votes"] == votes + 12


def test_the_study_goes_on_after_a_stop(tmp_path):
    make_study(tmp_path / "study")
    with served(tmp_path / "study") as server:
        client = server.client().enrol()
        client.answer(client.state()["trial"], "real")
        state, cookies = client.state(), client.cookies
        links = server.path(server.study_link), server.path(server.results_link)
    with served(tmp_path / "study") as server:
        client = server.client()
        client.cookies = cookies
        assert client.open().state() == state
        assert links == (server.path(server.study_link), server.path(server.results_link))
