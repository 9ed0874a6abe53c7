"""Where reports are sent for labelling, and the guard in front of it: no report leaves the machine unnoticed."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from radtune.config import InputError

# Where the openai client goes when it is told nothing.
DEFAULT_URL = "https://api.openai.com/v1"

LAST_PORT = 65535

# Narrower than the standard on purpose. A user name, a query or an odd letter is how one URL comes to mean different
# hosts to different readers, and how a key comes to be in a URL.
_URL = re.compile(r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~/-]*)?")
# Hosts that keep chat completions unless told not to.
_STORING_HOSTS = re.compile(r"(?:.+\.)?(?:openai\.com|azure\.com|azure\.us|azure\.cn)")
# What may stand in an HTTP header.
_KEY = re.compile(r"[!-~]*")

_PHYSIONET = "https://physionet.org/news/post/gpt-responsible-use"
_PHYSIONET_UPDATE = "https://physionet.org/news/post/llm-responsible-use"


@dataclass(frozen=True)
class Endpoint:
    """A chat completions service.

    Attributes:
        url: The base URL, of an OpenAI-compatible server or of an Azure OpenAI resource.
        host: The host in it, in lower case.
        azure_api_version: Azure's API version; None for any other service.
    """

    url: str
    host: str
    azure_api_version: str | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent there stays on this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def is_azure(self) -> bool:
        """Whether it is addressed as an Azure OpenAI resource, by deployment and API version."""
        return self.azure_api_version is not None

    @property
    def may_store(self) -> bool:
        """Whether it is told ``store=false``; other servers may refuse a parameter that they do not know."""
        return self.is_azure or _STORING_HOSTS.fullmatch(self.host) is not None

    @property
    def key_variable(self) -> str:
        """The environment variable that holds its key."""
        return "AZURE_OPENAI_API_KEY" if self.is_azure else "OPENAI_API_KEY"


def find_endpoint(
    base_url: str | None, azure_endpoint: str | None, api_version: str | None, environment: Mapping[str, str]
) -> Endpoint:
    """The service meant by a command's keys, else by the openai package's environment variables, else OpenAI's own.

    Args:
        base_url: Base URL of an OpenAI-compatible server (``OPENAI_BASE_URL``).
        azure_endpoint: URL of an Azure OpenAI resource (``AZURE_OPENAI_ENDPOINT``).
        api_version: Azure's API version (``OPENAI_API_VERSION``).
        environment: The process's environment.

    Raises:
        InputError: Both kinds are given, a URL cannot be used, or Azure's API version is missing.
    """
    if base_url and azure_endpoint:
        raise InputError("give base_url= or azure_endpoint=, not both")
    if not base_url and not azure_endpoint:
        base_url = environment.get("OPENAI_BASE_URL")
        azure_endpoint = None if base_url else environment.get("AZURE_OPENAI_ENDPOINT")
    if not azure_endpoint:
        return _endpoint("base_url", base_url or DEFAULT_URL)
    api_version = api_version or environment.get("OPENAI_API_VERSION")
    if not api_version:
        raise InputError("azure_endpoint needs api_version=... (or OPENAI_API_VERSION), e.g. 2024-10-21")
    return _endpoint("azure_endpoint", azure_endpoint, api_version)


def _endpoint(name: str, url: str, azure_api_version: str | None = None) -> Endpoint:
    match = _URL.fullmatch(url.strip())
    if match is None:
        # The URL is not repeated: what is wrong with it may be a key inside.
        raise InputError(f"{name}: expected http(s)://HOST[:PORT][/PATH] without user, query or fragment")
    if match[3] and not 1 <= int(match[3]) <= LAST_PORT:
        raise InputError(f"{name}: a port is a number from 1 to {LAST_PORT}")
    endpoint = Endpoint(match[0].rstrip("/"), match[2].lower(), azure_api_version)
    if match[1] == "http" and not endpoint.is_loopback:
        raise InputError(f"{name}: http to {endpoint.host} would send reports unencrypted; use https")
    return endpoint


def check_endpoint(endpoint: Endpoint, allow_endpoint: str | None, zero_retention_confirmed: bool) -> None:
    """Lets reports go to this machine's own servers, and anywhere else only where the user has said so twice.

    Raises:
        InputError: Saying what would leave the machine, where to, and what PhysioNet asks of such a service.
    """
    if endpoint.is_loopback:
        return
    host = endpoint.host
    if allow_endpoint is not None and allow_endpoint.lower() != host:
        raise InputError(f"allow_endpoint is {allow_endpoint!r}, but the reports would be sent to {host!r}")
    if allow_endpoint is None or not zero_retention_confirmed:
        raise InputError(
            f"the findings and impression of every report would leave this machine, for {host}. Whoever holds "
            "MIMIC-CXR or other credentialed data has agreed to pass it on to nobody; PhysioNet tolerates a hosted "
            "model only if its provider keeps nothing, trains on nothing and has nobody read along, and leaves it to "
            f"you to make sure ({_PHYSIONET}, updated by {_PHYSIONET_UPDATE}). If that holds for your account, or your "
            f"data is under no such agreement: allow_endpoint={host} zero_retention_confirmed=true"
        )


def read_api_key(endpoint: Endpoint, environment: Mapping[str, str]) -> str:
    """The service's key, from the environment alone; a server on this machine needs none.

    Raises:
        InputError: There is none, or what is there is none.
    """
    key = environment.get(endpoint.key_variable, "").strip()
    if not _KEY.fullmatch(key):
        raise InputError(f"{endpoint.key_variable}: holds letters that no key has")
    if not key and not endpoint.is_loopback:
        raise InputError(f"no key for {endpoint.host}: set the environment variable {endpoint.key_variable}")
    return key or "none"
