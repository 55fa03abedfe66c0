"""Bodies that are too large or compressed, and redirects: how far they are read and followed."""

import asyncio
import gzip
import json
import random
import time

import pytest

from sparring.common.errors import Unavailable
from sparring.core import attempts
from sparring.speakers.endpoint import Endpoint
from tests.fault_server import completion, flood, raw, say, serving
from tests.speakers.asking import ASKED, CANARY, PLAIN, Log, ask

pytestmark = pytest.mark.usefixtures("quick")


def test_a_large_body_is_not_read_to_its_end():
    error, _, server = ask(flood(50))
    assert "more than 8 MB" in str(error)
    assert server.requests[0].flooded < 20 * 2**20


@pytest.mark.parametrize("code", [200, 500])
def test_a_compressed_body_is_read_as_far_as_a_plain_one(code):
    packed = {"content-encoding": "gzip"}
    text = "".join(random.Random(0).choices("abcdefgh", k=300_000))  # more than 100 KB when it is packed
    body = {"error": {"message": text}} if code == 500 else completion(text)
    result, _, _ = ask(raw(gzip.compress(json.dumps(body).encode()), code, packed), retries=0)
    assert text[:400] in (str(result) if code == 500 else result.text)
    bomb = gzip.compress(b" " * 100 * 2**20, 1)
    error, log, _ = ask(raw(bomb, code, packed))
    assert "too large: a body of more than 8 MB" in str(error)
    assert log.outcomes == ["too large"]
    twice = gzip.compress(gzip.compress(b" " * 2**20))
    error, _, _ = ask(raw(twice, code, {"content-encoding": "gzip, gzip"}), retries=0)
    assert "compressed more than once" in str(error)


@pytest.mark.parametrize("code", [503, 429])
def test_a_body_compressed_twice_is_tried_again_where_its_status_says_so(code):
    twice = raw(gzip.compress(gzip.compress(b"{}")), code, {"content-encoding": "gzip, gzip"})
    reply, log, _ = ask(twice, say("42"))
    assert reply.text == "42"
    assert log.outcomes == ["server error" if code == 503 else "rate limited", "replied"]
    assert "compressed more than once" in log[0].error


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_and_the_error_names_target_and_remedy(code):
    async def main():
        async with serving(after=flood(50)) as other:
            location = other.url.replace("127.0.0.1", f"user:{CANARY}@localhost") + f"?key={CANARY}"
            async with serving(after=raw(b"", code, {"location": location})) as server:
                with attempts.listening(log), pytest.raises(Unavailable) as caught:
                    await Endpoint("m", server.url).reply(ASKED, PLAIN)
                return caught.value, server, other

    log = Log()
    error, server, other = asyncio.run(main())
    assert str(error) == (
        f"m: redirected: {code} to localhost; redirects are not followed; set base_url to the final address"
    )
    assert log.outcomes == ["redirected"]
    assert (len(server.requests), len(other.requests)) == (1, 0)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("/elsewhere", "to another path"),
        ("", "to nowhere"),
        ("http://[::1", "to another path"),
        ("//" + "h" * 300, "hh"),
    ],
)
def test_the_error_says_where_a_redirect_without_a_host_leads(location, says):
    error, log, server = ask(after=raw(b"", 307, {"location": location}))
    assert says in str(error)
    assert len(str(error)) < 300
    assert (log.outcomes, len(server.requests)) == (["redirected"], 1)


def test_the_body_of_a_redirect_is_read_no_further_than_any_other():
    _, log, server = ask(flood(50, 302))
    assert log.outcomes == ["too large"]
    assert server.requests[0].flooded < 20 * 2**20


def test_a_compressed_body_without_its_end_is_a_cut_connection():
    whole = gzip.compress(json.dumps(completion("42")).encode())
    reply, log, _ = ask(raw(b"no gzip" + whole, headers={"content-encoding": "gzip"}), say("42"))
    assert reply.text == "42"
    assert log.outcomes == ["cut connection", "replied"]


def test_a_body_that_trickles_does_not_outlast_the_timeout():
    async def drip(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await asyncio.sleep(0.05)

    start = time.monotonic()
    assert "timed out" in str(ask(drip, timeout=0.3, retries=0)[0])
    assert time.monotonic() - start < 1.5
