"""The recipe: one YAML file, read into frozen, validated models; errors name the YAML path.

Settings that change a result are next to the stage they belong to. Settings that only change how fast it is
reached are under ``runtime`` and never make an artifact stale.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from fusionchat.align.settings import AlignSettings, VocabularyMethod
from fusionchat.answer.settings import RoundsSettings
from fusionchat.corpus.settings import DRAWN, MANY, ONE, CorpusSettings
from fusionchat.distill import precision
from fusionchat.distill.settings import AdaptSettings, DistillSettings, TrainingSettings
from fusionchat.distill.trainable import TAGS
from fusionchat.errors import RecipeError
from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.fuse.rules import FuseRule
from fusionchat.fuse.rules.min_ce import MinCE
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.checks import check_targets
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.settings import AnyMerge, FusedSettings, SearchSettings
from fusionchat.mistakes import explain
from fusionchat.models.ref import ModelRef, resolve
from fusionchat.models.settings import ModelSpec
from fusionchat.recipe.set import alternatives, apply_settings
from fusionchat.recipe.types import prepare
from fusionchat.represent.capture import DEFAULT, AnyCapturer
from fusionchat.represent.settings import RepresentSettings
from fusionchat.runtime import RuntimeSettings
from fusionchat.settings import Frozen, Grown, method_from_name, no_such, no_such_method
from fusionchat.yaml import parse_yaml

BRANCHES = (ONE, MANY, DRAWN, "BytePrefix", "Exact", "MinEdit", "Statistics", *TAGS.values(), *precision.TAGS)
"""pydantic's names of the branches of a recipe's unions."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NAME_RULE = "use letters, digits, '.', '_' and '-' only, a letter or digit first, and at most 100 characters"
ROUND = re.compile(r"round[0-9]+", re.IGNORECASE)
RESERVED = frozenset({"pivot", "sft", "all"})
"""Names that no source may have, since FusionChat has models of these names."""


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
AnyFuse = Annotated[FuseRule, Field(discriminator="method"), BeforeValidator(method_from_name)]


class CapturedModel(ModelSpec):
    """A model: a folder (relative to the recipe) or a hub id, its chat template, and its capture."""

    capture: AnyCapturer = Field(
        DEFAULT, description="the program that captures it; a word is short for `{backend: ...}`"
    )


class CompareSettings(Frozen):
    """Further models that are made only for comparison; the fused model needs none of them."""

    sft: bool = Field(True, description="the pivot fine-tuned on the labels alone, as `distill` says")
    sft_epochs: float | None = Field(
        None,
        gt=0,
        description=(
            "passes of this training; unset: `distill.epochs`. Labels overfit earlier than distributions, so "
            "compare with SFT at its best, found on validation"
        ),
    )
    sft_learning_rate: float | None = Field(
        None, gt=0, description="its peak learning rate; unset: `distill.learning_rate`"
    )
    sft_seeds: int | None = Field(
        None,
        ge=0,
        description="train it this many times with different seeds, and compare with their mean and with their soup (the "
        "average of their parameters); unset: the number of sources; 0 is `sft: false`",
    )
    self_distillation: bool = Field(
        False, description="a target distilled from the pivot's own distributions, at `distill.label_weight`"
    )
    all_sources: bool = Field(False, description="one target distilled from all sources at once")
    merges: tuple[AnyMerge, ...] = Field((), description="other merges of the same targets")


