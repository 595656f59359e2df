"""vLLM engine in this process: one `AsyncLLM`, continuous batching over all coroutines that call it.

vLLM is imported with the first request. API: https://docs.vllm.ai/en/latest/api/vllm/v1/engine/async_llm.html
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from subprocess import Popen
from typing import Any

from wbrag.core.env import ENGINE, check_torchvision
from wbrag.core.errors import EngineDied, PromptTooLong, UsageError, WbragError
from wbrag.core.model_sections import GeneratorConfig
from wbrag.core.types import Completion, Message, Messages, NextToken, NextTokens, Prompt, Sampling, Scored
from wbrag.generators import MADE, engine_name, fetched, lora, model_path
from wbrag.generators.chat_template import ChatTemplate
from wbrag.generators.reaper import die_with_this_process
from wbrag.generators.reasoning import AnswerFilter, answered

GUARD_S = 0.5  # how often a loading engine's process is looked for, so that it does not outlive this one
STALLED_S, LOOKS_S = 900.0, 10.0  # without an output for anybody: the engine hangs
# vLLM's own choice on a CPU is a worker process, beside which the core process spins on a core that both need.
ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # of adapters that vLLM takes
LOADERS = {"runai_streamer": "runai_model_streamer", "fastsafetensors": "fastsafetensors"}  # in no set of ours


class VLLMGenerator:
    """One engine on `tensor_parallel_size` GPUs, or on the CPU. The engine starts with the first request."""

    def __init__(self, settings: GeneratorConfig, seed: int = 0) -> None:
        self.settings, self.seed, self.path = settings, seed, model_path(settings)
        self._engine: Any = None
        self._chat: ChatTemplate | None = None
        self._heard = 0.0  # when the engine last had an output, for whomever
        self._guard: Popen[bytes] | None = None
        self._beside = False  # whether the running engine has the adapter beside its weights
        self._starting = asyncio.Lock()
        self._numbers = count()
        if settings.model not in MADE:
            _check_path(self.path, settings.model)
        self.adapter = lora.local(settings.adapter) if settings.adapter else None

    @property
    def fingerprint(self) -> str:
        return engine_name(self.settings)

    @property
    def in_flight(self) -> int:
        """Requests that the running engine works on at once."""
        return int(self._engine.vllm_config.scheduler_config.max_num_seqs) if self._engine else self.settings.in_flight

    async def start(self) -> None:
        """Load the model, and have it write a token: an engine may also die of its first request."""
        await self._load()
        await self.generate([Message("user", "Say yes.")], Sampling(max_tokens=1))

    async def _load(self) -> None:
        """Once; a `WbragError` says in one sentence why an engine did not come up."""
        async with self._starting:
            if self._engine is None:
                try:
                    await asyncio.to_thread(fetched, self.settings)
                    settings, path = await asyncio.to_thread(self._whole)
                    await self._made(settings, path)
                    self._beside = settings.adapter is not None
                except WbragError:
                    raise
                except Exception as error:
                    reason = " ".join(str(error).split())[:300]
                    if "Device string must not be empty" in reason or "No CUDA GPUs" in reason:
                        raise WbragError(
                            f"expected a GPU for vLLM's CUDA build and model {self.settings.model!r}, found none that "
                            "is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES, or install the CPU set"
                        ) from None
                    raise WbragError(
                        f"expected vLLM to start on model {self.settings.model!r}, "
                        f"found {type(error).__name__}: {reason}; "
                        "check the model, its dtype and the free memory, and that a script's own code stands "
                        'under `if __name__ == "__main__":`, since the engine is a process that imports it'
                    ) from None

    async def _made(self, settings: GeneratorConfig, path: str) -> None:
        """Loading takes minutes, in which others of this event loop have work to do, and this process may die."""
        making = asyncio.ensure_future(asyncio.to_thread(_start_engine, settings, path, self.seed))
        left: asyncio.CancelledError | None = None
        while not making.done():
            try:
                await asyncio.wait({making}, timeout=GUARD_S)
            except asyncio.CancelledError as error:  # until it is there: it must not stay, nor another load beside it
                left = error
            self._guard = self._guard or die_with_this_process()
        if making.exception() is None and left is None:
            self._engine = making.result()
            return
        self._unguarded()
        if making.exception() is None:
            making.result().shutdown()
        if left is not None:
            raise left
        making.result()

    def _whole(self) -> tuple[GeneratorConfig, str]:
        """What the engine is started with: on a CPU, where vLLM takes seconds a token over an adapter, it is merged."""
        if self.adapter is None or not _on_cpu():
            return self.settings, self.path
        path = lora.merged(self.path, str(self.adapter), self.settings.revision)
        return self.settings.model_copy(update={"adapter": None, "revision": None}), str(path)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        template = await self._template()
        ids = template.ids(prompt)
        output = await self._run(ids, self._params(sampling, template))
        [choice] = output.outputs
        chosen = choice.logprobs or []
        whole = Completion(
            template.plain(choice.text),
            len(choice.token_ids),
            len(output.prompt_token_ids),
            choice.finish_reason or "stop",
            tuple(step[token].logprob for step, token in zip(chosen, choice.token_ids)),
            tuple({entry.decoded_token or "": entry.logprob for entry in step.values()} for step in chosen),
            tuple(step[token].decoded_token or "" for step, token in zip(chosen, choice.token_ids)),
        )
        return answered(whole, self.settings.reasoning, template.opened(ids))

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        from vllm.sampling_params import RequestOutputKind

        template = await self._template()
        params, ids = self._params(sampling, template), template.ids(prompt)
        params.output_kind = RequestOutputKind.DELTA
        answer = AnswerFilter(self.settings.reasoning, template.opened(ids))
        async with aclosing(self._outputs(ids, params)) as outputs:
            async for output in outputs:
                [choice] = output.outputs
                reason = (choice.finish_reason or "stop") if output.finished else ""
                text = answer.add(template.plain(choice.text)) + (answer.end(cut=reason == "length") if reason else "")
                thinking = "…" if reason and answer.thought else ""
                yield Completion(text, len(choice.token_ids), len(ids), reason, thinking=thinking)

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        from vllm import SamplingParams

        template = await self._template()
        start = template.ids(prompt)
        space = " " if template.base else ""  # as a prompt goes on after "Answer:"
        rest = template.tokenizer.encode(space + continuation, add_special_tokens=False)
        output = await self._run(start + rest, SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0))
        logprob = sum(output.prompt_logprobs[len(start) + i][token].logprob for i, token in enumerate(rest))
        return Scored(float(logprob), len(start) + len(rest), len(rest))

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        from vllm import SamplingParams

        template = await self._template()
        params = SamplingParams(max_tokens=1, temperature=0.0, logprobs=top)
        output = await self._run([*template.ids(prompt), *prefix], params)
        [step] = output.outputs[0].logprobs
        ends = _end_ids(template.tokenizer, self._engine.model_config.hf_config)

        def is_end(id: int, text: str) -> bool:
            return id in ends or (template.base and bool(prefix) and "\n" in text)  # a base model's line

        shown = [(id, entry.decoded_token or "", float(entry.logprob)) for id, entry in step.items()]
        found = [NextToken(id, text, logprob, is_end(id, text)) for id, text, logprob in shown]
        ranked = sorted(found, key=lambda token: (-token.logprob, token.id))[:top]
        return NextTokens(tuple(ranked), len(output.prompt_token_ids))

    async def decode(self, ids: Sequence[int]) -> str:
        return str((await self._template()).tokenizer.decode(list(ids), skip_special_tokens=True))

    async def knows(self, tokens: Sequence[str]) -> bool:
        vocabulary = (await self._template()).tokenizer.get_vocab()
        return all(token in vocabulary for token in tokens)

    async def close(self) -> None:
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = self._chat = None
            self._unguarded()

    def _unguarded(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _params(self, sampling: Sampling, template: ChatTemplate) -> Any:
        from vllm import SamplingParams

        line = ("\n",) if sampling.one_line and template.base else ()  # it would go on with questions of its own
        return SamplingParams(
            max_tokens=sampling.max_tokens + self.settings.thinking_tokens,
            temperature=sampling.temperature,
            seed=self.seed + sampling.seed,
            stop=[*sampling.stop, *line] or None,
            logprobs=sampling.logprobs,
            skip_special_tokens=not template.cleared,
        )

    async def _run(self, ids: list[int], params: Any) -> Any:
        """The whole reply in one output: nobody reads these tokens one by one."""
        from vllm.sampling_params import RequestOutputKind

        params.output_kind = RequestOutputKind.FINAL_ONLY
        async with aclosing(self._outputs(ids, params)) as outputs:
            async for output in outputs:
                if output.finished:
                    return output
        raise WbragError("expected the engine to finish its reply, found its stream closed: run the command again")

    async def _outputs(self, ids: list[int], params: Any) -> AsyncGenerator[Any]:
        """The engine's outputs for one request; closing early aborts the request in the engine."""
        from vllm.inputs import TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError

        await self._load()
        limit = self._engine.model_config.max_model_len
        if len(ids) + params.max_tokens > limit:
            raise PromptTooLong(
                f"expected a prompt of at most {limit - params.max_tokens} tokens, found {len(ids)}: "
                "lower top_k or raise max_model_len"
            )
        request = f"wbrag-{next(self._numbers)}"
        try:
            asked = self._engine.generate(TokensPrompt(prompt_token_ids=ids), params, request, **self._adapter())
            async with aclosing(asked) as outputs:
                while (output := await self._heard_within(anext(outputs, None))) is not None:
                    yield output
        except EngineDeadError:
            raise EngineDied(
                f"expected vLLM to answer with model {self.settings.model!r}, found its engine process dead: "
                "run the command again, and look at the free memory"
            ) from None

    def _adapter(self) -> dict[str, Any]:
        if not self._beside:
            return {}
        from vllm.lora.request import LoRARequest

        return {"lora_request": LoRARequest("adapter", 1, str(self.adapter))}

    async def _heard_within(self, asked: Any) -> Any:
        """An output of the engine; `EngineDied` where it has had none for anybody in `STALLED_S`."""
        waiting, since = asyncio.ensure_future(asked), time.monotonic()
        try:
            while not (await asyncio.wait({waiting}, timeout=min(LOOKS_S, STALLED_S)))[0]:
                if time.monotonic() - max(since, self._heard) > STALLED_S:
                    raise EngineDied(
                        f"expected vLLM to answer with model {self.settings.model!r}, found no word of its engine for "
                        f"{STALLED_S:.0f} s: run the command again, and look at the GPU"
                    )
            self._heard = time.monotonic()
            return waiting.result()
        finally:
            if not waiting.done():  # before its stream is closed
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

    async def _template(self) -> ChatTemplate:
        await self._load()
        if self._chat is None:
            s = self.settings
            self._chat = ChatTemplate(self._engine.get_tokenizer(), s.chat_template_kwargs, s.system_prompt == "fold")
        return self._chat


