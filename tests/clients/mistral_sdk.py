"""Checks the offline stand-in with Mistral's own Python SDK.

    python mistral_sdk.py http://127.0.0.1:PORT

Prints one line per check and `N passed, 0 failed`; exits with 1 when a check failed. Needs `mistralai` 3.7 or later.
"""

import json
import os
import sys

from mistralai.client import Mistral
from mistralai.client.errors import HTTPValidationError, SDKError
from mistralai.client.models import TextChunk, ThinkChunk

SMALL, REASONING = "offline-small", "offline-reasoning"

CITY_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME_TOOL = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"]},
    },
}
TOOLS = [CITY_TOOL, TIME_TOOL]


def user(text):
    return {"role": "user", "content": text}


def streamed(client, **request):
    """All chunks of a stream, each of which the SDK has parsed into its own model."""
    with client.chat.stream(**request) as events:
        return [event.data for event in events]


def text_of(chunks):
    contents = [chunk.choices[0].delta.content for chunk in chunks]
    return "".join(content for content in contents if isinstance(content, str))


def gather_calls(chunks):
    """Puts the pieces of function calls together by their index."""
    calls = {}
    for chunk in chunks:
        for piece in chunk.choices[0].delta.tool_calls or []:
            call = calls.setdefault(piece.index, {"id": piece.id, "name": "", "arguments": ""})
            call["name"] += piece.function.name
            call["arguments"] += piece.function.arguments
    return [calls[index] for index in sorted(calls)]


def chat_complete(client):
    answer = client.chat.complete(model=SMALL, messages=[user("Hello")])
    assert answer.object == "chat.completion" and answer.model == SMALL
    choice = answer.choices[0]
    assert choice.message.content == '[offline] You said: "Hello". (message 1 of this conversation)'
    assert choice.finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def chat_complete_is_repeatable(client):
    first, second = (client.chat.complete(model=SMALL, messages=[user("Hello")]) for _ in range(2))
    assert first == second


def every_argument_is_taken(client):
    answer = client.chat.complete(
        model=SMALL,
        messages=[{"role": "system", "content": "Be brief."}, user("Hello")],
        temperature=1.5, top_p=1, max_tokens=3, stop=["zzz"], random_seed=1, presence_penalty=-2,
        frequency_penalty=2, n=2, prediction={"type": "content", "content": "x"}, parallel_tool_calls=True,
        reasoning_effort="high", prompt_mode="reasoning", prompt_cache_key="k", service_tier="auto",
        safe_prompt=True, metadata={"a": "b"}, response_format={"type": "text"}, tool_choice="none", tools=TOOLS,
        min_tokens=0, top_k=1, logprobs=False,
    )
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]


def chat_stream(client):
    chunks = streamed(client, model=SMALL, messages=[user("Hello")])
    assert text_of(chunks) == '[offline] You said: "Hello". (message 1 of this conversation)'
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1].usage.completion_tokens > 0


def prefix(client):
    messages = [user("Write"), {"role": "assistant", "content": "Dear Ada,", "prefix": True}]
    answer = client.chat.complete(model=SMALL, messages=messages)
    assert answer.choices[0].message.content.startswith("Dear Ada,")
    assert text_of(streamed(client, model=SMALL, messages=messages)) == answer.choices[0].message.content


def chunks_of_every_kind(client):
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
        {"type": "document_url", "document_url": "https://example.org/a.pdf", "document_name": "a"},
        {"type": "input_audio", "input_audio": "aGk="},
        {"type": "file", "file_id": "00000000-0000-4000-8000-000000000000"},
        {"type": "reference", "reference_ids": [1, "two"]},
    ]
    answer = client.chat.complete(model=SMALL, messages=[{"role": "user", "content": content}])
    assert '"look" with image_url, document_url, input_audio, file, reference' in answer.choices[0].message.content


def tool_calls_complete(client):
    answer = client.chat.complete(model=SMALL, messages=[user("call get_time and get_weather")], tools=TOOLS)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert [call.function.name for call in choice.message.tool_calls] == ["get_time", "get_weather"]
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"zone": "UTC"}
    assert len({call.id for call in choice.message.tool_calls}) == 2


def tool_calls_stream(client):
    for model in (SMALL, REASONING):
        request = dict(messages=[user("call get_time and get_weather")], tools=TOOLS, model=model)
        chunks = streamed(client, **request)
        calls = gather_calls(chunks)
        assert [call["name"] for call in calls] == ["get_time", "get_weather"], calls
        assert all(json.loads(call["arguments"]) for call in calls) and all(len(call["id"]) == 9 for call in calls)
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
    pieces = [c for c in chunks if c.choices[0].delta.tool_calls]
    assert len(pieces) > 2, "the reasoning model sends its calls in pieces"


