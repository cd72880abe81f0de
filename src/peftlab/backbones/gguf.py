"""Weights in a GGUF file, as llama.cpp reads them, become a plain folder of Hugging Face's."""

import importlib.util
import io
import json
from contextlib import redirect_stderr
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from peftlab.backbones.fingerprint import file_sha256
from peftlab.errors import UserError, require
from peftlab.files import read_text
from peftlab.options.schema import parse_json

_ORIGIN = "gguf.json"  # beside the weights: of which file they were made, and what they were then
_WEIGHTS = "model.safetensors"


def write_plain(name: str, file: Path, folder: Path, sha256: str | None) -> None:
    """Fill `folder` with the weights of a GGUF file in float32, its config and its tokenizer.

    Quantised weights are multiplied out: what is written is exactly what the file stands for.

    Args:
        name: of the backbone.
        file: the GGUF file.
        folder: where config, weights and tokenizer go.
        sha256: what the file's must be; None: any.

    Raises:
        UserError: the package gguf is not installed, the file is another one, or it cannot be read.
    """
    installed = importlib.util.find_spec("gguf") is not None
    require(
        installed, f"backbone={name}: its weights are in a GGUF file; reading it takes `pip install --no-deps gguf`"
    )
    found = file_sha256(file)
    require(sha256 in (None, found), f"backbone={name}: {file.name} has sha256 {found}, expected {sha256}")
    transformers.logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # a bar that no switch of transformers turns off
            read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:  # the libraries that read the file let errors of a dozen kinds through
        raise UserError(f"backbone={name}: {file.name} cannot be read: {' '.join(str(error).split())}") from error
    # A model that came from such a file refuses to be saved, and its config calls it quantised.
    config = read.config
    del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder, max_shard_size="1TB")
    tokenizer.save_pretrained(folder)
    (folder / _ORIGIN).write_text(json.dumps({"sha256": found, _WEIGHTS: file_sha256(folder / _WEIGHTS)}))


def written_sha256(folder: Path, sha256: str | None) -> str | None:
    """Return the sha256 that the weights in `folder` must have: `sha256`, where they did not come from a GGUF file.

    Otherwise it is that of the file, and the weights must be what `write_plain` wrote.

    Raises:
        UserError: they came from another file.
    """
    origin = folder / _ORIGIN
    if not origin.is_file():
        return sha256
    try:
        says = parse_json(read_text(origin))
        file, weights = str(says["sha256"]), str(says[_WEIGHTS])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{origin}: does not say where the weights came from ({type(error).__name__})") from error
    require(sha256 in (None, file), f"{folder}: its GGUF file had sha256 {file}, expected {sha256}")
    return weights