def _end_ids(tokenizer: Any, hf_config: Any) -> set[int]:
    """Every token id that ends a reply; instruct models have several."""
    eos = getattr(hf_config, "eos_token_id", None)
    listed = eos if isinstance(eos, list) else [eos]
    return {int(id) for id in (*listed, tokenizer.eos_token_id) if id is not None}


def _lora_rank(adapter: str) -> int:
    """The least of vLLM's own ranks that holds the adapter's."""
    rank = lora.rank(lora.local(adapter))
    return next((known for known in RANKS if known >= rank), rank)


def _check_path(path: str, name: str) -> None:
    looks_local = path.startswith((".", "/", "~")) or name == "embedded"
    if looks_local and not (Path(path).expanduser() / "config.json").is_file():
        raise UsageError(f"expected a model folder with config.json at {path}, found none: check generator.model")


def _start_engine(settings: GeneratorConfig, path: str, seed: int) -> Any:
    needed = LOADERS.get(settings.engine.load_format or "")
    if needed and find_spec(needed) is None:
        raise UsageError(
            f"expected the package {needed} for generator.engine.load_format {settings.engine.load_format}, "
            f"found none: pip install {needed.replace('_', '-')}, or leave the setting out"
        )
    prepare_environment(path)
    check_torchvision()

    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    arguments = AsyncEngineArgs(**engine_options(settings, path, seed), enable_log_requests=False)
    # vLLM sizes a step's batch by this: 16,384 tokens on an H200 for its offline class, 2,048 for an engine by default.
    return AsyncLLM.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)


