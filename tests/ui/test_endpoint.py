"""/v1, asked by the official client: what it answers, to whom, and what it refuses."""

# ruff: noqa: F401, F811

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import anyio
import httpx
import openai
import psutil
import pytest
import torch
import uvicorn
from starlette.responses import PlainTextResponse
from transformers import LlamaForCausalLM

from core import hardware, health, keys, library, sharing
from core.chat import ChatServer
from core.config import TrainConfig
from core.store import Store
from core.users import Users
from tests.core.conftest import (
    ROWS,
    exact_chat,
    make_adapted,
    roomy_model,
    tiny_model,
)
from ui import endpoint
from ui.endpoint import Endpoint

ASK = [{"role": "user", "content": "What is 2 and 3?"}]


async def pages(scope, receive, send):
    await PlainTextResponse("the pages")(scope, receive, send)


@pytest.fixture
def chat(exact_chat):
    return exact_chat


@pytest.fixture
def address(chat):
    config = uvicorn.Config(Endpoint(pages, chat), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def client(address):
    return connect(address, keys.make(Store(), "a test")[1])


def connect(address, key):
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)


def ask(client, model, messages=ASK, **options):
    options = {"temperature": 0, "max_tokens": 30} | options
    return client.chat.completions.create(model=model, messages=messages, **options)


def text(completion):
    return completion.choices[0].message.content


def compared(chat, run, **sampling):
    *_, last = chat.compare([run], ASK, {"max_new_tokens": 30} | sampling)
    return last


def test_models_are_listed_and_found_by_id_and_name(client, make_adapted, roomy_model):
    run, twin = make_adapted(name="support bot"), make_adapted(name="twin")
    make_adapted(name="twin")
    ids = [model.id for model in client.models.list()]
    assert {run.id, twin.id, str(roomy_model), "starter"} <= set(ids)
    assert client.models.retrieve(run.id).names == ["support bot"]
    assert client.models.retrieve("support bot").id == run.id
    assert client.models.retrieve(str(roomy_model)).id == str(roomy_model)
    with pytest.raises(openai.NotFoundError, match="2 runs are called 'twin'"):
        client.models.retrieve("twin")
    with pytest.raises(openai.NotFoundError) as nobody:
        ask(client, "gpt-4o")
    assert nobody.value.code == "model_not_found"
    unfinished = Store().create_run(TrainConfig(base_model=str(roomy_model)), ROWS, [])
    with pytest.raises(openai.BadRequestError, match="nothing to compare yet"):
        ask(client, unfinished.id)


def test_an_answer_is_the_one_of_compare(client, chat, make_adapted, roomy_model):
    run = make_adapted(name="bot")
    expected = compared(chat, run)
    answer = ask(client, "bot")
    assert text(answer) == expected[run.id]
    assert text(ask(client, str(roomy_model))) == expected["base"]
    assert answer.usage.completion_tokens == expected["tokens"][run.id]
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert answer.model == "bot"
    parts = [{"role": "user", "content": [{"type": "text", "text": ASK[0]["content"]}]}]
    assert text(ask(client, run.id, parts)) == expected[run.id]
    assert text(ask(client, run.id, extra_body={"strength": 0})) == expected["base"]
    told = ask(client, run.id, [{"role": "system", "content": "Be brief."}, *ASK])
    assert told.usage.prompt_tokens > answer.usage.prompt_tokens
    newer = ask(client, run.id, [{"role": "developer", "content": "Be brief."}, *ASK])
    assert text(newer) == text(told)
    hot = {"temperature": 1.5, "top_p": 0.9}
    seeded = [text(ask(client, run.id, seed=seed, **hot)) for seed in (5, 5, 6)]
    assert seeded[0] == seeded[1] != seeded[2]
    assert seeded[0] == compared(chat, run, seed=5, **hot)[run.id]


def test_a_stream_grows_to_the_same_answer(client, make_adapted):
    run = make_adapted()
    whole = ask(client, run.id)
    *growing, last, counted = ask(
        client, run.id, stream=True, stream_options={"include_usage": True}
    )
    assert growing[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content for chunk in growing) == text(whole)
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason
    assert (counted.choices, counted.usage) == ([], whole.usage)
    assert len({chunk.id for chunk in growing}) == 1
    assert all(chunk.usage is None for chunk in growing)


