"""Capture with vLLM, which runs in an environment of its own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, field_validator

from fusionchat.errors import RecipeError
from fusionchat.represent.capture.base import Asked, Capture, Capturer

DOCS = "docs/capture.md has the two commands that make such an environment"
OF_THE_MODEL = {
    "trust_remote_code": "set `trust_remote_code: true` there, and for a hub id `revision:` to a commit",
    "model": "set `model:` there",
    "revision": "set `revision:` there",
    "code_revision": "set `revision:` there",
    "hf_config_path": "set `model:` there",
}
"""Arguments of `vllm.LLM` that the model's own keys in the recipe set, and what to write instead."""


class Vllm(Capturer):
    """vLLM scores the conversations, in an environment of its own on this machine."""

    backend: Literal["vllm"] = "vllm"
    engine: dict[str, JsonValue] = Field(
        {},
        description="more arguments of `vllm.LLM`, such as `quantization: awq` or `hf_overrides: {...}`",
    )
    python: str | None = Field(
        None,
        exclude=True,
        description="the interpreter of the environment that has vLLM, such as `vllm/bin/python`",
    )
    tensor_parallel: int = Field(1, ge=1, exclude=True, description="GPUs that share the model")
    max_num_seqs: int = Field(128, ge=1, exclude=True, description="concurrent conversations")
    step_tokens: int = Field(
        1024,
        ge=1,
        exclude=True,
        description="tokens per step; their logits are all in memory, in float32, on top of `memory`",
    )
    memory: float = Field(
        0.8, gt=0, le=1, exclude=True, description="share of a GPU's memory for weights and cache"
    )
    eager: bool = Field(
        True, exclude=True, description="no compiling and no CUDA graphs: prompts gain little from them"
    )

    @field_validator("engine")
    @classmethod
    def _none_of_the_model(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name, instead in OF_THE_MODEL.items():
            if name in value:
                raise ValueError(f"{name} belongs to the model, beside `capture:`; {instead}")
        return value

    @property
    def version(self) -> str:
        """The version of vLLM."""
        return self._version("capture")

    def require(self, place: str) -> None:
        """Raise RecipeError if no interpreter is given."""
        if self.python is None:
            raise RecipeError(
                "This backend needs the interpreter of an environment with vLLM",
                where=f"{place}.python",
                do=f"set it; {DOCS}",
            )

    def faults(self, place: str, model: str) -> list[str]:
        """Why vLLM cannot be used."""
        try:
            self._version(place)
        except RecipeError as error:
            return [f"{error.where}: {error.what[0].lower()}{error.what[1:]}; {DOCS}"]
        return []

    def _version(self, place: str) -> str:
        """The version of vLLM in the interpreter's environment.

        Raises:
            RecipeError: It has no vLLM, or is no interpreter.
        """
        from fusionchat.represent.vllm.worker import version_in

        python, where = self._interpreter(place), f"{place}.python"
        try:
            found = version_in(python)
        except OSError as error:
            words = f"The interpreter {self.python} cannot be started: {error.strerror}"
            raise RecipeError(words, where=where, do=DOCS) from error
        if not found:
            raise RecipeError(f"The interpreter {self.python} has no vLLM", where=where, do=DOCS)
        return found

    def _interpreter(self, place: str) -> str:
        """The interpreter's path; one with a slash may be relative to the working directory."""
        self.require(place)
        found = shutil.which(str(Path(str(self.python)).expanduser()))
        if found is None:
            raise RecipeError(f"There is no interpreter {self.python}", where=f"{place}.python", do=DOCS)
        return str(Path(found).absolute())

    def engine_of(self, asked: Asked) -> dict[str, JsonValue]:
        """The arguments of `vllm.LLM`.

        A step has at most ``step_tokens``, so that a long prompt's logits are never in memory at once; prefix
        caching is off, because cached tokens get no log-probabilities.

        Raises:
            ModelError: The model's own Python files would run, and they are not pinned.
        """
        from fusionchat.models.own_code import trusted

        own: dict[str, JsonValue] = {
            "model": asked.ref.model
            if asked.ref.place.path is None
            else str(asked.ref.place.path.absolute()),
            "revision": asked.ref.place.revision,
            "trust_remote_code": trusted(asked.ref, asked.ref.place),
            "dtype": asked.dtype,
            "skip_tokenizer_init": True,
            "max_model_len": asked.longest + 1,
            "max_logprobs": min(asked.k, asked.vocabulary),
            "logprobs_mode": "raw_logprobs",
            "enable_prefix_caching": False,
            "enable_chunked_prefill": True,
            "max_num_seqs": min(self.max_num_seqs, self.step_tokens),
            "max_num_batched_tokens": self.step_tokens,
            "tensor_parallel_size": self.tensor_parallel,
            "gpu_memory_utilization": self.memory,
            "enforce_eager": self.eager,
            "seed": 0,
        }
        return own | self.engine

    @contextmanager
    def open(self, asked: Asked) -> Iterator[Capture]:
        """The model in a vLLM process that is started here."""
        from fusionchat.represent.vllm.worker import Worker

        self._version(asked.place)
        worker = Worker(self._interpreter(asked.place), self.engine_of(asked), asked)
        try:
            yield worker
        except BaseException:
            worker.close(wait=False)
            raise
        worker.close()
