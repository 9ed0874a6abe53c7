"""The openai package's client, set up so that nothing it does goes unseen by the guard and the rate limits."""

import asyncio
import functools
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from radtune.engines.guard import Endpoint
from radtune.engines.limits import Limits

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# A key, or what gives a token that is valid now.
Credential = str | Callable[[], str]

# A host that does not answer the door is not there, however long its answers may take.
_LONGEST_CONNECT_S = 10.0


def open_client(endpoint: Endpoint, credential: Credential, limits: Limits) -> "AsyncOpenAI":
    """The openai package's client of an endpoint: silent, never retrying by itself, and true to the guarded host."""
    # Imported here: it takes as long as the rest of a short command.
    import httpx2
    import openai

    for name in ("openai", "httpx2", "httpcore2"):
        # Whatever OPENAI_LOG or a root logger at DEBUG asks for: a log is no place for a report.
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        logger.setLevel(logging.CRITICAL)
    common: dict[str, Any] = {
        # Every attempt has to pass the rate limits, so the package must make none of its own.
        "max_retries": 0,
        "timeout": openai.Timeout(limits.timeout_s, connect=min(limits.timeout_s, _LONGEST_CONNECT_S)),
        # A redirect, or a proxy from the environment, would take reports elsewhere than the guard has looked.
        "http_client": openai.DefaultAsyncHttpxClient(
            follow_redirects=False,
            trust_env=not endpoint.is_loopback,
            verify=_ssl_context(),
            limits=httpx2.Limits(max_connections=limits.concurrency, max_keepalive_connections=limits.concurrency),
        ),
    }
    given = credential if isinstance(credential, str) else _in_a_thread(credential)
    if endpoint.is_azure:
        common["api_key" if isinstance(credential, str) else "azure_ad_token_provider"] = given
        return openai.AsyncAzureOpenAI(azure_endpoint=endpoint.url, api_version=endpoint.azure_api_version, **common)
    return openai.AsyncOpenAI(base_url=endpoint.url, api_key=given, **common)


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    # One for all clients: reading the authorities' certificates takes 20 ms.
    import httpx2

    return httpx2.create_ssl_context()


def _in_a_thread(credential: Callable[[], str]) -> Callable[[], Awaitable[str]]:
    async def provide() -> str:
        # A token that has run out is fetched over the network, while other calls go on.
        return await asyncio.to_thread(credential)

    return provide