def test_it_ends_at_a_stop_and_at_the_limit(client, make_adapted):
    run = make_adapted()
    whole = text(ask(client, run.id))
    word = whole.split()[3]
    cut = whole[: whole.index(word)]
    stopped = ask(client, run.id, stop=word)
    assert (text(stopped), stopped.choices[0].finish_reason) == (cut, "stop")
    *growing, last = ask(client, run.id, stop=["never said", word], stream=True)
    assert "".join(chunk.choices[0].delta.content for chunk in growing) == cut
    assert last.choices[0].finish_reason == "stop"
    short = ask(client, run.id, max_tokens=openai.omit, max_completion_tokens=3)
    assert short.usage.completion_tokens == 3
    assert short.choices[0].finish_reason == "length"


def test_base_and_adapters_are_asked_at_once_and_each_gives_its_own_answer(
    client, chat, make_adapted, roomy_model
):  # fmt: skip
    runs = [make_adapted(seed=seed, name=f"run {seed}") for seed in (1, 2)]
    expected = {run.id: compared(chat, run)[run.id] for run in runs}
    expected[str(roomy_model)] = compared(chat, runs[0])["base"]
    assert len(set(expected.values())) == 3
    names = [*expected] * 4
    with ThreadPoolExecutor(len(names)) as pool:
        told = list(pool.map(lambda name: text(ask(client, name)), names))
    assert told == [expected[name] for name in names]


def test_a_run_that_left_a_whole_model_answers_as_in_compare(
    client, chat, make_adapted, roomy_model
):
    run = make_adapted(name="whole", method="full")
    shutil.rmtree(run.adapter)
    torch.manual_seed(3)
    LlamaForCausalLM.from_pretrained(roomy_model).apply(shake).save_pretrained(
        shutil.copytree(roomy_model, run.path / "adapter")
    )
    expected = compared(chat, run)
    assert expected[run.id] != expected["base"]
    assert text(ask(client, "whole")) == expected[run.id]
    assert text(ask(client, str(roomy_model))) == expected["base"]


def shake(module):
    for parameter in module.parameters(recurse=False):
        parameter.data += 0.05 * torch.randn_like(parameter)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"extra_body": {"min_p": 0.1}}, "min_p"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": "x" * 501}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
    ],
)
def test_what_it_can_not_do_is_refused_by_its_name(client, options, field):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, "starter", **options)
    assert refused.value.param == field
    assert refused.value.type == "invalid_request_error"
    assert field in refused.value.body["message"]


def test_what_changes_nothing_may_be_said(client, make_adapted):
    run = make_adapted()
    plain = {
        "n": 1, "tools": [], "frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": False,
        "response_format": {"type": "text"}, "user": "me", "metadata": {"a": "b"}, "store": False,
        "stop": None, "logit_bias": {}, "tool_choice": "none",
    }  # fmt: skip
    assert text(ask(client, run.id, **plain)) == text(ask(client, run.id))


def test_what_is_no_json_or_too_long_is_told(client, make_adapted, tiny_model, address):
    run = make_adapted(model=tiny_model)
    with pytest.raises(openai.BadRequestError, match="this model reads 256") as long:
        ask(client, run.id, [{"role": "user", "content": "word " * 300}])
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "messages")
    head = {"authorization": f"Bearer {client.api_key}"}
    asked = httpx.post(f"{address}/v1/chat/completions", content=b"{", headers=head)
    assert (asked.status_code, asked.json()["error"]["message"]) == (
        400, "The request is not JSON, or no object.",
    )  # fmt: skip
    asked = httpx.post(f"{address}/v1/chat/completions", content=b"x" * 4_000_001, headers=head)
    assert asked.json()["error"]["code"] == "context_length_exceeded"
    asked = httpx.get(f"{address}/v1/embeddings", headers=head)
    assert (asked.status_code, asked.json()["error"]["type"]) == (404, "invalid_request_error")
    assert httpx.get(f"{address}/v10").text == "the pages"


