"""A saved learner as it is used: it answers the way its method taught it to."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from sparring.training import checkpoint
from sparring.config.factory import PROTOCOLS, for_use
from sparring.core.chat import LEARNER, Chat, question
from sparring.common.errors import nearest
from sparring.core.evaluation import Answers
from sparring.core.method import Answered
from sparring.inference.model import LanguageModel, load_model
from sparring.models.source import ModelSource
from sparring.parsing.steps import StepFormat, layout
from sparring.common.schema import build
from sparring.common.concurrency import wait_for
from sparring.inference.model_speaker import ModelSpeaker

AS_TRAINED = "as_trained"


@dataclass(frozen=True)
class SavedLearner:
    """A model, the way it answers and the layout of its answers."""

    model: LanguageModel
    way: Answers
    layout: StepFormat

    async def reply(self, chat: Chat) -> Answered:
        """How it answers `chat`."""
        return await self.way.answer(chat, ModelSpeaker(self.model, LEARNER, ("use",)), self.layout)

    def answer(self, text: str) -> str:
        """Its response to `text`, from plain Python."""
        return wait_for(self.reply(question(text))).response


def load_learner(place: str | Path, protocol: str = AS_TRAINED, source: ModelSource | None = None) -> SavedLearner:
    """The learner in a run's folder, a checkpoint, or any model's folder or hub id, asked as `protocol` says. A model
    that no run has trained answers alone."""
    if protocol != AS_TRAINED and protocol not in PROTOCOLS:
        raise nearest("protocol", protocol, [AS_TRAINED, *PROTOCOLS])
    source = source or ModelSource()
    usage = None
    if os.path.exists(place):
        folder = checkpoint.of(Path(place))
        usage = checkpoint.usage(folder)
        source = replace(source, model=str(folder))
    else:
        source = replace(source, model=str(place))
    if usage is not None:
        source = replace(source, thinking=usage.thinking, chat_template_kwargs=dict(usage.chat_template_kwargs))
    trained = usage is not None and protocol == AS_TRAINED
    way: Answers = (
        for_use(usage.method, usage.settings)
        if usage is not None and trained
        else build(PROTOCOLS["solo" if protocol == AS_TRAINED else protocol], {}, protocol)
    )
    return SavedLearner(load_model(source), way, layout(usage.layout if usage is not None else "lines"))
