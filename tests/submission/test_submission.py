"""Runs' answers to test sets without labels become the files that the servers of GLUE and SuperGLUE read."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import peftlab
from peftlab.check.kinds import backbone_for
from peftlab.errors import UserError
from peftlab.inputs.text import TextEncoder
from peftlab.prediction.loaded import LoadedRun
from peftlab.results.record import Metric, RunRecord
from peftlab.run import run
from peftlab.submission.checking import find_mistakes
from peftlab.submission.choosing import choose, seeds_of
from peftlab.submission.formats import BENCHMARKS, GLUE, SUPERGLUE, File
from peftlab.submission.writing import Written, answered, filled, rows_of, write_zip
from peftlab.submit import main
from peftlab.tasks.kind import kind_of
from results.records import failed, finished
from runs import refused, small, write_rte, write_split
from tasks.shipped import shipped

FILES = {file.name: file for benchmark in BENCHMARKS.values() for file in benchmark.files}


def untrained(task: str) -> LoadedRun:
    """Return an untrained model of a shipped task."""
    kind = kind_of(shipped(task))
    backbone = backbone_for(kind)
    record = RunRecord(task=task, strategy="bitfit", backbone="tiny", seed=1)
    return LoadedRun(record, kind, backbone, TextEncoder(backbone.processor, 48))


def written(path: Path, rows: list[Any]) -> Path:
    """Write a test set: tables as JSON lines, lists as fields between tabs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) if isinstance(row, dict) else "\t".join(map(str, row)) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# One command --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cola(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two runs of CoLA, `data` of which has a test set of the benchmark's size."""
    folder = tmp_path_factory.mktemp("cola")
    labelled = [f"s\t{place % 2}\t\tbird {place} sang" for place in range(24)]
    for name in ("train.tsv", "dev.tsv"):
        write_split(folder / "data" / "CoLA" / name, "", labelled)
    tests = [f"{place}\tdog {place % 97} sang a song" for place in range(1063)]
    write_split(folder / "data" / "CoLA" / "test.tsv", "index\tsentence", tests)
    for seed in (1, 2):
        run(small(f"task=cola data.root={folder / 'data'} seed={seed}", "bitfit"), folder / "runs" / str(seed))
    return folder


def submitted(folder: Path, *options: str) -> dict[str, str]:
    """Write a submission of the runs in a folder and return its files."""
    target = folder / "submission.zip"
    assert main([str(folder / "runs"), "--out", str(target), *options]) == 0
    assert find_mistakes(target) == []
    with zipfile.ZipFile(target) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_a_run_answers_its_task_and_the_other_ten_files_are_filled_and_marked(cola, capsys):
    files = submitted(cola, "--seed", "cola=2")
    told = capsys.readouterr().out
    assert files.keys() == {file.name for file in GLUE.files}
    header, *rows = files["CoLA.tsv"].splitlines()
    asked = [row["sentence"] for _, row in rows_of(cola / "data/CoLA/test.tsv")]
    expected = [one["label"] for one in peftlab.load(cola / "runs" / "2").predict(asked)]
    assert header == "index\tprediction"
    assert rows == [f"{place}\t{int(label == 'acceptable')}" for place, label in enumerate(expected)]
    marked = [line.split()[0] for line in told.splitlines() if " * " in line]
    assert marked == [file.name for file in GLUE.files if file.name != "CoLA.tsv"]
    assert (cola / "submission.zip.txt").read_text() in told
    assert "seed 2" in told


