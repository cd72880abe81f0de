"""Whether a server can be reached is answered within seconds, whatever the network does."""

import socket
import subprocess
import sys
import time

import pytest

from peftlab import network
from peftlab.network import has_wandb_key, hub_reachable, reachable, wandb_reachable

PROXIES = ("https_proxy", "HTTPS_PROXY")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    reachable.cache_clear()
    for name in (*PROXIES, "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    yield
    reachable.cache_clear()


@pytest.fixture
def server():
    """A port of this machine on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.fixture
def attempts(monkeypatch):
    """The (host, port) pairs that were tried; every one opens."""
    tried = []
    monkeypatch.setattr(network, "_connects", lambda host, port, timeout: tried.append((host, port)) or True)
    return tried


def test_a_listening_server_can_be_reached_and_a_closed_port_cannot(server, closed_port):
    assert reachable(f"http://127.0.0.1:{server}")
    assert not reachable(f"http://127.0.0.1:{closed_port}")


def test_a_name_that_does_not_exist_cannot_be_reached():
    assert not reachable("https://no-such-host.invalid")


@pytest.mark.parametrize(
    ("address", "tried"),
    [
        ("https://huggingface.co", ("huggingface.co", 443)),
        ("http://mirror.example", ("mirror.example", 80)),
        ("https://mirror.example:8443/hub", ("mirror.example", 8443)),
    ],
)
def test_the_port_follows_from_the_address(attempts, address, tried):
    assert reachable(address)
    assert attempts == [tried]


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("proxy", ["http://proxy.example:3128", "proxy.example:3128"])
def test_behind_a_proxy_it_is_the_proxy_that_must_answer(attempts, monkeypatch, name, proxy):
    monkeypatch.setenv(name, proxy)
    assert reachable("https://huggingface.co")
    assert attempts == [("proxy.example", 3128)]


def test_a_server_is_asked_once(attempts):
    assert [reachable("https://huggingface.co") for _ in range(3)] == [True] * 3
    assert len(attempts) == 1


@pytest.mark.parametrize("value", ["1", "on", "YES", "true"])
def test_offline_mode_asks_nobody(attempts, monkeypatch, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert not hub_reachable()
    assert attempts == []


@pytest.mark.parametrize("value", ["0", ""])
def test_a_switched_off_offline_mode_asks_the_hub(attempts, monkeypatch, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert hub_reachable()
    assert attempts == [("huggingface.co", 443)]


def test_a_mirror_is_asked_instead_of_the_hub(attempts, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example:8080")
    assert hub_reachable()
    assert attempts == [("mirror.example", 8080)]


def test_a_hanging_name_service_holds_up_neither_the_answer_nor_the_end_of_the_process():
    code = (
        "import socket, time; socket.create_connection = lambda *a, **k: time.sleep(60);"
        "from peftlab.network import reachable; print(reachable('https://huggingface.co', timeout=0.2))"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "False"
    assert time.perf_counter() - started < 15


@pytest.mark.parametrize(
    ("server", "tried"), [(None, ("api.wandb.ai", 443)), ("http://wandb.example:8080", ("wandb.example", 8080))]
)
def test_wandb_is_asked_at_its_own_server_or_at_the_one_that_is_named(server, tried, attempts, monkeypatch):
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    if server:
        monkeypatch.setenv("WANDB_BASE_URL", server)
    assert wandb_reachable()
    assert attempts == [tried]


@pytest.mark.parametrize(
    ("key", "netrc", "server", "found"),
    [
        (None, None, None, False),
        ("0123", None, None, True),
        (None, "machine api.wandb.ai login user password 0123", None, True),
        (None, "machine github.com login user password 0123", None, False),
        (None, "machine api.wandb.ai login user password 0123", "https://wandb.example", False),
        (None, "machine wandb.example login user password 0123", "https://wandb.example", True),
    ],
)
@pytest.mark.parametrize("place", [".netrc", "_netrc", "elsewhere"])
def test_a_key_is_found_where_wandb_looks_for_it(key, netrc, server, found, place, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {
        "WANDB_API_KEY": key,
        "WANDB_BASE_URL": server,
        "NETRC": str(tmp_path / place) if place == "elsewhere" else None,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    if netrc:
        (tmp_path / place).write_text(netrc)
    assert has_wandb_key() is found
