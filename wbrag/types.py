"""Public types and protocols, for plug-ins and scripts: `from wbrag.types import Hit, Passage, Retriever`.

Re-exports only. What a retriever plug-in may also implement: `Collection`, `KnowsPassages`, `HasVersion`.
"""

from wbrag.core.types import (
    Answer,
    Completion,
    Cost,
    Evidence,
    Example,
    Generator,
    Hit,
    Message,
    Messages,
    NextToken,
    NextTokens,
    Origin,
    Passage,
    Prompt,
    Retriever,
    Role,
    Sampling,
    Scored,
    Streams,
    Unit,
    content_hash,
    unit_id,
)
from wbrag.retrieval.external import Collection, HasVersion, Held, KnowsPassages

__all__ = [
    "Answer",
    "Collection",
    "Completion",
    "Cost",
    "Evidence",
    "Example",
    "Generator",
    "HasVersion",
    "Held",
    "Hit",
    "KnowsPassages",
    "Message",
    "Messages",
    "NextToken",
    "NextTokens",
    "Origin",
    "Passage",
    "Prompt",
    "Retriever",
    "Role",
    "Sampling",
    "Scored",
    "Streams",
    "Unit",
    "content_hash",
    "unit_id",
]