def prepare_environment(path: str) -> None:
    """What vLLM reads from the environment, before it is imported."""
    for name, value in ENGINE.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    if Path(path).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def engine_options(settings: GeneratorConfig, path: str, seed: int) -> dict[str, Any]:
    """vLLM's own names and values for the settings."""
    cpu = _on_cpu()
    # float32 on CPU: bfloat16 rounds differently in every batch, so that a resumed run could answer otherwise
    dtype = ("float32" if cpu else "auto") if settings.dtype == "auto" else settings.dtype
    return {
        "model": path,
        "revision": settings.revision,
        "dtype": dtype,
        "seed": seed,
        "max_model_len": settings.max_model_len,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        **({"max_num_seqs": settings.in_flight} if cpu or settings.concurrency else {}),
        **({"distributed_executor_backend": ONE_PROCESS} if cpu and settings.tensor_parallel_size == 1 else {}),
        "enable_prefix_caching": True,
        "enforce_eager": cpu,
        "trust_remote_code": False,
        "load_format": "safetensors",  # never a pickle, of the hub neither
        "disable_log_stats": True,
        "generation_config": "vllm",
        **({"enable_lora": True, "max_lora_rank": _lora_rank(settings.adapter)} if settings.adapter else {}),
        **settings.engine.chosen(),
    }
