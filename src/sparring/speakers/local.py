"""A frozen model in this process as a speaker.

The model is loaded at its first call. Partners with the same model and settings share its weights and its queue. On a
device that is too small for two models it takes turns with the learner (`offload`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Gt

from sparring.common.errors import ConfigError
from sparring.core.attempts import as_messages
from sparring.core.chat import Chat
from sparring.core.speaker import PARTNER, Reply, Sampling
from sparring.models.source import ModelSource, Precision, Quantization, Thoughts, check_model

if TYPE_CHECKING:
    from sparring.inference.model import LanguageModel
    from sparring.inference.model_speaker import ModelSpeaker


@dataclass(frozen=True)
class Local:
    """A language model by folder or hub id; its settings are named as the learner's.

    `offload`: keep its weights on the device only while it decodes, and the learner's off the device meanwhile.
    """

    name: ClassVar[str] = "local"
    admits: ClassVar[bool] = True  # nothing leaves this process

    model: str
    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    thinking: Thoughts = "hidden"
    dtype: Precision = "auto"
    device: str = "auto"
    slots: Annotated[int, Gt(0)] = 128
    quantization: Quantization | None = None
    offload: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model == "tiny":
            raise ConfigError("model = 'tiny' is untrained: it is created anew for each run; give a trained model")
        self._source()

    def ready(self) -> None:
        """Raise ConfigError if `model` looks like a folder and is not there. A replay skips this check."""
        check_model(self.model)

    @cached_property
    def _voice(self) -> ModelSpeaker:
        from sparring.inference.model_speaker import ModelSpeaker  # noqa: PLC0415 - slow to start, and a recipe is read without it

        return ModelSpeaker(_shared(self._source(), self.offload), PARTNER, ("local", self.seed))

    def _source(self) -> ModelSource:
        """Return the model and how to load it; ConfigError if the settings do not fit each other."""
        own = ("seed", "offload", "_voice")
        return ModelSource(**{key: setting for key, setting in vars(self).items() if key not in own})

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """Return everything that determines a reply (see `attempts.Recordable`)."""
        settings = {key: getattr(self, key) for key in ("chat_template", "thinking", "dtype", "quantization", "seed")}
        messages = as_messages(chat, PARTNER)
        kwargs = dict(self.chat_template_kwargs)
        return {"model": self.model, **settings, **kwargs, "messages": messages, **asdict(sampling), "sample": sample}

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Return the model's reply, decoded in a batch with other requests."""
        return await self._voice.reply(chat, sampling, sample)


_LOADED: dict[str, LanguageModel] = {}


def _shared(source: ModelSource, offload: bool) -> LanguageModel:
    name = repr((source, offload))
    if name not in _LOADED:
        from sparring.inference.model import load_model  # noqa: PLC0415 - slow to start, and a recipe is read without it

        model = load_model(source, offload=offload)
        model.network.requires_grad_(False)
        _LOADED[name] = model
    return _LOADED[name]
