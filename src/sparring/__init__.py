"""Trains language models by letting them interact with a partner: discussion, edited trajectories, judged thoughts.

    import sparring

    recipe = sparring.Recipe.read("tripost")
    result = sparring.train(recipe, run="runs/first")
    print(sparring.load_learner(result.folder).answer("((3+4)*2)="))

The names below are the public interface: what a script needs, and what an extension needs to add a method, a task, a
partner or a speaker. Each is loaded when it is first used, so `import sparring` is quick.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; `_MODULES` says the same to Python
    from sparring.common.errors import ConfigError as ConfigError
    from sparring.common.errors import ConversationError as ConversationError
    from sparring.common.errors import CutOff as CutOff
    from sparring.common.errors import RunStopped as RunStopped
    from sparring.common.errors import SparringError as SparringError
    from sparring.common.schema import FilePath as FilePath
    from sparring.config.recipe import Phase as Phase
    from sparring.config.recipe import Recipe as Recipe
    from sparring.config.recipe import RunSettings as RunSettings
    from sparring.core.chat import LEARNER as LEARNER
    from sparring.core.chat import USER as USER
    from sparring.core.chat import Chat as Chat
    from sparring.core.chat import Message as Message
    from sparring.core.chat import Part as Part
    from sparring.core.chat import message as message
    from sparring.core.chat import question as question
    from sparring.core.decorators import judge as judge
    from sparring.core.decorators import task as task
    from sparring.core.episode import Candidate as Candidate
    from sparring.core.episode import Episode as Episode
    from sparring.core.evaluation import Evaluation as Evaluation
    from sparring.core.experience import Demonstration as Demonstration
    from sparring.core.experience import Experience as Experience
    from sparring.core.experience import Preference as Preference
    from sparring.core.method import Answered as Answered
    from sparring.core.method import Method as Method
    from sparring.core.method import Schedule as Schedule
    from sparring.core.method import answered as answered
    from sparring.core.objective import DPO as DPO
    from sparring.core.objective import Likelihood as Likelihood
    from sparring.core.partner import Author as Author
    from sparring.core.partner import Critic as Critic
    from sparring.core.partner import Discussant as Discussant
    from sparring.core.partner import Editor as Editor
    from sparring.core.partner import Judge as Judge
    from sparring.core.partner import Scores as Scores
    from sparring.core.partner import Stance as Stance
    from sparring.core.protocol import EvaluationProtocol as EvaluationProtocol
    from sparring.core.protocol import Measured as Measured
    from sparring.core.protocol import Participant as Participant
    from sparring.core.speaker import Reply as Reply
    from sparring.core.speaker import Sampling as Sampling
    from sparring.core.speaker import Speaker as Speaker
    from sparring.core.speaker import text_reply as text_reply
    from sparring.core.task import Offer as Offer
    from sparring.core.task import Pool as Pool
    from sparring.core.task import Problem as Problem
    from sparring.core.task import Split as Split
    from sparring.core.task import Task as Task
    from sparring.parsing.steps import COMPACT as COMPACT
    from sparring.parsing.steps import LINES as LINES
    from sparring.parsing.steps import NUMBERED as NUMBERED
    from sparring.parsing.steps import Fault as Fault
    from sparring.parsing.steps import StepFormat as StepFormat
    from sparring.parsing.thought import Answer as Answer
    from sparring.runs.callbacks import EvaluationResult as EvaluationResult
    from sparring.runs.callbacks import RoundResult as RoundResult
    from sparring.runs.evaluation import evaluate as evaluate
    from sparring.runs.load import SavedLearner as SavedLearner
    from sparring.runs.load import load_learner as load_learner
    from sparring.runs.result import Result as Result
    from sparring.runs.rounds import rounds as rounds
    from sparring.runs.run import train as train

if sys.platform == "darwin":  # an operation that MPS lacks runs on the CPU, with a warning that names it
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # torch reads it when it is imported

_MODULES = {
    # a script: read a recipe, train, use the learner, measure it
    "config.recipe": ("Recipe", "Phase", "RunSettings"),
    "runs.run": ("train",),
    "runs.rounds": ("rounds",),
    "runs.result": ("Result",),
    "runs.callbacks": ("RoundResult", "EvaluationResult"),
    "runs.load": ("load_learner", "SavedLearner"),
    "runs.evaluation": ("evaluate",),
    "core.evaluation": ("Evaluation",),
    "common.errors": ("SparringError", "ConfigError", "ConversationError", "CutOff", "RunStopped"),
    # words: what is said, by whom
    "core.chat": ("Chat", "Message", "Part", "message", "question", "LEARNER", "USER"),
    "core.speaker": ("Speaker", "Reply", "Sampling", "text_reply"),
    # a task: what is asked, and what can be computed about an answer
    "core.task": ("Task", "Problem", "Pool", "Split", "Offer"),
    "common.schema": ("FilePath",),
    # functions as parts
    "core.decorators": ("judge", "task"),
    "parsing.steps": ("StepFormat", "Fault", "LINES", "NUMBERED", "COMPACT"),
    # a partner: the four roles
    "core.partner": ("Author", "Discussant", "Critic", "Editor", "Judge", "Scores", "Stance"),
    "parsing.thought": ("Answer",),
    # a method: what happens, what it teaches, what is minimised
    "core.method": ("Method", "Schedule", "Answered", "answered"),
    "core.episode": ("Episode", "Candidate"),
    "core.experience": ("Demonstration", "Preference", "Experience"),
    "core.objective": ("Likelihood", "DPO"),
    # an evaluation protocol: what is measured on one problem
    "core.protocol": ("EvaluationProtocol", "Measured", "Participant"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - it is a list of strings


if not TYPE_CHECKING:  # a type checker knows the names, and complains of others

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'sparring' has no attribute {name!r}")
        return getattr(import_module(f"sparring.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
