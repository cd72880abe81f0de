"""`python -m peftlab.check NAME`: a line a promise, and an exit code."""

import pytest

from peftlab.check.architectures import PROMISES as OF_ARCHITECTURES
from peftlab.check.command import main
from peftlab.check.kinds import PROMISES as OF_KINDS
from peftlab.check.promise import title
from peftlab.check.strategies import PROMISES as OF_STRATEGIES


@pytest.mark.parametrize(
    ("typed", "promises", "skipped"),
    [
        ("bitfit --backbones bert", OF_STRATEGIES, {"looks_at_data_without_a_trace"}),
        (
            "adapter placement=parallel strategy.bottleneck=4 --backbones bert",
            OF_STRATEGIES,
            {"looks_at_data_without_a_trace", "merges_into_a_plain_model"},
        ),
        ("regression", OF_KINDS, {"draws_each_row_once"}),
        ("distilbert", OF_ARCHITECTURES, set()),
    ],
)
def test_the_laboratorys_own_keep_their_promises(typed, promises, skipped, capsys):
    assert main(typed.split()) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    expected = [("skipped" if promise.__name__ in skipped else "ok", title(promise)) for promise in promises]
    assert [(line.split(" ", 1)[0], line[9:].partition(": ")[0]) for line in lines] == expected
    assert total == f"{typed.split()[0]}: {len(promises) - len(skipped)} ok, 0 broken, {len(skipped)} skipped"


def test_a_broken_promise_is_a_line_and_exit_code_1(capsys):
    assert main(["hifi", "k=5", "--backbones", "bert"]) == 1
    printed = capsys.readouterr().out
    assert "broken   Training moves the logits: bert: strategy.k=5: must be a whole number from 1 to 4" in printed
    assert "hifi: 1 ok, 13 broken, 0 skipped" in printed


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("bitfi", "error: bitfi: no strategy, kind of task or architecture (did you mean bitfit"),
        ("hifi kk=3", "error: strategy.kk: no such option (did you mean k?"),
        ("hifi k", "error: k: allowed is name=value, an option of the strategy"),
        ("hifi k=[1", "error: k=[1: is no value that YAML knows"),
        ("hifi --backbones nothing", "error: --backbones nothing: no such type of model; known are albert, bert, "),
        ("hifi --plugins no_such_package", "error: plugins=no_such_package: no such package"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(typed, message, capsys):
    assert main(typed.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(message)
    assert len(printed.err.splitlines()) == 1
