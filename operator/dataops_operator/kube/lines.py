"""Splitting a stream of chunks into lines, at the cost of one split a chunk rather than one read a line."""

from __future__ import annotations


class LineBuffer:
    """Holds the unfinished line between two chunks."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that the chunk completes, without their ends; empty lines are left out."""
        head, found, tail = chunk.partition(b"\n")
        if not found:
            self._parts.append(chunk)  # a line over many chunks is joined once, not at each of them
            return []
        lines = [b"".join([*self._parts, head]), *tail.split(b"\n")]
        rest = lines.pop()
        self._parts = [rest] if rest else []
        return [line for line in lines if line]
