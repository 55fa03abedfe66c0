"""A language model in this process: loading it, and its queue of requests.

Hundreds of episodes ask for replies at once. The queue gathers what they ask for and decodes it together, one step at a
time, giving way to the event loop between steps: partners that wait on a network go on meanwhile, and an episode that
goes on asks its next question into the same batch. One thread, so the same requests make the same batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from sparring.common.errors import ConfigError
from sparring.common.extras import need_bitsandbytes
from sparring.common.seeds import stream
from sparring.inference.engine import Engine
from sparring.inference.sequence import Request, Sampled
from sparring.models import hub, quantization
from sparring.models.introspection import check_causal
from sparring.models.offload import Resident, turns
from sparring.models.renderer import Renderer
from sparring.models.source import (
    MODELS,
    Lora,
    ModelSource,
    base_of,
    check_place,
    is_adapters,
    quantization_of,
)
from sparring.models.tiny import tiny_model, tiny_tokenizer

disable_progress_bar()  # the run shows its own


def device_of(source: ModelSource) -> torch.device:
    """The device that `source` means: the first accelerator there is, otherwise the CPU. ConfigError where it is not
    in this machine."""
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if source.device == "auto":
        return torch.device(next(kind for kind, count in there.items() if count))
    device = torch.device(source.device)
    if (device.index or 0) >= there[device.type]:
        found = ", ".join(f"{kind} (of which there are {n})" if n > 1 else kind for kind, n in there.items() if n)
        raise ConfigError(f"device = {source.device!r} is not in this machine, which has {found}; give one of these")
    return device


def dtype_of(source: ModelSource) -> torch.dtype:
    """The number format that `source` means: bfloat16 on a GPU, float32 elsewhere."""
    if source.dtype != "auto":
        found = getattr(torch, source.dtype)
        assert isinstance(found, torch.dtype)
        return found
    return torch.bfloat16 if device_of(source).type == "cuda" else torch.float32


class LanguageModel:
    """A causal language model, its dialect and its queue.

    `device` and `dtype`: where it computes and in what; unless given, as its weights are. `offload`: these are in the
    memory of the CPU and come to the device by turns.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        source: ModelSource,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        offload: bool = False,
    ) -> None:
        self.network = network
        self.source = source
        self.device: torch.device = device or next(network.parameters()).device
        self.dtype: torch.dtype = dtype or network.dtype
        self.turns = turns(self.device)
        self.resident = self.turns.join(Resident(partial(quantization.tensors, network), self.device, alone=offload))
        self.dialect = Renderer(tokenizer, _template_kwargs(tokenizer, source), source.thinking == "kept")
        self.tokens_sampled = 0
        self._speaking: Resident | None = None if self.mixed else self.resident
        self._asked: list[tuple[Request, asyncio.Future[Sampled]]] = []
        self._waiting: dict[int, asyncio.Future[Sampled]] = {}
        self._decoding: asyncio.Task[None] | None = None

    @property
    def mixed(self) -> bool:
        """Whether its weights are in float32, to be moved by little, and what it computes is in bfloat16."""
        return self.dtype is torch.bfloat16 and self.network.dtype is torch.float32

    @property
    def max_length(self) -> int:
        """The longest sequence it takes, in tokens."""
        return int(getattr(self.network.config, "max_position_embeddings", 0) or 2**31)

    @cached_property
    def sampler(self) -> Engine:
        """The decode loop over the live weights, or over a copy of them in bfloat16."""
        network = self.network
        if self.mixed:
            network = quantization.in_bfloat16(network, self.device)
            self._speaking = self.turns.join(Resident(partial(quantization.tensors, network), self.device))
        return Engine(
            network,
            self.dialect.stop_ids,
            self.dialect.decode,
            slots=self.source.slots,
            cache_tokens=self.source.cache_tokens,
            cache_gib=self.source.cache_gib,
            pad_id=self.dialect.tokenizer.pad_token_id or 0,
        )

    async def sample(self, request: Request) -> Sampled:
        """The tokens that `request` draws, decoded together with whatever else is waiting."""
        future: asyncio.Future[Sampled] = asyncio.get_running_loop().create_future()
        self._asked.append((request, future))
        if self._decoding is None or self._decoding.done():
            self._decoding = asyncio.create_task(self._decode())
        return await future

    async def _decode(self) -> None:
        try:
            self.network.eval()  # once, rather than in every step
            await self._settled()
            while self._asked or self._waiting:
                while not self.turns.take(self, self._speaking):
                    await asyncio.sleep(0)  # whoever's turn it is decodes meanwhile
                self._submit()
                for ticket, sampled in self.sampler.step():
                    self.tokens_sampled += len(sampled.ids)
                    future = self._waiting.pop(ticket)
                    if not future.done():
                        future.set_result(sampled)
                await self._settled()
        except BaseException as error:  # whoever waits is told, whatever it was
            waiting = [*self._waiting.values(), *(future for _, future in self._asked)]
            self._asked, self._waiting = [], {}
            if waiting:
                self._forget_sampler()  # what it holds is of no use any more
            for future in waiting:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self.turns.give(self)

    def _submit(self) -> None:
        """Hands the sampler what was asked since."""
        sampler = self.sampler
        asked, self._asked = self._asked, []
        for request, future in asked:
            try:
                self._waiting[sampler.submit(request)] = future
            except ConfigError as error:  # of this request alone
                if not future.done():
                    future.set_exception(error)

    def forget_copy(self) -> None:
        """Drops what replies are sampled from besides the weights, which are about to be moved: a copy of them, if
        there is one, and keys and values."""
        if self.mixed:
            self._forget_sampler()
        elif "sampler" in vars(self):
            self.sampler.forget()

    def _forget_sampler(self) -> None:
        vars(self).pop("sampler", None)
        self._speaking = None if self.mixed else self.resident

    async def _settled(self) -> None:
        """Lets the episodes run until none has asked anything new for a few passes of the event loop."""
        quiet = 0
        while quiet < 4:
            before = len(self._asked)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._asked) == before else 0


