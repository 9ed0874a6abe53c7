"""The openai package's client, set up so that nothing it does goes unseen by the guard and the rate limits.

Import this where a call is made, not before: the package takes as long as the rest of a short command.
"""

import functools
import logging
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from radtune.config import InputError
from radtune.engines.guard import Credential, Endpoint

# Of one response. The longest answers are some 100 KB; what goes on for longer has no end.
MOST_BYTES = 4 * 2**20
# Of the environment, what decides how a connection is made.
_SETTINGS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
# A host that does not answer the door is not there, however long its answers may take.
_LONGEST_CONNECT_S = 10.0


def open_client(
    endpoint: Endpoint, credential: Credential, timeout_s: float, most_bytes: int = MOST_BYTES
) -> openai.OpenAI:
    """The openai package's client of an endpoint: silent, never retrying by itself, and true to the guarded host."""
    for name in ("openai", "httpx2", "httpcore2"):
        # Whatever OPENAI_LOG or a root logger at DEBUG asks for: a log is no place for a report.
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        logger.setLevel(logging.CRITICAL)
    try:
        http = openai.DefaultHttpxClient(
            # A redirect, or a proxy from the environment, would take reports elsewhere than the guard has looked.
            follow_redirects=False,
            trust_env=not endpoint.is_loopback,
            # Without TLS there is nothing to trust, and no authorities need to be read.
            verify=_ssl_context() if endpoint.url.startswith("https") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            event_hooks={"response": [functools.partial(_bound, timeout_s, most_bytes)]},
        )
    except (OSError, ValueError, ImportError, httpx2.InvalidURL):
        # Neither setting is shown: a proxy's may hold a password.
        named = [name for name in _SETTINGS if os.environ.get(name) or os.environ.get(name.lower())]
        raise InputError(f"no connection can be made with what {' or '.join(named)} says") from None
    common: dict[str, Any] = {
        # Every attempt has to pass the rate limits, so the package must make none of its own.
        "max_retries": 0,
        "timeout": openai.Timeout(timeout_s, connect=min(timeout_s, _LONGEST_CONNECT_S)),
        "default_headers": {
            # From the environment, where they are meant for OpenAI alone.
            "OpenAI-Organization": openai.Omit(),
            "OpenAI-Project": openai.Omit(),
            # A few packed bytes may become gigabytes.
            "Accept-Encoding": "identity",
        },
        "http_client": http,
    }
    if endpoint.azure_api_version is not None:
        common["api_key" if isinstance(credential, str) else "azure_ad_token_provider"] = credential
        return openai.AzureOpenAI(azure_endpoint=_url(endpoint), api_version=endpoint.azure_api_version, **common)
    return openai.OpenAI(base_url=_url(endpoint), api_key=credential, **common)


def _url(endpoint: Endpoint) -> str:
    """The endpoint's URL, with the address of this machine where somebody listens instead of ``localhost``.

    A resolver or hosts file may say anything of a name.
    """
    if endpoint.host != "localhost":
        return endpoint.url
    parts = urlsplit(endpoint.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = "127.0.0.1"
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        with suppress(OSError), socket.create_connection(("::1", port), timeout=1.0):
            host = "[::1]"
    return re.sub("(?i)(?<=://)localhost", host, endpoint.url, count=1)


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    # One for all clients: reading the authorities' certificates takes 20 ms.
    return httpx2.create_ssl_context()


class _Bounded(httpx2.SyncByteStream):
    """A response's bytes: so many for so long, and none behind them, where the next response would begin."""

    def __init__(self, response: httpx2.Response, timeout_s: float, most_bytes: int) -> None:
        self._response, self._stream = response, response.stream
        self._until, self._left = time.monotonic() + timeout_s, most_bytes

    def __iter__(self) -> Iterator[bytes]:
        stream: Any = self._stream
        for chunk in stream:
            self._left -= len(chunk)
            if time.monotonic() > self._until:
                raise httpx2.ReadTimeout("it takes too long")
            if self._left < 0:
                raise httpx2.ReadError("it is too large")
            yield chunk
        # Nobody but the connection's parser knows of them.
        if stream._stream._httpcore_stream._stream._connection._h11_state.trailing_data[0]:
            self._response.extensions["network_stream"].close()

    def close(self) -> None:
        self._stream.close()


def _bound(timeout_s: float, most_bytes: int, response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx2.DecodingError("it is packed")
    response.stream = _Bounded(response, timeout_s, most_bytes)
