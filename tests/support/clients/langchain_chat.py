"""LangChain's ChatOpenAI: chat completions and responses, whole, streamed and asynchronous. Prints one JSON object."""

import asyncio
import json
import sys

from langchain_openai import ChatOpenAI

url, messages = sys.argv[1], json.loads(sys.argv[2])
chat = ChatOpenAI(model="wbrag", base_url=f"{url}/v1", api_key="none")
responses = ChatOpenAI(model="wbrag", base_url=f"{url}/v1", api_key="none", use_responses_api=True)
narrowed = ChatOpenAI(model="wbrag", base_url=f"{url}/v1", api_key="none", extra_body={"wbrag": {"top_k": 1}})
print(
    json.dumps(
        {
            "whole": chat.invoke(messages).text,
            "streamed": "".join(piece.text for piece in chat.stream(messages)),
            "asynchronous": asyncio.run(chat.ainvoke(messages)).text,
            "responses": responses.invoke(messages).text,
            "responses streamed": "".join(piece.text for piece in responses.stream(messages)),
            "narrowed": narrowed.invoke(messages).text,
        }
    )
)