class Recipe(Grown):
    """Everything a run needs."""

    later: ClassVar[tuple[str, ...]] = ("rounds",)
    name: str = Field(description="the run's name, and its folder's")
    output: str = Field("runs", description="folder that holds the runs, relative to the working directory")
    seed: int = Field(
        0, description="seed of every random choice: data order, training, shares of the corpus"
    )
    pivot: CapturedModel
    sources: dict[str, CapturedModel] = Field(
        min_length=1,
        description="models whose knowledge is fused in: a name for each, and keys as for `pivot`",
    )
    corpus: CorpusSettings
    adapt: AdaptSettings | None = Field(
        None,
        description=(
            "fine-tune sources on the corpus before they are captured; `{}` uses the defaults; unset: "
            "sources are captured as published"
        ),
    )
    represent: RepresentSettings = RepresentSettings()
    align: AnyAlign = AlignSettings()
    fuse: AnyFuse = MinCE()
    distill: DistillSettings = DistillSettings()
    rounds: RoundsSettings = RoundsSettings()
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
    def _sources(cls, value: dict[str, CapturedModel]) -> dict[str, CapturedModel]:
        seen: dict[str, str] = {}
        for name in value:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r}: {NAME_RULE}")
            if name.lower() in RESERVED:
                raise ValueError(f"{name!r} is taken: it names a model that FusionChat makes or knows")
            if name.lower() in seen:  # the same folder on a file system that ignores case
                raise ValueError(
                    f"{seen[name.lower()]!r} and {name!r} differ only in case; rename one of them"
                )
            seen[name.lower()] = name
        return value

    @model_validator(mode="after")
    def _search_metric(self) -> "Recipe":
        if self.search is not None:
            try:
                task = self.evaluate.task_of(self.search.metric)
                if not task.from_corpus:
                    raise ValueError(
                        f"{self.search.metric} asks the same questions on validation and test: a merge that it chooses "
                        "would be judged on the questions that chose it"
                    )
            except ValueError as error:
                raise ValueError(f"search.metric: {error}") from error
        return self

    @model_validator(mode="after")
    def _merges_fit(self) -> "Recipe":
        """Refuse a merge that cannot take one target for each source, before any is trained."""
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
    def _fused_models(self) -> "Recipe":
        wrong = [
            f"fuse.{key}: {no_such('model', name, list(self.models))}"
            for key, name in self.fuse.models.items()
            if name not in self.models
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @model_validator(mode="after")
    def _adapted(self) -> "Recipe":
        named = () if self.adapt is None else self.adapt.sources
        if unknown := [name for name in named if name not in self.sources]:
            raise ValueError(f"adapt.sources: {no_such('source', unknown[0], list(self.sources))}")
        return self

    @model_validator(mode="after")
    def _thoughts(self) -> "Recipe":
        keeps = [name for name, spec in self.models.items() if spec.thinking == "keep"]
        if self.corpus.thinking == "drop" and keeps:
            raise ValueError(
                f"thinking: {keeps[0]} cannot keep thoughts that corpus.thinking drops; set corpus.thinking to keep, "
                "and `thinking: drop` for the models that should not see them"
            )
        return self

    @model_validator(mode="after")
    def _names_of_rounds(self) -> "Recipe":
        taken = [name for name in self.sources if ROUND.fullmatch(name)]
        if taken and self.rounds.n > 1:
            raise ValueError(f"sources: {taken[0]!r} is the name of a folder of later rounds: rename it")
        return self

    @field_validator("pivot")
    @classmethod
    def _pivot(cls, value: CapturedModel) -> CapturedModel:
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
    def sft(self) -> TrainingSettings:
        """How the pivot is fine-tuned on the labels alone."""
        own = {"epochs": self.compare.sft_epochs, "learning_rate": self.compare.sft_learning_rate}
        given = {key: value for key, value in own.items() if value is not None}
        return self.distill.hard().model_copy(update=given)

    @classmethod
    def load(cls, path: str | Path, settings: Sequence[str] = ()) -> "Recipe":
        """The recipe in a YAML file, with ``path.to.key=value`` settings applied; raises RecipeError."""
        return load_recipe(path, tuple(settings))

    def refs(self) -> dict[str, ModelRef]:
        """The models with every path resolved, by name, the pivot first; raises ModelError if one is missing."""
        return resolve(self.models, self.folder)

    @property
    def models(self) -> dict[str, CapturedModel]:
        """The pivot and the sources by name, the pivot first."""
        return {"pivot": self.pivot, **self.sources}


def load_recipe(path: str | Path, settings: tuple[str, ...] = ()) -> Recipe:
    """The recipe in a file, with ``path.to.key=value`` settings applied.

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
            "This is a folder, not a recipe", where=str(path), do="pass the recipe's YAML file"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe cannot be read: {error}", where=str(path)) from error
    tree = parse_yaml(text, name=str(path))
    apply_settings(tree, settings, Recipe)
    name = str(path) + "".join(f" --set {setting}" for setting in settings)
    return validate_recipe(tree, name=name, folder=str(file.parent))


def _explained(error: ValidationError) -> str:
    return explain(error, Recipe.model_json_schema(), BRANCHES)


def merge_method(name: str, settings: tuple[str, ...]) -> MergeMethod:
    """A merge method's settings from its name and ``key=value`` settings; raises RecipeError."""
    tree: dict[str, Any] = {"method": name}
    apply_settings(tree, settings, AnyMerge)
    try:
        return TypeAdapter(AnyMerge).validate_python(prepare(tree, alternatives(AnyMerge)))
    except ValidationError as error:
        raise RecipeError(
            _explained(error),
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
        raise RecipeError(_explained(error), where=name, do="see docs/recipe.md for every key") from error
