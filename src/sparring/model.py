"""A language model in this process: loading it, and its queue of requests.

Hundreds of episodes ask for replies at once. The queue gathers what they ask for and decodes it together, one step at a
time, giving way to the event loop between steps: partners that wait on a network go on meanwhile, and an episode that
goes on asks its next question into the same batch. One thread, so the same requests make the same batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt, Interval
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from sparring import bits
from sparring.errors import ConfigError
from sparring.ongoing import Request, Sampled
from sparring.sampler import Sampler
from sparring.seeds import stream
from sparring.tiny import tiny_model, tiny_tokenizer
from sparring.tokens import Dialect
from sparring.turns import Resident, turns

Thoughts = Literal["off", "hidden", "kept"]
Quantization = Literal["nf4"]

disable_progress_bar()  # the run shows its own

_MODELS = "give tiny, a folder in the Hugging Face format or a hub id"


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
    forgotten) or "kept" (the model goes on seeing its own). `dtype`, what is computed in, and `device` suit the machine
    unless given. `quantization`: its weights in four bits, frozen. `slots` replies are decoded at once; `cache_tokens`
    and `cache_gib` bound the key-value cache.
    """

    model: str = "tiny"
    lora: Lora | None = None
    quantization: Quantization | None = None
    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    thinking: Thoughts = "off"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    slots: Annotated[int, Gt(0)] = 128
    cache_tokens: Annotated[int, Gt(0)] | None = None
    cache_gib: Annotated[float, Gt(0)] | None = None

    def __post_init__(self) -> None:
        if self.quantization is not None:
            bits.check(f"quantization = {self.quantization!r}")
        if self.model == "tiny" and self.quantization is not None:
            raise ConfigError("quantization with model = 'tiny', which is small enough; leave it out")
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
        self.resident = self.turns.join(Resident(partial(bits.tensors, network), self.device, alone=offload))
        self.dialect = Dialect(tokenizer, _template_kwargs(tokenizer, source), source.thinking == "kept")
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
    def sampler(self) -> Sampler:
        """The decode loop over the live weights, or over a copy of them in bfloat16."""
        network = self.network
        if self.mixed:
            network = bits.in_bfloat16(network, self.device)
            self._speaking = self.turns.join(Resident(partial(bits.tensors, network), self.device))
        return Sampler(
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


def load(source: ModelSource, seed: int = 0, *, trained: bool = False, offload: bool = False) -> LanguageModel:
    """The model that `source` names, on its device, adapters added; `seed` draws what has no weights yet.

    `trained`: its weights, or its adapters, are to be moved: these are kept in float32. In bfloat16 numbers near 0.02
    are 0.00012 apart, and steps of 0.00001 would all be rounded away. `offload`: see `LanguageModel`.
    """
    whole = trained and source.lora is None
    if whole and source.quantization is not None:
        raise ConfigError(f"quantization = {source.quantization!r}: weights in four bits are frozen; add a table lora")
    if whole and source.torch_dtype() is torch.float16:
        raise ConfigError(
            "dtype = 'float16' loses small gradients of all weights; use bfloat16 or float32, or add lora"
        )
    device = torch.device("cpu") if offload else source.torch_device()
    dtype = torch.float32 if whole and source.torch_dtype() is torch.bfloat16 else source.torch_dtype()
    network, tokenizer = _tiny(seed, dtype) if source.model == "tiny" else _pretrained(source, device, dtype)
    if whole and getattr(network, "hf_quantizer", None) is not None:
        raise ConfigError(f"model = {source.model!r} is quantised, and such weights are frozen; add a table lora")
    if source.chat_template is not None:
        tokenizer.chat_template = _read_template(Path(source.chat_template))
    network = network.to(device)
    bits.keep(network)
    if source.lora is not None:  # PEFT keeps its adapters in float32, whatever they adapt
        network = _with_adapters(network, source.lora, seed)
    return LanguageModel(network, tokenizer, source, source.torch_device(), source.torch_dtype(), offload=offload)


def check_place(model: str) -> None:
    """ConfigError where `model` is meant for a folder and is none, or is one without a model."""
    place = Path(model)
    if place.exists() and not any((place / file).exists() for file in ("config.json", "adapter_config.json")):
        raise ConfigError(f"model = {model!r} holds no model: it has no config.json; {_MODELS}")
    if not place.exists() and (model.startswith((".", "/", "~")) or model.count("/") > 1):
        raise ConfigError(f"model = {model!r} cannot be loaded: there is no folder {model}; {_MODELS}")


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
    how = {"quantization_config": bits.nf4(dtype), "device_map": device} if source.quantization else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        network = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, **how)
    except (ImportError, OSError, ValueError) as error:
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
