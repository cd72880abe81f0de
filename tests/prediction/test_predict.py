"""A finished run says of any examples what evaluation said of them: from Python, from files of all forms, in order."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict

import peftlab
from peftlab.backbones.forward import outputs_of
from peftlab.backbones.modality import encoder_for
from peftlab.check.kinds import backbone_for, batch_for
from peftlab.errors import UserError
from peftlab.prediction import loaded
from peftlab.prediction.command import main
from peftlab.prediction.loaded import LoadedRun
from peftlab.results.record import RunRecord
from peftlab.run import run
from peftlab.tasks.kind import KINDS
from runs import small, write_rte, write_split
from training.test_resumption_of_kinds import EXAMPLES, written

OWN = [cls.name for cls in KINDS.classes() if cls.__module__.startswith("peftlab.")]
WHOLE = f"{EXAMPLES} trainer.limit_val_batches=1.0"


def of_kind(name: str) -> LoadedRun:
    """Return an untrained model of a kind's example task."""
    kind, _, _ = KINDS.get(name).example()
    backbone = backbone_for(kind)
    record = RunRecord(task="example", strategy="bitfit", backbone="tiny", seed=1)
    return LoadedRun(record, kind, backbone, encoder_for(backbone.processor, 64))


def answer(found: dict[str, Any]) -> str:
    """Return the answer of a prediction as `TaskKind.answers` writes it."""
    first = next(iter(found.values()))
    if isinstance(first, list):
        return " ".join(map(str, first))
    return f"{first:.3f}" if isinstance(first, float) else str(first)


@pytest.mark.parametrize("name", OWN)
def test_examples_of_each_kind_are_answered_in_order_without_their_labels(name: str) -> None:
    model = of_kind(name)
    kind, rows, _ = KINDS.get(name).example()
    batch = batch_for(kind, model.backbone, rows)
    with torch.no_grad():
        expected = kind.answers(kind.predict(outputs_of(model.backbone, batch), batch))
    given = [{column: value for column, value in one.items() if column != "label"} for one in rows]
    for size in (1, 3):
        found = model.predict(given, batch_size=size)
        assert [answer(one) for one in found] == expected
        assert all(one.keys() == found[0].keys() for one in found)
        json.dumps(found)


def test_a_text_whose_windows_are_many_goes_through_the_model_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = of_kind("question-answering")
    asked = [("who sang?", "a bird sang in the old garden. " * 20), ("who?", "a dog slept.")]
    whole = model.predict(asked)
    monkeypatch.setattr(loaded, "SEQUENCES", 3)
    assert [one["answer"] for one in model.predict(asked)] == [one["answer"] for one in whole]


# A run of RTE, and files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rte(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a run's folder and the folder of its data."""
    folder = tmp_path_factory.mktemp("rte")
    root = write_rte(folder / "data", train=12, validation=10)
    run(small(f"task=rte data.root={root} {WHOLE}", "lora"), folder / "run")
    return folder / "run", root


def predicted(run_folder: Path, file: Path, out: str = "out.csv", *options: str) -> list[dict[str, str]]:
    target = file.parent / out
    assert main([str(run_folder), str(file), "--out", str(target), *options]) == 0
    with target.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t" if out.endswith(".tsv") else ","))