def tool_choice_named(client):
    choice = {"type": "function", "function": {"name": "get_time"}}
    answer = client.chat.complete(model=SMALL, messages=[user("x")], tools=TOOLS, tool_choice=choice)
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["get_time"]


def tool_result_round_trip(client):
    messages = [user('call get_weather with {"city": "Paris"} and get_time')]
    first = client.chat.complete(model=SMALL, messages=messages, tools=TOOLS).choices[0].message
    assert json.loads(first.tool_calls[0].function.arguments) == {"city": "Paris"}
    messages.append(first)
    for call, result in zip(first.tool_calls, ("21 degrees", "noon")):
        messages.append({"role": "tool", "name": call.function.name, "tool_call_id": call.id, "content": result})
    second = client.chat.complete(model=SMALL, messages=messages, tools=TOOLS).choices[0]
    assert "21 degrees" in second.message.content and "noon" in second.message.content
    assert second.finish_reason == "stop"


def thinking_complete(client):
    content = client.chat.complete(model=REASONING, messages=[user("Hi")]).choices[0].message.content
    thought, said = content
    assert isinstance(thought, ThinkChunk) and thought.thinking[0].text
    assert isinstance(said, TextChunk) and '"Hi"' in said.text
    history = [user("Hi"), {"role": "assistant", "content": content}, user("Again")]
    assert client.chat.complete(model=REASONING, messages=history).choices[0].finish_reason == "stop"


def thinking_stream(client):
    chunks = streamed(client, model=REASONING, messages=[user("Hi")])
    lists = [c.choices[0].delta.content for c in chunks if isinstance(c.choices[0].delta.content, list)]
    assert all(isinstance(item, ThinkChunk) for chunk in lists[:-1] for item in chunk)
    assert [type(item) for item in lists[-1]] == [ThinkChunk, TextChunk]
    assert (lists[-1][1].text + text_of(chunks)).startswith("[offline] You said")


def json_schema(client):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}, "required": ["n", "s"]}
    form = {"type": "json_schema", "json_schema": {"name": "made", "schema": schema, "strict": True}}
    answer = client.chat.complete(model=SMALL, messages=[user("Hi")], response_format=form)
    made = json.loads(answer.choices[0].message.content)
    assert isinstance(made["n"], int) and isinstance(made["s"], str)


def models_list(client):
    cards = client.models.list().data
    assert [card.id for card in cards] == [SMALL, "offline-large", REASONING]
    assert [card.capabilities.reasoning for card in cards] == [False, False, True]
    assert all(card.TYPE == "base" if hasattr(card, "TYPE") else card.type == "base" for card in cards)


def fails(kind, status, text, call):
    try:
        call()
    except kind as error:
        assert error.status_code == status, error
        assert text in error.body, error.body
        return error
    raise AssertionError(f"no {kind.__name__}")


def error_401(client):
    bare = Mistral(server_url=sys.argv[1])
    fails(SDKError, 401, "Unauthorized", lambda: bare.chat.complete(model=SMALL, messages=[user("x")]))


def error_422(client):
    def call():
        client.chat.complete(model=SMALL, messages=[user("x")], temperature=9)

    detail = fails(HTTPValidationError, 422, "less_than_equal", call).data.detail
    assert detail[0].loc == ["body", "temperature"]


def error_422_stream(client):
    fails(HTTPValidationError, 422, "top_p", lambda: streamed(client, model=SMALL, messages=[user("x")], top_p=0))


def error_429(client):
    def call():
        client.chat.complete(model=SMALL, messages=[user("/offline error 429 rate 2")])

    assert fails(SDKError, 429, "1300", call).headers["retry-after"] == "2"


def error_invalid_model(client):
    fails(SDKError, 400, "1500", lambda: client.chat.complete(model="mistral-none", messages=[user("x")]))


def error_message_order(client):
    messages = [user("x"), {"role": "assistant", "content": "y"}]
    fails(SDKError, 400, "3230", lambda: client.chat.complete(model=SMALL, messages=messages))


CHECKS = [
    chat_complete, chat_complete_is_repeatable, every_argument_is_taken, chat_stream, prefix, chunks_of_every_kind,
    tool_calls_complete, tool_calls_stream, tool_choice_named, tool_result_round_trip, thinking_complete,
    thinking_stream, json_schema, models_list, error_401, error_422, error_422_stream, error_429,
    error_invalid_model, error_message_order,
]


def main():
    # Without an argument the SDK would take a key from here, and the check without a key would have one.
    os.environ.pop("MISTRAL_API_KEY", None)
    client = Mistral(api_key="test", server_url=sys.argv[1])
    failed = 0
    for check in CHECKS:
        try:
            check(client)
            print(f"ok      {check.__name__}")
        except Exception as error:  # every check reports, whatever went wrong in it
            failed += 1
            print(f"FAILED  {check.__name__}: {type(error).__name__}: {error}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
