from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.align.trie import count_alike, longest_prefixes, step, trie_of
from fusionchat.tokens.spans import make_table

TOKENS = st.lists(
    st.binary(min_size=1, max_size=6).map(lambda b: bytes(97 + x % 3 for x in b)), min_size=1, max_size=20
)


@settings(max_examples=100, deadline=None)
@given(TOKENS)
def test_every_token_is_found_and_nothing_else(tokens):
    trie = trie_of(make_table(tokens))
    for spelled in [*tokens, b"abcabc", b"z", b"a"]:
        node = 0
        for byte in spelled:
            node = step(trie.keys, trie.children, node, byte) if node >= 0 else node
        found = trie.token[node] if node >= 0 else -1
        assert found == (tokens.index(spelled) if spelled in tokens else -1)


@settings(max_examples=100, deadline=None)
@given(TOKENS, TOKENS)
def test_prefixes_and_tokens_alike(source, pivot):
    one, other = make_table(source), trie_of(make_table(pivot))
    rest = longest_prefixes(one.words, other, False)
    alike = count_alike(one.words, trie_of(one))
    for t, spelled in enumerate(source):
        for at in range(len(spelled)):
            fits = [p for p in pivot if spelled[at:].startswith(p)]
            assert rest[one.offsets[t] + at] == (pivot.index(max(fits, key=len)) if fits else -1)
            assert alike[one.offsets[t] + at] == sum(s.startswith(spelled[: at + 1]) for s in source)
