"""The policy of all HTTP sessions: where a token may go, and what is retried."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from doks_gitops import http
from tests.unit.fake_api import FakeApi, serve

BEARER = "Bearer token"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(http, "RETRIES", http.RETRIES.new(backoff_factor=0))
    with serve() as fake:
        fake.answer("/", (200, "ok"))
        yield fake


def test_loopback_is_never_sent_to_a_proxy(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert http.Session("token").get(api.url).text == "ok"


def test_other_addresses_are_sent_to_the_proxy_of_the_environment(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", api.url)
    assert http.Session("token").get("http://api.example.com/").text == "ok"
    assert api.requests == [("http://api.example.com/", BEARER)]


def test_netrc_entry_never_takes_the_place_of_the_token(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    http.Session("token").get(api.url)
    assert api.requests == [("/", BEARER)]


def test_redirect_is_not_followed(api: FakeApi) -> None:
    api.answer("/moved", (302, ""), Location=f"{api.url}/")
    assert http.Session("token").get(f"{api.url}/moved").status_code == 302
    assert api.requests == [("/moved", BEARER)]


def test_only_idempotent_requests_and_named_methods_are_retried(api: FakeApi) -> None:
    api.answer("/busy", (503, ""), Retry_After="0")
    for session, method, count in [
        (http.Session("token"), "GET", 5),
        (http.Session("token"), "POST", 1),
        (http.Session("token", methods=("POST",)), "POST", 5),
    ]:
        api.requests.clear()
        assert session.request(method, f"{api.url}/busy").status_code == 503
        assert len(api.requests) == count


def test_certificates_of_a_cluster_are_checked_by_its_own_authority_alone(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", DEFAULT_CA_BUNDLE_PATH)
    authority = str(tmp_path / "missing.pem")
    with pytest.raises(OSError, match=r"CA certificate bundle.*missing\.pem"):
        http.Session("token", authority=authority).get(api.url.replace("http:", "https:"))
