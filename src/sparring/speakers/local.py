"""A frozen model in this process as a speaker.

The model is loaded at its first call. Partners with the same model and settings share its weights and its queue. On a
device that is too small for two models it takes turns with the learner (`offload`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from sparring.common.errors import ConfigError
from sparring.common.schema import keys
from sparring.core.attempts import as_messages
from sparring.core.chat import Chat
from sparring.core.speaker import PARTNER, Reply, Sampling
from sparring.models.source import ModelSettings, ModelSource, Thoughts, check_model

if TYPE_CHECKING:
    from sparring.inference.model import LanguageModel
    from sparring.inference.model_speaker import ModelSpeaker


@dataclass(frozen=True)
class Local(ModelSettings):
    """A language model by folder or hub id; its settings are named as the learner's.

    `offload`: keep its weights on the device only while it decodes, and the learner's off the device meanwhile.
    """

    name: ClassVar[str] = "local"
    admits: ClassVar[bool] = True  # nothing leaves this process

    thinking: Thoughts = "hidden"
    offload: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model == "tiny":
            raise ConfigError("model = 'tiny' is untrained: it is created anew for each run; give a trained model")
        super().__post_init__()

    def ready(self) -> None:
        """Raise ConfigError if `model` looks like a folder and is not there. A replay skips this check."""
        check_model(self.model)

    @cached_property
    def language_model(self) -> LanguageModel:
        """The frozen model, loaded at the first use; equal settings share it."""
        return _shared(ModelSource(**{name: getattr(self, name) for name in keys(ModelSettings)}), self.offload)

    @cached_property
    def _voice(self) -> ModelSpeaker:
        from sparring.inference.model_speaker import ModelSpeaker  # noqa: PLC0415 - slow to start, and a recipe is read without it

        return ModelSpeaker(self.language_model, PARTNER, ("local", self.seed))

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """Return everything that determines a reply (see `attempts.Recordable`)."""
        settings = {key: getattr(self, key) for key in ("chat_template", "thinking", "dtype", "quantization", "seed")}
        messages = as_messages(chat, PARTNER)
        kwargs = dict(self.chat_template_kwargs)
        return {"model": self.model, **settings, **kwargs, "messages": messages, **asdict(sampling), "sample": sample}

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Return the model's reply, decoded in a batch with other requests."""
        return await self._voice.reply(chat, sampling, sample)


LOADED: dict[str, LanguageModel] = {}  # by source: they stay loaded until the process ends


def _shared(source: ModelSource, offload: bool) -> LanguageModel:
    name = repr((source, offload))
    if name not in LOADED:
        from sparring.inference.model import load_model  # noqa: PLC0415 - slow to start, and a recipe is read without it

        model = load_model(source, offload=offload)
        model.network.requires_grad_(False)
        LOADED[name] = model
    return LOADED[name]
