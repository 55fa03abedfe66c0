"""A language model in this process: loading it, its queue of requests, its voice.

Hundreds of episodes ask for replies at once. The queue gathers what they ask for and decodes it together, one step at a
time, giving way to the event loop between steps: partners that wait on a network go on meanwhile, and an episode that
goes on asks its next question into the same batch. One thread, so the same requests make the same batches.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt, Interval
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from sparring.chat import Chat, Part
from sparring.errors import ConfigError, TooLong
from sparring.journal import Journal, key
from sparring.sampler import Request, Sampled, Sampler
from sparring.seeds import Name, digest, stream
from sparring.speaker import Reply, Sampling
from sparring.tiny import tiny_model, tiny_tokenizer
from sparring.tokens import Dialect

Thoughts = Literal["off", "hidden", "kept"]

disable_progress_bar()  # the run shows its own

_MODELS = "give tiny, a folder in the Hugging Face format or a hub id"

_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters (PEFT): `rank`, `alpha`, `dropout`, and the modules adapted (None: all linear ones)."""

    rank: Annotated[int, Gt(0)] = 16
    alpha: Annotated[float, Gt(0)] = 32.0
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    targets: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ModelSource:
    """Which model, and how it is to be loaded.

    `model`: `tiny`, a folder, or a hub id. `chat_template`: a file with one, for models without; `chat_template_kwargs`
    go to the template. `thinking`, for models that think by themselves: "off", "hidden" (thoughts are taken off and
    forgotten) or "kept" (the model goes on seeing its own). `dtype` and `device` suit the machine unless given.
    `slots` replies are decoded at once; `cache_tokens` bounds the key-value cache.
    """

    model: str = "tiny"
    lora: Lora | None = None
    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    thinking: Thoughts = "off"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    slots: Annotated[int, Gt(0)] = 128
    cache_tokens: Annotated[int, Gt(0)] | None = None

    def __post_init__(self) -> None:
        if self.model == "tiny" and self.lora is not None:
            raise ConfigError(
                "lora with model = 'tiny': adapters are saved without their base, and this one is made on the spot; "
                "leave lora out, or give a folder or a hub id"
            )

    def torch_device(self) -> torch.device:
        """The device meant: the first accelerator there is, otherwise the CPU."""
        if self.device != "auto":
            try:
                return torch.device(self.device)
            except RuntimeError as error:
                raise ConfigError(f"device = {self.device!r} is not a device; give cpu, cuda, cuda:1 or mps") from error
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")

    def torch_dtype(self) -> torch.dtype:
        """The number format meant: bfloat16 on a GPU, float32 elsewhere."""
        if self.dtype != "auto":
            found = getattr(torch, self.dtype)
            assert isinstance(found, torch.dtype)
            return found
        return torch.bfloat16 if self.torch_device().type == "cuda" else torch.float32


class LanguageModel:
    """A causal language model, its dialect and its queue."""

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> None:
        self.network = network
        self.source = source
        self.dialect = Dialect(tokenizer, _template_kwargs(tokenizer, source), source.thinking == "kept")
        self.tokens_sampled = 0
        self._waiting: dict[int, asyncio.Future[Sampled]] = {}
        self._decoding: asyncio.Task[None] | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        found = next(self.network.parameters()).device
        assert isinstance(found, torch.device)
        return found

    @property
    def max_length(self) -> int:
        """The longest sequence it takes, in tokens."""
        return int(getattr(self.network.config, "max_position_embeddings", 0) or 2**31)

    @cached_property
    def sampler(self) -> Sampler:
        """The decode loop over the live weights."""
        return Sampler(
            self.network,
            self.dialect.stop_ids,
            self.dialect.decode,
            slots=self.source.slots,
            cache_tokens=self.source.cache_tokens,
            pad_id=self.dialect.tokenizer.pad_token_id or 0,
        )

    async def sample(self, request: Request) -> Sampled:
        """The tokens that `request` draws, decoded together with whatever else is waiting."""
        future: asyncio.Future[Sampled] = asyncio.get_running_loop().create_future()
        self._waiting[self.sampler.submit(request)] = future
        if self._decoding is None or self._decoding.done():
            self._decoding = asyncio.create_task(self._decode())
        return await future

    async def _decode(self) -> None:
        try:
            await self._settled()
            while self.sampler.busy:
                for ticket, sampled in self.sampler.step():
                    self.tokens_sampled += len(sampled.ids)
                    future = self._waiting.pop(ticket)
                    if not future.done():
                        future.set_result(sampled)
                await self._settled()
        except Exception as error:  # whoever waits is told, whatever it was
            waiting, self._waiting = self._waiting, {}
            del self.sampler  # what it holds is of no use any more
            for future in waiting.values():
                if not future.done():
                    future.set_exception(error)

    async def _settled(self) -> None:
        """Lets the episodes run until none has asked anything new for a few passes of the event loop."""
        quiet = 0
        while quiet < 4:
            before = len(self._waiting)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == before else 0


