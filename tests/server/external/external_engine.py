"""What the tests of an external engine have in common: short timeouts, a request, and how to collect an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.events import Delta, Event
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.requests import ChatRequest, Sampling
from jupyter_mistral.server.assemble import Parts
from jupyter_mistral.server.external.config import Patience

# Short, so that tests are. They check the order of these timeouts, not how long they take. A healthy engine has seconds to answer, which it
# needs on a busy machine.
QUICK = Patience(report_s=0.05, check_s=0.15, alive_s=3, usage_s=3, first_wait_s=0.01, tries=4, retry_s=30)
KEY = "sk-very-secret-0123456789"
ASK = ChatRequest((Message("user", ("hello there",)),), Sampling(0.0))
Make = Callable[..., Parts]


async def collect(stream: AsyncIterator[Event]) -> tuple[list[Event], Failure | None]:
    """The events of an answer, and the failure that ended it."""
    events: list[Event] = []
    try:
        async for event in stream:
            events.append(event)
    except Failure as failure:
        return events, failure
    return events, None


def words(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))
