"""A prefix of a bucket that speaks the S3 protocol."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import BoundedSemaphore
from typing import Any, Final

import obstore
import orjson
from obstore.store import S3Store

from ..api.target import S3Target
from ..core.storagejob import Code
from .adapter import (
    AUTHORITY,
    CONNECT_SECONDS,
    COUNT_SECONDS,
    QUERY_SECONDS,
    WORK_SECONDS,
    Adapter,
    Login,
    Prepared,
    StorageError,
)
from .s3_folders import remove_folders

MARK: Final = ".dataops-environment"
"""Name of the object, in a prefix that an environment made, that says whose it is."""
_PROBE: Final = ".dataops-probe-"
_PAGE: Final = 1000
"""Objects of one list or delete request, the protocol's own limit."""
_COPIES: Final = 16
"""Objects that are copied at once."""
_LARGE: Final = 5 * 1024**3
"""Bytes from which the protocol copies no object in one request."""
_BLOCK: Final = 4 * 1024**2
"""Bytes that are held at once of an object that comes by way of this process; parts of 5 MiB and more are sent."""

# What an answer was, out of what the client says of it: the protocol's own codes, never its words, which may quote.
_ERROR_CODE: Final = re.compile(r"<Code>(\w+)</Code>|\(code: (\w+)\)")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_BAD_LOGIN: Final = frozenset(
    ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired")
)
_NO_ANSWER: Final = re.compile(r"error sending request|timed? ?out|dns error|connect|reset", re.IGNORECASE)

Objects = Sequence[Any]


