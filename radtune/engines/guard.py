"""Where reports are sent, and the guard in front of it: no report leaves the machine unnoticed."""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from radtune.config import InputError
from radtune.report import Report
from radtune.tasks import IMAGES

# Where the openai client goes when it is told nothing.
DEFAULT_URL = "https://api.openai.com/v1"

# Narrower than the standard on purpose. A user name, a query or an odd letter is how one URL comes to mean different
# hosts to different readers, and how a key comes to be in a URL.
_URL = re.compile(r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~/-]*)?")
_API_VERSION = re.compile(r"[A-Za-z0-9._-]+")
# Hosts that keep chat completions unless told not to; other servers may refuse a parameter that they do not know.
_STORING_HOSTS = re.compile(r"(?:.+\.)?(?:openai\.com|azure\.com|azure\.us|azure\.cn)")
# Azure's hosts: the model's own, the one shared with other AI services, and that of projects; with the national clouds.
_AZURE_HOSTS = re.compile(
    r"[a-z0-9-]+\.(?:(?:openai|cognitiveservices)\.azure\.(?:com|us|cn)|services\.ai\.azure\.com)"
)
# What may stand in an HTTP header.
_KEY = re.compile(r"[!-~]*")
# The openai package's name for a token of Microsoft Entra ID.
_TOKEN_VARIABLE = "AZURE_OPENAI_AD_TOKEN"  # noqa: S105  (a name)

# PhysioNet, "Use of MIMIC Data with Large Language Models and Online Services", 24 September 2025: its first wish and
# its rule for everything else.
_PHYSIONET = (
    "Whoever holds MIMIC-CXR or other credentialed data has agreed to pass it on to nobody. PhysioNet's advice is: "
    "“Use locally deployed LLMs”; of any other service, whoever sends reports there has to verify “zero data "
    "retention, no use of data for model training, and no human review” "
    "(https://physionet.org/news/post/llm-responsible-use)."
)

# A key, or what gives a token that is valid now.
Credential = str | Callable[[], str]

_EVERY_REPORT = "the findings and impression of every report"


@dataclass(frozen=True)
class Endpoint:
    """A chat completions service."""

    url: str  # the base URL, of an OpenAI-compatible server or of an Azure OpenAI resource
    host: str  # in the URL, in lower case
    azure_api_version: str | None = None  # None for any other service
    gets_key: bool = False  # if it is on this machine, where any program may listen; others get theirs anyway

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent there stays on this machine; ``localhost`` is asked at 127.0.0.1 or ::1 alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def takes_azure_credentials(self) -> bool:
        """Whether Azure's keys and tokens go there: also to its newer form, which speaks like OpenAI's own server."""
        return self.azure_api_version is not None or _AZURE_HOSTS.fullmatch(self.host) is not None

    @property
    def may_store(self) -> bool:
        """Whether it is told ``store=false``."""
        return self.azure_api_version is not None or _STORING_HOSTS.fullmatch(self.host) is not None

    @property
    def key_variable(self) -> str:
        """The environment variable that holds its key."""
        return "AZURE_OPENAI_API_KEY" if self.takes_azure_credentials else "OPENAI_API_KEY"


def find_endpoint(
    base_url: str | None, azure_endpoint: str | None, api_version: str | None, environment: Mapping[str, str]
) -> Endpoint:
    """The service meant by a command's keys, else by the openai package's environment variables, else OpenAI's own.

    An InputError where both kinds are given, a URL cannot be used, or Azure's API version is missing or none.
    """
    if base_url and azure_endpoint:
        raise InputError("give base_url= or azure_endpoint=, not both")
    # Whoever sets both the address and the key in the environment means them for one another.
    if environed := not base_url and not azure_endpoint:
        base_url = environment.get("OPENAI_BASE_URL")
        azure_endpoint = None if base_url else environment.get("AZURE_OPENAI_ENDPOINT")
    if not azure_endpoint:
        return replace(_endpoint("base_url", base_url or DEFAULT_URL), gets_key=environed)
    api_version = api_version or environment.get("OPENAI_API_VERSION")
    if not api_version:
        raise InputError(
            "azure_endpoint needs api_version=... (or OPENAI_API_VERSION), e.g. 2024-10-21; Azure's newer form needs "
            "none: base_url=https://NAME.openai.azure.com/openai/v1/"
        )
    if not _API_VERSION.fullmatch(api_version):
        raise InputError("api_version: expected a date or a word, e.g. 2024-10-21")
    return replace(_endpoint("azure_endpoint", azure_endpoint, api_version), gets_key=environed)


