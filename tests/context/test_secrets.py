"""Planted secrets in many forms are masked; ordinary code and output is not."""

from __future__ import annotations

import random
import string

import pytest
from jupyter_mistral.context import build
from jupyter_mistral.context.secrets.mask import MASK, mask
from jupyter_mistral.protocol.conversation import Message

_RNG = random.Random(11)


def _random(n: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(_RNG.choice(alphabet) for _ in range(n - 3)) + "aZ7"


# built at run time, so that no scanner takes this file for a leak
_TOKENS = [
    "AK" + "IA" + _random(16, string.ascii_uppercase).upper(),
    "gh" + "p_" + _random(36),
    "github" + "_pat_" + _random(40),
    "gl" + "pat-" + _random(20),
    "xo" + "xb-" + _random(30),
    "s" + "k-proj-" + _random(48),
    "s" + "k-ant-api03-" + _random(40),
    "h" + "f_" + _random(34),
    "AI" + "za" + _random(35),
    "s" + "k_live_" + _random(24),
    "S" + "G." + _random(22) + "." + _random(43),
    "ey" + "J" + _random(20) + ".ey" + "J" + _random(30) + "." + _random(43),
    "np" + "m_" + _random(36),
    "da" + "pi" + _random(32, "0123456789abcdef").lower(),
]
_PASSWORDS = ["hunter2-Xy9", "S3cr3t!pass", _random(24), "correct-Horse7", _random(40)]
_FORMS = [
    'api_key = "{}"',
    "os.environ['DB_PASSWORD'] = '{}'",
    'config = {{"user": "me", "password": "{}"}}',
    'connect(host="h", user="u", passwd="{}")',
    "postgresql://me:{}@db.example.org:5432/x",
    'client = Client(token="{}")',
    "%env MY_SECRET={}",
    "!export AUTH_TOKEN={}",
    "access_token: {}",
    'headers = {{"Authorization": "Bearer {}"}}',
    "Server=tcp:x;User ID=a;Password={};Encrypt=yes",
    "!mysql --user root --password={}",
    'client_secret: "{}"',
    '{{"private_key": "{}"}}',
]
_PLANTED = [(token, f"x = '{token}'") for token in _TOKENS] + [
    (word, form.format(word))
    for form in _FORMS
    for word in _PASSWORDS
    if not (form.startswith("headers") and len(word) < 16)
]

# forms in which nothing but the place tells what is secret
_PLACES = [
    "requests.get(url, auth=('bob', '{}'))",
    'session.auth = (user, "{}")',
    'HTTPBasicAuth("bob", "{}")',
    'server.login("me@example.org", "{}")',
    'create_engine("mysql+pymysql://root:@{}@localhost/db")',
    "!sshpass -p {} ssh host",
    "!docker login -u bob -p {}",
    "!mysql -u root -p{} db",
    "pw = '{}'",
    'os.environ.setdefault("DB_PASS", "{}")',
    '{{"user": "bob", "pass": "{}"}}',
]
_HEX = "0123456789abcdef" * 2

_ORDINARY = """
tokens = tokenizer.encode(text)
max_tokens = 128; num_tokens=42
tokenizer = AutoTokenizer.from_pretrained("bert-base-uncased")
token_count: int = 0
keys = sorted(d.keys()); key = "median_income"
password = getpass.getpass("Password: ")
api_key = os.environ["OPENAI_API_KEY"]
secret = os.getenv("SECRET")
token = None
df.sort_values(key=lambda s: s.str.lower())
primary_key = ["id", "name"]
foreign_key: references users
The password is stored elsewhere.
passenger_class = 3; passed = True; bypass = "yes"
compass: north
commit 3f2a9c1b7d8e4f6a0b1c2d3e4f5a6b7c8d9e0f1a
sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
url = "https://example.org/data?page=2&key_words=a"
basic statistics of the frame
{"token_type_ids": [0, 0, 0]}
pad_token = "<pad>"
eos_token="</s>", unk_token='[UNK]'
author: A. Bearer of bad news
dict_keys(['data', 'target'])
array([[0.11, 0.89], [0.99, 0.01]])
model = Pipeline(steps=[("a", A()), ("keyboard", B())])
low_pass = "butterworth"; power = 3
!docker run -p 8080:80 image
!mysql -u root -p sales
plot(xs, ys, author=("Ann", "Bob"))
cache(key="median_income")
git@github.com:me/repo.git  ssh://git@example.org/x
"""


@pytest.mark.threat("T27")
def test_at_least_95_in_100_planted_secrets_are_masked() -> None:
    missed = [text for secret, text in _PLANTED if secret in mask(text)[0]]
    assert len(missed) <= 0.05 * len(_PLANTED), missed
    assert all(MASK in mask(text)[0] for _, text in _PLANTED if text not in missed)


@pytest.mark.threat("T27")
@pytest.mark.parametrize("form", _PLACES)
def test_a_password_recognizable_only_by_its_position_is_masked(form: str) -> None:
    assert mask(form.format("hunter22")) == (form.format("hunter22").replace("hunter22", MASK).replace("@[", "["), 1)


@pytest.mark.threat("T27")
@pytest.mark.parametrize("line", [f'wandb.login(key="{_HEX}01234567")', f'{{"username": "bob", "key": "{_HEX}"}}'])
def test_a_key_of_hex_digits_is_masked(line: str) -> None:
    assert "cdef" not in mask(line)[0]


def test_a_bot_token_is_masked() -> None:
    token = "123456789:" + "AA" + _random(33)
    assert mask(f"bot = Bot('{token}')") == (f"bot = Bot('{MASK}')", 1)


@pytest.mark.threat("T27")
def test_ordinary_lines_stay_as_they_are() -> None:
    hits = [line for line in _ORDINARY.strip().split("\n") if mask(line)[1]]
    assert not hits


def test_a_private_key_is_masked_completely() -> None:
    body = "\n".join(_random(64) for _ in range(5))
    text, hits = mask(f"a\n-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\nb")
    assert (text, hits) == (f"a\n{MASK}\nb", 1)


def test_a_known_value_is_masked_everywhere() -> None:
    assert mask("it printed plainvalue123 twice: plainvalue123", ["plainvalue123"]) == (
        f"it printed {MASK} twice: {MASK}",
        2,
    )


@pytest.mark.threat("T27")
def test_no_secret_of_source_output_or_variable_reaches_the_prompt() -> None:
    token, word = _TOKENS[1], _PASSWORDS[2]
    cells = [
        {
            "cell_type": "code",
            "source": f"api_key = '{token}'",
            "outputs": [{"output_type": "stream", "text": f"password: {word}"}],
        }
    ]
    built = build(
        [Message("user", ("q",))],
        {"cells": cells},
        variables=[{"name": "db_password", "type": "str", "summary": repr(word)}],
        budget=2000,
        count=lambda texts: [len(t) // 3 for t in texts],
    )
    sent = "".join(m.text for m in built.messages)
    assert token not in sent
    assert word not in sent
    assert sent.count(MASK) == 3
    assert any("secret" in s.why for s in built.ledger)