def test_a_labelled_file_gives_the_score_of_the_record(rte: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    folder, root = rte
    rows = predicted(folder, root / "RTE" / "dev.tsv")
    score = RunRecord.read(folder).metric.validation
    assert sum(one["label"] == one["gold"] for one in rows) / len(rows) == pytest.approx(score)
    assert [one["index"] for one in rows] == [str(number) for number in range(10)]
    shown = capsys.readouterr().out
    assert "10 predictions of lora on rte" in shown
    assert f"accuracy × 100: {100 * score:.1f} on 10 labelled examples" in shown
    shares = [float(rows[0][f"probabilities.{label}"]) for label in ("entailment", "not_entailment")]
    assert sum(shares) == pytest.approx(1.0)


PAIRS = [("a bird sang", "an animal sang"), ("no dog slept in the old, old garden", "it slept"), ("x", "y")]
FORMS: dict[str, str] = {
    "test.tsv": "index\tsentence1\tsentence2\n" + "".join(f"{i}\t{a}\t{b}\n" for i, (a, b) in enumerate(PAIRS)),
    "hidden.tsv": "sentence1\tsentence2\tlabel\n" + "".join(f"{a}\t{b}\t-1\n" for a, b in PAIRS),
    "own.csv": "text_a,text_b\n" + "".join(f'"{a}","{b}"\n' for a, b in PAIRS),
    "lines.jsonl": "".join(json.dumps({"sentence1": a, "sentence2": b}) + "\n" for a, b in PAIRS),
    "some.jsonl": "".join(
        json.dumps({"text_a": a, "text_b": b, "label": "entailment" if a == "x" else None}) + "\n" for a, b in PAIRS
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_files_of_all_forms_say_what_python_says(
    name: str, rte: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / name).write_text(FORMS[name], encoding="utf-8")
    rows = predicted(rte[0], tmp_path / name)
    found = peftlab.load(rte[0]).predict(PAIRS)
    assert [row["label"] for row in rows] == [one["label"] for one in found]
    assert [float(row["probabilities.entailment"]) for row in rows] == pytest.approx(
        [one["probabilities"]["entailment"] for one in found]
    )
    # Rows without a label reach no metric.
    assert ("on 1 labelled" if name == "some.jsonl" else "predictions") in capsys.readouterr().out.splitlines()[-1]


LABELS = ["entailment", "not_entailment"]


@pytest.mark.parametrize("labels", [None, [0, 1, 0], [-1, -1, -1]])
@pytest.mark.parametrize("form", ["parquet", "saved", "splits"])
def test_parquet_and_saved_datasets_are_read_as_own_files_are(
    form: str, labels: list[int] | None, rte: tuple[Path, Path], tmp_path: Path
) -> None:
    given = {"sentence1": [a for a, _ in PAIRS], "sentence2": [b for _, b in PAIRS]}
    rows = Dataset.from_dict(given)
    if labels is not None:
        rows = rows.add_column("label", labels, feature=ClassLabel(names=LABELS))
    file = tmp_path / {"parquet": "asked.parquet", "saved": "saved", "splits": "splits"}[form]
    if form == "parquet":
        rows.to_parquet(file)
    else:
        (rows if form == "saved" else DatasetDict(train=rows.select([2]), test=rows)).save_to_disk(file)
    found = predicted(rte[0], file)
    assert [row["label"] for row in found] == [one["label"] for one in peftlab.load(rte[0]).predict(PAIRS)]
    known = [LABELS[label] for label in labels or [] if label >= 0] or [""] * len(PAIRS)
    assert [row["gold"] for row in found] == known


def test_order_is_kept_over_chunks_and_batches(rte: tuple[Path, Path], tmp_path: Path, monkeypatch) -> None:
    texts = [("word " * (number * 7 % 5 + 1), str(number)) for number in range(23)]
    model = peftlab.load(rte[0])
    single = [model.predict([pair])[0]["probabilities"]["entailment"] for pair in texts]
    monkeypatch.setattr(loaded, "CHUNK", 5)
    assert [one["probabilities"]["entailment"] for one in model.predict(texts, batch_size=2)] == pytest.approx(single)
    write_split(tmp_path / "many.tsv", "sentence1\tsentence2", [f"{a}\t{b}" for a, b in texts])
    rows = predicted(rte[0], tmp_path / "many.tsv", "many.jsonl.tsv", "--batch-size", "4")
    assert [float(row["probabilities.entailment"]) for row in rows] == pytest.approx(single)


def test_what_is_written_as_json_lines_is_what_python_gives(rte: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(FORMS["lines.jsonl"], encoding="utf-8")
    assert main([str(rte[0]), str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    found = peftlab.load(rte[0]).predict(PAIRS)
    for place, (line, one) in enumerate(zip(lines, found, strict=True)):
        assert line.pop("index") == place
        assert line.pop("gold") is None
        assert line["label"] == one["label"]
        assert line["probabilities"] == pytest.approx(one["probabilities"])


@pytest.mark.parametrize("task", ["copa", "squad", "wnut17", "multirc", "record"])
def test_files_of_each_form_give_the_score_of_the_record(task: str, tmp_path: Path, capsys) -> None:
    root = written(task, tmp_path / "data")
    record = run(small(f"task={task} data.root={root} {WHOLE}", "bitfit"), tmp_path / "run")
    (file,) = [path for path in root.rglob("*") if path.name in ("val.jsonl", "dev-v1.1.json", "dev.conll")]
    rows = predicted(tmp_path / "run", file)
    assert len(rows) == 12
    assert all(row["gold"] for row in rows)
    assert f"{record.metric.name} × 100: {100 * record.metric.validation:.1f} on 12" in capsys.readouterr().out


# Mistakes ---------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[str, str, str]] = {
    "no column": ("a.csv", "premise,hypothesis\na,b\n", "task=rte reads sentence1, sentence2 or text_a, text_b"),
    "half a pair": ("a.csv", "sentence1\na\n", "task=rte reads sentence1, sentence2 or text_a, text_b"),
    "an unknown label": ("a.csv", "text_a,text_b,label\na,b,maybe\n", "a.csv:2: label 'maybe'; allowed are entailment"),
    "empty": ("a.csv", "", "a.csv: the file is empty"),
    "a header alone": ("a.csv", "text_a,text_b\n", "a.csv: no example in it"),
    "an unknown format": ("a.docx", "x", "a.docx: the format is unknown; allowed are names that end with"),
    "no text": ("a.jsonl", '{"text_a": 1, "text_b": "x"}\n', "a.jsonl:1: text_a: must be a text, found int"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_file(
    mistake: str, rte: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    name, content, named = MISTAKES[mistake]
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert main([str(rte[0]), str(tmp_path / name), "--out", str(tmp_path / "out.csv")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert named in line
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_mistakes_are_one_line_each(rte: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    file = rte[1] / "RTE" / "dev.tsv"
    before = file.read_bytes()
    for words, named in [
        ([tmp_path, file, "--out", tmp_path / "out.csv"], "result.json: "),
        ([rte[0], file, "--out", file], "dev.tsv: holds the examples; name another file"),
        ([rte[0], file, "--out", tmp_path / "out.docx"], "out.docx: the format is unknown; allowed are"),
        ([rte[0], file, "--out", tmp_path / "o.csv", "--batch-size", "0"], "batch size 0: allowed are whole numbers"),
        ([rte[0], file, "--out", tmp_path / "o.csv", "--device", "x"], "device x: allowed are those of torch"),
        ([rte[0], tmp_path / "none.csv", "--out", tmp_path / "out.csv"], "none.csv: no such file"),
    ]:
        assert main([str(word) for word in words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert named in line
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("item", "named"),
    [
        (("a", "b", "c"), "example 0: 3 values; allowed are text_a, text_b"),
        ("a", "example 0: no column 'text_b'"),
        ({"premise": "a"}, "example 0: the columns are premise; task=rte reads sentence1, sentence2 or text_a, text_b"),
        (("a", 3), "example 0: text_b: must be a text, found int"),
    ],
)
def test_an_item_that_is_no_example_is_told_with_its_place(item: Any, named: str, rte: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=named):
        peftlab.load(rte[0]).predict([item])


@pytest.mark.parametrize("lone", ["The cast was superb.", {"sentence1": "a", "sentence2": "b"}])
def test_one_example_that_stands_for_a_list_is_told(lone: Any, rte: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=f"examples: one {type(lone).__name__}; allowed is a list of texts, tuples"):
        peftlab.load(rte[0]).predict(lone)


def test_a_table_of_pandas_is_not_read_by_the_names_of_its_columns(rte: tuple[Path, Path]) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"sentence1": ["a"], "sentence2": ["b"]})
    model = peftlab.load(rte[0])
    with pytest.raises(UserError, match="examples: one DataFrame; allowed is a list of"):
        model.predict(table)
    assert len(model.predict(table.to_dict("records"))) == 1


def test_an_unfinished_run_predicts_nothing(rte: tuple[Path, Path], tmp_path: Path) -> None:
    record = RunRecord.read(rte[0])
    record.stop("failed", "a mistake")
    record.write(tmp_path)
    with pytest.raises(UserError, match="its run is failed, not finished"):
        peftlab.load(tmp_path)
