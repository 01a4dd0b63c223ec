"""Downloads pictures from http:// and https:// addresses."""

import dataclasses
import re
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit

import mamkpd_jax
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_write

MAX_BYTES = 64 * 2**20
TIMEOUT_S = 60.0  # for a whole download
_SILENCE_S = 10.0  # the longest wait for the next byte
_REDIRECTIONS = 5
_CHUNK_BYTES = 2**16
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # a Windows drive has one letter
_MAX_NAME = 100  # bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Download:
    """A downloaded picture file. Its name is the last part of its address."""

    name: str
    content: bytes

    def save(self, folder: Path) -> Path:
        """Writes the file into a folder and returns its path."""
        path = folder / self.name
        with atomic_write(path) as temporary:
            temporary.write_bytes(self.content)
        return path


def is_address(text: str) -> bool:
    """Whether a text starts like an address, such as https:// or ftp://."""
    return _ADDRESS.match(text) is not None


def without_login(address: str) -> str:
    """The address without its user name and password, for messages."""
    return re.sub(r"//[^/?#]*@", "//", address, count=1)


def download(address: str, *, max_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S) -> Download:
    """Downloads the file at an http:// or https:// address, following at most five redirections.

    Raises:
        UserError: the address has another scheme or a user name, or can't be reached; the server returns an error; or
            the file is incomplete, larger than `max_bytes`, or takes longer than `timeout_s`.
    """
    if not re.match("https?://", address, re.IGNORECASE):
        raise UserError(f"{address} can't be downloaded; expected a file, or an http:// or https:// address")
    if (public := without_login(address)) != address:
        raise UserError(f"{public} was given with a user name, which is not supported; download it, and give the file")
    try:
        content = _content(address, max_bytes, timeout_s)
    except HTTPError as error:
        error.close()  # else the connection stays open
        reason = " ".join(str(error.reason).split())
        raise UserError(f"{address} can't be downloaded: the server answers {error.code} ({reason})") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise UserError(f"{address} can't be downloaded ({reason or type(error).__name__})") from error
    return Download(_name(address), content)


def _content(address: str, max_bytes: int, timeout_s: float) -> bytes:
    # Escapes what browsers escape, such as spaces and non-ASCII letters, but keeps existing escapes.
    escaped = quote(address, safe="%/:=&?~#+!$,;'@()*[]")
    headers = {"User-Agent": f"mamkpd_jax/{mamkpd_jax.__version__}"}  # some servers refuse urllib's default
    request = urllib.request.Request(escaped, headers=headers)
    end_s = time.monotonic() + timeout_s
    content = bytearray()
    with _opener().open(request, timeout=min(_SILENCE_S, timeout_s)) as response:
        announced = int(response.headers.get("Content-Length") or 0)
        while announced <= max_bytes and (chunk := response.read1(_CHUNK_BYTES)):
            content += chunk
            if len(content) > max_bytes:
                break
            if time.monotonic() > end_s:
                raise UserError(f"{address} can't be downloaded within {timeout_s:g} s; download it, and give the file")
    if max(announced, len(content)) > max_bytes:
        raise UserError(f"{address} is larger than {max_bytes / 2**20:g} MiB; download it, and give the file")
    if len(content) < announced:
        raise UserError(f"{address} ends after {len(content)} of {announced} bytes; try again")
    return bytes(content)


class _FewRedirections(urllib.request.HTTPRedirectHandler):
    max_redirections = _REDIRECTIONS


def _opener() -> Any:
    """An opener for http and https only: urllib's default opener also reads files and FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
        _FewRedirections,
    ):
        opener.add_handler(handler())
    return opener


def _name(address: str) -> str:
    """The last part of an address as a file name, without characters that file systems refuse."""
    last = re.split(r"[/\\]", unquote(urlsplit(address).path))[-1]
    name = re.sub(r"[^\w.-]+", "_", last)
    return name.encode()[-_MAX_NAME:].decode(errors="ignore").lstrip(".") or "picture"
