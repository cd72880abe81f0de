"""A command ends well under odd conditions: a full disk under its log, a terminal that knows ASCII alone, a signal."""

import io
import logging
import os
import signal
import sys

import pytest

from peftlab.command_line import any_output
from peftlab.job_files import RunLog
from peftlab.resolvers import path_part
from peftlab.signals import held_back


def log_to(path, *lines):
    logger, handler = logging.Logger("apart"), RunLog(str(path))
    logger.addHandler(handler)
    try:
        logger.warning("before")
        handler.begin()
        for line in lines:
            logger.warning(line)
    finally:
        logger.removeHandler(handler)
        handler.close()


def test_the_log_begins_with_what_was_said_before_and_hides_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_KEY", "0123456789")
    log_to(tmp_path / "train.log", "a key: 0123456789, äöü")
    assert (tmp_path / "train.log").read_text(encoding="utf-8") == "before\na key: [hidden], äöü\n"


def test_a_log_that_never_begins_leaves_no_file(tmp_path):
    handler = RunLog(str(tmp_path / "train.log"))
    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "said", None, None))
    handler.close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["/dev/full", "nowhere/train.log"])
def test_a_log_that_cannot_be_written_is_told_once_and_ends_nothing(place, tmp_path, monkeypatch, capsys):
    if place == "/dev/full" and not os.path.exists(place):
        pytest.skip("this system has no /dev/full")
    monkeypatch.chdir(tmp_path)
    log_to(place, "one", "two")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(os.path.abspath(place))
    assert line.endswith("; the run goes on without its log")


def test_what_ascii_does_not_know_is_a_question_mark(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    any_output()
    print("50.0 ± 1.2 · Diff-Pruning")
    sys.stdout.flush()
    assert written.getvalue() == b"50.0 ? 1.2 ? Diff-Pruning\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_an_import_is_done(number):
    done, ended = [], []

    def end(*_):
        raise KeyboardInterrupt

    before = {one: signal.signal(one, end) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        with held_back():
            os.kill(os.getpid(), number)
            done.append(True)
    except KeyboardInterrupt:
        ended.append(True)
    finally:
        after = {one: signal.signal(one, handler) for one, handler in before.items()}
    assert (done, ended) == ([True], [True])
    assert set(after.values()) == {end}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("bert-large", "bert-large"),
        ("x/../../y", "x_.._.._y"),
        ("..", "_."),
        (".hidden", "_hidden"),
        ("a b=c", "a_b_c"),
        ("a" * 300, "a" * 51 + "-9835fa6b"),  # the SHA-256 of all of it
        ("my 0123456789", "my__hidden_"),
        (3, "3"),
    ],
)
def test_a_name_is_one_part_of_a_path_and_tells_no_secret(name, part, monkeypatch):
    monkeypatch.setenv("MYSQL_PWD", "0123456789")
    assert path_part(name) == part
