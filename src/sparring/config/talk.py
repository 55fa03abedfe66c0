"""Converts the words of `sparring talk` into the learner, the ledger and the budget of a chat.

The learner is that of an evaluation (`evaluation.make_learner`), and so are the names of the keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparring.common.errors import ConfigError, nearest
from sparring.common.schema import build
from sparring.config.evaluation import make_learner
from sparring.config.recipe import LedgerSettings, with_settings
from sparring.core.speaker import Speaker
from sparring.ledger import Budget
from sparring.models.source import ModelSource

_TABLES = ("learner", "ledger", "budget")


@dataclass(frozen=True)
class TalkRecipe:
    """Who replies in a chat, and how its calls are recorded and paid."""

    learner: ModelSource | Speaker
    ledger: LedgerSettings
    budget: Budget

    @classmethod
    def read(cls, model: str | None, settings: Sequence[str]) -> TalkRecipe:
        """Make the chat with `model`: a run, a model, or a model's name at an endpoint.

        `settings` are further keys, each `key.path=value`; `learner.model` may take the place of `model`.
        """
        table = with_settings({"learner": {} if model is None else {"model": model}}, settings)
        for name, inner in table.items():
            if name not in _TABLES:
                raise nearest("table of a chat", name, _TABLES)
            if not isinstance(inner, Mapping):
                raise ConfigError(f"{name} = {inner!r} is not a table; set a key of it, as in {name}.key=value")
        row = table["learner"]
        if not row.get("model") and not row.get("by"):
            raise ConfigError(
                "the chat names no learner; give a run, a model folder or a hub id, or --set learner.by=endpoint"
            )
        ledger: LedgerSettings = build(LedgerSettings, table.get("ledger", {}), "[ledger]")
        if ledger.mode == "replay" and ledger.path is None:
            raise ConfigError(
                "ledger.mode = 'replay' needs the ledger of an earlier chat; name its file in ledger.path"
            )
        return cls(make_learner(row, "learner"), ledger, build(Budget, table.get("budget", {}), "[budget]"))
