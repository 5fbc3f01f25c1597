"""A template of code points and a model that learns a few answers in it."""

import torch

from fusionchat.corpus.conversation import Conversation, Message

STOP = 3


class Template:
    """``<1> content`` for a user, ``<2> content <3>`` for an assistant, ``<2>`` to ask for an answer.

    Tokens are code points 32..95 with 4 control tokens in front.
    """

    stop_ids = (STOP,)
    opening = ""

    def text(self, ids):
        return "".join(chr(i + 28) for i in ids if i > STOP)

    def prompt_ids(self, messages):
        ids = []
        for m in messages:
            text = [ord(c) - 28 for c in m.content]
            ids += [1, *text] if m.role == "user" else [2, *text, STOP]
        return [*ids, 2]


def talk(text: str, answer: str | None) -> Conversation:
    messages = (Message("user", text), Message("assistant", f"= {answer}"))
    return Conversation(id=text, messages=messages, answer=answer)


def teach(model, conversations: list[Conversation], steps: int = 200) -> None:
    """Overfit the model on a few question and answer pairs."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rows = []
    for c in conversations:
        prompt = Template().prompt_ids(c.messages[:1])
        answer = [ord(x) - 28 for x in c.messages[1].content] + [STOP]
        rows.append((prompt + answer, [-100] * len(prompt) + answer))
    length = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([i + [0] * (length - len(i)) for i, _ in rows])
    labels = torch.tensor([y + [-100] * (length - len(y)) for _, y in rows])
    model.train()
    for _ in range(steps):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.01:
            break
    model.eval()


KNOWN = [talk("1+1", "2"), talk("7+15", "22"), talk("3", "3"), talk("100+200+300", "600")]
