"""Whether a server can be reached, asked once per process and answered within seconds."""

import os
import socket
import threading
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit


def hub_reachable() -> bool:
    """Return True when the Hugging Face Hub, or the mirror that HF_ENDPOINT names, can be reached.

    HF_HUB_OFFLINE=1 answers False without asking.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    return reachable(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")


def wandb_reachable() -> bool:
    """Return True when the server of Weights & Biases, or the one that WANDB_BASE_URL names, can be reached."""
    return reachable(_wandb_server())


def has_wandb_key() -> bool:
    """Return True when Weights & Biases will find a key: in WANDB_API_KEY, or where `wandb login` writes it."""
    return bool(os.environ.get("WANDB_API_KEY")) or _in_netrc(urlsplit(_wandb_server()).hostname or "")


@cache
def reachable(address: str, timeout: float = 3.0) -> bool:
    """Return True when a TCP connection to `address` (a URL) opens within `timeout` seconds.

    Where a proxy is set, the connection is made to the proxy instead.
    """
    parts = urlsplit(_proxy() or address)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    answers: list[bool] = []
    # Name resolution has no timeout of its own, so the whole attempt runs beside us and may be abandoned: a daemon
    # thread does not hold up the end of the process either.
    attempt = threading.Thread(
        target=lambda: answers.append(_connects(parts.hostname or "", port, timeout)), daemon=True
    )
    attempt.start()
    attempt.join(timeout + 1)
    return answers == [True]


def _wandb_server() -> str:
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def _in_netrc(host: str) -> bool:
    given = os.environ.get("NETRC")
    for file in [Path(given)] if given else [Path.home() / name for name in (".netrc", "_netrc")]:
        try:
            if f"machine {host}" in file.expanduser().read_text(encoding="utf-8"):
                return True
        except OSError:
            continue
    return False


def _proxy() -> str | None:
    given = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY")
    return f"http://{given}" if given and "://" not in given else given


def _connects(host: str, port: int, timeout: float) -> bool:
    try:
        with socket.create_connection((host, port), timeout=timeout):
            return True
    except OSError:
        return False
