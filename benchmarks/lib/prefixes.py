"""What a prefix cache spares, reckoned as vLLM does it: whole blocks of tokens, the longest unused forgotten first.

https://docs.vllm.ai/en/latest/design/prefix_caching/
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

UNBOUNDED = 10**12


def cached_tokens(prompts: Sequence[Sequence[int]], block: int, capacity: int = UNBOUNDED) -> int:
    """Prompt tokens out of the cache where `prompts` (token ids) are read one after the other.

    A block is known by all tokens up to its end; at least one token of a prompt is always read. `capacity` in tokens.
    """
    known: OrderedDict[int, None] = OrderedDict()
    found = 0
    for prompt in prompts:
        key, hit = 0, True
        for start in range(0, len(prompt) - block + 1, block):
            key = hash((key, tuple(prompt[start : start + block])))
            hit = hit and key in known and start + block < len(prompt)
            found += block * hit
            known[key] = None
            known.move_to_end(key)
        while len(known) * block > capacity:
            known.popitem(last=False)
    return found
