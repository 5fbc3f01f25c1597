"""Checks of a server before a capture: the model, its tokenizer, its longest prompt."""

from collections.abc import Mapping, Sequence

from fusionchat.artifacts import Json
from fusionchat.errors import ModelError
from fusionchat.represent.endpoint.client import Server

MODELS, TOKENIZE, VERSION, COMPLETIONS = "/v1/models", "/tokenize", "/version", "/v1/completions"
SHOWN = 60


def version_of(server: Server) -> str:
    """The version that the server reports; "unknown" if it reports none."""
    held = server.get(VERSION, optional=True) or {}
    return str(held.get("version", "unknown"))


def models_of(server: Server) -> list[Mapping[str, Json]]:
    """The models that a server says it has."""
    held = (server.get(MODELS) or {}).get("data")
    return [one for one in held if isinstance(one, dict)] if isinstance(held, list) else []


def most_tokens(server: Server, model: str) -> int | None:
    """The server's limit for a model, in tokens of prompt and answer together.

    None if it does not say.
    """
    own = next((one for one in models_of(server) if one.get("id") == model), {})
    most = own.get("max_model_len")
    return most if isinstance(most, int) else None


def require_model(server: Server, model: str, longest: int, *, place: str) -> None:
    """Check that the server has the model, for prompts of ``longest`` tokens.

    Raises:
        ModelError: It has only other models, or takes only shorter prompts.
    """
    served = models_of(server)
    own = next((one for one in served if one.get("id") == model), None)
    if own is None:
        names = ", ".join(repr(one.get("id")) for one in served) or "none"
        raise ModelError(
            f"The server has no model {model!r}; it has {names}",
            where=f"{place}.model: {server.url}{MODELS}",
            do="use the server's name for it",
        )
    most = own.get("max_model_len")
    if isinstance(most, int) and most < longest + 1:  # one token is always generated
        raise ModelError(
            f"The server accepts {most - 1} tokens of {model!r} at most, but the longest conversation has {longest}",
            where=f"{place}: {server.url}",
            do=f"start it with --max-model-len {longest + 1}, or set corpus.max_tokens to {most - 1}",
        )


def require_tokenizer(
    server: Server, model: str, samples: Sequence[tuple[str, tuple[int, ...]]], *, place: str
) -> bool:
    """Whether the server can tokenize; if so, its tokens of every sample are the model's own.

    Raises:
        ModelError: It has other tokens: another model, or another tokenizer.
    """
    for text, ids in samples:
        answer = server.post(TOKENIZE, tokenize_request(model, text), optional=True)
        if answer is None:
            return False
        if answer.get("tokens") != list(ids):
            shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
            raise ModelError(
                f"The server's tokenizer differs from the recipe's: it splits {shown!r} into {answer.get('tokens')!s:.80} "
                f"and not into {list(ids)!s:.80}",
                where=f"{place}: {server.url}{TOKENIZE}",
                do="check that it serves the recipe's model, or set `tokenizer:` to the tokenizer of the server's model",
            )
    return True


def tokenize_request(model: str, text: str) -> Mapping[str, Json]:
    """The body of a request for the tokens of a text."""
    return {"model": model, "prompt": text, "add_special_tokens": False}
