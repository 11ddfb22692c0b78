"""A camera of this machine that speaks RTSP: numbered frames as RTP/JPEG (RFC 2435) inside the connection."""

import socketserver
import struct
import threading
from contextlib import contextmanager

import cv2

from tests.helpers.servers import numbered_frame

SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:track0\r\n"


def payload(number):
    """The RTP/JPEG payload of a frame: header, quantisation tables, scan."""
    image = numbered_frame(number)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    tables, at = {}, 2
    while data[at + 1] != 0xDA:
        length = struct.unpack(">H", data[at + 2 : at + 4])[0]
        segment = data[at + 4 : at + 2 + length]
        while data[at + 1] == 0xDB and segment:
            tables[segment[0]], segment = segment[1:65], segment[65:]
        at += 2 + length
    at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    height, width = image.shape[:2]
    head = bytes([0, 0, 0, 0, 1, 255, width // 8, height // 8]) + struct.pack(">BBH", 0, 0, 128)
    return head + tables[0] + tables[1] + data[at:-2]


@contextmanager
def rtsp_camera(frames, connections):
    """Send so many numbered frames to each of so many connections that play; yield the address."""

    class Handler(socketserver.StreamRequestHandler):
        sent, played = 0, 0

        def answer(self, sequence, *lines, body=b""):
            head = "\r\n".join(["RTSP/1.0 200 OK", f"CSeq: {sequence}", *lines, f"Content-Length: {len(body)}"])
            self.wfile.write(head.encode() + b"\r\n\r\n" + body)

        def handle(self):
            kind = type(self)
            if kind.played == connections:
                return
            while request := self.rfile.readline().split():
                fields = {}
                while line := self.rfile.readline().strip():
                    key, _, value = line.decode().partition(":")
                    fields[key.lower()] = value.strip()
                method, sequence = request[0], fields["cseq"]
                if method == b"DESCRIBE":
                    self.answer(sequence, "Content-Type: application/sdp", body=SDP)
                elif method == b"SETUP":
                    self.answer(sequence, "Session: 1", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
                elif method == b"PLAY":
                    self.answer(sequence, "Session: 1")
                    kind.played += 1
                    self.play()
                    return
                else:
                    self.answer(sequence, "Public: DESCRIBE, SETUP, PLAY")

        def play(self):
            kind = type(self)
            for i in range(frames):
                kind.sent += 1
                packet = struct.pack(">BBHII", 0x80, 0x80 | 26, i, i * 3600, 1) + payload(kind.sent)
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"rtsp://user:secret@127.0.0.1:{server.server_address[1]}/live"
    finally:
        server.shutdown()
        server.server_close()
