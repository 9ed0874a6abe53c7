"""The guard: what counts as this machine, and what it takes to send reports anywhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.engines.guard import (
    Endpoint,
    check_batch_endpoint,
    check_endpoint,
    find_endpoint,
    read_credential,
    what_leaves,
)
from radtune.report import report_from_sections, report_from_text

OPENAI = find_endpoint(None, None, None, {})
AZURE = find_endpoint(None, "https://x.openai.azure.com", "2024-10-21", {})
AZURE_V1 = find_endpoint("https://x.openai.azure.com/openai/v1/", None, None, {})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "http://LOCALHOST:1/", "http://[::1]/v1", "http://127.9.9.9"]
)
def test_servers_of_this_machine_just_work(url):
    endpoint = find_endpoint(url, None, None, {})
    assert endpoint.is_loopback and not endpoint.may_store
    check_endpoint(endpoint, None, False)
    check_batch_endpoint(endpoint, False)
    for environment in ({}, {"OPENAI_API_KEY": "sk", "AZURE_OPENAI_AD_TOKEN": "token"}):
        assert read_credential(endpoint, environment) == "none"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://localhost:1", "http://[::1]:7/v1"])
def test_a_port_of_this_machine_gets_a_key_only_where_it_is_named_with_it(url):
    environment = {"OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": url}
    assert read_credential(find_endpoint(None, None, None, environment), environment) == "sk"
    assert read_credential(find_endpoint("http://127.0.0.1:9", None, None, environment), environment) == "none"
    azure = {"AZURE_OPENAI_API_KEY": "az", "AZURE_OPENAI_ENDPOINT": url, "OPENAI_API_VERSION": "v"}
    assert read_credential(find_endpoint(None, None, None, azure), azure) == "az"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1", "https://127.0.0.1.example.com", "https://localhost.", "https://0.0.0.0:8000",
        "https://127.1", "https://2130706433", "https://[fe80::1]/v1",
    ],
)  # fmt: skip
def test_any_other_host_needs_both_keys(url):
    endpoint = find_endpoint(url, None, None, {})
    for allowed, confirmed in ((None, False), (None, True), (endpoint.host, False)):
        with pytest.raises(InputError, match="would leave this machine") as error:
            check_endpoint(endpoint, allowed, confirmed)
        assert f"allow_endpoint={endpoint.host} zero_retention_confirmed=true" in str(error.value)
        assert "https://physionet.org/news/post/llm-responsible-use" in str(error.value)
        assert "“zero data retention, no use of data for model training, and no human review”" in str(error.value)
        assert "\n" not in str(error.value)
    check_endpoint(endpoint, endpoint.host.upper(), True)
    with pytest.raises(InputError, match=r"allow_endpoint is 'example\.com', but"):
        check_endpoint(endpoint, "example.com", True)
    with pytest.raises(InputError, match=r"unencrypted; use https .* tunnel: ssh -N -L \d+:localhost:\d+ \S+, then"):
        find_endpoint(url.replace("https", "http"), None, None, {})


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1@example.com/v1", "http://example.com\\@127.0.0.1/v1", "http://127.0.0.1#@example.com",
        "http://127.0.0.1?key=secret", "https://user:secret@example.com", "127.0.0.1:8000",
        "http://127.0.0.1/v1\nHost: example.com", "http://ｅxample.com", "http://127.0.0.1:８０",
    ],
)  # fmt: skip
def test_urls_that_can_be_read_in_two_ways_are_refused_without_repeating_them(url):
    with pytest.raises(InputError, match=r"^base_url: expected") as error:
        find_endpoint(url, None, None, {})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("http://localhost:0/v1", None, None), "base_url: a port is a number from 1 to 65535"),
        ((None, "https://x.openai.azure.com:65536", "v"), "azure_endpoint: a port is a number from 1 to 65535"),
        (
            (None, "https://x.openai.azure.com", None),
            r"api_version.*base_url=https://NAME\.openai\.azure\.com/openai/v1/",
        ),
        ((None, "https://x.openai.azure.com", "2024-10-21&a=\udcff"), "^api_version: expected"),
        (("http://localhost:1", "https://x.openai.azure.com", "v"), "not both"),
    ],
)
def test_what_is_wrong_with_the_keys_of_a_service_is_told(keys, message):
    with pytest.raises(InputError, match=message):
        find_endpoint(*keys, {})


@given(st.text(st.sampled_from("http:/@\\#?%[]127.0localsexmpcn"), max_size=40))
def test_what_passes_as_this_machine_is_this_machine_to_the_client(rest):
    import httpx2

    try:
        endpoint = find_endpoint(f"http://127.0.0.1{rest}", None, None, {})
    except InputError:
        return
    assert httpx2.URL(endpoint.url).host == endpoint.host


def test_keys_come_before_the_environment_and_both_before_openai():
    environment = {"OPENAI_BASE_URL": "http://localhost:1/v1", "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}
    assert find_endpoint("http://localhost:2", None, None, environment).url == "http://localhost:2"
    assert find_endpoint(None, None, None, environment).url == "http://localhost:1/v1"
    assert find_endpoint(None, "https://y.openai.azure.com/", "v", environment).url == "https://y.openai.azure.com"
    del environment["OPENAI_BASE_URL"]
    azure = find_endpoint(None, None, None, environment | {"OPENAI_API_VERSION": "2024-10-21"})
    assert azure == Endpoint("https://x.openai.azure.com", "x.openai.azure.com", "2024-10-21", gets_key=True)
    assert OPENAI.url == "https://api.openai.com/v1"
    assert find_endpoint(None, None, None, {"OPENAI_BASE_URL": ""}) == OPENAI


@pytest.mark.parametrize(
    ("url", "stores"),
    [
        ("https://api.openai.com/v1", True), ("https://eu.api.openai.com/v1", True), ("http://localhost:1/v1", False),
        ("https://x.openai.azure.com/openai/v1", True), ("https://notopenai.com/v1", False),
    ],
)  # fmt: skip
def test_services_that_keep_completions_are_told_not_to(url, stores):
    assert find_endpoint(url, None, None, {}).may_store == stores
    assert find_endpoint(None, url, "v", {}).may_store


def test_the_guard_says_how_many_reports_and_which_sections_would_leave():
    sections = [report_from_sections(f"r{i}", None, "Clear.", "", "made") for i in range(1200)]
    whole = report_from_text("w", None, "Lungs are clear.", "made")
    assert what_leaves(sections) == "the findings and impression of 1,200 reports"
    assert what_leaves([whole]) == "the whole text of 1 report without these sections"
    assert what_leaves([]) == "no report"
    leaving = what_leaves([*sections[:1], whole])
    assert leaving == "the findings and impression of 1 report and the whole text of 1 report without these sections"
    with pytest.raises(InputError, match=rf"^{leaving} would leave this machine, for api\.openai\.com"):
        check_endpoint(OPENAI, None, False, leaving)


def test_reports_lie_in_a_providers_files_only_where_the_user_says_so():
    with pytest.raises(InputError, match=r"the findings of 3 would lie at x\.openai\.azure\.com") as error:
        check_batch_endpoint(AZURE, False, "the findings of 3")
    assert "stored_files_confirmed=true" in str(error.value) and "physionet.org" in str(error.value)
    check_batch_endpoint(AZURE, True)


@pytest.mark.parametrize(
    ("host", "key"),
    [
        *((f"x.{host}", "azure") for host in (
            "openai.azure.com", "openai.azure.us", "cognitiveservices.azure.cn", "services.ai.azure.com",
        )),
        *((host, "other") for host in ("openai.azure.com.example.com", "x.y.openai.azure.com", "azure.com")),
    ],
)  # fmt: skip
def test_azures_hosts_and_no_others_get_azures_credentials(host, key):
    environment = {"AZURE_OPENAI_API_KEY": "azure", "OPENAI_API_KEY": "other"}
    assert read_credential(find_endpoint(f"https://{host}/openai/v1/", None, None, {}), environment) == key
    assert read_credential(find_endpoint(None, f"https://{host}", "2024-10-21", {}), environment) == "azure"


@pytest.mark.parametrize("endpoint", [AZURE, AZURE_V1])
def test_an_entra_token_goes_before_a_key_and_is_read_at_each_call(endpoint):
    environment = {"AZURE_OPENAI_AD_TOKEN": " eyJ0.a-b_c ", "AZURE_OPENAI_API_KEY": "key"}
    token = read_credential(endpoint, environment)
    assert callable(token) and token() == "eyJ0.a-b_c"
    environment["AZURE_OPENAI_AD_TOKEN"] = "renewed"
    assert token() == "renewed"
    environment["AZURE_OPENAI_AD_TOKEN"] = ""
    assert read_credential(endpoint, environment) == "key"


def test_a_missing_credential_is_named():
    environment = {"AZURE_OPENAI_AD_TOKEN": "token"}
    for endpoint, named in (
        (OPENAI, "variable OPENAI_API_KEY"),
        (AZURE, "AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN"),
    ):
        with pytest.raises(InputError, match=f"{named}$"):
            read_credential(endpoint, environment if endpoint is OPENAI else {"OPENAI_API_KEY": "other"})


@pytest.mark.parametrize(
    ("endpoint", "variable"),
    [(OPENAI, "OPENAI_API_KEY"), (AZURE, "AZURE_OPENAI_API_KEY"), (AZURE, "AZURE_OPENAI_AD_TOKEN")],
)
def test_what_cannot_stand_in_a_header_is_refused_without_repeating_it(endpoint, variable):
    with pytest.raises(InputError, match=f"^{variable}: ") as error:
        read_credential(endpoint, {variable: "sk-“quoted”"})
    assert "quoted" not in str(error.value)
