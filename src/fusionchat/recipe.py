"""The recipe: one YAML file, read into frozen, validated models; errors name the YAML path.

Settings that change a result live beside the stage they belong to. Settings that only change how fast it is
reached live under ``runtime`` and never make an artifact stale.
"""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from fusionchat.align.project import AlignSettings
from fusionchat.align.vocabulary import VocabularyMethod
from fusionchat.corpus.conversation import PARAGRAPH
from fusionchat.corpus.thoughts import Thinking
from fusionchat.errors import RecipeError
from fusionchat.fuse.rules import FuseRule, MinCE
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.base import check_targets
from fusionchat.merge.methods.varm import Varm
from fusionchat.recipe_mistakes import explain, no_such_method
from fusionchat.recipe_set import alternatives, apply_settings
from fusionchat.recipe_types import prepare
from fusionchat.recipe_yaml import parse_yaml

AnyDtype = Literal["auto", "float32", "bfloat16", "float16"]
DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
MERGE_DEVICE = re.compile(r"cpu|(cuda|xpu)(:\d+)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NAME_RULE = "use letters, digits, '.', '_' and '-' only, a letter or digit first, and at most 100 characters"


def method_from_name(value: object) -> object:
    """``merge: varm`` is short for ``merge: {method: varm}``."""
    return {"method": value} if isinstance(value, str) else value


def vocabulary_from_name(value: object) -> object:
    """``vocabulary: exact`` is short for ``vocabulary: {method: exact}``."""
    if not isinstance(value, dict) or "vocabulary" not in value:
        return value
    vocabulary = method_from_name(value["vocabulary"])
    known = [kind().method for kind in get_args(VocabularyMethod)]
    if isinstance(vocabulary, dict) and vocabulary.get("method") not in known:
        raise ValueError(f".vocabulary: {no_such_method(str(vocabulary.get('method')), known)}")
    return {**value, "vocabulary": vocabulary}


AnyAlign = Annotated[AlignSettings, BeforeValidator(vocabulary_from_name)]
AnyMerge = Annotated[MergeMethod, Field(discriminator="method"), BeforeValidator(method_from_name)]
AnyFuse = Annotated[FuseRule, Field(discriminator="method"), BeforeValidator(method_from_name)]


class Frozen(BaseModel):
    """The base of every part of a recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def with_group(pattern: str) -> str:
    """A regular expression with a group; raises ValueError otherwise."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if groups < 1:
        raise ValueError("the pattern needs a group: what is in it is taken")
    return pattern


class Named(Frozen):
    """A part of a recipe that may be given by one word: ``pivot: NAME`` is short for ``pivot: {model: NAME}``."""

    short: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: object) -> object:
        return {cls.short: value} if isinstance(value, str) else value


class ModelSpec(Named):
    """A model: a folder (relative to the recipe) or a hub id, and how its chat template is found."""

    short: ClassVar[str] = "model"

    model: str = Field(description="folder, relative to the recipe file, or Hugging Face hub id")
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    tokenizer: str | None = Field(None, description="folder or hub id of the tokenizer, if not the model's")
    template: str = Field(
        "own",
        description="own | pivot | a Jinja file (or JSON with `chat_template`), relative to the recipe file",
    )
    thinking: Thinking | None = Field(
        None,
        description="drop: this model sees no thoughts; it is scored and compared without them",
    )


class CorpusFile(Named):
    """A corpus file or dataset.

    A record has its turns in ``messages`` or ``conversations`` (role and content, or from and value), or a question and
    an answer: prompt and completion or response, Alpaca's instruction, input and output, question and answer. A
    ``system`` key becomes the first turn, ``chosen`` the last one. Turns with ``weight: 0``, ``train: false``,
    ``loss: false`` or ``masked: true`` are context and bear no loss. A record that holds more than text (tools, images)
    is rejected; every other key is harmless (id, source, score ...) or counted by name.
    """

    short: ClassVar[str] = "path"

    path: str = Field(description="JSONL, JSON, Parquet, text file, or Hugging Face dataset id")
    format: Literal["auto", "messages", "sharegpt", "text"] = Field(
        "auto", description="auto: `text` for .txt, else what each record looks like"
    )
    split: str = Field("train", description="the split of a hub dataset")
    revision: str | None = Field(None, description="branch, tag or commit of a hub dataset")
    pattern: str = Field(
        PARAGRAPH,
        description="plain text: each match of this regular expression (its group 1) is one conversation",
    )
    limit: int | None = Field(None, ge=1, description="read at most this many records")

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        return with_group(value)


