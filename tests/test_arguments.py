"""The command line as a user types it becomes the one that Hydra takes."""

import re
import shlex

import pytest

from peftlab.arguments import check, choices, normalise, normalise_line
from peftlab.cli import CONF
from peftlab.errors import UserError
from peftlab.hydra_internals import override_values

SWEEP = ["-m", "+strategy=hifi", "task=rte", "seed=1,2,3"]


@pytest.mark.parametrize(
    "typed",
    [
        "-m +strategy=hifi task=rte seed=1,2,3",
        "+strategy=hifi task=rte -m seed=1,2,3",
        "+strategy=hifi task=rte seed=1,2,3 -m",
        "--multirun +strategy=hifi task=rte seed=1,2,3",
        "+strategy=hifi task=rte seed=1,2,3 --multirun",
        "strategy=hifi -m task=rte --multirun seed=1,2,3",
    ],
)
def test_the_sweep_flag_may_stand_anywhere(typed):
    assert normalise(typed.split()) == SWEEP


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("strategy=hifi", "+strategy=hifi"),
        ("+strategy=hifi", "+strategy=hifi"),
        ("strategy=hifi,full", "+strategy=hifi,full"),
        ("strategy.k=3", "strategy.k=3"),
        ("trainer.strategy=ddp", "trainer.strategy=ddp"),
        ("", ""),
    ],
)
def test_only_the_group_strategy_gains_a_plus(typed, taken):
    assert normalise(typed.split()) == taken.split()


@pytest.mark.parametrize("typed", ["strategy.options.r=4", "strategy.options.target_modules=[query]"])
def test_options_of_another_library_are_added(typed):
    assert normalise(["+strategy=peft", typed]) == ["+strategy=peft", f"++{typed}"]


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("shots=16", "shots='16'"),
        ("shots='16'", "shots='16'"),
        ("shots=16,full", "shots='16',full"),
        ("shots=full", "shots=full"),
        ("seed=16", "seed=16"),
        ("shots.per_class=16", "shots.per_class=16"),
    ],
)
def test_the_number_of_shots_is_a_name_to_hydra(typed, taken):
    assert normalise([typed]) == [taken]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("python train.py strategy=h", "python train.py strategy=h"),
        ("python train.py strategy=hifi task=r", "python train.py +strategy=hifi task=r"),
        ("python train.py +strategy=hifi -m task=r", "python train.py +strategy=hifi task=r"),
        ("python train.py strategy=hifi ", "python train.py +strategy=hifi "),
        ("python", "python"),
    ],
)
def test_completion_reads_what_is_typed_and_leaves_the_last_word_alone(typed, read):
    assert normalise_line(typed) == read


@pytest.mark.parametrize(
    "typed",
    [
        "+strategy=hifi",
        "+strategy=hifi,full -m",
        "+strategy=hifi task=rte,mrpc shots=16 backbone=minilm -m seed=1",
        "+strategy=glob(*) -m",
        "+strategy=choice(hifi,full) -m",
        "+strategy=hifi recipe=${backbone}",
        "--help",
        "--hydra-help",
        "--cfg job",
        "--cfg=job",
        "-c job -p task",
        "--info plugins",
        "-sc query=bash",
        "--shell-completion install=bash",
    ],
)
def test_what_can_run_or_be_shown_is_let_through(typed):
    check(normalise(typed.split()), CONF)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "no strategy given: add +strategy=NAME, one of "),
        ("task=rte", "no strategy given"),
        ("-m seed=1,2", "no strategy given"),
        ("trainer.strategy=ddp", "no strategy given"),
        ("--config-name=config", "no strategy given"),
        ("+strategy=hfi", "strategy=hfi: no such strategy (did you mean hifi, lofit?); there are "),
        ("+strategy=", "strategy=: no such strategy"),
        ("+strategy=original/lor", "strategy=original/lor: no such strategy (did you mean original/lora"),
        ("+strategy=hifi,ful -m", "strategy=ful: no such strategy (did you mean full"),
        ("+strategy=hifi +strategy=full", "strategy is given twice: hifi, full; a sweep is +strategy=hifi,full -m"),
        ("+strategy=hifi task=rt", "task=rt: no such task (did you mean rte"),
        ("+strategy=hifi task=mrpc,rt -m", "task=rt: no such task (did you mean rte"),
        ("+strategy=hifi backbone=bert-larg", "did you mean bert-large"),
        ("+strategy=hifi shots=15", "shots=15: no such shots (did you mean 16"),
        ("+strategy=hifi experiment=nonsense", "experiment=nonsense: no such experiment"),
        ("+strategy=hifi task=null", "task=null: no such task"),
        ("--cfg job +strategy=hfi", "strategy=hfi: no such strategy"),
        ("+strategy=hifi +hydra.lancher=x", "hydra.lancher: Hydra has no such option (did you mean launcher?)"),
        ("+strategy=hifi ++recipe.strategies.hify.rte.epochs=1", "no such row (did you mean hifi"),
        ("+strategy=hifi ++recipe.epochs.rtee=1", "recipe.epochs.rtee: no such row (did you mean rte"),
        ("+strategy=hifi -x", "unrecognized arguments: -x; --hydra-help lists the flags"),
        ("+strategy=hifi --cfg nonsense", "invalid choice: 'nonsense'"),
    ],
)
def test_a_wrong_flag_or_choice_is_told_before_anything_starts(typed, message):
    with pytest.raises(UserError) as caught:
        check(normalise(typed.split()), CONF)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_strategy_the_message_lists_all_of_them():
    with pytest.raises(UserError) as caught:
        check([], CONF)
    listed = str(caught.value).partition("one of ")[2].split(", ")
    assert listed == choices(CONF, "strategy")
    assert "hifi" in listed


def test_an_experiment_stands_in_for_a_strategy(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "table.yaml").touch()
    check(["experiment=table"], tmp_path)
    check(["+experiment=table"], tmp_path)


def test_the_choices_of_a_group_are_its_files_in_order(tmp_path):
    (tmp_path / "task").mkdir()
    for name in ("b.yaml", "a.yaml", "notes.md"):
        (tmp_path / "task" / name).touch()
    assert choices(tmp_path, "task") == ["a", "b"]


@pytest.mark.parametrize("path", ["/a=b", "/a#b&c", "~/weights", "/it's", '/a"b', "/a\\ (1)=2", "/é"])
def test_a_path_that_needs_quotes_comes_with_the_way_to_write_it(path):
    with pytest.raises(
        UserError, match=re.escape(f"backbone.path={path}: has a character that needs quotes: ")
    ) as told:
        check(["+strategy=bitfit", f"backbone.path={path}"], CONF)
    _, pasted = shlex.split(f"train.py {str(told.value).rpartition('quotes: ')[2]}")
    check(["+strategy=bitfit", pasted], CONF)
    assert override_values([pasted]) == [path]