def _template_kwargs(tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> dict[str, Any]:
    """The template's settings, with thinking switched where the template has a switch for it."""
    template = str(tokenizer.chat_template or "")
    switch = {"enable_thinking": source.thinking != "off"} if "enable_thinking" in template else {}
    return {**switch, **source.chat_template_kwargs}


def load_model(source: ModelSource, seed: int = 0, *, trained: bool = False, offload: bool = False) -> LanguageModel:
    """The model that `source` names, on its device, adapters added; `seed` draws what has no weights yet.

    `trained`: its weights, or its adapters, are to be moved: these are kept in float32. In bfloat16 numbers near 0.02
    are 0.00012 apart, and steps of 0.00001 would all be rounded away. `offload`: see `LanguageModel`.
    """
    source = _as_trained(source)
    whole = trained and source.lora is None
    if trained and is_adapters(Path(source.model)):
        raise ConfigError(
            f"model = {source.model!r} holds adapters alone, which are not trained further; "
            f"merge them first: sparring merge {source.model} FOLDER"
        )
    if whole and source.quantization is not None:
        raise ConfigError(f"quantization = {source.quantization!r}: weights in four bits are frozen; add a table lora")
    if whole and dtype_of(source) is torch.float16:
        raise ConfigError(
            "dtype = 'float16' loses small gradients of all weights; use bfloat16 or float32, or add lora"
        )
    device = torch.device("cpu") if offload else device_of(source)
    dtype = torch.float32 if whole and dtype_of(source) is torch.bfloat16 else dtype_of(source)
    network, tokenizer = _tiny(seed, dtype) if source.model == "tiny" else _pretrained(source, device, dtype)
    if whole and getattr(network, "hf_quantizer", None) is not None:
        raise ConfigError(f"model = {source.model!r} is quantised, and such weights are frozen; add a table lora")
    if source.chat_template is not None:
        tokenizer.chat_template = _read_template(Path(source.chat_template))
    network = network.to(device)
    quantization.keep(network)
    if source.model != "tiny":
        with loading(source.model):
            check_causal(network)
    if source.lora is not None:  # PEFT keeps its adapters in float32, whatever they adapt
        network = _with_adapters(network, source.lora, seed)
    return LanguageModel(network, tokenizer, source, device_of(source), dtype_of(source), offload=offload)


def _as_trained(source: ModelSource) -> ModelSource:
    """`source`; of adapters, with the quantization that they were trained under: on other weights they are off."""
    trained_under = quantization_of(Path(source.model))
    if trained_under is None or source.quantization is not None:
        return source
    need_bitsandbytes(f"model = {source.model!r}, adapters that were trained with quantization = {trained_under!r},")
    return replace(source, quantization=trained_under)


def _tiny(seed: int, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    network = tiny_model(seed)
    for weight in network.parameters():  # not the buffers: frequencies of positions stay exact
        weight.data = weight.data.to(dtype)
    return network, tiny_tokenizer()


def _pretrained(
    source: ModelSource, device: torch.device, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    check_place(source.model)
    place = Path(source.model)
    name = str(place.resolve()) if place.exists() else source.model  # adapters remember where their base lies
    bits_of = {"quantization_config": quantization.nf4(dtype), "device_map": device} if source.quantization else {}
    origin = base_of(place) if is_adapters(place) else name
    with loading(source.model):
        tokenizer = AutoTokenizer.from_pretrained(name, **hub.how(name))
        network, found = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype,
            output_loading_info=True,
            **bits_of,
            **hub.how(origin),
        )
    if found["missing_keys"]:
        lacking = ", ".join(sorted(found["missing_keys"])[:3])
        raise ConfigError(f"model = {source.model!r} lacks the weights {lacking}; {MODELS}")
    return network, tokenizer


@contextmanager
def loading(model: str) -> Iterator[None]:
    """What a library raises while it loads `model` becomes a ConfigError of one line."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # the library raises whatever stands in a folder's files brings about
        reason = hub.load_error(error)
        remedy = "give a model of a kind that transformers knows" if reason == hub.CODE else MODELS
        raise ConfigError(f"model = {model!r} cannot be loaded: {reason}; {remedy}") from error


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
    try:
        with torch.random.fork_rng():
            torch.manual_seed(stream(seed, "lora"))
            adapted: PreTrainedModel = get_peft_model(network, config)
    except ValueError as error:
        raise ConfigError(
            f"lora = {lora}: {hub.load_error(error)}; give targets that the model has, or none"
        ) from error
    return adapted
