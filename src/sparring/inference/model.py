"""A language model in this process: loading it, and its queue of requests.

Hundreds of episodes request replies at once. The queue collects their requests, decodes them together, one step at a
time, and yields to the event loop between steps. Calls to partners over a network proceed meanwhile, and an episode
that continues sends its next request into the same batch. There is only one thread, so that the same requests form the
same batches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from sparring.common.errors import ConfigError
from sparring.common.extras import need_bitsandbytes
from sparring.common.seeds import stream
from sparring.inference.engine import Engine
from sparring.inference.packed import packed
from sparring.inference.sequence import Completion, Request
from sparring.models import encoder_decoder, hub, quantization
from sparring.models.introspection import check_causal, max_length
from sparring.models.offload import Resident, turns
from sparring.models.renderer import Renderer
from sparring.models.source import (
    MODELS,
    Lora,
    ModelSource,
    base_of,
    check_model,
    is_adapters,
    quantization_of,
)
from sparring.models.tiny import tiny_model, tiny_tokenizer

disable_progress_bar()  # the run shows its own
# PEFT imports bitsandbytes where it is installed, which then misses a kernel for 4 bits, whatever the model has.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def device_of(source: ModelSource) -> torch.device:
    """Return the device that `source` names; for "auto" an accelerator if there is one, otherwise the CPU.

    Raises ConfigError if this machine does not have it.
    """
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if source.device == "auto":
        return torch.device(next(kind for kind, count in counts.items() if count))
    device = torch.device(source.device)
    if (device.index or 0) >= counts[device.type]:
        available = ", ".join(f"{kind} ({n} devices)" if n > 1 else kind for kind, n in counts.items() if n)
        raise ConfigError(f"device = {source.device!r} is not in this machine; choose from {available}")
    return device


def dtype_of(source: ModelSource) -> torch.dtype:
    """Return the number format that `source` names; for "auto" bfloat16 on a GPU, float32 elsewhere."""
    if source.dtype != "auto":
        dtype = getattr(torch, source.dtype)
        assert isinstance(dtype, torch.dtype)
        return dtype
    return torch.bfloat16 if device_of(source).type == "cuda" else torch.float32


class LanguageModel:
    """A language model, the renderer of its chats, and its queue of requests.

    `device` and `dtype`: where and in which number format it computes; by default those of its weights. `offload`: the
    weights rest in CPU memory and take turns on the device with other models (`offload.Turns`).
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
        self.renderer = Renderer(
            tokenizer,
            _template_kwargs(tokenizer, source),
            keeps_thoughts=source.thinking == "kept",
            encoded=encoder_decoder.has_encoder(network.config),
            longest=self.max_length,
        )
        self.tokens_sampled = 0
        # The weights that sampling needs on the device; None until `engine` has made their copy in bfloat16.
        self.sampling_weights: Resident | None = None if self.mixed else self.resident
        self._queue: list[tuple[Request, asyncio.Future[Completion]]] = []  # not yet handed to the engine
        self._pending: dict[int, asyncio.Future[Completion]] = {}  # by the engine's ticket
        self._decoding: asyncio.Task[None] | None = None

    @property
    def mixed(self) -> bool:
        """Whether it trains weights in float32, for small updates, but computes in bfloat16."""
        return self.dtype is torch.bfloat16 and self.network.dtype is torch.float32

    @property
    def max_length(self) -> int:
        """The longest sequence that the model accepts, in tokens."""
        return max_length(self.network.config)

    @cached_property
    def engine(self) -> Engine:
        """The decode loop over the live weights, or over a copy: in bfloat16 for a `mixed` model, `packed` on a CPU."""
        network = self.network
        if self.mixed:
            network = quantization.in_bfloat16(network, self.device)
            self.sampling_weights = self.turns.join(Resident(partial(quantization.tensors, network), self.device))
        return Engine(
            packed(network),
            self.renderer.stop_ids,
            self.renderer.decode,
            slots=self.source.slots,
            cache_tokens=self.source.cache_tokens,
            cache_gib=self.source.cache_gib,
            pad_id=self.renderer.tokenizer.pad_token_id or 0,
        )

    async def sample(self, request: Request) -> Completion:
        """Return the completion of `request`, decoded together with all other waiting requests."""
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._queue.append((request, future))
        if self._decoding is None or self._decoding.done():
            self._decoding = asyncio.create_task(self._decode())
        return await future

    async def _decode(self) -> None:
        """Decode until no request is left."""
        try:
            self.network.eval()  # once, rather than in every step
            await self._collect_requests()
            while self._queue or self._pending:
                while not self.turns.acquire(self, self.sampling_weights):
                    await asyncio.sleep(0)  # the model whose turn it is decodes meanwhile
                self._submit()
                for ticket, completion in self.engine.step():
                    self.tokens_sampled += len(completion.ids)
                    future = self._pending.pop(ticket)
                    if not future.done():
                        future.set_result(completion)
                await self._collect_requests()
        except BaseException as error:  # whatever it was, every waiting task receives it
            unanswered = [*self._pending.values(), *(future for _, future in self._queue)]
            self._queue, self._pending = [], {}
            if unanswered:
                self._drop_engine()  # it holds requests that nobody waits for any more
            for future in unanswered:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self.turns.release(self)

    def _submit(self) -> None:
        """Hand the queued requests to the engine."""
        engine = self.engine
        queue, self._queue = self._queue, []
        for request, future in queue:
            try:
                self._pending[engine.submit(request)] = future
            except ConfigError as error:  # concerns this request only
                if not future.done():
                    future.set_exception(error)

    def forget_copy(self) -> None:
        """Free what sampling needs beside the weights, before they are trained: keys, values and a copy of weights."""
        engine = vars(self).get("engine")
        if engine is not None and engine.model is not self.network:
            self._drop_engine()
        elif engine is not None:
            engine.forget()

    def _drop_engine(self) -> None:
        vars(self).pop("engine", None)
        self.sampling_weights = None if self.mixed else self.resident

    async def _collect_requests(self) -> None:
        """Let the episodes run until four passes of the event loop bring no new request."""
        quiet = 0
        while quiet < 4:
            before = len(self._queue)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._queue) == before else 0


