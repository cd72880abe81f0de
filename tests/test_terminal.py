"""What is logged reaches a user as a line to read, and its run's train.log whole."""

import logging
import warnings

import pytest

from peftlab.terminal import DETAIL, PRINTED, Terminal, bars_are_shown, show_bars, track


@pytest.fixture
def said(capsys):
    """Log by a terminal of its own; return what it printed, on both streams."""

    def log(level: int, message: str, name: str = "peftlab.run", run: int | None = None, **extra: object):
        record = logging.getLogger(name).makeRecord(name, level, "f.py", 1, message, (), None, extra=extra)
        Terminal(run).handle(record)
        return tuple(capsys.readouterr())

    return log


@pytest.mark.parametrize(
    ("level", "name", "run", "extra", "out", "err"),
    [
        (logging.INFO, "peftlab.run", None, {}, "a line\n", ""),
        (logging.INFO, "peftlab.run", 2, {}, "[3] a line\n", ""),
        (logging.INFO, "matplotlib.font_manager", None, {}, "", ""),
        (logging.WARNING, "matplotlib.font_manager", None, {}, "", "warning: a line\n"),
        (logging.ERROR, "peftlab.job", None, {}, "", "error: a line\n"),
        (logging.ERROR, "peftlab.job", 0, {}, "", "error: a line\n"),
        (logging.INFO, "peftlab.training.narration", None, DETAIL, "a line\n", ""),
        (logging.INFO, "peftlab.training.narration", 0, DETAIL, "", ""),
        (logging.INFO, "peftlab.cli", None, PRINTED, "", ""),
    ],
)
def test_a_line_is_shown_as_a_user_reads_it(level, name, run, extra, out, err, said):
    assert said(level, "a line", name, run, **extra) == (out, err)


def test_a_warning_comes_without_the_place_in_somebody_s_code(said):
    text = warnings.formatwarning("too few\nexamples", UserWarning, "/lib/sklearn/metrics.py", 12, "score(x)")
    assert said(logging.WARNING, text, "py.warnings") == ("", "warning: too few\n")


def test_secrets_are_not_shown(said, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    assert said(logging.INFO, "a key 0123456789abcdef") == ("a key [hidden]\n", "")


def test_of_a_distributed_run_the_first_process_speaks_and_every_one_warns(said, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert said(logging.INFO, "a line") == ("", "")
    assert said(logging.WARNING, "a line") == ("", "warning: a line\n")


def test_without_a_terminal_bars_show_nothing(capsys):
    assert not bars_are_shown()
    assert list(track(iter("abc"), "reading", 3)) == ["a", "b", "c"]
    assert tuple(capsys.readouterr()) == ("", "")


def test_bars_are_for_a_terminal_where_they_are_wanted(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert bars_are_shown()
    with show_bars(False):
        assert not bars_are_shown()
