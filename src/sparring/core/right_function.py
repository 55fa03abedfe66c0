"""A task's rule for right responses that is a user's function."""

from __future__ import annotations

from dataclasses import dataclass

from sparring.common.errors import nearest
from sparring.core.task import Problem
from sparring.core.user_function import UserFunction, about, row_of


@dataclass(frozen=True)
class RightFunction:
    """Asks a function whether a response is right. Tasks wait for it, so it should be quick."""

    function: UserFunction

    @classmethod
    def load(cls, name: str) -> RightFunction:
        """Load the function called `name`; ConfigError if there is none."""
        return cls(UserFunction.load(name, "the function"))

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return what the function returns: True or False."""
        known, row = about(problem) | self.function.said(problem, response), row_of(problem)
        for name in self.function.required:
            if name not in known and name not in row:
                raise nearest(f"parameter of {self.function.title}:", name, {**row, **known})
        verdict = self.function.ask_now(problem, self.function.arguments(known, row))
        verdict = verdict.tolist() if hasattr(verdict, "tolist") else verdict
        if not isinstance(verdict, bool):
            raise self.function.returned(verdict, "True or False", problem)
        return verdict
