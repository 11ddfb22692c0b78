"""Servers of this machine: files, and a camera that sends numbered frames and breaks off when asked to."""

import base64
import http.server
import threading
from contextlib import contextmanager

import cv2
import numpy as np

SIDE, BITS = 32, 16  # pixels of a frame; numbers below 2**16 are drawn as a grid of 4×4 squares


def numbered_frame(number):
    """A frame that shows its number; BGR uint8 (32, 32, 3)."""
    bits = np.array([number >> b & 1 for b in range(BITS)], np.uint8).reshape(4, 4)
    return np.ascontiguousarray(np.kron(bits * 255, np.ones((8, 8), np.uint8))[..., None].repeat(3, 2))


def number_in(image):
    """The number that a frame shows, whatever an encoder has made of its pixels."""
    bits = image[4::8, 4::8].mean(2).ravel() > 128
    return int(sum(1 << b for b, is_set in enumerate(bits) if is_set))


@contextmanager
def served(handler):
    """Run a server for the block; yield its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def basic(login):
    """What a request with a name and password says."""
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def files(contents, login="", length=True):
    """A handler that serves path → (bytes, type), or sends on to an address; the type None leaves the length out too.

    Args:
        login: NAME:PASSWORD without which nothing is served.
        length: send it.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        asked = []  # noqa: RUF012  # of this server's one class
        logins = []  # noqa: RUF012  # one class per server, shared by its requests: the login of each

        def log_message(self, *_):
            pass

        def do_GET(self):  # the name that http.server calls
            self.asked.append(self.path)
            self.logins.append(self.headers.get("Authorization"))
            if login and self.logins[-1] != basic(login):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.end_headers()
                return
            found = contents.get(self.path)
            if isinstance(found, str):
                self.send_response(302)
                self.send_header("Location", found)
                self.end_headers()
                return
            if found is None:
                self.send_error(404)
                return
            data, kind = found
            self.send_response(200)
            if kind is not None:
                self.send_header("Content-Type", kind)
                if length:
                    self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def camera(frames, connections, again=404, pause=None, login=""):
    """A handler that sends motion-JPEG: `frames` numbered ones to each of so many connections, which it then closes;
    later ones get an error.

    Args:
        again: the answer then.
        pause: called before each frame with its number.
        login: NAME:PASSWORD without which there is no picture.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        sent, opened = 0, 0

        def log_message(self, *_):
            pass

        def do_GET(self):  # the name that http.server calls
            kind = type(self)
            if login and self.headers.get("Authorization") != basic(login):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.end_headers()
                return
            if kind.opened == connections:
                self.send_error(again)
                return
            if "OpenCV" in self.headers.get("User-Agent", "") or "Lavf" in self.headers.get("User-Agent", ""):
                kind.opened += 1
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            if "Python" in self.headers.get("User-Agent", ""):  # it asks what kind of source this is
                return
            for _ in range(frames):
                kind.sent += 1
                if pause is not None:
                    pause(kind.sent)
                data = cv2.imencode(".jpg", numbered_frame(kind.sent))[1].tobytes()
                head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                try:
                    self.wfile.write(head + data + b"\r\n")
                except OSError:  # nobody reads any more
                    return

    return Handler
