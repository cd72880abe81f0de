"""A zip for the server of GLUE or SuperGLUE is read without trust; file, line and mistake are named."""

import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from peftlab.errors import UserError
from peftlab.submission import checking
from peftlab.submission.checking import find_mistakes
from peftlab.submission.formats import GLUE, SUPERGLUE, Benchmark
from peftlab.submission.writing import filled
from peftlab.submit import main

Files = dict[str, bytes]


@cache
def glue() -> Files:
    """Return the files of a submission to GLUE without a mistake."""
    return {file.name: str(filled(file, None)).encode() for file in GLUE.files}


@cache
def superglue() -> Files:
    """Return the same for SuperGLUE."""
    found = {file.name: filled(file, None) for file in SUPERGLUE.files}
    passages, idx = [], iter(range(9693))
    for place in range(9693 // 9):
        verdicts = [[{"idx": next(idx), "label": n % 2} for n in range(size)] for size in (4, 5)]
        questions = [{"idx": n, "answers": answers} for n, answers in enumerate(verdicts)]
        passages.append(json.dumps({"idx": place, "passage": {"questions": questions}}))
    found["MultiRC.jsonl"] = "\n".join(passages) + "\n"
    found["ReCoRD.jsonl"] = "".join(json.dumps({"idx": n, "label": "Ann"}) + "\n" for n in range(10_000))
    return {name: str(text).encode() for name, text in found.items()}


def zipped(files: Files, path: Path, **options: int) -> Path:
    with zipfile.ZipFile(path, "w", options.get("method", zipfile.ZIP_DEFLATED)) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def mistakes(files: Files, folder: Path, benchmark: Benchmark | None = None) -> list[str]:
    path = zipped(files, folder / "given.zip")
    return [line.removeprefix(f"{path}: ") for line in find_mistakes(path, benchmark)]


@pytest.mark.parametrize("files", [glue, superglue])
def test_a_right_zip_has_no_mistake_also_without_the_last_line_end(files: Callable[[], Files], tmp_path: Path) -> None:
    assert mistakes(files(), tmp_path) == []
    assert mistakes({name: content.rstrip() for name, content in files().items()}, tmp_path) == []


def line(number: int, text: str) -> Callable[[bytes], bytes]:
    """Return what puts a text in the place of a line, counted from 1."""

    def change(content: bytes) -> bytes:
        lines = content.split(b"\n")
        lines[number - 1] = text.encode()
        return b"\n".join(lines)

    return change


def swapped(content: bytes) -> bytes:
    lines = content.split(b"\n")
    lines[4], lines[5] = lines[5], lines[4]
    return b"\n".join(lines)


def without(number: int) -> Callable[[bytes], bytes]:
    return lambda content: b"\n".join(one for n, one in enumerate(content.split(b"\n"), 1) if n != number)


Change = Callable[[bytes], bytes]
TABLES: list[tuple[str, Change, list[str]]] = [
    ("WNLI.tsv", lambda content: b"\xef\xbb\xbf" + content, ["1: begins with a byte order mark"]),
    ("WNLI.tsv", lambda content: content.replace(b"\n", b"\r\n"), ["1: a carriage return"]),
    ("WNLI.tsv", lambda content: b"", ["1: the header is ''", "1: 0 answers; 146 are", "1: no row with index 0, 1, 2"]),
    ("WNLI.tsv", line(1, "id\tlabel"), ["1: the header is 'id\\tlabel'; it must be 'index<TAB>prediction'"]),
    ("WNLI.tsv", line(3, "1,0"), ["3: 1 columns where 2 are expected", "no row with index 1"]),
    ("WNLI.tsv", line(3, "1\t0\t0"), ["3: 3 columns where 2 are expected", "no row with index 1"]),
    ("WNLI.tsv", line(3, ""), ["3: 0 columns where 2 are expected", "no row with index 1"]),
    ("WNLI.tsv", line(3, '1\t"0"'), ["3: a quotation mark", "no row with index 1"]),
    ("WNLI.tsv", line(3, "one\t0"), ["3: index 'one'; allowed are whole numbers from 0", "no row with index 1"]),
    ("WNLI.tsv", line(3, "١\t0"), ["3: index '١'; allowed are whole numbers", "no row with index 1"]),
    ("WNLI.tsv", line(3, "01\t0"), ["3: index '01'; allowed are whole numbers", "no row with index 1"]),
    ("WNLI.tsv", line(3, "0\t0"), ["3: index 0 stands in line 2 already", "no row with index 1"]),
    ("WNLI.tsv", line(3, "146\t0"), ["3: index 146; allowed are 0 to 145", "4: index 2 after 146", "index 1"]),
    ("WNLI.tsv", swapped, ["6: index 3 after 4; indices ascend"]),
    ("WNLI.tsv", without(3), ["146: 145 answers; 146 are expected", "no row with index 1"]),
    ("WNLI.tsv", lambda content: content + b"145\t0\n", ["148: index 145 stands in line 147", "147 answers; 146"]),
    ("WNLI.tsv", line(3, "1\tentailment"), ["3: answer 'entailment'; allowed are 0, 1"]),
    ("WNLI.tsv", line(3, "1\t 1"), ["3: answer ' 1'; allowed are 0, 1"]),
    ("RTE.tsv", line(3, "1\t0"), ["3: answer '0'; allowed are entailment, not_entailment"]),
    ("AX.tsv", line(3, "1\tnot_entailment"), ["3: answer 'not_entailment'; allowed are entailment, neutral, contra"]),
    ("STS-B.tsv", line(3, "1\t5.001"), ["3: answer '5.001'; allowed are numbers from 0 to 5 with three decimals"]),
    ("STS-B.tsv", line(3, "1\tnan"), ["3: answer 'nan'; allowed are numbers from 0 to 5"]),
    ("STS-B.tsv", line(3, "1\t-0.1"), ["3: answer '-0.1'; allowed are numbers from 0 to 5"]),
    ("STS-B.tsv", line(3, "1\t2,5"), ["3: answer '2,5'; allowed are numbers from 0 to 5"]),
    ("CoLA.tsv", lambda content: content.replace(b"\t1\n", b"\t\xff\n", 1), ["2: not UTF-8"]),
    ("CoLA.tsv", lambda content: content.replace(b"\t1\n", b"\tx\n"), [f"{n}: answer 'x'" for n in range(2, 7)]),
    ("WSC.jsonl", line(3, "{"), ["3: not JSON", "146: 145 answers", "no row with index 2"]),
    ("WSC.jsonl", line(3, "[" * 100_000), ["3: not JSON", "146: 145 answers", "no row with index 2"]),
    ("WSC.jsonl", line(3, ""), ["3: not JSON", "146: 145 answers", "no row with index 2"]),
    ("WSC.jsonl", line(3, "[]"), ["3: must be an object with the keys idx and label", "146: 145", "index 2"]),
    ("WSC.jsonl", line(3, '{"idx": 2}'), ["3: must be an object with the keys idx and label", "146: 145", "index 2"]),
    ("WSC.jsonl", line(3, '{"idx": 2, "idx": 2, "label": "True"}'), ["3: not JSON (a key stands", "145", "index 2"]),
    ("WSC.jsonl", line(3, '{"idx": "2", "label": "True"}'), ["3: idx '2'; allowed are whole", "145", "index 2"]),
    ("WSC.jsonl", line(3, '{"idx": true, "label": "True"}'), ["3: idx True; allowed are whole", "145", "index 2"]),
    ("WSC.jsonl", line(3, '{"idx": 1, "label": "True"}'), ["3: index 1 stands in line 2", "145", "index 2"]),
    ("WSC.jsonl", line(3, '{"idx": 2, "label": true}'), ['3: answer True; allowed are "False", "True"']),
    ("BoolQ.jsonl", line(3, '{"idx": 2, "label": "True"}'), ["3: answer 'True'; allowed are \"false\", \"true\""]),
    ("COPA.jsonl", line(3, '{"idx": 2, "label": "1"}'), ["3: answer '1'; allowed are 0, 1"]),
    ("COPA.jsonl", line(3, '{"idx": 2, "label": true}'), ["3: answer True; allowed are 0, 1"]),
    ("ReCoRD.jsonl", line(3, '{"idx": 2, "label": ""}'), ["3: answer ''; allowed is a text"]),
    ("ReCoRD.jsonl", line(3, '{"idx": 1, "label": "Ann"}'), ["3: index 1 stands in line 2", "9,999 answers"]),
    ("MultiRC.jsonl", line(3, '{"idx": 2, "label": 1}'), ["3: must be an object with the keys idx and pass", "9,684"]),
    ("MultiRC.jsonl", line(3, '{"idx": 2, "passage": []}'), ["3: no list 'questions' of objects", "9,684"]),
    ("MultiRC.jsonl", line(3, '{"idx": 2, "passage": {"questions": [{"idx": 0}]}}'), ["3: no list 'answers'", "9,684"]),
    ("MultiRC.jsonl", lambda content: content.replace(b'"label": 1', b'"label": 2', 1), ["1: answer 2; allowed are 0"]),
    ("MultiRC.jsonl", lambda text: text.replace(b'{"idx": 1, "label"', b'{"idx": 0, "label"', 1), ["1: quest", "9,6"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "expected"), TABLES, ids=range(len(TABLES)))
def test_file_line_and_mistake_are_named(name: str, change: Change, expected: list[str], tmp_path: Path) -> None:
    whole, files = (GLUE, glue()) if name.endswith(".tsv") else (SUPERGLUE, superglue())
    alone = replace(whole, files=tuple(file for file in whole.files if file.name == name))
    found = mistakes({name: change(files[name])}, tmp_path, alone)
    assert [one for one in found if not one.startswith(f"{name}:")] == []
    assert len(found) == len(expected)
    for one, part in zip(found, expected, strict=True):
        assert part in one.removeprefix(f"{name}:")


# The zip itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil.tsv", "../evil.tsv: in a folder; the files lie in the zip itself"),
        ("/etc/passwd", "/etc/passwd: in a folder"),
        ("glue/CoLA.tsv", "glue/CoLA.tsv: in a folder"),
        ("glue/", "glue/: in a folder"),
        ("a\\b.tsv", "a\\b.tsv: in a folder"),
        ("cola.tsv", "cola.tsv: no file of GLUE (did you mean CoLA.tsv"),
        ("note\x1b[2J.txt", "note\\x1b[2J.txt: no file of GLUE"),
    ],
)
def test_names_that_are_no_files_of_the_benchmark(name: str, message: str, tmp_path: Path) -> None:
    (found,) = mistakes({**glue(), name: b""}, tmp_path)
    assert found.startswith(message)


