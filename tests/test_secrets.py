"""Keys, tokens and passwords of the user are in no file, no name of a folder and no line of a run."""

import json
from pathlib import Path
from typing import Any

import pytest

from commands import command
from peftlab.arguments import check
from peftlab.cli import CONF
from peftlab.data.module import TaskData
from peftlab.errors import UserError
from peftlab.recording import describe_run, new_record
from peftlab.redaction import redact
from peftlab.results.record import RunRecord
from peftlab.run import run
from runs import refused, small

SECRET = "0123456789abcdef0123456789abcdef01234567"
VARIABLES = [
    "WANDB_API_KEY",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "MY_PASSWORD",
    "S3_SECRET",
    "OPENAI_KEY",
    "PGPASSWORD",
    "SECRET_KEY",
    "GITHUB_PAT",
    "MYSQL_PWD",
]
# Where `wandb login` and `hf auth login` leave them: the file, its content, and the variable that says where it is.
LOGINS = {
    "netrc": (".netrc", "machine api.wandb.ai\n  login user\n  password {}\n", {}),
    "netrc elsewhere": ("wandb.netrc", "machine api.wandb.ai login user password {}", {"NETRC": "wandb.netrc"}),
    "token": (".cache/huggingface/token", "{}\n", {}),
    "token in XDG_CACHE_HOME": ("cache/huggingface/token", "{}", {"XDG_CACHE_HOME": "cache"}),
    "token in HF_HOME": ("hub/token", "{}", {"HF_HOME": "hub"}),
    "token at HF_TOKEN_PATH": ("my.token", "{}", {"HF_TOKEN_PATH": "my.token"}),
    "stored tokens": (".cache/huggingface/stored_tokens", "[work]\nhf_token = {}\n\n[home]\nhf_token = {}1\n", {}),
}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    for name in ("NETRC", "HF_HOME", "HF_TOKEN_PATH", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def log_in(login: str, secret: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, content, variables = LOGINS[login]
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text(content.replace("{}", secret))
    for variable, place in variables.items():
        monkeypatch.setenv(variable, str(home / place))


@pytest.mark.parametrize("login", LOGINS)
def test_a_secret_that_only_a_file_of_the_user_holds_is_hidden(login, home, monkeypatch):
    assert redact(f"401 for {SECRET}") == f"401 for {SECRET}"
    log_in(login, SECRET, home, monkeypatch)
    assert redact(f"401 for {SECRET}") == "401 for [hidden]"
    log_in(login, f"another-{SECRET}", home, monkeypatch)  # the user logs in anew
    assert redact({"a": [f"another-{SECRET}"]}) == {"a": ["[hidden]"]}


@pytest.mark.parametrize("content", [b"machine", b"\xff\xfe\0", b"", b"machine a login b password c\n"])
def test_a_file_of_logins_that_holds_none_hides_nothing(content, home):
    (home / ".cache/huggingface/token").mkdir(parents=True)
    (home / ".netrc").write_bytes(content)
    assert redact("plain text, machine a, c") == "plain text, machine a, c"


def test_no_secret_of_the_user_is_in_any_file_of_a_run(home, tmp_path, monkeypatch, capfd):
    secrets = [f"{SECRET}-{number}" for number in range(len(VARIABLES) + 2)]
    for variable, secret in zip(VARIABLES, secrets, strict=False):
        monkeypatch.setenv(variable, secret)
    log_in("netrc", secrets[-1], home, monkeypatch)
    log_in("token", secrets[-2], home, monkeypatch)
    monkeypatch.setattr("sys.argv", ["train.py", *(f"logger.project={secret}" for secret in secrets), "seed=1"])
    config = small("data.cache_dir=null", "bitfit")
    config["logger"] |= {"project": f"of-{secrets}"}
    describe, source = (
        TaskData.describe,
        {"hub": [f"https://me:{secret}@host" for secret in secrets], **dict.fromkeys(secrets)},
    )
    monkeypatch.setattr(TaskData, "describe", lambda data: describe(data) | {"source": source})
    run(config, tmp_path / "run")
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"result.json", "delta.json", "metrics.csv"} <= {path.name for path in files}
    for content in (*(path.read_bytes() for path in files), "".join(capfd.readouterr()).encode()):
        assert SECRET.encode() not in content
    assert SECRET not in json.dumps(describe_run(config, new_record(config)))


def test_a_key_among_the_options_is_refused_and_in_no_file(tmp_path, capfd):
    config = small("data.cache_dir=null", "bitfit")
    config["logger"] |= {"api_key": "another-secret"}
    assert refused(config, tmp_path).startswith("logger.api_key: no such option")
    assert "another-secret" not in json.dumps(describe_run(config, new_record(config)))
    for content in (*(path.read_text() for path in tmp_path.rglob("*.*")), *capfd.readouterr()):
        assert "another-secret" not in content


def test_a_failure_tells_no_secret_in_its_record(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"401 for Bearer {SECRET}")

    monkeypatch.setattr("peftlab.run.load_backbone", fail)
    with pytest.raises(RuntimeError):
        run(small(), tmp_path)
    assert RunRecord.read(tmp_path).reason == "RuntimeError: 401 for Bearer [hidden]"


HIDDEN = [
    ("plain text", "plain text"),
    ("hf_" + "a" * 34, "[hidden]"),
    ("https://me:secret@host/x", "https://[hidden]@host/x"),
    ("+logger.api_key=abc", "+logger.api_key=[hidden]"),
    ("hf_token=abc", "hf_token=[hidden]"),
    ("strategy.n=300", "strategy.n=300"),
    ("a=b=c", "a=b=c"),
    ({"token": "abc", "tokens": 7, "key": "abc"}, {"token": "[hidden]", "tokens": 7, "key": "abc"}),
    ({"a": [{"password": "abc"}, 1.5, None]}, {"a": [{"password": "[hidden]"}, 1.5, None]}),
    ({"api_key": None, "pad_token_id": 3, "tokens_per_second": 1.0}, None),
]


@pytest.mark.parametrize(("value", "shown"), HIDDEN)
def test_secrets_are_hidden_and_nothing_else(value, shown):
    assert redact(value) == (value if shown is None else shown)


def test_a_short_value_of_the_environment_is_no_secret(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "rte")
    assert redact("task=rte") == "task=rte"


@pytest.mark.parametrize(
    "argument", ["+logger.api_key=abcdef", f"logger.entity={SECRET}", "backbone.hub=hf_" + "b" * 34]
)
def test_a_secret_on_the_command_line_is_refused_without_being_told(argument, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    with pytest.raises(UserError, match=r"has no place on a command line") as caught:
        check(["+strategy=hifi", argument], CONF)
    assert argument.partition("=")[2] not in str(caught.value)


def test_a_secret_that_a_user_makes_a_name_is_refused_and_in_no_folder_s_name(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("GITHUB_PAT", SECRET)
    typed = "+strategy=bitfit task=demo backbone=tiny trainer=debug task.name=${oc.env:GITHUB_PAT}"
    assert command(typed, tmp_path, monkeypatch) == 2
    assert SECRET not in "".join([*capfd.readouterr(), *map(str, tmp_path.rglob("*"))])
