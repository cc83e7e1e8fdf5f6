"""The worker process: the only place that imports torch. The server starts it as a process and never imports it.

Rooms, each importing only those below it: `worker` (frames in and out), `load` (files to a ready `Engine`), `requests`
(answers and who shares a forward) and `fast` (decode steps on a GPU), `decode` (the model and its sequences), `kv` (keys and
values), `text` and `vision` (prompts), `prompt` and `device` (what all of them share).
"""
