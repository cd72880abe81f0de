"""A package of a user's own, outside the laboratory: found by its name, run, recorded, merged, checked, resumed."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT
from peftlab.results.found import find_records
from peftlab.results.record import RunRecord
from runs import SILENT, SMALL, train
from warm_python import warm_python

RUN = f"--config-dir . plugins=[my_method] +strategy=my-method task=demo {SMALL} {SILENT} hydra.run.dir=out"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder of a user: a method in one file, its options in another, and nothing else."""
    shutil.copy(ROOT / "tests/plugins/my_method.py", tmp_path)
    shutil.copytree(ROOT / "tests/plugins/strategy", tmp_path / "strategy")
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with a finished sweep of the method and of BitFit in `out`."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(ROOT / "tests/plugins/my_method.py", folder)
    shutil.copytree(ROOT / "tests/plugins/strategy", folder / "strategy")
    typed = RUN.replace("=my-method", "=my-method,bitfit").replace("run.dir", "sweep.dir")
    done = train(f"{typed} -m seed=1,2", folder)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ my-method +\d+\.\d ± ", done.stdout, re.MULTILINE)
    return folder


def python(typed: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*warm_python(), *typed.split()],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_method_from_two_files_becomes_a_record_a_table_and_a_page(finished):
    records = find_records(finished / "out")
    assert [record.strategy for record in records if record.status == "finished"].count("my-method") == 2
    assert {record.config["plugins"][0] for record in records} == {"my_method"}
    (mine, _) = [record for record in records if record.strategy == "my-method"]
    assert mine.parameters.tuned == 2 * 32
    done = python("-m peftlab report out --output page", finished)
    assert done.returncode == 0, done.stderr
    assert "my-method" in (finished / "page" / "index.html").read_text()


def test_its_delta_is_merged_where_its_package_is_named_and_imports_nothing_where_it_is_not(finished, tmp_path):
    (run,) = (
        record.folder
        for record in find_records(finished / "out")
        if record.strategy == "my-method" and record.seed == 1
    )
    done = python(f"-m peftlab.merge {run} {tmp_path / 'model'}", finished)
    assert done.returncode == 2
    assert (
        "there is no strategy my-method here; where it is a package's, name the package: --plugins PACKAGE"
        in done.stderr
    )
    assert len(done.stderr.splitlines()) == 1
    done = python(f"-m peftlab.merge {run} {tmp_path / 'model'} --plugins my_method", finished)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_a_sweep_is_resumed_where_its_package_is_named_again(finished):
    refused = train("resume=out", finished)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "resume=out: was run with plugins=[my_method], code that no folder may choose" in refused.stderr
    done = train("resume=out plugins=[my_method]", finished)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 had finished before and were not repeated" in done.stdout


def test_the_hint_how_to_go_on_names_the_package_again(work):
    done = train(f"{RUN.replace('run.dir', 'sweep.dir')} strategy.every=0 -m seed=1", work)
    assert done.returncode != 0
    assert "what is missing: python train.py resume=out 'plugins=[my_method]'" in done.stdout


def test_it_keeps_the_contract(work):
    done = python("-m peftlab.check my-method --plugins my_method --backbones bert", work)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "my-method: 13 ok, 0 broken, 1 skipped"
    broken = (work / "my_method.py").read_text().replace("torch.ones(", "torch.zeros(")
    (work / "my_method.py").write_text(broken)
    done = python("-m peftlab.check my-method --plugins my_method --backbones bert", work)
    assert done.returncode == 1
    assert re.search(r"^broken   Logits are those of the untouched backbone.*: bert: logits differ", done.stdout)


def test_its_code_is_part_of_the_runs_id(work):
    ids = []
    for change in ("", "# a comment", "SEVEN = 7"):
        (work / "my_method.py").write_text((work / "my_method.py").read_text() + change + "\n")
        done = train(RUN, work)
        assert done.returncode == 0, done.stderr
        ids.append(RunRecord.read(work / "out").id)
    assert ids[0] == ids[1] != ids[2]