class CorpusSettings(Frozen):
    """The corpus and its parts. A number for ``validation`` or ``test`` draws that share of ``train``.

    Shares are drawn by ``seed``, with as much of every ``domain``. No part repeats text of another: what test has leaves
    validation and train, what validation has leaves train, counted.
    """

    train: CorpusFile
    validation: CorpusFile | float = Field(0.02, description="a file, or the share of train that is drawn")
    test: CorpusFile | float = Field(0.02, description="a file, or the share of train that is drawn")
    max_tokens: int = Field(2048, ge=8, description="longest conversation, in each model's own tokens")
    thinking: Thinking = Field(
        "keep",
        description="`<think>...</think>` in assistant turns: keep (seen and trained on) or drop (removed)",
    )

    @field_validator("validation", "test")
    @classmethod
    def _share(cls, value: CorpusFile | float) -> CorpusFile | float:
        if isinstance(value, float) and not 0 < value < 0.5:
            raise ValueError(f"a share must be more than 0 and less than 0.5, not {value:g}")
        return value


class RepresentSettings(Frozen):
    """What is stored of each distribution."""

    k: int = Field(10, ge=1, le=1024, description="tokens kept of each distribution")
    dtype: AnyDtype = Field(
        "auto",
        description="dtype models are scored in; auto is float32 on CPU and bfloat16 on a GPU that has it, "
        "chosen when the run is first started and kept",
    )


class DistillSettings(Frozen):
    """How the pivot is trained on fused distributions. The defaults are the paper's (section 4.1, arXiv 2402.16107v6)."""

    label_weight: float = Field(
        0.9, ge=0, le=1, description="lambda: weight of the label against the distribution"
    )
    sweep: tuple[float, ...] = Field((), description="further label weights; the best on validation is taken")
    tail: Literal["bucket", "renormalize"] = Field(
        "bucket",
        description="mass outside the kept tokens: one more entry of the distribution, or left out and the rest scaled to 1",
    )
    epochs: float = Field(3, gt=0, description="passes over the training part; fractions are possible")
    batch_size: int = Field(128, ge=1, description="conversations a step, over all devices")
    learning_rate: float = Field(5e-6, gt=0, description="the highest one, after the warm-up")
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"] = Field(
        "cosine", description="how the learning rate goes down"
    )
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="share of the steps in which the rate goes up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are scaled to this norm")
    precision: Literal["bf16", "fp32"] = Field(
        "bf16", description="of forward and backward passes; weights and AdamW's state are fp32 in either"
    )
    seeds: int = Field(
        1,
        ge=1,
        description="train every target this many times with different seeds, and merge the targets of each; the first "
        "seed's merge is the fused model, the others show the training noise",
    )

    @field_validator("sweep")
    @classmethod
    def _weights(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= weight <= 1 for weight in value):
            raise ValueError("every label weight must be between 0 and 1")
        if len(set(value)) != len(value):
            raise ValueError("a label weight is given twice")
        return value

    @property
    def label_weights(self) -> tuple[float, ...]:
        """All label weights that are trained, the first the recipe's own."""
        return (self.label_weight, *(w for w in self.sweep if w != self.label_weight))


class FusedSettings(Frozen):
    """How the fused model is stored."""

    dtype: Literal["float32", "bfloat16", "float16"] = Field("bfloat16", description="dtype it is stored in")
    shard_gb: float = Field(5.0, gt=0)


class SearchSettings(Frozen):
    """Other merges of the same targets, tried on the validation part; the best is the fused model."""

    candidates: tuple[AnyMerge, ...] = Field((), description="merges to try; empty for a list of likely ones")
    metric: Literal["bits_per_byte", "exact_match"] = Field(
        "bits_per_byte", description="what trials are compared by; exact_match needs `evaluate.exact_match`"
    )
    minutes: float | None = Field(
        None, gt=0, description="start no trial after this long; nothing for no limit"
    )


