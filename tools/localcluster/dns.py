"""A question to the cluster's name server, to see that it answers as pods need it."""

from __future__ import annotations

import secrets
import socket
import struct


def resolve(server: str, name: str, seconds: float = 1) -> str | None:
    """The first IPv4 address of ``name`` as ``server`` tells it, or None where it tells of none (RFC 1035, 4.1).

    Raises:
        OSError: No answer in time.
    """
    identity = secrets.token_bytes(2)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = labels + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(seconds)
        link.connect((server, 53))
        link.send(identity + struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0) + question)
        answer = link.recv(4096)
    if answer[:2] != identity or struct.unpack(">H", answer[6:8])[0] == 0:
        return None
    # The first answer follows the question: its name, type, class, TTL and length, then the address.
    at = _after_name(answer, 12 + len(question))
    kind, _, _, size = struct.unpack(">HHIH", answer[at : at + 10])
    return socket.inet_ntoa(answer[at + 10 : at + 14]) if (kind, size) == (1, 4) else None


def _after_name(message: bytes, at: int) -> int:
    """The offset behind a name, which ends with an empty label or with a pointer to an earlier one."""
    while (size := message[at]) != 0:
        if size >= 0xC0:
            return at + 2
        at += size + 1
    return at + 1