class S3:
    """One prefix, seen with one login.

    Args:
        place: where it is.
        login: with `access_key`, `secret_key` and perhaps `security_token`; None where requests are not signed.
    """

    def __init__(self, place: S3Target, login: Login | None) -> None:
        self.place = place
        self._login = login
        self._made: dict[int, S3Store] = {}

    @property
    def name(self) -> str:
        """For messages."""
        return f"s3://{self.place.bucket}/{self.place.prefix} at {self.place.endpoint}"

    def store(self, seconds: int = QUERY_SECONDS) -> S3Store:
        """A client of the bucket, each of whose requests ends within so many seconds."""
        if seconds not in self._made:
            keys: dict[str, Any] = {"skip_signature": True}
            if self._login is not None:
                access, secret = self._login.need("access_key", "secret_key")
                keys = {"access_key_id": access, "secret_access_key": secret}
                if token := self._login.values.get("security_token"):
                    keys["session_token"] = token
            authority = self._login.values.get(AUTHORITY) if self._login else None
            with self.told():
                self._made[seconds] = S3Store(
                    self.place.bucket,
                    endpoint=self.place.endpoint,
                    region=self.place.region,
                    client_options={
                        "allow_http": self.place.endpoint.startswith("http://"),
                        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                        "timeout": timedelta(seconds=seconds),
                        **({"root_certificate": authority} if authority else {}),
                    },
                    retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=seconds)},
                    **keys,
                )
        return self._made[seconds]

    def reachable(self) -> None:
        """List the first page of the prefix; a prefix without objects is there like any other."""
        with self.told():
            next(iter(self._pages()), None)

    def write_probe(self) -> None:
        """Write an object of our own, and remove it."""
        key = f"{self.place.prefix}{_PROBE}{secrets.token_hex(8)}"
        with self.told():
            obstore.put(self.store(), key, b"dataops")
        try:
            with self.told():
                obstore.delete(self.store(), key)
        except StorageError as error:
            raise StorageError(error.code, f"{error.message}; {key} was written and could not be removed") from None

    def can_write(self) -> bool | None:
        """Unknown: the protocol has no question for it."""
        return None

    def usage(self) -> tuple[int, bool]:
        """Bytes of all objects, as the list tells them."""
        end = time.monotonic() + COUNT_SECONDS
        total = 0
        with self.told():
            for page in self._pages():
                total += sum(one["size"] for one in page)
                if time.monotonic() > end:
                    return total, False
        return total, True

    def prepare(self, owner: str, source: Adapter | None) -> Prepared:
        """Mark the prefix, and copy into it; a copy that broke off goes on where it was."""
        with self.told():
            state = self._mark(owner)
            if state is None:
                if any(page for page in self._pages()):
                    raise StorageError(
                        Code.NOT_OURS,
                        f"{self.name} has objects that no environment made: remove them, or choose another prefix",
                    )
                state = self._set_mark(owner, "Copying" if source else "Ready", fresh=True)
            if state == "Ready" or source is None:
                return Prepared()
            if not isinstance(source, S3):
                raise StorageError(Code.FAILED, f"{self.name} can only be copied from another prefix")
            done = self._copy(source)
            self._set_mark(owner, "Ready")
            return done

    def drop(self, owner: str) -> bool:
        """Remove all objects, the mark last."""
        with self.told():
            if self._mark(owner) is None:
                if any(page for page in self._pages()):
                    raise StorageError(
                        Code.NOT_OURS, f"{self.name} has objects, but not this environment's mark: remove them by hand"
                    )
                return False
            emptied: set[str] = set()
            for _ in range(4):  # what others write meanwhile is removed, too
                left = False
                for page in self._pages():
                    keys = [one["path"] for one in page if one["path"] != self._mark_key]
                    if keys:
                        left = True
                        remove_folders(self.place, self._login, [f"{key}/" for key in keys if key in emptied])
                        obstore.delete(self.store(WORK_SECONDS), keys)
                        emptied.update(keys)
                if not left:
                    obstore.delete(self.store(), self._mark_key)
                    with contextlib.suppress(StorageError):  # an empty one of the prefix's own name is no data
                        remove_folders(self.place, self._login, [self.place.prefix])
                    return True
            raise StorageError(Code.IN_USE, f"objects keep appearing in {self.name}: stop what writes there")

    # The rest is how.

    @property
    def _mark_key(self) -> str:
        return f"{self.place.prefix}{MARK}"

    def _pages(self) -> Iterator[Objects]:
        """All objects of the prefix; a folder `a/` comes as `a`, and so does the prefix's own, which is left out."""
        for page in obstore.list(self.store(), self.place.prefix or None, chunk_size=_PAGE):
            yield [one for one in page if one["path"].startswith(self.place.prefix)]

    def _mark(self, owner: str) -> str | None:
        """State of the mark; None without one.

        Raises:
            StorageError: it is somebody else's.
        """
        try:
            raw = orjson.loads(bytes(obstore.get(self.store(), self._mark_key).bytes()))
        except FileNotFoundError as error:
            if _said(str(error))[0] == "NoSuchBucket":
                raise
            return None
        except orjson.JSONDecodeError:
            raw = {}
        if not isinstance(raw, dict) or raw.get("environment") != owner:
            raise StorageError(
                Code.NOT_OURS,
                f"{self.name} was made by another environment and is left as it is: remove it by hand, or choose "
                "another prefix",
            )
        return str(raw.get("state"))

    def _set_mark(self, owner: str, state: str, *, fresh: bool = False) -> str:
        text = orjson.dumps({"environment": owner, "state": state})
        try:
            obstore.put(self.store(), self._mark_key, text, mode="create" if fresh else "overwrite")
        except obstore.exceptions.AlreadyExistsError:
            return self._mark(owner) or state
        return state

    def _copy(self, source: S3) -> Prepared:
        had = {one["path"]: (one["size"], one["last_modified"]) for page in self._pages() for one in page}
        counted = size = gone = 0
        copier = _Copier(source, self)
        with ThreadPoolExecutor(_COPIES) as pool, source.told():
            for page in source._pages():
                models = [one for one in page if one["path"] != source._mark_key]
                wanted = [one for one in models if not self._has(source, one, had)]
                lost = [one for one, copied in zip(wanted, pool.map(copier.copy, wanted), strict=True) if not copied]
                counted += len(models) - len(lost)
                size += sum(one["size"] for one in models)
                gone += sum(1 for one in lost if one["size"])  # an empty one is a folder, and no loss
        without = f", {gone} that were removed meanwhile left out" if gone else ""
        return Prepared(
            f"{counted} objects of {size} bytes were copied from s3://{source.place.bucket}/"
            f"{source.place.prefix}{without}."
        )

    def _has(self, source: S3, one: Any, had: dict[str, tuple[int, datetime]]) -> bool:
        """Whether an object was copied before, and its model has not changed since."""
        own = had.get(self.place.prefix + one["path"].removeprefix(source.place.prefix))
        return own is not None and own[0] == one["size"] and own[1] >= one["last_modified"]

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Errors of requests in our words: the client's own quote what the server said."""
        try:
            yield
        except StorageError:
            raise
        except (obstore.exceptions.BaseError, FileNotFoundError, PermissionError, ValueError, OSError) as error:
            raise self._classed(error) from None

    def _classed(self, error: Exception) -> StorageError:
        text = str(error)
        code, status = _said(text)
        if code in _BAD_LOGIN:
            return StorageError(Code.LOGIN_REFUSED, f"{self.name}: the server refuses the login")
        if status in (401, 403) or code == "AccessDenied" or isinstance(error, PermissionError):
            return StorageError(
                Code.FORBIDDEN,
                f"the login may not do this with {self.name}: it must list, read and, where runs write, put and delete",
            )
        if isinstance(error, FileNotFoundError) or status == 404:
            return StorageError(Code.NOT_FOUND, f"there is no bucket {self.place.bucket!r} at {self.place.endpoint}")
        if status is not None and (status == 429 or status >= 500):
            return StorageError(Code.UNAVAILABLE, f"{self.name}: the server is busy or fails (HTTP {status})")
        if status is None and "certificate" in text.lower():
            return StorageError(Code.FAILED, f"{self.name}: TLS fails: the certificate is not one of a known authority")
        if status is None and _NO_ANSWER.search(text):
            return StorageError(Code.UNREACHABLE, f"{self.name}: no answer")
        return StorageError(Code.FAILED, f"{self.name} fails: {type(error).__name__} (HTTP {status or 'none'})")


