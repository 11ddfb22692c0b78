"""The one opener: log-ins, and where it follows a server to."""

import http.server
import urllib.error

import pytest

from tests.helpers.servers import files, served
from ultralytics.utils.errors import UserError
from ultralytics.utils.events import plain
from ultralytics.utils.fetch import Remote, fetch
from ultralytics.utils.text import masked
from ultralytics.utils.web import open_url

PAGE = {"/a": (b"content", "text/plain")}


def with_login(url, login="admin:se%20cret"):
    return url.replace("://", f"://{login}@")


def test_a_login_is_sent_to_its_host_alone():
    other = files({**PAGE, "/back": "/a"})
    with served(other) as elsewhere:
        there = elsewhere.replace("127.0.0.1", "localhost")
        handler = files({**PAGE, "/here": "/a", "/there": f"{there}/a"}, login="admin:se cret")
        with served(handler) as url:
            for path in ("/a", "/here", "/there"):
                with open_url(with_login(f"{url}{path}"), 5) as answer:
                    assert answer.read() == b"content"
            assert len(set(handler.logins)) == 1
            assert other.logins == [None]
            with pytest.raises(urllib.error.HTTPError, match="401"):
                open_url(f"{url}/a", 5)
            with pytest.raises(urllib.error.HTTPError, match="401"):
                open_url(with_login(f"{url}/a", "admin:wrong"), 5)


def test_a_server_that_sends_on_gives_no_login_of_its_own():
    other = files(PAGE)
    with served(other) as elsewhere, served(files({"/x": with_login(f"{elsewhere}/a")})) as url:
        assert open_url(f"{url}/x", 5).read() == b"content"
    assert other.logins == [None]


class Digest(http.server.BaseHTTPRequestHandler):
    """Serves who answers a challenge for the user admin."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        said = self.headers.get("Authorization", "")
        self.send_response(200 if said.startswith("Digest ") and 'username="admin"' in said else 401)
        self.send_header("WWW-Authenticate", 'Digest realm="camera", nonce="1", qop="auth", algorithm=MD5')
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_a_camera_may_ask_for_a_digest():
    with served(Digest) as url:
        assert open_url(with_login(f"{url}/a"), 5).status == 200


def test_only_the_web_is_followed():
    with (
        served(files({"/x": "ftp://127.0.0.1:1/x.jpg"})) as url,
        pytest.raises(UserError, match="only http and https is followed"),
    ):
        open_url(f"{url}/x", 5)


def test_a_download_logs_in_and_keeps_no_password(tmp_path):
    with served(files(PAGE, login="admin:se cret")) as url:
        got = fetch(Remote(with_login(f"{url}/a")), tmp_path)
        assert got.path.read_bytes() == b"content"
        assert got.url == with_login(f"{url}/a", "admin:***")
        with pytest.raises(UserError, match=r"401 Unauthorized \(it asks for a user name and password") as e:
            fetch(Remote(with_login(f"{url}/a", "admin:hidden")), tmp_path / "b", pause=lambda _: None)
    assert "hidden" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rtsp://me:secret@host:554/x", "rtsp://me:***@host:554/x"),
        ("source=http://me:sec@ret@host/x@y failed", "source=http://me:***@host/x@y failed"),
        ("http://me:se/cret@host/x", "http://me:***@host/x"),
        ("http://:secret@host", "http://:***@host"),
        ("http://cam/v?user=a&pwd=secret&size=1", "http://cam/v?user=a&pwd=***&size=1"),
        ("a http://me:secret@h/ b rtsp://x:secret@h/", "a http://me:***@h/ b rtsp://x:***@h/"),
    ],
)
def test_passwords_are_not_shown(text, wanted):
    assert masked(text) == masked(wanted) == wanted
    assert "secret" not in str(UserError(text, text, text))
    assert plain({"command": [text]}) == {"command": [wanted]}


@pytest.mark.parametrize(
    "text", ["rtsp://host/x", "rtsp://[", "rtsp://[::1]:554/a@b", "http://h:80/a@b", "http://h:80", "a: b@c", "C:/x@y"]
)
def test_nothing_else_is_changed(text):
    assert masked(text) == text