def test_files_that_are_missing_or_there_twice(tmp_path: Path) -> None:
    files = dict(glue())
    del files["AX.tsv"]
    assert mistakes(files, tmp_path) == ["AX.tsv: missing; a task without a model needs answers, too"]
    path = zipped(glue(), tmp_path / "twice.zip")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("AX.tsv", b"")
    assert [line.removeprefix(f"{path}: ") for line in find_mistakes(path)] == ["AX.tsv: stands in the zip twice"]


def test_a_file_that_grows_without_end_is_not_unpacked(tmp_path: Path) -> None:
    (found,) = mistakes({**glue(), "AX.tsv": bytes(checking.LONGEST_FILE + 1)}, tmp_path)
    assert found == "AX.tsv: 8,388,609 bytes; at most 8,388,608 are read"


def test_a_size_that_lies_and_a_broken_checksum_are_told(tmp_path: Path) -> None:
    content = bytearray(zipped(glue(), tmp_path / "a.zip").read_bytes())
    entry = content.index(b"PK\x01\x02")  # the first file's line in the list of files
    smaller, broken = bytearray(content), bytearray(content)
    smaller[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    broken[entry + 16] ^= 1
    for changed in (smaller, broken):
        (tmp_path / "b.zip").write_bytes(changed)
        found = find_mistakes(tmp_path / "b.zip")
        assert len(found) == 1
        assert "CoLA.tsv: cannot be read (Bad CRC-32" in found[0]


def test_encrypted_files_and_other_methods_are_told(tmp_path: Path) -> None:
    content = bytearray(zipped(glue(), tmp_path / "a.zip").read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert [line.split(": ", 1)[1] for line in find_mistakes(tmp_path / "a.zip")] == ["CoLA.tsv: encrypted"]
    found = find_mistakes(zipped(glue(), tmp_path / "b.zip", method=zipfile.ZIP_LZMA))
    assert len(found) == len(GLUE.files)
    assert all(line.endswith("compressed by a method other than deflate") for line in found)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06", b"PK\x03\x04" + bytes(40)])
def test_what_is_no_zip_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match="not a zip file"):
        find_mistakes(tmp_path / "a.zip")


def test_too_many_files_too_large_a_zip_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="65 files"):
        find_mistakes(zipped({str(n): b"" for n in range(65)}, tmp_path / "many.zip"))
    with (tmp_path / "large.zip").open("wb") as file:
        file.truncate(checking.LONGEST_ZIP + 1)
    with pytest.raises(UserError, match="at most"):
        find_mistakes(tmp_path / "large.zip")
    with pytest.raises(UserError, match="No such file"):
        find_mistakes(tmp_path / "none.zip")
    with pytest.raises(UserError, match="directory"):
        find_mistakes(tmp_path)


