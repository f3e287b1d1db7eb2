"""A small S3 on this machine, in memory, that fails as it is told to.

It speaks as much of the protocol as Arrow's client uses: objects, ranges, listings and uploads in several parts. Every
request asks `fail` first, which may name a fault:

    500, 503, 403   answered instead of what was asked for
    cut             the connection is closed without an answer
    truncated       the connection is closed half-way through the content; of a write: before all of it was read
    late            the answer comes after the client's patience

A client numbers the attempts at one call, so that faults which it got over by itself are told from those that it
reported (`Faults.reported`).
"""

import email.utils
import hashlib
import io
import threading
import time
import urllib.parse
import xml.sax.saxutils
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, NamedTuple

LATE_SECONDS = 4.0  # Arrow waits for three
KINDS = ("500", "503", "403", "cut", "truncated", "late")
REFUSED = {"500": (500, "InternalError"), "503": (503, "SlowDown"), "403": (403, "AccessDenied")}


class Request(NamedTuple):
    """What a client asks for."""

    method: str
    key: str  # bucket and key
    attempt: int  # from 1

    @property
    def is_write(self) -> bool:
        return self.method in ("PUT", "POST", "DELETE")


class Faults:
    """The faults so far, and which of them were the last attempt of their call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, tuple[str | None, bool]] = {}  # of a call: its last attempt's fault, and if it wrote
        self.injected: Counter[str] = Counter()
        self.writes = 0  # of those

    def record(self, call: str, request: Request, kind: str | None) -> None:
        with self._lock:
            self._last[call] = (kind, request.is_write)
            if kind is not None:
                self.injected[kind] += 1
                self.writes += request.is_write

    @property
    def reported(self) -> Counter[str]:
        """Faults that the client did not try again: it raised, and the job was to cope."""
        with self._lock:
            return Counter(kind for kind, _ in self._last.values() if kind is not None)


class S3:
    """The server, from `with S3() as s3:`; buckets are made by the first write."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.faults = Faults()
        self.fail: Callable[[Request], str | None] = lambda _: None
        self._changed: dict[str, float] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.s3 = self

    def __enter__(self) -> "S3":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which Arrow's client finds it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def put(self, key: str, content: bytes) -> None:
        self.objects[key] = content
        self._changed[key] = time.time()

    def changed(self, key: str) -> float:
        return self._changed[key]

    def below(self, prefix: str) -> dict[str, bytes]:
        """The objects below a folder, by their names there."""
        start = f"{prefix.rstrip('/')}/"
        return {key.removeprefix(start): value for key, value in [*self.objects.items()] if key.startswith(start)}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    s3: S3

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed, or gave up, is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def _serve(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        key, query = urllib.parse.unquote(parts.path).lstrip("/"), dict(urllib.parse.parse_qsl(parts.query, True))
        attempt = dict(
            item.split("=") for item in self.headers.get("amz-sdk-request", "").replace(" ", "").split(";") if item
        )
        request = Request(self.command, key, int(attempt.get("attempt", 1)))
        s3 = self.server.s3
        fault = s3.fail(request)
        s3.faults.record(self.headers.get("amz-sdk-invocation-id", ""), request, fault)
        if fault == "truncated" and request.method == "PUT":
            self.rfile.read(16)
            fault = "cut"
        body = self._body() if fault != "cut" else b""
        if fault == "cut":
            self._hang_up()
        elif fault in REFUSED:
            status, code = REFUSED[fault]
            self._answer(status, _xml("Error", f"<Code>{code}</Code><Message>told to fail</Message>"))
        else:
            if fault == "late":
                time.sleep(LATE_SECONDS)
            with suppress(OSError):  # the client did not wait
                self._answer(*self._do(key, query, body), truncated=fault == "truncated")

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b"".join(_chunks(self.rfile))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):  # chunks of Amazon's in those of HTTP
            content = b"".join(_chunks(io.BytesIO(content)))
        return content

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(2)

    def _answer(
        self, status: int, content: bytes = b"", headers: dict[str, str] | None = None, truncated: bool = False
    ) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), "Content-Type": "application/xml", **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if truncated else content)
        if truncated:
            self._hang_up()

    def _do(self, key: str, query: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        s3, bucket = self.server.s3, "/" not in key.rstrip("/")
        match self.command:
            case "GET" if bucket:
                return 200, self._listing(key.rstrip("/"), query), {}
            case "HEAD" if bucket:
                return 200, b"", {}
            case "GET" | "HEAD":
                if key not in s3.objects:
                    return 404, _xml("Error", "<Code>NoSuchKey</Code><Message>no such key</Message>"), {}
                return self._content(key)
            case "PUT" if "uploadId" in query:
                if query["uploadId"] not in s3.uploads:
                    return 404, _xml("Error", "<Code>NoSuchUpload</Code><Message>no such upload</Message>"), {}
                s3.uploads[query["uploadId"]][int(query["partNumber"])] = body
                return 200, b"", {"ETag": _tag(body)}
            case "PUT":
                s3.put(key, body)
                return 200, b"", {"ETag": _tag(body)}
            case "POST" if "uploads" in query:
                upload = f"{len(s3.uploads)}-{time.time_ns()}"
                s3.uploads[upload] = {}
                inner = f"<Bucket>{key.split('/')[0]}</Bucket><UploadId>{upload}</UploadId>"
                return 200, _xml("InitiateMultipartUploadResult", inner), {}
            case "POST" if "uploadId" in query:
                parts = s3.uploads.pop(query["uploadId"], None)
                if parts is None:
                    return 404, _xml("Error", "<Code>NoSuchUpload</Code><Message>no such upload</Message>"), {}
                s3.put(key, b"".join(parts[number] for number in sorted(parts)))
                return 200, _xml("CompleteMultipartUploadResult", f"<ETag>{_tag(s3.objects[key])}</ETag>"), {}
            case "POST" if "delete" in query:
                for name in _between(body.decode(), "Key"):
                    s3.objects.pop(f"{key.rstrip('/')}/{name}", None)
                return 200, _xml("DeleteResult", ""), {}
            case "DELETE" if "uploadId" in query:
                s3.uploads.pop(query["uploadId"], None)
                return 204, b"", {}
            case "DELETE":
                s3.objects.pop(key, None)
                return 204, b"", {}
        return 501, _xml("Error", "<Code>NotImplemented</Code><Message>not here</Message>"), {}

    def _content(self, key: str) -> tuple[int, bytes, dict[str, str]]:
        content, status = self.server.s3.objects[key], 200
        headers = {
            "ETag": _tag(content),
            "Last-Modified": email.utils.formatdate(self.server.s3.changed(key), usegmt=True),
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        if self.command == "HEAD":
            return status, content, headers
        if wanted := self.headers.get("Range"):
            first, last = wanted.removeprefix("bytes=").split("-")
            stop = min(int(last or len(content)) + 1, len(content))
            if int(first) >= len(content):
                return 416, _xml("Error", "<Code>InvalidRange</Code><Message>beyond the end</Message>"), {}
            headers["Content-Range"] = f"bytes {first}-{stop - 1}/{len(content)}"
            content, status = content[int(first) : stop], 206
        return status, content, headers

    def _listing(self, bucket: str, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        entries: dict[str, str] = {}
        for key, value in sorted(self.server.s3.below(bucket).items()):
            if not key.startswith(prefix):
                continue
            inner = key.removeprefix(prefix)
            if delimiter and delimiter in inner:
                name = prefix + inner.split(delimiter)[0] + delimiter
                entries[name] = f"<CommonPrefixes><Prefix>{_escape(name)}</Prefix></CommonPrefixes>"
                continue
            changed = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(self.server.s3.changed(f"{bucket}/{key}")))
            entries[key] = (
                f"<Contents><Key>{_escape(key)}</Key><Size>{len(value)}</Size><ETag>{_tag(value)}</ETag>"
                f"<LastModified>{changed}</LastModified></Contents>"
            )
        names = [name for name in entries if name > query.get("continuation-token", query.get("start-after", ""))]
        most = int(query.get("max-keys", 1000))
        page = names[:most]
        more = f"<NextContinuationToken>{_escape(page[-1])}</NextContinuationToken>" if len(names) > most else ""
        truncated = "true" if more else "false"
        inner = f"<Name>{bucket}</Name><Prefix>{_escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        inner += f"<IsTruncated>{truncated}</IsTruncated>{more}" + "".join(entries[name] for name in page)
        return _xml("ListBucketResult", inner)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The content of a body that is sent in chunks, each after its size."""
    while size := int(stream.readline().split(b";")[0], 16):
        yield stream.read(size)
        stream.readline()
    while stream.readline().strip():
        """Trailers: checksums."""


def _between(text: str, tag: str) -> list[str]:
    names = [part.split(f"</{tag}>")[0] for part in text.split(f"<{tag}>")[1:]]
    return [xml.sax.saxutils.unescape(name) for name in names]


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _escape(text: str) -> str:
    return xml.sax.saxutils.escape(text)


def _xml(tag: str, inner: str) -> bytes:
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<?xml version="1.0" encoding="UTF-8"?><{tag} xmlns="{space}">{inner}</{tag}>'.encode()
