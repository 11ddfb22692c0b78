import hashlib
import json
import logging
import os
import random
import shutil
import signal
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections import namedtuple
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.utils import fetch as download
from ultralytics.utils import web
from ultralytics.utils.errors import UserError
from ultralytics.utils.fetch import Fetched, Remote, fetch

PAYLOAD = random.Random(0).randbytes(300_000)


class Handler(BaseHTTPRequestHandler):
    """Serves `server.payload` with ranges, unless the next entry of `server.script` says otherwise."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.asked.append((self.headers.get("Range"), self.headers.get("If-Range")))
        step = server.script.pop(0) if server.script else server.always
        if "status" in step:
            return self.answer(step["status"], step.get("headers", {}), b"told")
        payload = step.get("payload", server.payload)
        etag = step.get("etag", server.etag)
        begin, asked = 0, self.headers.get("Range")
        version = self.headers.get("If-Range")
        if asked and not step.get("ignore_range") and version in (None, etag):
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(payload):
                return self.answer(416, step.get("unsatisfied", {"Content-Range": f"bytes */{len(payload)}"}), b"")
        partial = bool(asked) and not step.get("ignore_range") and version in (None, etag)
        body = payload[step.get("offset", begin) :]
        headers = {"ETag": etag} if etag else {}
        if partial:
            headers["Content-Range"] = step.get("range", f"bytes {begin}-{len(payload) - 1}/{len(payload)}")
        if "length" in step:
            headers["Content-Length"] = str(step["length"])
        elif not step.get("chunked") and not step.get("endless"):
            headers["Content-Length"] = str(len(body))
        if step.get("chunked"):
            headers["Transfer-Encoding"] = "chunked"
            body = b"".join(
                b"%x\r\n%s\r\n" % (len(body[i : i + 9999]), body[i : i + 9999]) for i in range(0, len(body), 9999)
            )
            body += b"0\r\n\r\n"
        return self.answer(206 if partial else 200, headers, body, step)

    def answer(self, status, headers, body, step=None):
        step = step or {}
        self.close_connection = True
        self.send_response(status, step.get("reason"))
        for key, value in headers.items():
            self.send_header(key, value)
        if not (step.keys() & {"length", "endless", "chunked"}) and "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            if "stall" in step:
                self.wfile.write(body[: step["stall"]])
                self.server.go_on.wait(20)
            elif "cut" in step:
                self.wfile.write(body[: step["cut"]])
                if step.get("reset"):  # closing sends RST, not FIN
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                self.wfile.write(body)


@pytest.fixture(scope="module")
def served():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        yield server
    server.shutdown()
    server.server_close()


def reset(server):
    server.script, server.always, server.asked = [], {}, []
    server.payload, server.etag, server.go_on = PAYLOAD, '"v1"', threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/some/file.tar"


@pytest.fixture
def server(served):
    reset(served)
    yield served
    served.go_on.set()


def published(server, payload=PAYLOAD, **changes):
    known = {"size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    return Remote(server.url, **{**known, **changes})


def get(remote, folder, **options):
    return fetch(remote, folder, **{"timeout": 60, "pause": lambda _: None, **options})


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def whole(got, folder, payload=PAYLOAD):
    assert got.path == folder / "file.tar"
    assert got.path.read_bytes() == payload
    assert (got.size, got.sha256, got.md5) == (
        len(payload),
        hashlib.sha256(payload).hexdigest(),
        hashlib.md5(payload).hexdigest(),
    )
    assert files(folder) == ["file.tar"]


def fails(remote, folder, match, **options):
    """One line that names the URL or the folder; only parts are left."""
    with pytest.raises(UserError, match=match) as caught:
        get(remote, folder, **options)
    assert "\n" not in str(caught.value)
    assert remote.url in str(caught.value) or str(folder) in str(caught.value)
    assert set(files(folder)) <= {"file.tar.part", "file.tar.part.json"}
    return str(caught.value)


def test_a_file_comes_once_and_is_there_the_second_time(server, tmp_path):
    folder = tmp_path / "a" / "b"
    got = get(published(server), folder)
    whole(got, folder)
    assert got.url == server.url
    assert get(published(server), folder) == got
    assert get(Remote(server.url), folder) == got
    assert len(server.asked) == 1


def test_a_file_that_is_not_the_published_one_is_replaced(server, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    (tmp_path / "file.tar").write_bytes(b"old")
    whole(get(published(server), tmp_path), tmp_path)
    (tmp_path / "file.tar").write_bytes(b"x" * len(PAYLOAD))
    whole(get(published(server), tmp_path), tmp_path)
    # Depending on what ran before, a record is captured once or twice.
    assert sum("not what was published" in text for text in set(caplog.messages)) == 2
    (tmp_path / "file.tar").write_bytes(b"old")
    server.always = {"status": 404}
    with pytest.raises(UserError, match="404"):
        get(published(server), tmp_path)
    assert (tmp_path / "file.tar").read_bytes() == b"old"  # somebody's file, until a better one is here


@pytest.mark.parametrize("kind", ["sha256", "md5", ""])
def test_ten_cuts_at_random_offsets(server, tmp_path, kind):
    offsets = sorted(random.Random(1).sample(range(1, len(PAYLOAD)), 10))
    sizes = [b - a for a, b in zip([0, *offsets], offsets, strict=False)]
    server.script = [{"cut": n, "reset": i % 2} for i, n in enumerate(sizes)]
    remote = Remote(server.url, len(PAYLOAD), **({kind: hashlib.new(kind, PAYLOAD).hexdigest()} if kind else {}))
    whole(get(remote, tmp_path, retries=3), tmp_path)
    assert len(server.asked) >= 11
    assert server.asked[0] == (None, None)
    assert server.asked[-1][1] == '"v1"'


def test_ten_cuts_of_a_server_without_ranges_end_in_one_line(server, tmp_path):
    rng = random.Random(2)
    server.script = [{"cut": rng.randrange(len(PAYLOAD)), "ignore_range": True} for _ in range(10)]
    server.always = {"cut": 1, "ignore_range": True}
    message = fails(published(server), tmp_path, r"the download failed: the connection broke at \d+ of 300000 bytes")
    assert "goes on from" in message


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 64), max_size=6),
    st.booleans(),
    st.sampled_from(["none", "size", "sha256", "both"]),
    st.booleans(),
)
def test_any_cuts(served, cuts, chunked, known, ranges):
    reset(served)
    served.payload = payload = PAYLOAD[:64]
    served.script = [{"cut": n, "chunked": chunked, "ignore_range": not ranges} for n in cuts]
    size, digest = len(payload), hashlib.sha256(payload).hexdigest()
    remote = {
        "none": Remote(served.url),
        "size": Remote(served.url, size),
        "sha256": Remote(served.url, sha256=digest),
        "both": Remote(served.url, size, sha256=digest),
    }[known]
    with TemporaryDirectory() as folder:
        whole(get(remote, Path(folder), retries=7), Path(folder), payload)


def test_a_part_is_gone_on_from_in_another_process(server, tmp_path):
    server.script = [{"stall": 100_000}]
    child = os.fork()
    if not child:
        with suppress(BaseException):
            get(published(server), tmp_path)
        os._exit(0)
    part = tmp_path / "file.tar.part"
    try:
        deadline = time.monotonic() + 120
        while not (part.exists() and part.stat().st_size == 100_000) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert files(tmp_path) == ["file.tar.part", "file.tar.part.json"]
    whole(get(published(server), tmp_path), tmp_path)
    assert server.asked == [(None, None), ("bytes=100000-", '"v1"')]


def leave_part(server, folder, have=1000, payload=PAYLOAD, **note):
    (folder / "file.tar.part").write_bytes(payload[:have])
    note = {"url": server.url, "etag": '"v1"', "modified": None, "size": len(PAYLOAD), **note}
    (folder / "file.tar.part.json").write_text(json.dumps(note))


@pytest.mark.parametrize(
    ("note", "asked"),
    [
        ({}, "bytes=1000-"),
        ({"url": "http://127.0.0.1/other/file.tar"}, None),
        ({"size": 999}, "bytes=1000-"),
        ({"etag": 5}, None),
    ],
)
def test_a_part_counts_only_with_its_note(server, tmp_path, note, asked):
    leave_part(server, tmp_path, **note)
    whole(get(published(server), tmp_path), tmp_path)
    assert server.asked[0][0] == asked


@pytest.mark.parametrize("note", ["", "[]", "{", "null"])
def test_a_broken_note_begins_anew(server, tmp_path, note):
    (tmp_path / "file.tar.part").write_bytes(b"?" * 1000)
    (tmp_path / "file.tar.part.json").write_text(note)
    whole(get(published(server), tmp_path), tmp_path)
    assert server.asked == [(None, None)]


def test_a_part_that_cannot_be_told_from_another_version_is_not_used(server, tmp_path):
    leave_part(server, tmp_path, payload=b"?" * 1000, etag=None)
    whole(get(Remote(server.url, len(PAYLOAD)), tmp_path), tmp_path)
    assert server.asked == [(None, None)]


def test_a_whole_part_is_only_checked(server, tmp_path):
    leave_part(server, tmp_path, len(PAYLOAD))
    whole(get(published(server), tmp_path), tmp_path)
    assert server.asked == []
    (tmp_path / "file.tar").unlink()
    leave_part(server, tmp_path, len(PAYLOAD), b"?" * len(PAYLOAD))
    whole(get(published(server), tmp_path), tmp_path)


def test_the_file_changes_between_attempts(server, tmp_path):
    new = PAYLOAD[::-1]
    server.script = [{"cut": 1000}]
    server.always = {"payload": new, "etag": '"v2"'}
    whole(get(Remote(server.url), tmp_path), tmp_path, new)
    assert server.asked[1] == ("bytes=1000-", '"v1"')


@pytest.mark.parametrize("tags", [('W/"1"', 'W/"2"'), ('"v1"', '"v2"')])
def test_a_changed_file_is_noticed_when_the_server_overlooks_the_condition(server, tmp_path, monkeypatch, tags):
    """A weak tag may not be asked for; the answer's own is compared."""
    new = PAYLOAD[::-1]
    server.script = [{"cut": 1000, "etag": tags[0]}]
    server.always = {"payload": new, "etag": tags[1]}
    monkeypatch.setattr(Handler, "parse_request", _without_condition)
    whole(get(Remote(server.url), tmp_path), tmp_path, new)
    assert [a[0] for a in server.asked] == [None, "bytes=1000-", None]


