"""Reader training: a language model learns to answer from documents, to name evidence and to rewrite it (LoRA, SFT).

The loss is that of the reply's tokens alone, after the very prompt tokens that an engine reads (Hu et al., 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wbrag.core.model_sections import GeneratorConfig
from wbrag.generators import fetched
from wbrag.generators.chat_template import ChatTemplate
from wbrag.generators.lora import loaded, tokenizer_of
from wbrag.training.course import ReadingCourse, arguments, fast_bfloat16
from wbrag.training.exercises import Exercise, Taught

SMALL = 500_000_000  # parameters
UNTAUGHT = -100  # the label of a token that is no reply, by PyTorch's convention


def trainer(course: ReadingCourse, folder: Path) -> Any:
    """TRL's, over a LoRA adapter on every linear layer; one exercise at a time, so that nothing is padded."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig

    g, s = course.generator, course.settings
    gpu = torch.cuda.is_available()
    half = torch.bfloat16 if gpu or fast_bfloat16() else torch.float32
    attention = {} if gpu else {"attn_implementation": "eager"}  # faster than sdpa there
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(course.seed)  # of the adapter's first weights
        model, tokenizer = loaded(fetched(g), g.revision, half, **attention)
        template = ChatTemplate(tokenizer, g.chat_template_kwargs, g.system_prompt == "fold")
        parts = {
            name: Dataset.from_list([row(prompt, reply, template) for prompt, reply in zip(part.prompts, part.replies)])
            for name, part in (("train_dataset", course.taught), ("eval_dataset", course.stopping))
        }
        lora = LoraConfig(r=s.rank, lora_alpha=s.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
        told = arguments(course, folder) | {
            "per_device_train_batch_size": 1,
            "per_device_eval_batch_size": 1,
            "gradient_accumulation_steps": s.batch,
            "gradient_checkpointing": gpu or model.num_parameters() > SMALL,  # a small model's activations fit
            "max_length": None,  # what is longer was left out before: TRL would cut its reply off
        }
        return _trainer(gpu)(model, args=SFTConfig(**told), peft_config=lora, processing_class=tokenizer, **parts)


def _trainer(gpu: bool) -> Any:
    """TRL's class; on a CPU with a loss that asks for the replies' tokens alone.

    There TRL scores every position, in float32: half of the time, for replies of some ten tokens in five hundred.
    """
    from torch.nn.functional import cross_entropy
    from trl.trainer.sft_trainer import SFTTrainer

    if gpu:
        return SFTTrainer

    class OnCPU(SFTTrainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            [labels] = inputs.pop("labels")  # one exercise at a time
            told = (labels[1:] != UNTAUGHT).nonzero().squeeze(1)  # places that tell the next token
            found = model(**inputs, logits_to_keep=told, use_cache=False)
            loss = cross_entropy(found.logits[0].float(), labels[told + 1], reduction="sum")
            if num_items_in_batch is None:
                loss = loss / len(told)
            else:  # of all workers, whose gradients are averaged
                loss = loss / num_items_in_batch * self.accelerator.num_processes
            return (loss, found) if return_outputs else loss

    return OnCPU


def fitting(exercises: Sequence[Exercise], generator: GeneratorConfig, max_tokens: int) -> list[Exercise]:
    """Those whose prompt and reply are at most so many tokens of this model."""
    tokenizer = tokenizer_of(fetched(generator), generator.revision)
    template = ChatTemplate(tokenizer, generator.chat_template_kwargs, generator.system_prompt == "fold")
    all_of = Taught.of(exercises)
    rows = (row(prompt, reply, template) for prompt, reply in zip(all_of.prompts, all_of.replies, strict=True))
    return [one for one, found in zip(exercises, rows, strict=True) if len(found["input_ids"]) <= max_tokens]


def row(prompt: Sequence[tuple[str, str]], reply: str, template: ChatTemplate) -> dict[str, list[int]]:
    """Token ids of prompt, reply and the end of the turn, with labels for the last two.

    Where the template has opened a thinking block, the reply begins by closing it: the model learns not to think.
    """
    tokenizer = template.tokenizer
    start = template.ids(Taught.messages(prompt))
    closing = template.closing(start)
    said = f"{closing}\n\n{reply}" if closing else f" {reply}" if template.base else reply
    rest = [*tokenizer.encode(said, add_special_tokens=False), tokenizer.eos_token_id]
    return {"input_ids": [*start, *rest], "labels": [UNTAUGHT] * len(start) + rest}
