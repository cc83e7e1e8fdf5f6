"""`doctor --egress` measures: our session contacts nobody, and the same measurement sees what stock JupyterLab does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_mistral.egress import report
from jupyter_mistral.egress.isolated_network import name_in
from jupyter_mistral.egress.trace import Tracer, is_here
from jupyter_mistral.protocol.failures import Failure

SMALL = "smollm2-135m"


@pytest.mark.slow
@pytest.mark.threat("T2", "T34")
def test_a_whole_session_sends_nothing_while_stock_jupyterlab_is_seen_to_call(mistral_home: Path) -> None:
    command = [sys.executable, "-m", "jupyter_mistral.cli", "doctor", "--egress", "--json", "--model", SMALL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    ours, control = told["ours"], told["control"]
    assert (ours["attempts"], ours["calls"], ours["page"]["elsewhere"]) == (0, [], [])
    assert [f"load {SMALL}", "ask", "explain a plot", "unload"] == ours["steps"][-4:]
    assert ours["calls_watched"] > 100 and ours["seal_tests_refused"] > 0  # the trace was not blind, the worker in it
    assert len(ours["page"]["stopped_by_policy"]) >= 8
    asked = {name for call in control["calls"] for name in call["names"]}
    assert {"pypi.org", "jupyterlab.github.io"} <= asked
    assert any("elsewhere.test" in url for url in control["page"]["elsewhere"])
    assert control["attempts"] == len(control["calls"]) + len(control["page"]["elsewhere"])


DNS = r'"\233\276\1 \0\1\0\0\0\0\0\0\4pypi\3org\0\0\1\0\1"'


@pytest.fixture
def tracer(tmp_path: Path) -> Tracer:
    found = Tracer(tmp_path)
    (tmp_path / "trace").open("w").close()  # a trace of nothing, so that the reader ends
    found.close()
    return found


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (
            '7<python> connect(5, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("203.0.113.9")}, 16) = 0',
            "203.0.113.9:443",
        ),
        (
            "7<python> connect(5, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), "
            'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 ENETUNREACH (x)',
            "[2001:db8::1]:80",
        ),
        (
            '7<x> sendto(4, "a", 1, 0, {sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("203.0.113.9")}, 16) = 1',
            "203.0.113.9:9",
        ),
        (
            '7<x> connect(4, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0',
            "a name server",
        ),
        (
            '7<x> connect(4, {sa_family=AF_UNIX, sun_path="/run/systemd/resolve/io.systemd.Resolve"}, 42) = 0',
            "a name server",
        ),
    ],
)
def test_a_call_to_another_machine_is_an_attempt(tracer: Tracer, line: str, target: str) -> None:
    tracer.take(line)
    assert [attempt.target for attempt in tracer.watched.attempts] == [target]


@pytest.mark.parametrize(
    "line",
    [
        '7<x> connect(5, {sa_family=AF_INET, sin_port=htons(8888), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
        '7<x> connect(5, {sa_family=AF_UNIX, sun_path="/run/user/0/mistral.sock"}, 110) = 0',
        '7<x> sendto(5, "GET / HTTP/1.1", 14, 0, NULL, 0) = 14',
    ],
)
def test_a_call_within_the_machine_is_only_counted(tracer: Tracer, line: str) -> None:
    tracer.take(line)
    assert (tracer.watched.calls, tracer.watched.attempts) == (1, [])


def test_the_seals_own_attempts_count_separately_only_while_they_are_refused(tracer: Tracer) -> None:
    tried = '7<x> connect(5, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}, 16) = '
    tracer.take(tried + "-1 ENETUNREACH (Network is unreachable)")
    assert (tracer.watched.seal_tests, tracer.watched.attempts) == (1, [])
    tracer.take(tried + "0")
    assert len(tracer.watched.attempts) == 1


def test_the_name_of_a_lookup_is_reported_and_a_split_line_is_joined(tracer: Tracer) -> None:
    address = '{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}'
    tracer.take(f"7<x> connect(5, {address}, 16 <unfinished ...>")
    tracer.take('8<y> connect(5, {sa_family=AF_UNIX, sun_path="/run/x"}, 9) = 0')
    tracer.take("7<x> <... connect resumed>) = 0")
    tracer.take(
        f"7<x> sendmmsg(5, [{{msg_hdr={{msg_name=NULL, msg_iov=[{{iov_base={DNS}, iov_len=26}}]}}}}], 2, 0) = 2"
    )
    assert [(a.process, a.target, a.names) for a in tracer.watched.attempts] == [("x", "a name server", ["pypi.org"])]


def test_no_bytes_make_the_name_reader_fail() -> None:
    assert name_in(b"\0\7\1\0\0\1" + bytes(6) + b"\4pypi\3org\0\0\1\0\1") == "pypi.org"
    for size in range(40):
        assert name_in(os.urandom(size)) is not None


def test_local_and_remote_addresses_are_told_apart() -> None:
    assert all(map(is_here, ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "0.0.0.0"]))
    assert not any(map(is_here, ["8.8.8.8", "192.168.0.1", "::ffff:8.8.8.8", "fe80::1", "169.254.169.254"]))


def test_neither_an_attempt_nor_a_blind_control_passes_as_proof() -> None:
    none = {"attempts": 0, "calls": [], "calls_watched": 9, "seal_tests_refused": 0, "page": None, "steps": ["start"]}
    some = {**none, "attempts": 2, "calls": [{"process": "p", "call": "connect", "target": "t", "names": ["n"]}] * 2}
    assert report.is_proven({"ours": none, "control": some})
    assert not report.is_proven({"ours": some, "control": some})
    assert "2 × p -> t: n" in report.text_of({"ours": some, "control": some})
    assert not report.is_proven({"ours": none, "control": none})
    assert "the control shows nothing either" in report.text_of({"ours": none, "control": none})


def test_without_strace_or_a_model_the_error_says_what_to_do(
    mistral_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Failure, match="jupyter mistral pull"):
        report.main(model="mistral-small-3.2")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failure, match="apt-get install strace"):
        Tracer(tmp_path)
