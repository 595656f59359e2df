"""LlamaIndex's OpenAILike: chat, whole, streamed and asynchronous. Prints one JSON object."""

import asyncio
import json
import sys

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

url, messages = sys.argv[1], [ChatMessage(**turn) for turn in json.loads(sys.argv[2])]
llm = OpenAILike(model="wbrag", api_base=f"{url}/v1", api_key="none", is_chat_model=True, context_window=8192)
print(
    json.dumps(
        {
            "whole": llm.chat(messages).message.content,
            "streamed": "".join(piece.delta or "" for piece in llm.stream_chat(messages)),
            "asynchronous": asyncio.run(llm.achat(messages)).message.content,
        }
    )
)
