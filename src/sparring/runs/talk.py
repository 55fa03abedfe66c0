"""Prepares a chat: with a saved learner, or with a speaker in its place, whose calls go through a ledger.

A speaker's reply is there at once and not token by token: the ledger records whole replies, with the tokens that the
server bills. Not here: what the terminal shows (`cli.talk`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sparring.common.errors import RunStopped
from sparring.config.talk import TalkRecipe
from sparring.core.attempts import Recordable
from sparring.core.chat import LEARNER, Chat
from sparring.core.method import Answered
from sparring.core.protocol import AsLearner, SingleReply
from sparring.core.speaker import Speaker
from sparring.inference.model_speaker import Watch
from sparring.ledger import BudgetReached, Ledger, Recorded
from sparring.models.source import ModelSource
from sparring.parsing.steps import LINES
from sparring.runs.load import SavedLearner, load_learner
from sparring.runs.recording import FILE, check_price, check_ready

NAME = "talk"  # of a chat in a ledger that runs share


@dataclass(frozen=True)
class AskedLearner:
    """A speaker in the learner's place, which gives single replies; they may be `recorded`."""

    speaker: Speaker
    answerer: SingleReply
    recorded: bool = False

    async def reply(self, chat: Chat, watch: Watch | None = None) -> Answered:
        """Answer the last message of `chat`. `watch` sees nothing; ConversationError without an answer."""
        try:
            return await self.answerer.answer(chat, AsLearner(self.speaker), LINES)
        except BudgetReached as error:
            if self.recorded:
                raise
            reached, (scope, unit, _) = str(error).partition(";")[0], error.args
            raise RunStopped(
                f"{reached}; raise budget.{scope}.{unit}, and name a file in ledger.path so that no call is paid again"
            ) from error


@contextmanager
def talking(
    recipe: TalkRecipe, *, plain: bool, max_tokens: int | None
) -> Iterator[tuple[SavedLearner | AskedLearner, Ledger | None]]:
    """Yield the learner of a chat, and the ledger that counts its calls; None if it makes none.

    `plain` leaves out what a saved learner's method adds at use; `max_tokens` is as in `load_learner`.
    """
    learner = recipe.learner
    if isinstance(learner, ModelSource):
        single = SingleReply() if plain else None
        yield load_learner(learner.model, source=learner, plain=single, max_tokens=max_tokens), None
        return
    check_price(learner, recipe.budget)
    check_ready(learner, recipe.ledger.mode, Path(recipe.ledger.path) if recipe.ledger.path else None)
    answerer = SingleReply() if max_tokens is None else SingleReply(max_tokens)
    if not isinstance(learner, Recordable):
        yield AskedLearner(learner, answerer), None
        return
    with _open_ledger(recipe) as ledger:
        yield AskedLearner(Recorded(learner, ledger, LEARNER), answerer, recipe.ledger.path is not None), ledger


def _open_ledger(recipe: TalkRecipe) -> Ledger:
    """Open the ledger at `ledger.path`; without a path, calls are counted and held to the budget, but not recorded."""
    path = recipe.ledger.path
    mode = recipe.ledger.mode if path is not None else "off"
    return Ledger(Path(path or FILE), secrets.token_hex(8), mode, recipe.budget, name=NAME)
