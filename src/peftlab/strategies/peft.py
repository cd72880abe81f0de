"""Any method of the peft library, by its name there and with its own options."""

import dataclasses
import math
import re
from dataclasses import dataclass, field, replace
from typing import Any

from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING, PeftConfig, PeftType
from peft.tuners.tuners_utils import BaseTuner

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView, Site
from peftlab.errors import UserError, nearest, require
from peftlab.strategies.bases.injection import PeftInjection
from peftlab.strategies.bases.patterns import check_patterns
from peftlab.strategies.traits import Traits

# Methods that peft keeps as an option of LoRA.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "dora": ("lora", {"use_dora": True}),
    "rslora": ("lora", {"use_rslora": True}),
    "pissa": ("lora", {"init_lora_weights": "pissa"}),
    "olora": ("lora", {"init_lora_weights": "olora"}),
}
# Methods that do not start at the backbone's function, by their authors' design, unless an option says otherwise.
_STARTS_ELSEWHERE = {"c3a", "fourierft", "unilora", "vblora"}
_UNMERGEABLE = {"lily"}
# Options of any method with which a merged model would be another one, or none.
_UNMERGEABLE_OPTIONS = ("layer_replication", "alora_invocation_tokens", "arrow_config")
# Starts that are computed from data, which peft asks for in functions of its own before layers are made.
_STARTS_FROM_DATA = ("corda", "eva", "lora_ga")
# Where peft has no choice for an architecture; `ln_tuning` would train copies of whatever it is pointed at.
_SITES: dict[str, tuple[Site, ...]] = {"ln_tuning": ("attention_norm", "feed_forward_norm")}


@dataclass(frozen=True)
class Peft(PeftInjection):
    """A method of peft that puts layers into the backbone.

    Options:
        method: its name in peft (`conf/strategy/peft.yaml` lists those that are tested), or a form of LoRA: `dora`,
            `rslora`, `pissa`, `olora`.
        options: fields of its configuration class. Without `target_modules` peft's own choice for the architecture
            is taken (for most methods query and value), and query and value where it has none.
    """

    name = "peft"

    method: str = "lora"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {*methods(), *FORMS}
        require(
            self.kind in methods(),
            f"strategy.method={self.method}: peft has no such method that puts layers into a backbone"
            f"{nearest(self.method, known)}; there are {', '.join(sorted(known))}",
        )
        fields = {entry.name for entry in dataclasses.fields(self._config_class) if entry.init}
        for name in self.options:
            # It imports whatever module it is given, and a delta that somebody made brings its options along.
            require(not name.startswith("megatron"), f"strategy.options.{name}: Megatron's layers are not supported")
            if name not in fields:
                raise UserError(f"strategy.options.{name}: {self.method} has no such option{nearest(name, fields)}")
        start = str(self.options.get("init_lora_weights", ""))
        require(
            not start.startswith(_STARTS_FROM_DATA),
            f"strategy.options.init_lora_weights={start}: it starts from data, which peft is not given here; "
            "allowed are true, false, gaussian, orthogonal, olora, pissa, pissa_niter_N",
        )

    @property
    def kind(self) -> str:
        """The method's name in peft, where a form of LoRA is LoRA."""
        return FORMS[self.method][0] if self.method in FORMS else self.method.lower().replace("-", "_")

    @property
    def recipe(self) -> str:
        """LoRA and its forms share LoRA's rates; a method may have a row of its name."""
        return self.kind

    @property
    def traits(self) -> Traits:
        """Rounding alone for most: rotations and re-normalised columns do not multiply by one exactly."""
        start = math.inf if self.kind in _STARTS_ELSEWHERE else 1e-5
        mergeable = self.kind not in _UNMERGEABLE and not any(map(self.options.get, _UNMERGEABLE_OPTIONS))
        merge = super().traits.merge_tolerance if mergeable else None
        return replace(super().traits, start_tolerance=start, merge_tolerance=merge)

    @property
    def title(self) -> str:
        """What a message calls this strategy."""
        return f"strategy.method={self.method}"

    def config(self, backbone: Backbone) -> PeftConfig:
        """Return the method's configuration with the given options; the classifier is left alone."""
        options = {**FORMS.get(self.method, ("", {}))[1], **self.options}
        check_patterns(options, (name for name, _ in backbone.model.named_modules()))
        fields = {entry.name for entry in dataclasses.fields(self._config_class)}
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[PeftType[self.kind.upper()]]
        # A method without such a table finds its sites by other means.
        chosen_by_peft = getattr(tuner, "target_module_mapping", None)
        if chosen_by_peft and "target_modules" in fields and backbone.model.config.model_type not in chosen_by_peft:
            options.setdefault("target_modules", self._targets(backbone.view))
        if "exclude_modules" in fields:
            options["exclude_modules"] = _excluded(options.get("exclude_modules"), backbone.view)
        return self._config_class(**options)

    def _targets(self, view: BackboneView) -> list[str]:
        sites = _SITES.get(self.kind)
        return view.site_names(*sites) if sites else view.projection_names("query", "value")

    @property
    def _config_class(self) -> type[PeftConfig]:
        return PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[self.kind.upper()]]


def _excluded(given: str | list[str] | None, view: BackboneView) -> str | list[str]:
    """Return the modules that get no layer: those that are given, and all of the classifier's."""
    classifier = [
        f"{name}.{below}".rstrip(".")
        for name, module in zip(view.classifier_names(), view.classifier_modules(), strict=True)
        for below, _ in module.named_modules()
    ]
    if isinstance(given, str):
        return "|".join([f"(?:{given})", *map(re.escape, classifier)])
    return [*(given or []), *classifier]


def methods() -> list[str]:
    """Return peft's names, in lower case, of the methods that put layers into a model."""
    tuners = PEFT_TYPE_TO_TUNER_MAPPING.items()
    return sorted(kind.value.lower() for kind, tuner in tuners if issubclass(tuner, BaseTuner))