def _template_kwargs(tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> dict[str, Any]:
    """The template's settings, with thinking switched where the template has a switch for it."""
    template = str(tokenizer.chat_template or "")
    switch = {"enable_thinking": source.thinking != "off"} if "enable_thinking" in template else {}
    return {**switch, **source.chat_template_kwargs}


def load(source: ModelSource, seed: int = 0) -> LanguageModel:
    """The model that `source` names, on its device, adapters added; `seed` draws what has no weights yet."""
    if source.model == "tiny":
        network, tokenizer = tiny_model(seed), tiny_tokenizer()
    else:
        network, tokenizer = _pretrained(source)
    if source.chat_template is not None:
        tokenizer.chat_template = _read_template(Path(source.chat_template))
    network = network.to(source.torch_device(), source.torch_dtype())
    if source.lora is not None:  # after the cast: PEFT keeps its adapters in float32
        network = _with_adapters(network, source.lora, seed)
    return LanguageModel(network, tokenizer, source)


def _pretrained(source: ModelSource) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    place = Path(source.model)
    name = str(place.resolve()) if place.exists() else source.model  # adapters remember where their base lies
    if place.exists() and not any((place / file).exists() for file in ("config.json", "adapter_config.json")):
        raise ConfigError(f"model = {source.model!r} holds no model: it has no config.json; {_MODELS}")
    if not place.exists() and (source.model.startswith((".", "/", "~")) or source.model.count("/") > 1):
        raise ConfigError(f"model = {source.model!r} cannot be loaded: there is no folder {source.model}; {_MODELS}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        network = AutoModelForCausalLM.from_pretrained(name, dtype=source.torch_dtype())
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"model = {source.model!r} cannot be loaded: {reason.rstrip('. ')}; {_MODELS}") from error
    return network, tokenizer


def _read_template(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigError(f"chat_template = {str(path)!r} cannot be read: {error.strerror}") from error


def _with_adapters(network: PreTrainedModel, lora: Lora, seed: int) -> PreTrainedModel:
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - a second to import, and few runs need it

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) if lora.targets else "all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(stream(seed, "lora"))
        adapted: PreTrainedModel = get_peft_model(network, config)
    return adapted


@dataclass(frozen=True)
class Voice:
    """A language model as a Speaker: as whom it speaks, what its random streams are named by, and what it remembers.

    `weights` names the weights it speaks with, for the journal.
    """

    model: LanguageModel
    author: str
    scope: tuple[Name, ...]
    weights: str = ""
    journal: Journal | None = None

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """The `sample`-th reply to `chat`, from the journal if it is there; TooLong where there is no room for one."""
        ids = self.model.dialect.prompt(chat, self.author)
        room = self.model.max_length - len(ids)
        if room < 1:
            raise TooLong(f"a chat of {len(ids)} tokens leaves no room in a model of {self.model.max_length}")
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        request = Request(ids, sampling, stream(*self.scope, sample, digest(ids)))
        sampled = await self._remembered(request)
        stopped = sampled.ids and sampled.ids[-1] in self.model.dialect.stop_ids
        said = sampled.ids[:-1] if stopped and sampled.finish == "stop" else sampled.ids
        return Reply(
            self._parts(ids, said, going_on=chat.messages[-1].author == self.author),
            sampled.finish,
            tuple(p if math.isfinite(p) else -math.inf for p in sampled.logprobs),
            prompt_tokens=len(ids),
            completion_tokens=len(sampled.ids),
        )

    async def _remembered(self, request: Request) -> Sampled:
        if self.journal is None:
            return await self.model.sample(request)
        name = key(self.weights, request)
        if (known := self.journal.get(name)) is not None:
            return known
        sampled = await self.model.sample(request)
        self.journal.put(name, sampled)
        return sampled

    def _parts(self, prompt: tuple[int, ...], said: tuple[int, ...], going_on: bool) -> tuple[Part, ...]:
        """The sampled ids as parts, the thought of a model that thinks by itself apart from its words.

        Where the template ends the prompt in an opening marker the reply's text begins with it all the same, in a part
        without ids: what was thought is told from what was said in one way only.
        """
        decode = self.model.dialect.decode
        text = decode(said)
        begun: tuple[Part, ...] = ()
        if not going_on and decode(prompt[-8:]).rstrip().endswith(_OPEN):
            begun = (Part(_OPEN, "template", ids=(), thought=self.model.source.thinking != "off"),)
        if self.model.source.thinking == "off" or (not begun and not text.lstrip().startswith(_OPEN)):
            return (*begun, Part(text, self.author, said))
        cut = _end_of_thought(said, decode)
        thought = Part(decode(said[:cut]), self.author, said[:cut], thought=True)
        return (*begun, thought, Part(decode(said[cut:]), self.author, said[cut:]))


def _end_of_thought(said: tuple[int, ...], decode: Any) -> int:
    """How many of the tokens belong to the thought: all of them while it has no end."""
    low, high = 0, len(said)
    if _CLOSE not in decode(said):
        return high
    while low < high:  # the shortest beginning that holds the closing marker
        middle = (low + high) // 2
        low, high = (low, middle) if _CLOSE in decode(said[:middle]) else (middle + 1, high)
    return low