def test_hifi_ranks_heads_by_a_score_of_the_users(work):
    typed = RUN.replace("my-method", "hifi") + " strategy.n=12 strategy.k=1 strategy.score"
    done = train(f"{typed}=last", work)
    assert done.returncode == 0, done.stderr
    assert RunRecord.read(work / "out").selection["heads"] == [[3], [3]]
    wrong = train(f"{typed}=lst", work)
    allowed = "correlation, fisher, gradient, last, pagerank"
    assert f"strategy.score=lst: unknown (did you mean last, shift?); allowed are {allowed}" in wrong.stderr
    unnamed = train(f"{typed}=last".replace("plugins=[my_method]", ""), work)
    assert re.search(
        r"strategy.score=last: unknown.*what a package of yours has \(plugins=\[PACKAGE\]\)", unnamed.stderr
    )


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        ("torch.ones(3)", "score=last: ranked values of shape [3], expected [2, 4], layers and heads"),
        ("context.richness / 0 - context.richness / 0", "score=last: ranked values that are no finite numbers"),
    ],
)
def test_a_score_that_gives_no_number_for_each_head_is_one_line(rank, message, work):
    source = (work / "my_method.py").read_text()
    ours = "torch.arange(context.richness.shape[-1]).expand_as(context.richness)"
    assert ours in source
    (work / "my_method.py").write_text(source.replace(ours, rank))
    done = train(RUN.replace("my-method", "hifi") + " strategy.n=12 strategy.k=1 strategy.score=last", work)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("plugins", "source", "message"),
    [
        (
            "[no_such_thing]",
            "",
            "plugins=no_such_thing: no such package, neither installed nor in the folder",
        ),
        ("nothing", "", "plugins=nothing: allowed is a list, each entry of which is a text"),
        ("[../up]", "", "plugins=../up: allowed are names of packages or modules, as in plugins=[my_package]"),
        ("[mine]", "import nothing_here", "plugins=mine: it needs nothing_here, which is not installed"),
        ("[mine]", "1 / 0", "plugins=mine: it cannot be imported (ZeroDivisionError: division by zero)"),
        ("[mine]", "def", "plugins=mine: it cannot be imported (SyntaxError: "),
    ],
)
def test_a_package_that_cannot_be_loaded_is_one_line_and_leaves_no_folder(plugins, source, message, tmp_path):
    (tmp_path / "mine.py").write_text(source)
    done = train(f"+strategy=bitfit task=demo backbone=tiny plugins={plugins}", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert message in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_class_of_a_name_that_the_laboratory_has_is_refused(work):
    source = (work / "my_method.py").read_text().replace('name = "last"', 'name = "random"')
    (work / "my_method.py").write_text(source)
    done = train(RUN.replace("my-method", "hifi") + " strategy.n=12 strategy.score=random", work)
    assert done.returncode == 2
    assert "strategy.score=random: my_method has one of a name that the laboratory's has; rename it" in done.stderr


def test_a_package_brings_its_own_choices(work):
    package = work / "my_package"
    package.mkdir()
    (work / "my_method.py").rename(package / "method.py")
    (package / "__init__.py").touch()
    shutil.move(work / "strategy", package / "conf" / "strategy")
    shown = train("--help plugins=[my_package]", work)
    assert ", my-method, " in shown.stdout, shown.stderr
    done = train(RUN.replace("--config-dir . plugins=[my_method]", "plugins=[my_package]"), work)
    assert done.returncode == 0, done.stderr
    assert RunRecord.read(work / "out").strategy == "my-method"


def test_an_installed_package_is_found_by_its_entry_point_without_being_named(work, tmp_path):
    site = tmp_path / "site"
    info = site / "my_package-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[peftlab.plugins]\nmine = my_package\n")
    shutil.copytree(work / "strategy", site / "my_package" / "conf" / "strategy")
    (work / "my_method.py").rename(site / "my_package" / "__init__.py")
    (tmp_path / "empty").mkdir()
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    shown = train("--help", tmp_path / "empty", PYTHONPATH=path)
    assert ", my-method, " in shown.stdout, shown.stderr
    typed = RUN.replace("--config-dir . plugins=[my_method]", "")
    done = train(typed, tmp_path / "empty", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    done = train("resume=out", tmp_path / "empty", PYTHONPATH=path)
    assert "1 of 1 had finished before" in done.stdout, done.stderr
