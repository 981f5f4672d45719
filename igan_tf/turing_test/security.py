"""What stands between the network and the study."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Collection, Hashable, Iterable
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_LIMIT = 4096
BODY_SECONDS = 5.0
# Tokens in a bucket and tokens a second: far above what people do, far below what hurts.
ANSWER_RATE = (60, 30.0)
ENROLMENT_RATE = (120, 1.0)
_BUCKETS_KEPT = 10_000
# To a request whose body is not read to its end.
_CLOSE = {"Connection": "close"}

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    # Not no-referrer: with it a browser sends `Origin: null` with our own form.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-robots-tag", b"noindex, nofollow"),
    # Nothing of a study stays on an annotator's disk, and nothing tells a cached image from a fresh one.
    (b"cache-control", b"no-store"),
)


class Guard:
    """ASGI middleware: answers only under the server's own names, and puts the security headers on every answer.

    The check of `Host` keeps out pages that have pointed a name of theirs at 127.0.0.1 (DNS rebinding).

    Args:
        app: The application.
        origins: The origins under which browsers reach it, such as "http://127.0.0.1:8765".
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self.app = app
        self.hosts = {urlsplit(origin).netloc.lower() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            body = b"This server does not answer under that name.\n"
            headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
            await send_with_headers({"type": "http.response.start", "status": 421, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self.app(scope, receive, send_with_headers)


def check_origin(request: Request, origins: Collection[str]) -> None:
    """Raises a 403 unless the request comes from one of our own pages; every browser says so with a POST.

    A browser's `Origin` and `Host` have the same name. Where they do not, a proxy has put its own into `Host`, by which
    it is decided whether cookies are sent over https alone: a 421.
    """
    origin = request.headers.get("origin", "")
    if origin not in origins:
        raise HTTPException(403, "The request does not come from this study's pages.")
    if urlsplit(origin).netloc != request.headers["host"].lower():
        raise HTTPException(421, "The study's proxy must pass on the Host that browsers send.")


def form_token(secret: str, purpose: str, holder: str) -> str:
    """What only a page of ours has: HMAC-SHA256 of purpose and cookie under the study's secret."""
    return hmac.new(secret.encode(), f"{purpose}:{holder}".encode(), hashlib.sha256).hexdigest()


def same(first: str, second: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(first.encode("utf-8", "surrogatepass"), second.encode("utf-8", "surrogatepass"))


def check_form_token(secret: str, purpose: str, holder: str, received: str | None) -> None:
    """Raises a 403 unless `received` is the `form_token`."""
    if not (isinstance(received, str) and same(form_token(secret, purpose, holder), received)):
        raise HTTPException(403, "The page is out of date: load it again.")


async def read_body(request: Request, limit: int = BODY_LIMIT, seconds: float | None = None) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: 413 for more than `limit` bytes, before they are read; 408 if it takes longer than `seconds`.
    """
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > limit:
        raise HTTPException(413, f"At most {limit} bytes are taken.", _CLOSE)
    body = b""
    try:
        # wait_for instead of asyncio.timeout, which Python 3.10 lacks.
        stream = request.stream().__aiter__()
        deadline = time.monotonic() + (BODY_SECONDS if seconds is None else seconds)
        while True:
            body += await asyncio.wait_for(stream.__anext__(), max(0, deadline - time.monotonic()))
            if len(body) > limit:
                raise HTTPException(413, f"At most {limit} bytes are taken.", _CLOSE)
    except StopAsyncIteration:
        return body
    except asyncio.TimeoutError:
        raise HTTPException(408, "The request took too long.", _CLOSE) from None
    except ClientDisconnect:
        raise HTTPException(400, "The request was cut off.") from None


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a request's form, the first of each name."""
    body = await read_body(request)
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=10, errors="strict")
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
    return {name: values[0] for name, values in fields.items()}


class RateLimit:
    """Token buckets, one a key.

    Args:
        size: Requests that may come at once.
        per_second: Requests that may come in the long run.
        clock: Seconds, rising.
    """

    def __init__(self, size: int, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.size, self.per_second, self._clock = size, per_second, clock
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def check(self, key: Hashable) -> None:
        """Takes a token from the bucket of `key`, or raises a 429 that tells when there is one."""
        now = self._clock()
        left, then = self._buckets.get(key, (self.size, now))
        left = min(self.size, left + (now - then) * self.per_second)
        if left < 1:
            raise HTTPException(
                429, "Too many requests.", headers={"Retry-After": str(int((1 - left) / self.per_second) + 1)}
            )
        if len(self._buckets) >= _BUCKETS_KEPT:
            self._forget(now)
        self._buckets[key] = (left - 1, now)

    def _forget(self, now: float) -> None:
        """Drops the buckets that are full again: they say no more than none does."""
        refill = self.size / self.per_second
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if now - bucket[1] < refill}
