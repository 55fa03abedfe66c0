"""Shared by the tests of the endpoint: one call to a server that fails on a script."""

import asyncio

from sparring.common.errors import ConfigError, Unavailable
from sparring.core import attempts
from sparring.core.attempts import Attempt
from sparring.core.chat import question
from sparring.core.speaker import Sampling
from sparring.speakers.endpoint import Endpoint
from tests.fault_server import serving

CANARY = "sk-canary-0123456789abcdef"
PLAIN = Sampling()
ASKED = question("What is 6 × 7?", "You are a critic.")


class Log(list):
    """A sink that keeps all attempts."""

    async def admit(self, most):
        pass

    def record(self, attempt: Attempt):
        self.append(attempt)

    @property
    def outcomes(self):
        return [attempt.outcome for attempt in self]


def ask(*script, chat=ASKED, sampling=PLAIN, sample=0, after=None, log=None, **settings):
    """Return the reply (or error), the attempts and the server after one call to a server with `script`."""

    async def main():
        async with serving(*script, after=after) as server:
            speaker = Endpoint("m", server.url, **settings)
            with attempts.listening(log):
                try:
                    return await speaker.reply(chat, sampling, sample), log, server
                except (Unavailable, ConfigError) as error:
                    return error, log, server

    log = Log() if log is None else log
    return asyncio.run(main())
