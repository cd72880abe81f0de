"""A pretrained model with its processor, view and identity, ready for a strategy to attach itself to."""

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PreTrainedModel

from peftlab.backbones.architecture import architecture
from peftlab.backbones.bfloat16 import round_matrices
from peftlab.backbones.fingerprint import fingerprint
from peftlab.backbones.modality import MODALITIES, Modality, Processor, modality_of
from peftlab.backbones.quantised import round_layers
from peftlab.backbones.sources import file_hashes, file_stamps, find_files
from peftlab.backbones.spec import Attention, BackboneSpec, Bits, Kept
from peftlab.backbones.tiny import random_model
from peftlab.backbones.view import BackboneView
from peftlab.cache import RunCache
from peftlab.errors import UserError, require, shown
from peftlab.files import read_text
from peftlab.kernels import attention as fast
from peftlab.kernels.dropout import use_fast_dropout
from peftlab.kernels.linear import use_fast_products
from peftlab.options.schema import parse_json
from peftlab.output_layer import MULTIPLE_CHOICE, OutputLayer
from peftlab.streams import Stream, seed_of

Loaded = tuple[PreTrainedModel, Processor, str]


@dataclass(frozen=True)
class Backbone:
    """A loaded model with a task's output layer. `fingerprint` is taken before anything touches the model.

    `size` counts the parameters of the base model, without the task's output layer. `processor`: its tokenizer, or its
    image processor. `dtype`: in which training keeps the matrices that nothing tunes; `quantize`: in which codes those
    of the layers.
    """

    name: str
    model: PreTrainedModel
    processor: Processor
    view: BackboneView
    fingerprint: str
    size: int
    dtype: Kept = "float32"
    quantize: Bits | None = None

    @property
    def modality(self) -> Modality:
        """What it reads."""
        return modality_of(self.model)


def load_backbone(spec: BackboneSpec, output: OutputLayer, seed: int, cache: RunCache | None = None) -> Backbone:
    """Load a backbone with a task's output layer, which is drawn from `seed`.

    Weights are float32, on the CPU, in evaluation mode; with `spec.dtype` bfloat16 matrices hold numbers of that type,
    with `spec.quantize` those of layers hold numbers that its codes stand for.
    Parts that the files lack (a pooler) are drawn from a fixed seed, so that the fingerprint depends on the files
    alone.

    Args:
        spec: which model.
        output: the task's output layer.
        seed: draws the output layer.
        cache: where an untouched model stays in memory for the next run, which gets a copy that shares nothing with it.

    Raises:
        UserError: files missing, altered or broken, an architecture whose heads are not known, or one without such
            an output layer.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        model, processor, identity = _untouched(spec, output, cache)
        if spec.dtype == "bfloat16":
            round_matrices(model)
        view = BackboneView(model, output.auto_class)
        if spec.quantize:
            round_layers(view, spec.quantize)
        if output.auto_class == MULTIPLE_CHOICE:
            model.register_forward_pre_hook(_one_choice_a_row, with_kwargs=True)
        if spec.kernels:
            _use_kernels(model, spec.attention)
        _draw_output_layer(model, view, seed)
    size = sum(p.numel() for p in model.parameters()) - sum(p.numel() for _, p in view.classifier_parameters())
    name = spec.name_of(identity)
    return Backbone(name, model.eval(), processor, view, identity, size, spec.dtype, spec.quantize)


@contextmanager
def drawn_output_layer(backbone: Backbone, seed: int) -> Iterator[None]:
    """Give a backbone, inside this context, the task's output layer that `load_backbone` would draw from `seed`."""
    parts = backbone.view.classifier_modules()
    before = [{name: tensor.clone() for name, tensor in part.state_dict().items()} for part in parts]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        _draw_output_layer(backbone.model, backbone.view, seed)
    try:
        yield
    finally:
        for part, tensors in zip(parts, before, strict=True):
            part.load_state_dict(tensors)


def content_hashes(spec: BackboneSpec) -> dict[str, Any]:
    """Return what a backbone is made of, without loading it: its files' SHA-256, or the sizes of random weights.

    Raises:
        UserError: files missing or altered.
    """
    return dict(spec.drawn) if spec.drawn else file_hashes(_folder(spec))


