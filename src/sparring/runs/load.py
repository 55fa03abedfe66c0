"""Loads a saved learner, which answers in the way that its method trained."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from sparring.common.concurrency import run_sync
from sparring.common.errors import ConfigError, CutOff
from sparring.config.factory import METHODS, for_use, name_of
from sparring.core.chat import LEARNER, Chat, question
from sparring.core.method import Answered
from sparring.core.protocol import Answers, SingleReply, form_of
from sparring.inference.model import LanguageModel, load_model
from sparring.inference.model_speaker import ModelSpeaker, Watch
from sparring.models import hub
from sparring.models.source import USAGE, ModelSource, learner_folder
from sparring.parsing.steps import StepFormat, layout
from sparring.training import checkpoint
from sparring.training.checkpoint import Usage


@dataclass(frozen=True)
class SavedLearner:
    """A model, the way in which it answers, the layout of its answers, and where it was loaded from."""

    model: LanguageModel
    answerer: Answers
    layout: StepFormat
    place: str = ""

    async def reply(self, chat: Chat, watch: Watch | None = None) -> Answered:
        """Answer the last message of `chat`; `watch` sees each reply of the model grow.

        Raises ConversationError without an answer; CutOff has the `words` of the response before the cut.
        """
        speaker = ModelSpeaker(self.model, LEARNER, ("use",), watch=watch)
        try:
            return await self.answerer.answer(chat, speaker, self.layout)
        except CutOff as error:
            words = form_of(self.answerer).response_so_far(error.words).strip()
            raise CutOff(f"{error}; load the learner with a higher max_tokens", words) from None

    def answer(self, text: str) -> str:
        """Return the response to the question `text`; for code that is not asynchronous. It raises as `reply` does."""
        return run_sync(self.reply(question(text))).response


def load_learner(
    place: str | Path,
    *,
    source: ModelSource | None = None,
    plain: SingleReply | None = None,
    max_tokens: int | None = None,
) -> SavedLearner:
    """Load the learner at `place`: a run's folder, a checkpoint, a model's folder or a hub id.

    It answers as its method trained it, also from the hub. A model without a method gives a single reply, and so does
    any with `plain`. `source` gives further settings for loading the model. `max_tokens` is the limit of each reply, in
    place of the one in training.
    """
    source = source or ModelSource()
    usage = None
    if os.path.exists(place):
        folder = learner_folder(Path(place))
        usage = checkpoint.read_usage(folder)
        source = replace(source, model=str(folder))
    else:
        source = replace(source, model=str(place))
        usage = _published_usage(str(place))
    if usage is not None:
        source = replace(source, thinking=usage.thinking, chat_template_kwargs=dict(usage.chat_template_kwargs))
    answerer: Answers = plain or SingleReply()
    if usage is not None and plain is None:
        answerer = for_use(usage.method, usage.settings)
    if max_tokens is not None:
        answerer = _with_max_tokens(answerer, max_tokens)
    step_format = layout(usage.layout if usage is not None else "lines")
    return SavedLearner(load_model(source), answerer, step_format, str(place))


def _published_usage(model: str) -> Usage | None:
    """Return how to use the hub's `model`, None if it does not say.

    ConfigError if its method is not one of this package: a method by its dotted path would be imported.
    """
    path = hub.optional_file(model, USAGE) if model != ModelSource.model else None
    usage = checkpoint.read_usage(path.parent) if path is not None else None
    if usage is not None and usage.method not in list(METHODS):
        raise ConfigError(
            f"{model} answers by a method that is not in this package (got {usage.method!r}); download it to a folder "
            "and load that if you trust it"
        )
    return usage


def _with_max_tokens(answerer: Any, max_tokens: int) -> Answers:
    if max_tokens < 1:
        raise ConfigError(f"max_tokens must be at least 1 (got {max_tokens}); give a positive number")
    if "max_tokens" not in (field.name for field in fields(answerer)):
        raise ConfigError(f"{name_of(answerer)} has no key max_tokens (got {max_tokens}); leave it out")
    changed: Answers = replace(answerer, max_tokens=max_tokens)
    return changed