@pytest.mark.skipif(not shutil.which("curl"), reason="asks with curl too")
def test_the_commands_of_the_docs_do_what_they_say(client, address, make_adapted):
    run = make_adapted(name="support-bot")
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    text = text.replace("http://127.0.0.1:7860", address).replace("YOUR-KEY", client.api_key)
    shell = re.findall(r"```bash\n(.*?)```", text, re.S)
    (script,) = re.findall(r"```python\n(.*?)```", text, re.S)

    def said(*command):
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        return done.stdout

    answer, models = (json.loads(said("bash", "-c", command)) for command in shell)
    assert answer["choices"][0]["message"]["content"]
    assert run.id in [model["id"] for model in models["data"]]
    question = [{"role": "user", "content": "Do you deliver on Sundays?"}]
    expected = ask(client, run.id, question, max_tokens=200).choices[0].message.content
    assert said(sys.executable, "-c", script) == expected


# ---- who may ask


def test_without_a_key_nothing_is_answered_and_wrong_ones_are_slowed_down(address, data_dir):
    for path in ("models", "models/starter"):
        asked = httpx.get(f"{address}/v1/{path}")
        assert asked.status_code == 401
        assert "Make one on a run's page" in asked.json()["error"]["message"]
    name_and_password = httpx.get(f"{address}/v1/models", auth=("local", "x"))
    assert name_and_password.status_code == 401
    for _ in range(30):
        with pytest.raises(openai.AuthenticationError) as wrong:
            connect(address, "graft-wrong").models.list()
        assert wrong.value.code == "invalid_api_key"
    with pytest.raises(openai.RateLimitError, match="Wait five minutes"):
        connect(address, "graft-wrong").models.list()
    key, right = keys.make(Store(), "mine")
    assert connect(address, right).models.list().data  # others' tries shut nobody out
    keys.revoke(Store(), key.id)
    with pytest.raises(openai.RateLimitError):
        connect(address, right).models.list()


def test_a_key_opens_its_owners_models_alone(
    address, make_adapted, roomy_model, tmp_path, monkeypatch
):  # fmt: skip
    people = Users(tmp_path / "users.json")
    for name in ("anna", "ben"):
        people.put(name, "correct horse")
    nobodys = keys.make(Store(), "without a login")[1]
    monkeypatch.setenv("GRAFT_AUTH", str(people.path))
    run = make_adapted(name="secret")
    theirs = Store("anna").path / "runs"
    theirs.mkdir(parents=True)
    run.path.rename(theirs / run.id)
    anna, ben = (connect(address, keys.make(Store(name), "k")[1]) for name in ("anna", "ben"))
    assert text(ask(anna, "secret"))
    assert {run.id, str(roomy_model)} <= {model.id for model in anna.models.list()}
    assert [model.id for model in ben.models.list()] == ["starter"]
    folder = f"{theirs / run.id}/adapter"
    for name in (run.id, "secret", f"../../anna/runs/{run.id}", folder, str(roomy_model)):
        with pytest.raises(openai.NotFoundError):
            ask(ben, name)
    with pytest.raises(openai.AuthenticationError):
        connect(address, nobodys).models.list()
    people.remove("anna")
    with pytest.raises(openai.AuthenticationError):
        anna.models.list()


# ---- what happens around it


def test_a_client_that_goes_away_ends_its_answer(client, chat, make_adapted):
    run = make_adapted()
    stream = ask(client, run.id, max_tokens=15_000, stream=True)
    next(stream)
    stream.close()
    impatient = client.with_options(timeout=1)
    with pytest.raises(openai.APITimeoutError):
        ask(impatient, run.id, max_tokens=15_000)
    child = psutil.Process(chat._child.pid)
    deadline = time.monotonic() + 30
    while chat._child._told:
        assert time.monotonic() < deadline, "somebody still waits for an answer"
        time.sleep(0.1)
    assert text(ask(client, run.id, max_tokens=3))
    before = sum(child.cpu_times()[:2])
    time.sleep(1)
    assert sum(child.cpu_times()[:2]) - before < 0.2


class Endless(ChatServer):
    """Answers without end, and takes its time to stop, as beside a chat process that starts."""

    stopped = False

    def complete(self, *_):
        try:
            for words in count(1):
                time.sleep(0.01)
                yield {"text": "word " * words, "done": False}
        finally:
            time.sleep(1)
            self.stopped = True


