"""LiteLLM: a conversation, whole, streamed and asynchronous. Prints one JSON object."""

import asyncio
import json
import sys

import litellm

url, messages = sys.argv[1], json.loads(sys.argv[2])
how = {"model": "openai/wbrag", "api_base": f"{url}/v1", "api_key": "none", "messages": messages}
whole = litellm.completion(**how)
streamed = litellm.completion(**how, stream=True, stream_options={"include_usage": True})
pieces = list(streamed)
later = asyncio.run(litellm.acompletion(**how))
vectors = litellm.embedding(
    model="openai/wbrag", api_base=f"{url}/v1", api_key="none", input=["one", "two"], encoding_format="float"
)
print(
    json.dumps(
        {
            "whole": whole.choices[0].message.content,
            "streamed": "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices),
            "asynchronous": later.choices[0].message.content,
            "tokens": whole.usage.total_tokens,
            "vectors": len(vectors.data),
        }
    )
)