def model_type(spec: BackboneSpec) -> str:
    """Return the type of a backbone's model (`config.model_type`), without loading it.

    Raises:
        UserError: files missing or altered, or a config without it.
    """
    if spec.drawn:
        return str(spec.drawn.get("model_type", ""))
    file = _folder(spec) / "config.json"
    try:
        return str(parse_json(read_text(file), any_number=True)["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"backbone={spec.title}: {file} does not name a model_type ({reason})") from error


def _use_kernels(model: PreTrainedModel, attention: Attention) -> None:
    use_fast_products(model)
    use_fast_dropout(model)
    if attention == "auto":
        architecture(model.config.model_type).send_attention(model, fast.NAME, fast.attention)


def _one_choice_a_row(
    model: torch.nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Let a model that takes choices as [B, C, S] take sequences [M, S], whatever number of them an example has."""
    rows = {name: value[:, None] if value.dim() == 2 else value for name, value in named.items() if _is_tensor(value)}
    return positional, {**named, **rows}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _folder(spec: BackboneSpec) -> Path:
    return find_files(spec.title, spec.path, spec.hub, spec.package, spec.sha256, spec.parts or (), spec.revision)


def _untouched(spec: BackboneSpec, output: OutputLayer, cache: RunCache | None) -> Loaded:
    """Return model, processor and fingerprint: just loaded, or a copy of what is kept."""
    if cache is None or not cache.most:
        return _load(spec, output)
    stamps = [] if spec.drawn else file_stamps(_folder(spec))
    key = json.dumps([asdict(spec), asdict(output), stamps], default=str)
    return copy.deepcopy(cache.get("backbone", key, lambda: _load(spec, output)))


def _load(spec: BackboneSpec, output: OutputLayer) -> Loaded:
    torch.manual_seed(0)
    model, processor = _random(spec, output) if spec.drawn else _pretrained(spec, output)
    modality_of(model).settle(spec.title, model, processor, loaded=not spec.drawn)
    return model, processor, fingerprint(model)


def _pretrained(spec: BackboneSpec, output: OutputLayer) -> tuple[PreTrainedModel, Processor]:
    folder = _folder(spec)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, **output.options)
        model, report = (
            architecture(config.model_type)
            .model_class(output.auto_class)
            .from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation=_asked_for(spec.attention, config.model_type),
                ignore_mismatched_sizes=True,  # the output layer of another task; it is drawn again in any case
                output_loading_info=True,
            )
        )
        processor = modality_of(model).load(folder)
    except UserError:
        raise
    except Exception as error:  # the libraries that read the files let errors of a dozen kinds through
        said = " ".join(str(error).split())
        reason = shown(said if " " in said else f"{type(error).__name__}: {said}", 300)
        raise UserError(f"backbone={spec.title}: {folder} cannot be loaded: {reason}") from error
    _check_weights(spec.title, folder, model, report)
    return model, processor


def _check_weights(name: str, folder: Path, model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """Refuse weights that would leave parts of the base model random, but for those that the family may lack."""
    # transformers 5 gives both shapes with each name, 4 the name alone.
    misshapen = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])
    lacking = {*report["missing_keys"], *misshapen}
    family = architecture(model.config.model_type)
    base = f"{family.base_name(model)}."
    tolerated = tuple(f"{base}{part}." for part in family.may_lack)
    random = sorted(key for key in lacking if key.startswith(base) and not key.startswith(tolerated))
    require(
        not random,
        f"backbone={name}: the weights in {folder} do not fit its config.json: "
        f"{len(random)} tensors missing or of another shape, {random[:1]} among them",
    )


def _random(spec: BackboneSpec, output: OutputLayer) -> tuple[PreTrainedModel, Processor]:
    assert spec.drawn is not None
    kind = str(spec.drawn.get("model_type", ""))
    processor = MODALITIES[architecture(kind).reads].make(spec.drawn)
    return random_model(spec.drawn, processor, _asked_for(spec.attention, kind), output), processor


def _asked_for(attention: Attention, model_type: str) -> str | None:
    """Return the attention to load a model with; None is transformers' own choice: torch's where the model can."""
    told = f"backbone.attention={attention}: {model_type} writes its attention out; allowed are auto, eager"
    require(attention != "sdpa" or not architecture(model_type).eager_only, told)
    return None if attention == "auto" else attention


def _draw_output_layer(model: PreTrainedModel, view: BackboneView, seed: int) -> None:
    torch.manual_seed(seed_of(Stream.CLASSIFIER, seed))
    for part in view.classifier_modules():
        _draw_again(model, part)


def _draw_again(model: PreTrainedModel, part: torch.nn.Module) -> None:
    """Draw a module's weights from the current seed with the architecture's own initialisation."""
    sizes = architecture(model.config.model_type).sizes(model.config)
    for module in part.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=getattr(sizes, "initializer_range", 0.02))
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