class CompareSettings(Frozen):
    """Further models that are made only to be compared with; the fused model needs none of them."""

    sft: bool = Field(True, description="the pivot fine-tuned on the labels alone, with the same steps")
    sft_seeds: int | None = Field(
        None,
        ge=0,
        description="train it this many times with different seeds, and compare with their mean and with their soup (the "
        "average of their parameters); nothing for as many as there are sources, 0 is `sft: false`",
    )
    self_distillation: bool = Field(
        False, description="a target distilled from the pivot's own distributions, at `distill.label_weight`"
    )
    all_sources: bool = Field(False, description="one target distilled from all sources at once")
    merges: tuple[AnyMerge, ...] = Field((), description="other merges of the same targets")


class ExactMatchSettings(Frozen):
    """Greedy answers compared with the records' ``answer``."""

    answer_pattern: str = Field(
        r"(?s)(.*)", description="regular expression; group 1 of its last match is the answer"
    )
    max_new_tokens: int = Field(256, ge=1, description="most tokens of a reply, its thought included")
    limit: int | None = Field(None, ge=1, description="at most this many conversations")

    @field_validator("answer_pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        return with_group(value)


class EvaluateSettings(Frozen):
    """What is measured on the test part: held-out bits per byte always, exact match if asked for."""

    exact_match: ExactMatchSettings | None = None
    dtype: AnyDtype = Field(
        "auto",
        description="dtype models are evaluated in, whatever they were captured in; auto as in `represent.dtype`",
    )


class RuntimeSettings(Frozen):
    """How the work is done; never part of a fingerprint."""

    device: str = Field("auto", description="auto | cpu | cuda | cuda:N | mps")
    batch_tokens: int = Field(16384, ge=1, description="padded tokens in one forward pass")
    micro_batch_size: int = Field(8, ge=1, description="conversations in one training pass on one device")
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass to save memory"
    )
    checkpoint_steps: int = Field(200, ge=1, description="steps between two training checkpoints")
    threads: int = Field(
        0,
        ge=0,
        description="CPU threads; 0 for all, or for one where every model has under 2 million parameters",
    )
    merge_device: str = Field(
        "cpu",
        description="cpu | cuda | cuda:N | xpu; a merge is bound by reading and writing weights, which a GPU does not help",
    )

    @field_validator("device")
    @classmethod
    def _device(cls, value: str) -> str:
        if not DEVICE.fullmatch(value):
            raise ValueError(f"must be auto, cpu, cuda, cuda:N or mps, not {value!r}")
        return value

    @field_validator("merge_device")
    @classmethod
    def _merge_device(cls, value: str) -> str:
        if not MERGE_DEVICE.fullmatch(value):
            raise ValueError(f"must be cpu, cuda, cuda:N or xpu, not {value!r} (mps has no float64)")
        return value


