"""Run by a Python that has jupyter-ai's persona manager: finds our persona by its entry point and lets it answer in a real chat."""

from __future__ import annotations

import asyncio
import sys
from time import time

from jupyter_ai_persona_manager import PersonaManager
from jupyterlab_chat.models import Message, NewMessage, User
from jupyterlab_chat.ychat import YChat

OURS = "jupyter-ai-personas::jupyter_mistral::MistralPersona"


async def main() -> None:
    chat = YChat()
    chat.initial_path = "talk.chat"
    chat.set_user(User(username="me", name="me", display_name="me"))
    manager = PersonaManager(chat=chat, root_dir=sys.argv[1], event_loop=asyncio.get_running_loop())
    persona = manager.personas[OURS]
    asked = chat.get_message(chat.add_message(NewMessage(body="Say hello.", sender="me")))
    await persona.on_message(asked)
    answers = [message.body for message in chat.get_messages() if message.sender == OURS]
    assert len(answers) == 1, answers
    print(answers[0])

    # the stop button
    asked = chat.get_message(chat.add_message(NewMessage(body="Count to a thousand.", sender="me")))
    turn = asyncio.ensure_future(persona.on_message(asked))
    while len([m for m in chat.get_messages() if m.sender == OURS and m.body]) < 2:
        assert not turn.done()
        await asyncio.sleep(0.05)
    await persona.cancel_response()
    await turn
    assert not persona.processing
    assert isinstance(asked, Message) and asked.time <= time()
    print("stopped")


asyncio.run(main())
