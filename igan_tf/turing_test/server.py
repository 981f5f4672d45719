"""The study's pages: routes and what they answer."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from igan_tf.errors import counted
from igan_tf.turing_test import figures, security
from igan_tf.turing_test.report import FEEDBACK_IN_WORDS, plan_in_words
from igan_tf.turing_test.results import Results
from igan_tf.turing_test.session import outcome, state
from igan_tf.turing_test.settings import CHOICES
from igan_tf.turing_test.storage import Annotator, OutOfOrder, Storage, UnknownTrial, new_secret

_STATIC = Path(__file__).parent / "static"
_STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Names under which no other device reaches the server.
_OWN_MACHINE = ("127.0.0.1", "localhost", "::1")
_COOKIE_SECONDS = 90 * 24 * 3600
# An hour: what takes longer was a coffee.
_MOST_MILLISECONDS = 3_600_000


def build_app(storage: Storage, origins: Sequence[str]) -> security.Guard:
    """The ASGI application.

    Args:
        storage: A `Storage` opened with `serve=True`.
        origins: The origins under which browsers reach it, such as "http://127.0.0.1:8765"; the first goes into links.
    """
    pages = Pages(storage, origins)
    routes = [
        Route("/", pages.home),
        Route("/study/{token}", pages.welcome),
        Route("/study/{token}/enrol", pages.enrol, methods=["POST"]),
        Route("/resume/{token}", pages.resume, methods=["GET", "POST"]),
        Route("/annotate", pages.annotate),
        Route("/state", pages.state),
        Route("/image/{token}", pages.image),
        Route("/answer", pages.answer, methods=["POST"]),
        Route("/results/{token}", pages.results),
        Route("/results/{token}/{name}", pages.results_file),
        Route("/static/{name}", pages.static),
    ]
    handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        HTTPException: pages.refuse,
        sqlite3.OperationalError: pages.wait,
        Exception: pages.fail,
    }
    # Around the whole: Starlette's own middleware stands inside of the page that it makes of an error.
    return security.Guard(Starlette(routes=routes, exception_handlers=handlers), origins)


class Pages:
    """The endpoints, over one study."""

    def __init__(self, storage: Storage, origins: Sequence[str]) -> None:
        self.storage = storage
        self.origins = origins
        self.report = Results(storage)
        # Studies on two ports of one machine share its cookies: each has names of its own.
        suffix = security.form_token(storage.form_secret, "cookie", "")[:8]
        self._session_cookie, self._visit_cookie = f"annotator_{suffix}", f"visit_{suffix}"
        self._answers = security.RateLimit(*security.ANSWER_RATE)
        self._enrolments = security.RateLimit(*security.ENROLMENT_RATE)
        self._static = {path.name: path.read_bytes() for path in _STATIC.iterdir() if path.suffix in _STATIC_TYPES}
        self._templates = Environment(
            loader=PackageLoader("igan_tf.turing_test"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._templates.globals.update(counted=counted, feedback_in_words=FEEDBACK_IN_WORDS)

    # Pages for annotators.

    async def home(self, request: Request) -> Response:
        return self._page("message.html", heading="A study", text="Please use the link that you were given.")

    async def welcome(self, request: Request) -> Response:
        """Instructions and consent; for an annotator who comes back, the way on."""
        self._check_secret(request, self.storage.study_token)
        visit = request.cookies.get(self._visit_cookie) or new_secret()
        annotator = self._known(request)
        number = new_secret()
        response = self._page(
            "welcome.html",
            number=number,
            form_token=self._enrolment_token(visit, number),
            action=f"/study/{self.storage.study_token}/enrol",
            known=annotator is not None,
            done=annotator is not None and state(self.storage, annotator)["phase"] == "done",
        )
        self._set_cookie(request, response, self._visit_cookie, visit)
        return response

    async def enrol(self, request: Request) -> Response:
        """Makes an annotator of who agrees; the same form sent again leads to the same annotator."""
        self._check_secret(request, self.storage.study_token)
        security.check_origin(request, self.origins)
        fields = await security.read_form(request)
        visit, number = request.cookies.get(self._visit_cookie, ""), fields.get("number", "")
        security.check_form_token(self.storage.form_secret, "enrol", f"{visit}:{number}", fields.get("form_token"))
        self._enrolments.check(request.client.host if request.client else "")
        known = self._known(request)
        if fields.get("anew") != "yes" and known and known.enrolment.startswith(f"{visit}:"):
            # This browser has begun in another window since; anybody else's cookie, put into it, gives way.
            return RedirectResponse("/annotate", 303)
        if fields.get("consent") != "yes":
            raise HTTPException(400, "To take part, please tick the box that you agree.")
        annotator = await asyncio.wrap_future(self.storage.enrol(f"{visit}:{number}"))
        response = RedirectResponse("/annotate", 303)
        self._set_cookie(request, response, self._session_cookie, annotator.session)
        return response

    async def resume(self, request: Request) -> Response:
        """The link to come back on another device; a browser that somebody else uses is asked first, by a form."""
        annotator = self.storage.resumed(request.path_params["token"])
        if annotator is None:
            raise HTTPException(404, "There is nothing here.")
        known = self._known(request)
        if request.method == "POST":
            security.check_origin(request, self.origins)
            received = (await security.read_form(request)).get("form_token")
            security.check_form_token(self.storage.form_secret, "resume", _change(known, annotator), received)
        elif known not in (None, annotator):
            token = security.form_token(self.storage.form_secret, "resume", _change(known, annotator))
            return self._page("resume.html", form_token=token, action=f"/resume/{annotator.resume}")
        response = RedirectResponse("/annotate", 303)
        self._set_cookie(request, response, self._session_cookie, annotator.session)
        return response

    async def annotate(self, request: Request) -> Response:
        annotator = self._annotator(request)
        return self._page(
            "annotate.html",
            form_token=security.form_token(self.storage.form_secret, "answer", annotator.session),
            resume=f"{self.origins[0]}/resume/{annotator.resume}",
            elsewhere=urlsplit(self.origins[0]).hostname not in _OWN_MACHINE,
            again=f"/study/{self.storage.study_token}",
            storage=self.storage,
        )

    # What the annotators' page asks for.

    async def state(self, request: Request) -> Response:
        return JSONResponse(state(self.storage, self._annotator(request)))

    async def image(self, request: Request) -> Response:
        file = self.storage.image(self._annotator(request), request.path_params["token"])
        if file is None:
            raise HTTPException(404, "There is nothing here.")
        return Response(file, media_type="image/png")

    async def answer(self, request: Request) -> Response:
        """Records one answer and says where the annotator stands; only when it is on the disk."""
        security.check_origin(request, self.origins)
        annotator = self._annotator(request)
        security.check_form_token(
            self.storage.form_secret, "answer", annotator.session, request.headers.get("x-form-token")
        )
        self._answers.check(annotator.number)
        token, choice, response_ms = _read_answer(await security.read_body(request))
        try:
            recorded = await asyncio.wrap_future(self.storage.answer(annotator, token, choice, response_ms))
        except UnknownTrial:
            raise HTTPException(404, "There is no such image.") from None
        except OutOfOrder:
            raise HTTPException(409, "It is not this image's turn.") from None
        return JSONResponse(outcome(self.storage, annotator, recorded))

    # Pages for researchers.

    async def results(self, request: Request) -> Response:
        self._check_secret(request, self.storage.results_token)
        report = await self.report.report()
        base = f"/results/{self.storage.results_token}"
        link = f"{self.origins[0]}/study/{self.storage.study_token}"
        return self._page(
            "results.html",
            report=report,
            base=base,
            link=link,
            plan=plan_in_words(self.storage.settings),
            figures=figures.names(report),
        )

    async def results_file(self, request: Request) -> Response:
        self._check_secret(request, self.storage.results_token)
        found = await self.report.file(request.path_params["name"])
        if found is None:
            raise HTTPException(404, "There is nothing here.")
        content, media_type, download = found
        headers = {"Content-Disposition": f'attachment; filename="{request.path_params["name"]}"'} if download else None
        return Response(content, media_type=media_type, headers=headers)

    async def static(self, request: Request) -> Response:
        # A dict of what the package holds: no path of a request ever reaches the file system.
        name = request.path_params["name"]
        if name not in self._static:
            raise HTTPException(404, "There is nothing here.")
        return Response(self._static[name], media_type=_STATIC_TYPES[Path(name).suffix])

    # Errors.

    async def refuse(self, request: Request, error: HTTPException) -> Response:
        if request.url.path in ("/answer", "/state"):
            return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
        return self._page(
            "message.html",
            status=error.status_code,
            headers=error.headers,
            heading="That did not work",
            text=error.detail,
        )

    async def wait(self, request: Request, error: sqlite3.OperationalError) -> Response:
        """Another program holds a lock on the file: nothing is recorded, and what is sent again is recorded once."""
        if "locked" not in str(error):
            raise error
        text = "The study is busy for a moment. Please try again."
        return await self.refuse(request, HTTPException(503, text, headers={"Retry-After": "1"}))

    async def fail(self, request: Request, error: Exception) -> Response:
        # What is wrong stands in the server's log; a full disk is the usual reason.
        text = "The study's storage does not answer." if isinstance(error, sqlite3.Error) else "The server is at fault."
        return await self.refuse(request, HTTPException(500, text))

    # Helpers.

    def _page(
        self, template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
    ) -> HTMLResponse:
        text = self._templates.get_template(template).render(settings=self.storage.settings, **values)
        return HTMLResponse(text, status, headers=headers)

    def _set_cookie(self, request: Request, response: Response, name: str, value: str) -> None:
        secure = self._origin(request).startswith("https://")
        response.set_cookie(name, value, _COOKIE_SECONDS, httponly=True, samesite="lax", secure=secure)

    def _origin(self, request: Request) -> str:
        """The origin under which this browser reaches the server: `Guard` has seen to it that there is one."""
        host = request.headers["host"].lower()
        return next(origin for origin in self.origins if origin.split("://")[1] == host)

    def _known(self, request: Request) -> Annotator | None:
        """The annotator whose cookie the request has, or None."""
        session = request.cookies.get(self._session_cookie)
        return self.storage.annotator(session) if session else None

    def _annotator(self, request: Request) -> Annotator:
        annotator = self._known(request)
        if annotator is None:
            raise HTTPException(403, "This browser takes part in no study. Please use the link that you were given.")
        return annotator

    def _check_secret(self, request: Request, expected: str) -> None:
        if not security.same(request.path_params["token"], expected):
            raise HTTPException(404, "There is nothing here.")

    def _enrolment_token(self, visit: str, number: str) -> str:
        return security.form_token(self.storage.form_secret, "enrol", f"{visit}:{number}")


def _change(known: Annotator | None, annotator: Annotator) -> str:
    """The holder of the form that lets a browser go over from one annotator to another."""
    return f"{known.session if known else ''}:{annotator.session}"


def _read_answer(body: bytes) -> tuple[str, str, int]:
    """Token, choice and milliseconds of an answer's JSON.

    Raises:
        HTTPException: 400 for anything else.
    """
    try:
        fields = json.loads(body.decode("utf-8"))
        token, choice, response_ms = fields["trial"], fields["choice"], fields["response_ms"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise HTTPException(400, "An answer has trial, choice and response_ms.") from None
    if not (isinstance(token, str) and token.isascii() and choice in CHOICES):
        raise HTTPException(400, "An answer is real or generated.")
    if type(response_ms) is not int or not 0 <= response_ms <= _MOST_MILLISECONDS:
        raise HTTPException(400, f"response_ms is a whole number from 0 to {_MOST_MILLISECONDS}.")
    return token, choice, response_ms
