"""Templates with every habit that published ones have with thoughts."""

from tests.corpus.templates import LOOP

SPLITS = (
    "{% set t = '' %}{% set c = m.content %}{% if '</think>' in c %}"
    "{% set t = c.split('</think>')[0].split('<think>')[-1].strip() %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}"
)
USER = "{% else %}<s>{{ m.role }}\n{{ m.content }}<|end|>\n{% endif %}{% endfor %}"
ASSISTANT = LOOP + "{% if m.role == 'assistant' %}" + SPLITS + "<s>assistant\n"
HABITS = {
    "plain": LOOP + "<s>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}",
    "drops": ASSISTANT + "{{ c }}<|end|>\n" + USER,
    "drops and keeps the spaces": LOOP
    + "<s>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|end|>\n{% endfor %}",
    "drops and writes an empty one": ASSISTANT + "<think>\n\n</think>\n\n{{ c }}<|end|>\n" + USER,
    "shows": ASSISTANT + "<think>\n{{ t }}\n</think>\n\n{{ c }}<|end|>\n" + USER,
    "shows on one line": ASSISTANT + "<think>{{ t }}</think>{{ c }}<|end|>\n" + USER,
    "shows the last": ASSISTANT
    + "{% if loop.last %}<think>\n{{ t }}\n</think>\n\n{% endif %}{{ c }}<|end|>\n"
    + USER,
    "shows where there is one": ASSISTANT
    + "{% if t %}<think>\n{{ t }}\n</think>\n\n{% endif %}{{ c }}<|end|>\n"
    + USER,
    "trims": LOOP + "<s>{{ m.role }}\n{{ m.content | trim }}<|end|>\n{% endfor %}",
}