def _said(text: str) -> tuple[str, int | None]:
    """The protocol's code and HTTP's status in an error of the client's."""
    code, status = _ERROR_CODE.search(text), _STATUS.search(text)
    return (code[1] or code[2]) if code else "", int(status[1]) if status else None


class _Copier:
    """Copies object by object: inside the server while one login may do both, else by way of this process."""

    def __init__(self, source: S3, target: S3) -> None:
        self._source, self._target = source, target
        same = source.place.endpoint == target.place.endpoint and source.place.bucket == target.place.bucket
        self._inside = same
        self._few = BoundedSemaphore(2)

    def copy(self, one: Any) -> bool:
        """Copy an object of the source; False where it is gone."""
        key = self._target.place.prefix + one["path"].removeprefix(self._source.place.prefix)
        store = self._target.store(WORK_SECONDS)
        try:
            if self._inside and one["size"] < _LARGE:
                try:
                    obstore.copy(store, one["path"], key)
                except (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError):
                    self._inside = False  # the login that writes may not read the parent's
                else:
                    return True
            given = obstore.get(self._source.store(WORK_SECONDS), one["path"])
            if one["size"] <= _BLOCK:
                obstore.put(store, key, given.bytes(), use_multipart=False)
            else:
                self._stream(given, key)
        except FileNotFoundError:
            return False
        return True

    def _stream(self, given: obstore.GetResult, key: str) -> None:
        """Block by block, two objects at once: what is in memory stays below 100 MB."""
        with (
            self._few,
            obstore.open_writer(self._target.store(WORK_SECONDS), key, buffer_size=_BLOCK, max_concurrency=2) as writer,
        ):
            for block in given.stream(min_chunk_size=_BLOCK):
                writer.write(block)