def test_a_truncated_zip_is_an_error_of_one_line(tmp_path: Path) -> None:
    content = zipped({"WNLI.tsv": glue()["WNLI.tsv"]}, tmp_path / "a.zip").read_bytes()
    for part in range(len(content)):
        with pytest.raises(UserError):
            find_mistakes_of(content[:part], tmp_path)


def find_mistakes_of(content: bytes, folder: Path) -> list[str]:
    (folder / "part.zip").write_bytes(content)
    return find_mistakes(folder / "part.zip")


def test_any_changed_byte_is_told_or_harmless(tmp_path: Path) -> None:
    small = {"WNLI.tsv": glue()["WNLI.tsv"][:60]}
    content = zipped(small, tmp_path / "a.zip").read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        try:
            found = find_mistakes_of(bytes(changed), tmp_path)
        except UserError as error:
            found = [str(error)]
        assert all(line.isprintable() for line in found)


def test_the_command_tells_mistakes_and_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = zipped(glue(), tmp_path / "right.zip")
    assert main(["--check", str(right)]) == 0
    assert capsys.readouterr().out == f"{right}: no mistake was found\n"
    assert main(["--check", str(right), "--benchmark", "superglue"]) == 1
    assert "MultiRC.jsonl: missing" in capsys.readouterr().out
    (tmp_path / "wrong.zip").write_bytes(b"x")
    assert main(["--check", str(tmp_path / "wrong.zip")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