def _endpoint(name: str, url: str, azure_api_version: str | None = None) -> Endpoint:
    match = _URL.fullmatch(url.strip())
    if match is None:
        # The URL is not repeated: what is wrong with it may be a key inside.
        raise InputError(f"{name}: expected http(s)://HOST[:PORT][/PATH] without user, query or fragment")
    if match[3] and not 1 <= int(match[3]) <= 65535:
        raise InputError(f"{name}: a port is a number from 1 to 65535")
    endpoint = Endpoint(match[0].rstrip("/"), match[2].lower(), azure_api_version)
    if match[1] == "http" and not endpoint.is_loopback:
        # A server in the local network, mostly.
        port = match[3] or "80"
        tunnel = f"ssh -N -L {port}:localhost:{port} {endpoint.host}"
        raise InputError(
            f"{name}: http to {endpoint.host} would send reports unencrypted; use https (vLLM: --ssl-certfile, "
            f"--ssl-keyfile), or a tunnel: {tunnel}, then {name}={match[0].replace(match[2], 'localhost', 1)}"
        )
    return endpoint


def what_leaves(reports: Sequence[Report], sections: Sequence[str] = ()) -> str:
    """What is sent of these reports, in words: how many, and which sections; or of which the task shows, the images."""
    if IMAGES in sections:
        shown, others = sum(len(report.images or ()) for report in reports), [x for x in sections if x != IMAGES]
        told = sum(any(getattr(report, section) for section in others) for report in reports)
        also = f", with the {' and '.join(others)} of {told:,} of them" if told else ""
        return f"{shown:,} image{'s' * (shown != 1)} of {len(reports):,} report{'s' * (len(reports) != 1)}{also}"
    sectioned = sum(report.has_sections for report in reports)
    counts = {
        "the findings and impression of {} report{}": sectioned,
        "the whole text of {} report{} without these sections": len(reports) - sectioned,
    }
    parts = [words.format(f"{count:,}", "s" * (count != 1)) for words, count in counts.items() if count]
    return " and ".join(parts) or "no report"


def check_endpoint(
    endpoint: Endpoint,
    allow_endpoint: str | None,
    zero_retention_confirmed: bool,
    leaving: str = _EVERY_REPORT,
    images_confirmed: bool = True,
) -> None:
    """Lets reports go to this machine's own servers, and anywhere else only where the user has said so twice.

    Images go only where it was said of them, too. An InputError says what would leave the machine, where to, and what
    PhysioNet asks of such a service.
    """
    if endpoint.is_loopback:
        return
    host = endpoint.host
    if allow_endpoint is not None and allow_endpoint.lower() != host:
        raise InputError(f"allow_endpoint is {allow_endpoint!r}, but the reports would be sent to {host!r}")
    if allow_endpoint is None or not zero_retention_confirmed:
        raise InputError(
            f"{leaving} would leave this machine, for {host}. {_PHYSIONET} If that holds for your account, or your "
            f"data is under no such agreement: allow_endpoint={host} zero_retention_confirmed=true"
        )
    if not images_confirmed:
        raise InputError(
            f"{leaving} would leave this machine, for {host}. What files say beside their pixels is left out, but "
            "names and dates that are burned into the pixels stay: look at the images; then images_confirmed=true"
        )


def check_batch_endpoint(endpoint: Endpoint, stored_files_confirmed: bool, leaving: str = _EVERY_REPORT) -> None:
    """Lets reports be left in a provider's files, which the Batch API works from, only where the user has said so.

    No service can promise zero retention there: it has to keep the file until the batch has run, and OpenAI leaves
    files and batches out of its zero data retention (https://developers.openai.com/api/docs/guides/your-data).
    """
    if not endpoint.is_loopback and not stored_files_confirmed:
        raise InputError(
            f"a batch is a file: {leaving} would lie at {endpoint.host} until batch=collect has deleted them, so no "
            f"promise of zero retention covers a batch. {_PHYSIONET} If your data may be kept there: "
            "stored_files_confirmed=true"
        )


def read_credential(endpoint: Endpoint, environment: Mapping[str, str]) -> Credential:
    """What proves to the service who is calling, from the environment alone.

    For Azure a token of Microsoft Entra ID in ``AZURE_OPENAI_AD_TOKEN`` goes before a key, as in the openai package. It
    lasts about an hour, so it is read at every call; nothing here renews it. A server on this machine gets ``none``,
    where nobody has said otherwise.
    """
    if endpoint.is_loopback and not endpoint.gets_key:
        return "none"
    if endpoint.takes_azure_credentials and environment.get(_TOKEN_VARIABLE, "").strip():
        _from_environment(_TOKEN_VARIABLE, environment)
        return lambda: _from_environment(_TOKEN_VARIABLE, environment)
    key = _from_environment(endpoint.key_variable, environment)
    if not key and not endpoint.is_loopback:
        also = f" or {_TOKEN_VARIABLE}" if endpoint.takes_azure_credentials else ""
        raise InputError(f"no key for {endpoint.host}: set the environment variable {endpoint.key_variable}{also}")
    return key or "none"


def _from_environment(variable: str, environment: Mapping[str, str]) -> str:
    value = environment.get(variable, "").strip()
    if not _KEY.fullmatch(value):
        raise InputError(f"{variable}: holds letters that no key has")
    return value