def test_labels_in_a_test_set_change_nothing(tmp_path):
    file, model, texts = replace(FILES["CoLA.tsv"], rows=3), untrained("cola"), ["a bird sang", "it rained", "ann ate"]
    written(tmp_path / file.test, [["index", "sentence"], *enumerate(texts)])
    before = answered(file, model, tmp_path)
    for label in ("-1", "1", "no label"):
        rows = [[place, text, label] for place, text in enumerate(texts)]
        written(tmp_path / file.test, [["index", "sentence", "label"], *rows])
        assert answered(file, model, tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "give --out FILE.zip to write one, or --check FILE.zip alone"),
        ("--out {folder}/a.zip --check {folder}/a.zip", "give --out FILE.zip"),
        ("--out {folder}/a.zip --seed 7", "task cola: no finished run has seed 7; there are 1, 2"),
        ("--out {folder}/a.zip --seed x", "--seed x: allowed are a whole number, or TASK=NUMBER"),
        ("--out {folder}/a.zip --seed colo=1", "--seed colo=1: no such task (did you mean cola"),
        ("--out {folder}/a.zip --data {folder}/none", "no test set could be answered: majority answer"),
        ("--out {folder}/a.zip --benchmark superglue", "no finished run of a task of SuperGLUE below these folders"),
        ("--out {folder}/data", "is a folder; --out names a file"),
    ],
)
def test_a_mistake_is_one_line(cola, options, message, capsys):
    assert main([str(cola / "runs"), *options.format(folder=cola).split()]) == 2
    told = capsys.readouterr().err
    assert message.lower() in told.lower()
    assert len(told.splitlines()) == 1
    assert not (cola / "a.zip").exists()


# No test set reaches a metric ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "label", "message"),
    [("index\tsentence1\tsentence2", "", "no column 'label'"), ("index\tsentence1\tsentence2\tlabel", "\t-1", "'-1'")],
)
def test_a_run_is_refused_that_would_be_measured_on_a_test_set_without_labels(header, label, message, tmp_path):
    root = write_rte(tmp_path / "data")
    rows = [f"{place}\tbird {place} sang\tdog sang{label}" for place in range(8)]
    write_split(root / "RTE" / "test.tsv", header, rows)
    config = small(f"task=rte data.root={root} +task.files.splits.test=test.tsv", "bitfit")
    told = refused(config, tmp_path / "run")
    assert message in told
    assert "test.tsv" in told


def test_answers_are_given_without_any_metric(tmp_path):
    model = untrained("rte")
    written(tmp_path / "RTE/test.tsv", [["index", "sentence1", "sentence2"], [0, "a bird sang", "a dog sang"]])
    silent = replace(model, kind=kind_of(replace(shipped("rte"), metrics=["accuracy"])))
    silent.kind.score = lambda predictions: pytest.fail("a test set was scored")
    assert answered(replace(FILES["RTE.tsv"], rows=1), silent, tmp_path).startswith("index\tprediction\n0\t")


# Each file's form ---------------------------------------------------------------------------------------

PAIRS = [("a bird sang", "a dog sang"), ("it rained", "it was wet"), ("no one ate", "ann ate")]
TABLES: dict[str, list[Any]] = {
    "MNLI-mm.tsv": [["index", "genre", "sentence1", "sentence2"], *[[i, "x", *pair] for i, pair in enumerate(PAIRS)]],
    "AX.tsv": [["index", "sentence1", "sentence2"], *[[i, *pair] for i, pair in enumerate(PAIRS)]],
    "QQP.tsv": [["id", "question1", "question2"], *[[i, *pair] for i, pair in enumerate(PAIRS)]],
    "MRPC.tsv": [
        ["index", "#1 ID", "#2 ID", "#1 String", "#2 String"],
        *[[i, 5, 6, *pair] for i, pair in enumerate(PAIRS)],
    ],
    "STS-B.tsv": [["index", "genre", "sentence1", "sentence2"], *[[i, "x", *pair] for i, pair in enumerate(PAIRS)]],
    "RTE.jsonl": [{"premise": a, "hypothesis": b, "idx": i} for i, (a, b) in enumerate(PAIRS)],
    "AX-g.jsonl": [{"premise": a, "hypothesis": b, "label": "x", "idx": i} for i, (a, b) in enumerate(PAIRS)],
    "AX-b.jsonl": [{"sentence1": a, "sentence2": b, "logic": "x", "idx": i} for i, (a, b) in enumerate(PAIRS)],
    "BoolQ.jsonl": [{"question": b, "passage": a, "idx": i} for i, (a, b) in enumerate(PAIRS)],
    "CB.jsonl": [{"premise": a, "hypothesis": b, "idx": i} for i, (a, b) in enumerate(PAIRS)],
    "COPA.jsonl": [
        {"premise": "it rained.", "choice1": a, "choice2": b, "question": "effect", "idx": i}
        for i, (a, b) in enumerate(PAIRS)
    ],
    "WiC.jsonl": [
        {"word": "a", "sentence1": a, "sentence2": b, "start1": 0, "end1": 1, "start2": 0, "end2": 1, "idx": i}
        for i, (a, b) in enumerate(PAIRS)
    ],
    "WSC.jsonl": [
        {
            "text": "ann ate as she sang",
            "target": {"span1_text": "ann", "span1_index": 0, "span2_text": "she", "span2_index": 3},
            "idx": i,
        }
        for i in range(3)
    ],
}


