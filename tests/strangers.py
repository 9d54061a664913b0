"""What strangers do with sockets: each opens one to a server and does not do what a browser would."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import struct
from pathlib import Path

HOST = "localhost"
GET = f"GET /nothing HTTP/1.1\r\nHost: {HOST}\r\n".encode()
LARGE = f"GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
POST = f"POST /nothing HTTP/1.1\r\nHost: {HOST}\r\n".encode()


def upgrade(path: str) -> bytes:
    """The head of a WebSocket's handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: streamlit\r\n\r\n"
    ).encode()


def frame(opcode: int, payload: bytes = b"", *, last: bool = True) -> bytes:
    """One masked frame of RFC 6455; the mask is zero."""
    size = (
        bytes([128 | len(payload)]) if len(payload) < 126 else bytes([254]) + struct.pack("!H", len(payload))
    )
    return bytes([opcode | (128 if last else 0)]) + size + bytes(4) + payload


def half_a_message() -> bytes:
    """A frame that announces 4 MB of which hardly any come."""
    return bytes([130, 255]) + struct.pack("!Q", 4_000_000) + bytes(4) + b"x"


# What is sent at once, and again and again after that, by its name.
DEEDS: dict[str, tuple[bytes, bytes]] = {
    "says nothing": (b"", b""),
    "half a head": (GET, b""),
    "a head in drops": (GET + b"X-Drop: ", b"x"),
    "header after header": (GET, b"X-More: x\r\n"),
    "half of a second head": (GET + b"\r\n" + GET, b""),
    "no body": (POST + b"Content-Length: 1000000\r\n\r\n", b""),
    "a body in drops": (POST + b"Content-Length: 1000000\r\n\r\n", b"x"),
    "chunks without end": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "waits to be told to go on": (POST + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n", b""),
    "half an upload": (
        f"PUT /_stcore/upload_file/a/b HTTP/1.1\r\nHost: {HOST}\r\n".encode()
        + b"Content-Length: 60000000\r\n\r\n"
        + bytes(100_000),
        b"",
    ),
    "a huge head": (GET + b"X-Huge: " + b"x" * 300_000, b""),
    "HTTP/1.0": (b"GET /nothing HTTP/1.0\r\n", b""),
    "TLS": (bytes.fromhex("16030100f1010000ed0303") + bytes(100), b""),
    "noise": (bytes(range(256)) * 4, b"\x00"),
    "requests in a row, unread": (LARGE * 60, b""),
    "an answer unread": (LARGE, b""),
    "half a handshake": (upgrade("/_stcore/stream")[:-2], b""),
    "a handshake without a session": (upgrade("/_stcore/stream"), b""),
    "a handshake elsewhere": (upgrade("/api/live/tiny-gvae"), b""),
    "frames after a refused handshake": (upgrade("/_stcore/stream"), frame(2, b"x")),
}
# Only where a handshake is accepted.
DEEDS_OF_GUESTS: dict[str, tuple[bytes, bytes]] = {
    "half a frame": (upgrade("/echo") + half_a_message(), b""),
    "a frame in drops": (upgrade("/echo") + half_a_message(), b"x"),
    "fragments without end": (upgrade("/echo") + frame(1, b"x", last=False), frame(0, last=False) * 400),
    "a flood of frames": (upgrade("/echo"), frame(2, b"x") * 400),
    "a flood of pings": (upgrade("/echo"), frame(9, b"x" * 100) * 400),
    "pings unread": (upgrade("/echo"), frame(9, b"x" * 100) * 400),
    "answers unread": (upgrade("/much"), b""),
    "no answer to pings": (upgrade("/echo"), b""),
    "half a goodbye": (upgrade("/bye"), b""),
}


class Stranger:
    """One socket and what is done with it."""

    def __init__(self, port: int, first: bytes, again: bytes, *, address: str = "127.0.0.1") -> None:
        self.again = again
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # unread answers are held up soon
        self.socket.settimeout(5)
        self.socket.bind((address, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self._send(first)

    def go_on(self) -> None:
        """Send again what is sent again and again."""
        self._send(self.again)

    @property
    def ended(self) -> bool:
        """Whether the server has ended the connection; reads nothing that it has sent."""
        # Linux: tcp_info's first byte is the state; 1 is ESTABLISHED, all that follows an end is larger.
        with contextlib.suppress(OSError):
            return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != 1
        return True

    def go(self, *, abruptly: bool) -> None:
        """Close the socket, with or without a goodbye."""
        if abruptly and self.socket.fileno() >= 0:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.socket.send(data)


def descriptors(process: int) -> int:
    """How many descriptors a process holds."""
    return len(list(Path(f"/proc/{process}/fd").iterdir()))