def _template_kwargs(tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> dict[str, Any]:
    """Return the template's settings, including `enable_thinking` if the template has that switch."""
    template = str(tokenizer.chat_template or "")
    switch = {"enable_thinking": source.thinking != "off"} if "enable_thinking" in template else {}
    return {**switch, **source.chat_template_kwargs}


def load_model(source: ModelSource, seed: int = 0, *, trained: bool = False, offload: bool = False) -> LanguageModel:
    """Load the model that `source` names to its device and add its adapters; `seed` initialises new weights.

    `trained`: its weights, or its adapters, will be trained; they are kept in float32. In bfloat16, numbers near 0.02
    are 0.00012 apart, and updates of 0.00001 would all be rounded away. `offload`: see `LanguageModel`.
    """
    source = _as_trained(source)
    trains_all_weights = trained and source.lora is None
    if trained and is_adapters(Path(source.model)):
        raise ConfigError(
            f"model = {source.model!r} contains only adapters, which cannot be trained further; "
            f"merge them first: sparring export {quote(source.model)} FOLDER"
        )
    if trains_all_weights and source.quantization is not None:
        raise ConfigError(
            f"quantization = {source.quantization!r} freezes the weights; add a table lora to train adapters"
        )
    if trains_all_weights and dtype_of(source) is torch.float16:
        raise ConfigError(
            "dtype = 'float16' loses small gradients when all weights are trained; use bfloat16 or float32, or add lora"
        )
    device = torch.device("cpu") if offload else device_of(source)
    dtype = torch.float32 if trains_all_weights and dtype_of(source) is torch.bfloat16 else dtype_of(source)
    network, tokenizer = _tiny(seed, dtype) if source.model == "tiny" else _pretrained(source, device, dtype)
    if trains_all_weights and getattr(network, "hf_quantizer", None) is not None:
        raise ConfigError(f"model = {source.model!r} is quantized, so its weights are frozen; add a table lora")
    if source.chat_template is not None:
        tokenizer.chat_template = _read_template(source.chat_template)
    network = network.to(device)
    quantization.keep(network)
    if source.model != "tiny":
        with loading(source.model):
            check_causal(network)
    if encoder_decoder.has_encoder(network.config):
        encoder_decoder.check_source(source)
        encoder_decoder.complete(network, tokenizer, seed, all_weights_trained=trains_all_weights)
    if source.lora is not None:  # PEFT keeps adapters in float32, whatever the dtype of the model
        network = _with_adapters(network, source.lora, seed)
    return LanguageModel(network, tokenizer, source, device_of(source), dtype_of(source), offload=offload)


def _as_trained(source: ModelSource) -> ModelSource:
    """Add to a `source` of adapters the quantization they were trained under: they do not fit other weights."""
    trained_under = quantization_of(Path(source.model))
    if trained_under is None or source.quantization is not None:
        return source
    need_bitsandbytes(f"model = {source.model!r}, adapters that were trained with quantization = {trained_under!r},")
    return replace(source, quantization=trained_under)


def _tiny(seed: int, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    network = tiny_model(seed)
    for weight in network.parameters():  # not the buffers: the frequencies of rotary embeddings stay exact
        weight.data = weight.data.to(dtype)
    return network, tiny_tokenizer()


def _pretrained(
    source: ModelSource, device: torch.device, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    check_model(source.model)
    path = Path(source.model)
    name = str(path.resolve()) if path.exists() else source.model  # adapters record the path of their base
    quantized = {"quantization_config": quantization.nf4(dtype), "device_map": device} if source.quantization else {}
    weights_from = base_of(path) if is_adapters(path) else name
    with loading(source.model):
        tokenizer = AutoTokenizer.from_pretrained(name, **hub.how(name))
        network, report = encoder_decoder.loader(weights_from).from_pretrained(
            name,
            dtype=dtype,
            output_loading_info=True,
            **quantized,
            **hub.how(weights_from),
        )
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise ConfigError(f"model = {source.model!r} lacks the weights {missing}; {MODELS}")
    return network, tokenizer


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Turn whatever a library raises while it loads `model` into a ConfigError of one line."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # a broken file can make the library raise anything
        reason = hub.load_error(error)
        remedy = "give a model that transformers supports" if reason == hub.CODE else MODELS
        raise ConfigError(f"model = {model!r} cannot be loaded: {reason}; {remedy}") from error


def _read_template(template: str) -> str:
    """Return the template in the file `template`, or `template` itself if it is one."""
    if "{%" in template or "{{" in template:
        return template
    try:
        return Path(template).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"chat_template = {template!r} cannot be read: {error.strerror}; give a file, or the template itself"
        ) from error


def _with_adapters(network: PreTrainedModel, lora: Lora, seed: int) -> PreTrainedModel:
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - a second to import, and few runs need it

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) if lora.targets else "all-linear",
        task_type="SEQ_2_SEQ_LM" if encoder_decoder.has_encoder(network.config) else "CAUSAL_LM",
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