def values(text: str) -> Iterator[Any]:
    """Yield the answers of a file's text, whose indices count from 0."""
    lines = text.splitlines()
    for place, line in enumerate(lines[1:] if "\t" in lines[0] else lines):
        index, value = line.split("\t") if "\t" in lines[0] else json.loads(line).values()
        assert int(index) == place
        yield value


@pytest.mark.parametrize("name", TABLES)
def test_each_file_holds_its_models_answers_in_the_servers_words(name, tmp_path):
    file = replace(FILES[name], rows=3)
    written(tmp_path / file.test, TABLES[name])
    model = untrained(file.task)
    found = list(values(answered(file, model, tmp_path)))
    given = [
        {ours: row[theirs] for theirs, ours in file.columns.items()} or row for _, row in rows_of(tmp_path / file.test)
    ]
    expected = [next(iter(one.values())) for one in model.predict(given)]
    words = [f"{value:.3f}" if file.shape == "scores" else file.words[str(value)] for value in expected]
    assert found == words


ASKED = [("met", ["ann", "bob"]), ("sang", ["bob", "rome", "ann"])]


def passage(place: int) -> dict[str, Any]:
    """Return a passage of MultiRC's test set, with two questions and five answers."""
    questions = [
        {"question": f"who {verb}?", "idx": 2 * place + at, "answers": list(map(numbered, range(9), texts))}
        for at, (verb, texts) in enumerate(ASKED)
    ]
    return {"idx": place, "passage": {"text": f"ann met bob in rome {place} times.", "questions": questions}}


def numbered(idx: int, text: str) -> dict[str, Any]:
    return {"idx": idx, "text": text}


PASSAGES = [passage(place) for place in range(2)]
QUERIES = [
    {
        "idx": place,
        "passage": {
            "text": "ann met bob and ann sang",
            "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 10}, {"start": 16, "end": 18}],
        },
        "qas": [{"query": f"@placeholder slept {at} times", "idx": 5 * place + at} for at in range(2)],
    }
    for place in range(2)
]


def test_multirc_has_verdicts_inside_questions_inside_passages(tmp_path):
    file, model = replace(FILES["MultiRC.jsonl"], rows=10), untrained("multirc")
    written(tmp_path / file.test, PASSAGES)
    found = [json.loads(line) for line in answered(file, model, tmp_path).splitlines()]
    right = iter(one["right"] for one in model.predict(PASSAGES))
    for row, given in zip(found, PASSAGES, strict=True):
        assert row["idx"] == given["idx"]
        for question, asked in zip(row["passage"]["questions"], given["passage"]["questions"], strict=True):
            places = next(right)
            verdicts = [{"idx": one["idx"], "label": int(n in places)} for n, one in enumerate(asked["answers"])]
            assert question == {"idx": asked["idx"], "answers": verdicts}


def test_record_has_the_chosen_names(tmp_path):
    file, model = replace(FILES["ReCoRD.jsonl"], rows=4), untrained("record")
    written(tmp_path / file.test, QUERIES)
    found = [json.loads(line) for line in answered(file, model, tmp_path).splitlines()]
    names = [one["name"] for one in model.predict(QUERIES)]
    assert found == [{"idx": idx, "label": name} for idx, name in zip([0, 1, 5, 6], names, strict=True)]


