"""The eight domains of the demo's corpus, after MT-Bench's categories (arXiv 2306.05685)."""

import random
from collections.abc import Callable

from fusionchat.demo.domains import coding, extraction, humanities, math, reasoning, roleplay, stem, writing
from fusionchat.demo.world import Turn, World

DOMAINS: dict[str, Callable[[World, random.Random], list[Turn]]] = {
    "writing": writing.dialogue,
    "roleplay": roleplay.dialogue,
    "reasoning": reasoning.dialogue,
    "math": math.dialogue,
    "coding": coding.dialogue,
    "extraction": extraction.dialogue,
    "stem": stem.dialogue,
    "humanities": humanities.dialogue,
}