def _without_condition(self):
    done = BaseHTTPRequestHandler.parse_request(self)
    if done:
        del self.headers["If-Range"]
    return done


@pytest.mark.parametrize(
    "step",
    [
        {"range": "bytes 0-299999/300000"},
        {"range": "bytes 1001-299999/300000"},
        {"range": "nonsense"},
        {"range": "bytes 1000-299999/300001"},
        {"range": "bytes 1000-200000/300000"},
        {"status": 416},
        {"status": 416, "headers": {"Content-Range": "bytes */7"}},
        {"ignore_range": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("known", [True, False], ids=["published", "unknown"])
def test_an_answer_that_does_not_fit_the_part_is_not_put_behind_it(server, tmp_path, step, known):
    server.script = [{"cut": 1000}, step]
    whole(get(published(server) if known else Remote(server.url), tmp_path), tmp_path)


def test_a_range_from_elsewhere_is_not_put_behind_the_part(server, tmp_path):
    server.script = [{"cut": 1000}, {"range": "bytes 0-299999/300000", "offset": 0, "chunked": True}]
    whole(get(Remote(server.url), tmp_path), tmp_path)
    assert [a[0] for a in server.asked] == [None, "bytes=1000-", None]


def test_a_range_of_another_size_than_published(server, tmp_path):
    server.script = [{"cut": 1000, "endless": True}]
    server.always = {"range": "bytes 1000-300000/300001", "length": 299_001}
    fails(published(server), tmp_path, "the server offers 300001 bytes, expected 300000")
    assert (tmp_path / "file.tar.part").stat().st_size == 1000


def test_a_file_that_shrank(server, tmp_path):
    server.script = [{"cut": 1000}]
    server.always = {"payload": PAYLOAD[:500]}
    whole(get(Remote(server.url), tmp_path), tmp_path, PAYLOAD[:500])
    assert [a[0] for a in server.asked] == [None, "bytes=1000-", None]


def test_a_part_that_is_longer_than_the_file(server, tmp_path):
    leave_part(server, tmp_path, 4000, PAYLOAD * 2)
    server.payload = PAYLOAD[:3000]
    whole(get(published(server, PAYLOAD[:3000]), tmp_path), tmp_path, PAYLOAD[:3000])
    assert server.asked == [(None, None)]


def test_wrong_bytes_once(server, tmp_path):
    server.script = [{"payload": b"?" * len(PAYLOAD)}]
    whole(get(published(server), tmp_path), tmp_path)


def test_wrong_bytes_for_good(server, tmp_path):
    server.always = {"payload": b"?" * len(PAYLOAD)}
    for remote, value in (
        (published(server), hashlib.sha256(PAYLOAD).hexdigest()),
        (Remote(server.url, md5=hashlib.md5(PAYLOAD).hexdigest().upper()), hashlib.md5(PAYLOAD).hexdigest()),
    ):
        server.asked.clear()
        message = fails(remote, tmp_path, "not the published file")
        kind = "sha256" if len(value) == 64 else "md5"
        assert value in message
        assert hashlib.new(kind, b"?" * len(PAYLOAD)).hexdigest() in message
        assert len(server.asked) == 2
        assert files(tmp_path) == []


@pytest.mark.parametrize("lie", [-1000, 1000])
def test_a_lie_about_the_length(server, tmp_path, lie):
    length = len(PAYLOAD) + lie
    server.script = [{"length": length}]
    whole(get(published(server), tmp_path / "once"), tmp_path / "once")
    server.always = {"length": length}
    (tmp_path / "always").mkdir()
    fails(published(server), tmp_path / "always", f"the server offers {length} bytes, expected {len(PAYLOAD)}")


def test_a_lie_about_the_length_where_only_a_checksum_is_known(server, tmp_path):
    remote = published(server, size=None)
    server.script = [{"length": len(PAYLOAD) - 1000}]
    whole(get(remote, tmp_path / "short"), tmp_path / "short")
    server.script = [{"length": len(PAYLOAD) + 1000}]
    whole(get(remote, tmp_path / "long"), tmp_path / "long")
    server.always = {"length": len(PAYLOAD) - 1000}
    (tmp_path / "always").mkdir()
    fails(remote, tmp_path / "always", "not the published file: its sha256 is")


@pytest.mark.parametrize("step", [{"chunked": True}, {"endless": True}], ids=str)
def test_a_length_that_is_not_told(server, tmp_path, step):
    server.always = step
    whole(get(Remote(server.url), tmp_path / "a"), tmp_path / "a")
    server.script = [{**step, "cut": 1234}]
    whole(get(published(server), tmp_path / "b"), tmp_path / "b")
    server.always = {**step, "payload": PAYLOAD * 2}
    (tmp_path / "c").mkdir()
    fails(published(server), tmp_path / "c", "more than the expected 300000 bytes come")
    assert files(tmp_path / "c") == []


def test_a_stall_is_noticed(server, tmp_path):
    server.script = [{"stall": 1000}, {"stall": 0}]
    begin = time.monotonic()
    whole(get(published(server), tmp_path, timeout=0.5), tmp_path)
    assert time.monotonic() - begin < 15  # the server holds on for 20
    assert [a[0] for a in server.asked] == [None, "bytes=1000-", "bytes=1000-"]


def test_a_stall_for_good(server, tmp_path):
    server.always = {"stall": 0}
    pauses = []
    fails(published(server), tmp_path, "nothing came for 0.05 seconds", timeout=0.05, retries=3, pause=pauses.append)
    assert pauses == [0.5, 1, 2]
    assert files(tmp_path) == []


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (403, 1), (401, 1), (410, 1), (503, 4), (500, 4), (429, 4)])
def test_answers_that_are_errors(server, tmp_path, status, attempts):
    server.always = {"status": status}
    fails(published(server), tmp_path, f"the server answers {status}", retries=3)
    assert len(server.asked) == attempts
    assert files(tmp_path) == []


def test_a_server_that_is_busy_at_first(server, tmp_path):
    server.script = [{"status": 503}, {"cut": 1000}, {"status": 502}, {"status": 503}]
    whole(get(published(server), tmp_path, retries=3), tmp_path)


def test_another_kind_of_answer(server, tmp_path):
    server.always = {"status": 204}
    fails(published(server), tmp_path, "the server answers 204")


def test_redirects_are_followed(server, tmp_path):
    server.script = [
        {"status": 302, "headers": {"Location": "/elsewhere/x"}},
        {"cut": 1000},
        {"status": 301, "headers": {"Location": server.url}},
    ]
    whole(get(published(server), tmp_path), tmp_path)
    assert server.asked[-1] == ("bytes=1000-", '"v1"')


@pytest.mark.parametrize("to", ["/again", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_that_lead_nowhere(server, tmp_path, to):
    server.always = {"status": 302, "headers": {"Location": to}}
    fails(published(server), tmp_path, "302|only http and https")


def test_no_redirect_leaves_encryption():
    request = urllib.request.Request("https://a.example/x")
    with pytest.raises(UserError, match="only https is followed"):
        web._Redirects().redirect_request(request, None, 302, "", {}, "http://a.example/x")
    assert web._Redirects().redirect_request(request, None, 302, "", {}, "https://b.example/x").type == "https"


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("/etc/passwd", "only http and https"),
        ("ftp://a.example/x", "only http and https"),
        ("http://a.example/", "names no file"),
        ("http://a.example/a/..", "names no file"),
        ("http://a.example/..%2f..%2fx", "names no file"),
        ("http://a.example/%5C%5Chost%5Cx", "names no file"),
        ("http://a.example/x%00y", "names no file"),
        ("http:///x", "not a usable address"),
        ("http://a.example:port/x", "not a usable address"),
        ("http://[::1/x", "not a usable address"),
        ("http://a.example/a b", "not a usable address"),
        ("http://a.example/a\nb", "not a usable address"),
        ("ftp://me:secret@a.example/x", r"ftp://me:\*\*\*@a\.example"),
    ],
)
def test_addresses_that_are_none(tmp_path, url, match):
    with pytest.raises(UserError, match=match) as caught:
        get(Remote(url), tmp_path)
    assert "secret" not in str(caught.value)
    assert files(tmp_path) == []


def test_names_come_from_the_address():
    assert Remote("https://a.example/x/VOC%20a.tar?y=/z#/w").name == "VOC a.tar"


def test_a_host_that_is_not_found(tmp_path, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    remote = Remote("http://no.such.host.invalid/file.tar")
    fails(remote, tmp_path, "the host no.such.host.invalid is not found: Name or service not known")
    assert files(tmp_path) == []


def test_nobody_listens(tmp_path, server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        remote = Remote(f"http://127.0.0.1:{free.getsockname()[1]}/file.tar")
        fails(remote, tmp_path, "no connection to 127.0.0.1: Connection refused", retries=2)


def test_a_folder_that_cannot_be(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        get(published(server), tmp_path / "file" / "x")
    with pytest.raises(UserError, match="could not be written"):
        get(published(server), tmp_path / "file")
    (tmp_path / "there" / "file.tar").mkdir(parents=True)
    with pytest.raises(UserError, match="this is a folder"):
        get(published(server), tmp_path / "there")
    assert server.asked == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_folder_that_may_not_be_written(server, tmp_path):
    tmp_path.chmod(0o500)
    try:
        fails(published(server), tmp_path, "could not be written: Permission denied")
    finally:
        tmp_path.chmod(0o700)


def test_no_room_is_told_before_anything_comes(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    fails(published(server), tmp_path, "300000 bytes are to come, and the disk has room for 1000")


@contextmanager
def small_files(limit):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_keeps_what_came(server, tmp_path):
    with small_files(100_000):
        fails(published(server), tmp_path, r"file\.tar\.part: could not be written: File too large")
    assert (tmp_path / "file.tar.part").stat().st_size == 100_000
    whole(get(published(server), tmp_path), tmp_path)
    assert server.asked[1][0] == "bytes=100000-"


def test_an_interruption_keeps_what_came_and_says_so(server, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    server.script = [{"cut": 200_000}]

    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(published(server), tmp_path, pause=interrupted)
    assert "the same command goes on from byte 200,000" in caplog.text
    assert files(tmp_path) == ["file.tar.part", "file.tar.part.json"]
    whole(get(published(server), tmp_path), tmp_path)


def test_two_at_once_download_once(server, tmp_path, caplog, monkeypatch):
    pytest.importorskip("fcntl")
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level(logging.INFO, "ultralytics")
    server.script = [{"stall": 1000}]
    results = []

    def one():
        results.append(get(published(server), tmp_path))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 120
    while "waiting" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    server.go_on.set()
    for thread in threads:
        thread.join(120)
    assert "another process is downloading it; waiting" in caplog.text
    assert len(results) == 2
    assert results[0] == results[1]
    assert isinstance(results[0], Fetched)
    whole(results[0], tmp_path)
    assert [a[0] for a in server.asked] == [None, "bytes=1000-"]


def test_an_empty_file(server, tmp_path):
    server.payload = b""
    whole(get(published(server, b""), tmp_path), tmp_path, b"")


def test_what_a_server_says_cannot_break_the_line(server, tmp_path):
    with open(tmp_path / "file.tar.part", "ab+") as part:
        running = download._Download(published(server), tmp_path / "file.tar", part, 1, None, kept=True)
        with pytest.raises(UserError, match=r"the server answers 404 No \\x1b\[31mway"):
            running._refuse(404, "No\r\n\x1b[31mway")


@pytest.mark.parametrize("chunked", [False, True])
def test_no_more_than_a_bound_comes(server, tmp_path, chunked):
    server.always = {"chunked": chunked}
    remote = Remote(server.url)
    fails(remote, tmp_path, "it has more than 200,000 bytes", most=200_000)
    assert not files(tmp_path)
    whole(get(remote, tmp_path, most=len(PAYLOAD)), tmp_path)


@pytest.mark.parametrize("kept", [True, False])
def test_only_what_is_kept_is_promised(server, tmp_path, caplog, monkeypatch, kept):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    server.always = {"cut": 1000}
    server.etag = None
    match = "the same command goes on" if kept else r"\(try later\)"
    with pytest.raises(UserError, match=match):
        get(Remote(server.url), tmp_path, retries=0, kept=kept)

    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(Remote(server.url), tmp_path, pause=interrupted, kept=kept)
    assert ("the same command goes on" in caplog.text) == kept
