import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from dataops_operator.kube import config


def write(path: Path, *, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None) -> Path:
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"} | (cluster or {})}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(autouse=True)
def _outside_a_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_a_token_in_the_kubeconfig(tmp_path: Path) -> None:
    credentials = config.load_credentials(str(write(tmp_path / "k", user={"token": "t0p"})))
    assert credentials.headers() == {"Authorization": "Bearer t0p"}
    assert credentials.token() == "t0p"
    assert (credentials.server, credentials.namespace) == ("http://127.0.0.1:1", "team")
    assert credentials.ssl_context() is None
    assert "t0p" not in repr(credentials)


def test_files_count_from_the_kubeconfigs_folder_and_data_goes_before_them(tmp_path: Path) -> None:
    pem = base64.b64encode(b"PEM").decode()
    path = write(
        tmp_path / "k",
        user={"client-certificate": "pki/c.pem", "client-key": "pki/k.pem", "client-key-data": pem},
        cluster={"certificate-authority": "ca.pem"},
    )
    credentials = config.load_credentials(str(path))
    assert credentials.ca_path == str(tmp_path / "ca.pem")
    assert credentials.certificate_path == str(tmp_path / "pki/c.pem")
    assert (credentials.private_key_path, credentials.private_key_data) == (None, b"PEM")


def test_a_token_file_is_read_again_after_a_minute_or_a_refusal(tmp_path: Path) -> None:
    now = [100.0]
    token = tmp_path / "token"
    token.write_text("one\n")
    credentials = config.Credentials("http://x", token_path=str(token), clock=lambda: now[0])
    assert credentials.token() == "one"
    token.write_text("two\n")
    now[0] += 59
    assert credentials.token() == "one"
    now[0] += 1
    assert credentials.token() == "two"
    token.write_text("three\n")
    credentials.refresh()
    assert credentials.token() == "three"
    token.unlink()
    now[0] += 61
    assert credentials.token() == "three", "a file that is away for a moment must not stop the operator"


def test_a_token_file_that_never_was_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"token file .* cannot be read"):
        config.Credentials("http://x", token_path=str(tmp_path / "none")).headers()


def test_in_a_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("pod-token")
    (tmp_path / "namespace").write_text("dataops-system\n")
    monkeypatch.setattr(config, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "not-read"))
    credentials = config.load_credentials()
    assert credentials.server == "https://[fd00::1]:6443"
    assert credentials.namespace == "dataops-system"
    assert credentials.token() == "pod-token"
    named = config.load_credentials(str(write(tmp_path / "k")))
    assert named.server == "http://127.0.0.1:1", "a kubeconfig that was asked for goes first"


def test_several_kubeconfigs_are_merged_and_the_first_entry_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    first.write_text(yaml.safe_dump({"users": [{"name": "u", "user": {"token": "first"}}]}))
    second = write(tmp_path / "second", user={"token": "second"})
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}")
    assert config.load_credentials().token() == "first"


@pytest.mark.parametrize("method", ["exec", "auth-provider", "username"])
def test_a_login_method_that_is_not_supported_names_the_user_and_the_cure(method: str, tmp_path: Path) -> None:
    path = write(tmp_path / "k", user={method: {"command": "aws"}})
    with pytest.raises(config.ConfigError, match=rf"user 'u' logs in by '{method}'.*tokenFile"):
        config.load_credentials(str(path))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "not YAML"),
        ("", "empty"),
        ("clusters: []", "no current-context"),
        ("current-context: x", "'x', which is not among its contexts"),
        (
            "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]",
            "'c', which is not among its clusters",
        ),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_says_why(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_text(text)
    with pytest.raises(config.ConfigError, match=says):
        config.load_credentials(str(path))


def test_bad_certificates_say_why(tmp_path: Path) -> None:
    path = write(tmp_path / "k", cluster={"server": "https://x", "certificate-authority-data": "!"})
    with pytest.raises(config.ConfigError, match="certificate-authority-data is not base64"):
        config.load_credentials(str(path))
    path = write(tmp_path / "k", cluster={"server": "https://x", "certificate-authority": "none.pem"})
    with pytest.raises(config.ConfigError, match="certificates for https://x cannot be used"):
        config.load_credentials(str(path)).ssl_context()


def test_nothing_to_go_by_says_what_to_do() -> None:
    with pytest.raises(config.ConfigError, match="set KUBECONFIG"):
        config.load_credentials()


def test_somebody_elses_token_goes_with_nothing_of_our_own() -> None:
    ours = config.Credentials(
        "https://api:6443", ca_data=b"ca", certificate_data=b"crt", private_key_data=b"key", token_path="/ours"
    )
    theirs = ours.with_token("t")
    assert theirs == config.Credentials("https://api:6443", ca_data=b"ca", static_token="t")
    assert theirs.headers() == {"Authorization": "Bearer t"}
