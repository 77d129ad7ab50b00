"""Kubernetes' own expansion of `$(NAME)` in command, args and environment values.

A transcription of k8s.io/kubernetes third_party/forked/golang/expansion/expand.go, so that tests hold our templates
against what a kubelet will do to them.
"""

from collections.abc import Mapping


def expand(text: str, variables: Mapping[str, str]) -> str:
    """The text with the known variables filled in, `$$` undone, and everything else as it is."""
    out: list[str] = []
    checkpoint = cursor = 0
    while cursor < len(text):
        if text[cursor] == "$" and cursor + 1 < len(text):
            out.append(text[checkpoint:cursor])
            read, is_variable, advance = _read(text[cursor + 1 :])
            out.append(variables.get(read, f"$({read})") if is_variable else read)
            cursor += advance
            checkpoint = cursor + 1
        cursor += 1
    return "".join(out) + text[checkpoint:]


def _read(text: str) -> tuple[str, bool, int]:
    if text[0] == "$":
        return "$", False, 1
    if text[0] == "(":
        close = text.find(")", 1)
        return (text[1:close], True, close + 1) if close > 0 else ("$(", False, 1)
    return "$" + text[0], False, 1