def test_nobodys_answers_are_all_wrong_and_the_most_frequent_name(tmp_path):
    for name, rows, number in (("MultiRC.jsonl", PASSAGES, 10), ("ReCoRD.jsonl", QUERIES, 4)):
        file = replace(FILES[name], rows=number)
        assert filled(file, tmp_path) is None
        assert filled(file, None) is None
        written(tmp_path / file.test, rows)
        assert filled(file, tmp_path)
    assert '"label": 1' not in str(filled(replace(FILES["MultiRC.jsonl"], rows=10), tmp_path))
    assert str(filled(replace(FILES["ReCoRD.jsonl"], rows=4), tmp_path)).count('"label": "ann"') == 4


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("RTE.jsonl", TABLES["RTE.jsonl"][:2], "2 answers; the test set of RTE.jsonl asks for 3"),
        ("RTE.jsonl", TABLES["RTE.jsonl"][1:], "test.jsonl:1: index 1 where 0 is expected"),
        ("AX.tsv", [*TABLES["AX.tsv"][:2], [2, "a", "b"]], "diagnostic.tsv:3: index 2 where 1 is expected"),
        ("AX.tsv", [["index", "text"], [0, "a"]], "the columns are index, text"),
        ("MultiRC.jsonl", [{"passage": PASSAGES[0]["passage"]}], "test.jsonl:1: not in the form"),
    ],
)
def test_a_test_set_that_is_not_the_benchmarks_is_refused(name, rows, message, tmp_path):
    file = replace(FILES[name], rows=3)
    written(tmp_path / file.test, rows)
    with pytest.raises(UserError, match=message):
        answered(file, untrained(file.task), tmp_path)


def test_labels_that_the_benchmark_does_not_know_are_refused(tmp_path):
    file = replace(FILES["RTE.tsv"], rows=1)
    written(tmp_path / file.test, [["index", "sentence1", "sentence2"], [0, "a bird sang", "a dog sang"]])
    model = untrained("rte")
    other = replace(model, kind=kind_of(replace(shipped("rte"), labels=["yes", "no"])))
    with pytest.raises(UserError, match=r"is no label of RTE\.tsv; allowed are entailment, not_entailment"):
        answered(file, other, tmp_path)


# Which run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seeds", "best"),
    [([], 2), (["1"], 1), (["rte=3"], 3), (["1", "rte=3"], 3), (["rte=3", "1"], 3), (["cola=9"], 2)],
)
def test_the_best_run_answers_or_that_of_the_seed(seeds, best):
    records = [finished(score, seed=seed) for seed, score in ((1, 0.7), (2, 0.9), (3, 0.8))]
    others = [failed(), finished(0.99, task="swag"), finished(0.99, seed=8, delta=None)]
    found = choose([*records, *others], GLUE, seeds_of(seeds, GLUE))
    assert {task: record.seed for task, record in found.items()} == {"rte": best}


def test_the_best_score_of_an_error_is_the_lowest():
    records = [finished(seed=seed, metric=Metric("mse", score, better="lower")) for seed, score in ((1, 0.7), (2, 0.5))]
    assert choose(records, GLUE, {})["rte"].seed == 2


# The benchmark's own files ------------------------------------------------------------------------------

HERE = ["CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "STS-B.tsv", "QNLI.tsv", "RTE.tsv"]


@pytest.mark.parametrize("name", HERE)
def test_the_releases_test_sets_have_the_tables_rows(name, shared_data):
    assert sum(1 for _ in rows_of(shared_data / FILES[name].test)) == FILES[name].rows


@pytest.mark.parametrize("name", ["CoLA.tsv", "STS-B.tsv"])
def test_the_releases_test_sets_are_answered_without_a_mistake(name, shared_data, tmp_path):
    def content(file: File) -> str | None:
        return answered(file, untrained(file.task), shared_data) if file.name == name else filled(file, None)

    target = tmp_path / "submission.zip"
    target.write_bytes(write_zip([Written(file, content(file), "", filled=False) for file in GLUE.files]))
    assert find_mistakes(target) == []


def test_what_nobody_answers_has_no_mistake(tmp_path):
    target = tmp_path / "submission.zip"
    for benchmark in BENCHMARKS.values():
        made = [Written(file, filled(file, None), "", filled=True) for file in benchmark.files]
        target.write_bytes(write_zip(made))
        mistakes = find_mistakes(target)
        missing = ["MultiRC.jsonl", "ReCoRD.jsonl"] if benchmark is SUPERGLUE else []
        assert [line.split(": ")[1] for line in mistakes] == missing
