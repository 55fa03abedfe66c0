"""The responses of a run's start, with which a judge compares later ones: `start.json`, by problem.

They are single replies to the questions alone, so that they exist whatever the run's methods add at use (ours).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sparring.common.errors import ConfigError, Unavailable
from sparring.common.files import read_json
from sparring.core.chat import LEARNER, Chat
from sparring.core.method import Answered
from sparring.core.speaker import Speaker
from sparring.parsing.steps import StepFormat
from sparring.training.checkpoint import START_OVER

START_FILE = "start.json"


def read_start(path: Path, problems: Collection[str]) -> dict[str, StartResponse]:
    """Read the responses to `problems` (ids); ConfigError if the file lacks one."""
    responses = read_json(path) if path.exists() else {}
    if not isinstance(responses, dict) or not responses.keys() >= set(problems):
        raise ConfigError(f"{path} lacks responses of the run's start, with which the judge compares; {START_OVER}")
    return {problem: StartResponse(responses[problem]) for problem in problems}


@dataclass(frozen=True)
class StartResponse:
    """Answers as the learner of the run's start did; None if it gave no response."""

    response: str | None

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return the response; ask nobody."""
        if self.response is None:
            raise Unavailable("the learner gave no response at the run's start")
        return Answered(question.say(LEARNER, self.response), self.response, (self.response,))