class Recipe(Frozen):
    """Everything a run needs."""

    name: str = Field(description="the run's name, and its folder's")
    output: str = Field("runs", description="folder that holds the runs, relative to the working directory")
    seed: int = Field(
        0, description="of every random choice: data order, seeds of training, shares of the corpus"
    )
    pivot: ModelSpec
    sources: dict[str, ModelSpec] = Field(
        min_length=1,
        description="models whose knowledge is fused in: a name for each, and keys as for `pivot`",
    )
    corpus: CorpusSettings
    represent: RepresentSettings = RepresentSettings()
    align: AnyAlign = AlignSettings()
    fuse: AnyFuse = MinCE()
    distill: DistillSettings = DistillSettings()
    merge: AnyMerge = Varm()
    search: SearchSettings | None = None
    fused: FusedSettings = FusedSettings()
    compare: CompareSettings = CompareSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    folder: str = Field(".", exclude=True, description="folder of the recipe file; set by load_recipe")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(NAME_RULE)
        return value

    @field_validator("sources")
    @classmethod
    def _sources(cls, value: dict[str, ModelSpec]) -> dict[str, ModelSpec]:
        seen: dict[str, str] = {}
        for name in value:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r}: {NAME_RULE}")
            if name.lower() in {"pivot", "sft", "all"}:
                raise ValueError(f"{name!r} is taken: it names a model that FusionChat makes or knows")
            if name.lower() in seen:  # one folder where file names do not tell them apart
                raise ValueError(
                    f"{seen[name.lower()]!r} and {name!r} differ by case alone; rename one of them"
                )
            seen[name.lower()] = name
        return value

    @model_validator(mode="after")
    def _search_metric(self) -> "Recipe":
        if (
            self.search is not None
            and self.search.metric == "exact_match"
            and self.evaluate.exact_match is None
        ):
            raise ValueError("search.metric exact_match needs evaluate.exact_match")
        return self

    @model_validator(mode="after")
    def _merges_fit(self) -> "Recipe":
        """Every source becomes a target: a merge that cannot take that many is refused before any is trained."""
        merges = {"merge": self.merge}
        merges |= {f"compare.merges.{i}": method for i, method in enumerate(self.compare.merges)}
        wrong = []
        for place, method in merges.items():
            try:
                check_targets(method, len(self.sources))
            except ValueError as error:
                wrong.append(f"{place}: {error} (each source makes one)")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @model_validator(mode="after")
    def _thoughts(self) -> "Recipe":
        keeps = [name for name, spec in self.models.items() if spec.thinking == "keep"]
        if self.corpus.thinking == "drop" and keeps:
            raise ValueError(
                f"thinking: {keeps[0]} cannot keep thoughts that corpus.thinking drops; set corpus.thinking to keep, "
                "and `thinking: drop` for the models that are not to see them"
            )
        return self

    @field_validator("pivot")
    @classmethod
    def _pivot(cls, value: ModelSpec) -> ModelSpec:
        return value.model_copy(update={"template": "own"}) if value.template == "pivot" else value

    @property
    def run_folder(self) -> Path:
        """The folder of the run's artifacts."""
        return Path(self.output) / self.name

    @property
    def sft_seeds(self) -> int:
        """How many times the pivot is fine-tuned on the labels alone."""
        compare = self.compare
        if not compare.sft:
            return 0
        return len(self.sources) if compare.sft_seeds is None else compare.sft_seeds

    @property
    def models(self) -> dict[str, ModelSpec]:
        """The pivot and the sources by name, the pivot first."""
        return {"pivot": self.pivot, **self.sources}


def load_recipe(path: str | Path, settings: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file and put ``path.to.key=value`` settings over it.

    Raises:
        RecipeError: The file is missing or broken, a key is unknown, a value is out of range.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecipeError(
            "There is no such recipe", where=str(path), do="make one with `fusionchat init`"
        ) from error
    except IsADirectoryError as error:
        raise RecipeError(
            "This is a folder, not a recipe", where=str(path), do="give the recipe's YAML file"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe cannot be read: {error}", where=str(path)) from error
    tree = parse_yaml(text, name=str(path))
    apply_settings(tree, settings, Recipe)
    name = str(path) + "".join(f" --set {setting}" for setting in settings)
    return validate_recipe(tree, name=name, folder=str(file.parent))


def merge_method(name: str, settings: tuple[str, ...]) -> MergeMethod:
    """A merge method's settings from its name and ``key=value`` settings; raises RecipeError like a recipe's."""
    tree: dict[str, Any] = {"method": name}
    apply_settings(tree, settings, AnyMerge)
    try:
        return TypeAdapter(AnyMerge).validate_python(prepare(tree, alternatives(AnyMerge)))
    except ValidationError as error:
        raise RecipeError(
            explain(error, Recipe.model_json_schema()),
            where="--method and --set",
            do="see docs/merge_methods.md",
        ) from error


def validate_recipe(tree: dict[str, Any], *, name: str, folder: str) -> Recipe:
    """A recipe from its tree; all mistakes are reported at once, each with its YAML path."""
    if "folder" in tree:
        raise RecipeError("There is no such key", where=f"{name}: folder", do="remove it")
    try:
        return Recipe(**prepare(tree, [Recipe]), folder=folder)
    except ValidationError as error:
        raise RecipeError(
            explain(error, Recipe.model_json_schema()), where=name, do="see docs/recipe.md for every key"
        ) from error