def test_a_client_that_takes_nothing_is_given_up_and_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(endpoint, "STALLED", 0.2)
    server, gaps = Endless(), []
    body = json.dumps({"model": "starter", "messages": ASK, "stream": True}).encode()
    key = keys.make(Store(), "a test")[1].encode()
    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
        "headers": [(b"authorization", b"Bearer " + key)],
    }  # fmt: skip
    received = [{"type": "http.request", "body": body}]

    async def receive():
        return received.pop() if received else await anyio.sleep_forever()

    async def send(message):
        if b"word" in message.get("body", b""):
            await anyio.sleep_forever()

    async def ticks():
        while not server.stopped:
            began = time.monotonic()
            await anyio.sleep(0.01)
            gaps.append(time.monotonic() - began)

    async def both():
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Endpoint(pages, server), scope, receive, send)
                tasks.start_soon(ticks)

    anyio.run(both)
    assert max(gaps) < 0.8  # nobody else was kept waiting while it stopped


def test_beside_a_run_without_room_it_says_when_to_come_back(
    client, chat, make_adapted, monkeypatch
):  # fmt: skip
    run, training = make_adapted(), make_adapted(name="long one")
    chat.close()
    monkeypatch.setenv("GRAFT_KEEP_FREE", "1000000")  # GB
    trains = sharing.Share(1, hardware.device().kind, 1, 1, training, asks=True)
    monkeypatch.setattr(sharing, "shares", lambda: [trains])
    with pytest.raises(openai.InternalServerError) as refused:
        ask(client, run.id)
    assert refused.value.status_code == 503
    assert refused.value.response.headers["retry-after"] == "30"
    assert "beside long one, which is training" in refused.value.body["message"]
    monkeypatch.undo()


@pytest.mark.long
def test_killed_in_the_middle_it_says_so_and_the_next_is_answered(
    client, chat, make_adapted
):  # fmt: skip
    run = make_adapted()
    stream = ask(client, run.id, max_tokens=15_000, stream=True)
    while not next(stream).choices[0].delta.content:
        pass
    psutil.Process(chat._child.pid).kill()
    with pytest.raises(openai.APIError, match="broke off"):
        list(stream)
    assert text(ask(client, run.id))


def test_a_family_answers_with_the_version_that_is_current(client, chat, make_adapted):
    store, first, second = Store(), make_adapted(seed=1), make_adapted(seed=2)
    for run in (first, second):
        library.add(store, "support bot", run)
    said = {run: compared(chat, run)[run.id] for run in (first, second)}
    assert said[first] != said[second]
    assert {"support-bot", "support-bot@1", "support-bot@2"} <= {m.id for m in client.models.list()}
    assert client.models.retrieve("support-bot").names == ["support-bot@1"]
    answer = ask(client, "support-bot")
    assert (text(answer), answer.model) == (said[first], "support-bot")
    assert answer.graft == {"version": "support-bot@1", "answer": ""}  # nobody wants it kept
    assert text(ask(client, "support-bot@2")) == said[second]
    library.make_current(store, "support-bot", 2)
    assert text(ask(client, "support-bot")) == said[second]
    library.roll_back(store, "support-bot")
    assert text(ask(client, "support-bot")) == said[first]
    with pytest.raises(openai.NotFoundError):
        ask(client, "support-bot@3")


def test_a_rollout_gives_the_same_callers_the_candidate_and_answers_can_be_rated(
    client, make_adapted
):
    store = Store()
    for seed in (1, 2):
        library.add(store, "bot", make_adapted(seed=seed))
    library.roll_out(store, "bot", 2, 50)
    health.keep(store, answers=True)
    callers = [f"caller {number}" for number in range(12)]

    def versions():
        return [ask(client, "bot", max_tokens=2, user=one).graft["version"] for one in callers]

    seen = versions()
    assert set(seen) == {"bot@1", "bot@2"}
    assert versions() == seen
    chunks = list(ask(client, "bot", stream=True, user=callers[0]))
    told = next(chunk.graft for chunk in reversed(chunks) if hasattr(chunk, "graft"))
    assert told["version"] == seen[0]
    health.rate(store, told["answer"], "up")
    kept = health.answers(library.families(store)[0])
    assert [(one.by, one.thumb) for one in kept if one.id == told["answer"]] == [("endpoint", "up")]
    assert len(kept) == 2 * len(callers) + 1
