"""The generator's deployment with a window into the engine; Ray's workers import it by name."""

from __future__ import annotations

from wbrag.serving.ray.llm import CPUChatServer


class Watched(CPUChatServer):
    """Tells how many requests the engine is working on."""

    async def unfinished(self) -> int:
        return int(self.engine._engine_client.output_processor.get_num_unfinished_requests())
