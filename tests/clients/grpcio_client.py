"""Checks a server that runs with --offline through Python's grpcio, without generated code.

    python grpcio_client.py 127.0.0.1:PORT

Prints one line per check and `N passed, 0 failed`; exits with 1 when a check failed.
"""

import json
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from reflected import Refusal, Service, decode, refused, run
from turn_log import TERMINAL, check_log, kinds, settled

SERVICE = "causerie.v1.ConversationService"
MODEL = "offline-small"

CITY_TOOL = {
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME_TOOL = {
    "function": {
        "name": "get_time",
        "parameters": {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"]},
    },
}
TOOLS = [CITY_TOOL, TIME_TOOL]


def start(service, text, **fields):
    return service.call("Start", model=MODEL, input=text, **fields)


def stream(service, text, **fields):
    return service.events(start={"model": MODEL, "input": text, **fields})


def resume(service, turn_id, after=0):
    return service.events(resume={"turnId": turn_id, "afterSequence": after})


def text(message):
    return "".join(chunk.text for chunk in message.content)


def answer(turn):
    return "".join(text(entry.message_output) for entry in turn.outputs)


def state(message, field="state"):
    return message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(message, field)].name


def history(service, conversation_id, **fields):
    return list(service.call("ListEntries", conversationId=conversation_id, **fields).entries)


def user(words):
    return {"messageInput": {"role": "ROLE_USER", "content": [{"text": words}]}}


def result_of(call, words):
    return {"functionResult": {"toolCallId": call.tool_call_id, "content": [{"text": words}]}}


def an_id(prefix):
    """An id of the right form that nothing has."""
    return f"{prefix}_{uuid.UUID(int=7 << 76 | 8 << 60).hex}"


def health_check(service):
    stub = health_pb2_grpc.HealthStub(service.channel)
    for name in ("", SERVICE):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, name
    refused("NOT_FOUND", "NOT_FOUND", lambda: stub.Check(health_pb2.HealthCheckRequest(service="none"), timeout=5))


def health_watch_of_an_unknown_service_stays_open(service):
    watch = health_pb2_grpc.HealthStub(service.channel).Watch(health_pb2.HealthCheckRequest(service="none"), timeout=0.3)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    try:
        raise AssertionError(f"more came: {next(watch)}")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error


def reflection_lists_services(service):
    names = set(service.database.get_services())
    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= names, names


def reflection_describes_messages(service):
    event = service.pool.FindMessageTypeByName("causerie.v1.Event")
    assert {"response_started"} | TERMINAL <= {field.name for field in event.oneofs_by_name["kind"].fields}
    file = service.database.FindFileContainingSymbol("causerie.v1.Event")
    assert any("One event of a turn" in place.leading_comments for place in file.source_code_info.location)
    # Without this, generic clients show error details as bytes.
    assert service.pool.FindMessageTypeByName("google.rpc.ErrorInfo").fields_by_name["reason"]


def start_append_restart(service):
    first = start(service, "Hello")
    assert state(first) == "STATE_COMPLETED" and state(first, "finish_reason") == "FINISH_REASON_STOP"
    assert answer(first) == '[offline] You said: "Hello". (message 1 of this conversation)', answer(first)
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens > 0
    second = service.call("Append", conversationId=first.conversation_id, input="Again")
    assert second.parent_conversation_id == first.conversation_id != second.conversation_id
    assert "(message 3 of this conversation)" in answer(second)
    question = history(service, second.conversation_id)[2]
    third = service.call(
        "Restart", conversationId=second.conversation_id, fromEntryId=question.id, boundary="BOUNDARY_BEFORE_ENTRY", input="Other"
    )
    said = [text(e.message_input) or text(e.message_output) for e in history(service, third.conversation_id)]
    assert said == ["Hello", answer(first), "Other", answer(third)], said


def versions_are_a_tree(service):
    root = start(service, "Hello", metadata={"test": "tree"}).conversation_id
    left, right = (service.call("Append", conversationId=root, input=word).conversation_id for word in ("left", "right"))
    version = service.call("GetConversation", conversationId=left)
    assert (version.id, version.parent_id, version.root_id) == (left, root, root)
    assert version.head and version.entry_count == 4 and version.turn_count == 2 and version.model == MODEL
    assert dict(version.metadata) == {"test": "tree"}
    assert not service.call("GetConversation", conversationId=root).head
    tree = service.call("ListVersions", conversationId=right).versions
    assert [v.id for v in tree] == [root, left, right], tree
    heads = service.call("ListConversations", treeOf=root, headsOnly=True).conversations
    assert [v.id for v in heads] == [right, left], "newest first"
    refused("FAILED_PRECONDITION", "HAS_SUCCESSORS", lambda: service.call("DeleteConversation", conversationId=root))
    service.call("DeleteConversation", conversationId=root, force=True)
    gone = refused("NOT_FOUND", "CONVERSATION_NOT_FOUND", lambda: service.call("GetConversation", conversationId=left))
    assert gone.details["ResourceInfo"].resource_name == left


def history_pages_and_round_trip(service):
    first = start(service, "Grüße, 世界 🌍")
    second = service.call("Append", conversationId=first.conversation_id, input="Again")
    whole = history(service, second.conversation_id)
    assert [e.type for e in whole] == ["message.input", "message.output"] * 2
    paged, token = [], ""
    while not paged or token:
        page = service.call("ListEntries", conversationId=second.conversation_id, pageSize=1, pageToken=token)
        paged, token = paged + list(page.entries), page.next_page_token
    assert paged == whole
    assert history(service, second.conversation_id, order="ORDER_NEWEST_FIRST") == whole[::-1]
    questions = history(service, second.conversation_id, kinds=["ENTRY_KIND_MESSAGE_INPUT"])
    assert questions == whole[::2]
    call, request = service.bind("Start")
    copied = call(request(model=MODEL, inputs=whole, skip_completion=True), timeout=20)
    again = history(service, copied.conversation_id)
    for entry in whole + again:
        entry.ClearField("id")
    assert again == whole


def events_of_a_turn(service):
    events = stream(service, "Hello")
    check_log(events)
    done = events[-1].response_done.turn
    assert events[0].response_started.conversation_id == done.conversation_id
    assert [text(e.message_input) for e in events[0].response_started.inputs] == ["Hello"]
    pieces = [e.message_output_delta.content.text for e in events if e.WhichOneof("kind") == "message_output_delta"]
    entries = [e.entry_done.entry for e in events if e.WhichOneof("kind") == "entry_done"]
    assert "".join(pieces) == answer(done) == text(entries[0].message_output) and len(pieces) > 1, pieces
    assert done == service.call("GetTurn", turnId=done.id)
    assert list(done.outputs) == history(service, done.conversation_id)[1:]
    assert done.last_sequence == events[-1].sequence


def events_can_be_read_again(service):
    original = stream(service, "/offline words 40\n")
    turn_id, last = original[0].turn_id, original[-1].sequence
    again = resume(service, turn_id)
    check_log(again)
    assert settled(again) == settled(original)
    for event in original[:-1]:
        rest = [later for later in original if later.sequence > event.sequence]
        resumed = resume(service, turn_id, event.sequence)
        check_log(resumed, event.sequence)
        assert settled(resumed) == settled(rest), f"after {event.sequence}"
    assert resume(service, turn_id, last) == [] == resume(service, turn_id, last + 100)


def events_go_on_after_a_lost_connection(service):
    call = service.call("StreamEvents", start={"model": MODEL, "input": "/offline words 30\n/offline pace 20\n"})
    seen = [next(call) for _ in range(4)]
    call.cancel()
    rest = resume(service, seen[0].turn_id, seen[-1].sequence)
    check_log(seen + rest)
    assert settled(seen + rest) == settled(resume(service, seen[0].turn_id))
    assert state(rest[-1].response_done.turn) == "STATE_COMPLETED"


def events_without_deltas(service):
    events = service.events(view="EVENT_VIEW_LIFECYCLE", start={"model": MODEL, "input": "Hello"})
    assert kinds(events) == ["response_started", "entry_done", "response_done"]


def events_of_a_failed_turn(service):
    call = service.call("StreamEvents", start={"model": MODEL, "input": "/offline error 429 rate 7"})
    events = []
    refusal = refused("RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", lambda: events.extend(call))
    check_log(events)
    assert kinds(events)[0] == "response_started" and kinds(events)[-1] == "response_error"
    status = events[-1].response_error.status
    assert (status.code, status.message) == (refusal.code.value[0], refusal.message)
    assert decode(status)["ErrorInfo"] == refusal.details["ErrorInfo"]
    turn = service.call("GetTurn", turnId=events[0].turn_id)
    assert state(turn) == "STATE_FAILED" and not turn.conversation_id
    assert (turn.error.code, turn.error.message) == (status.code, status.message)
    assert decode(turn.error)["RetryInfo"] == decode(status)["RetryInfo"] == refusal.details["RetryInfo"]
    refused("RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", lambda: resume(service, turn.id))


def function_calls(service):
    first = start(service, 'call get_weather with {"city": "Paris"} and get_time', tools=TOOLS)
    assert state(first) == "STATE_REQUIRES_ACTION" and state(first, "finish_reason") == "FINISH_REASON_TOOL_CALLS"
    calls = [entry.function_call for entry in first.outputs if entry.WhichOneof("kind") == "function_call"]
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert [json.loads(call.arguments) for call in calls] == [{"city": "Paris"}, {"zone": "UTC"}]
    ids = [call.tool_call_id for call in calls]
    at = first.conversation_id
    assert list(service.call("GetConversation", conversationId=at).pending_tool_call_ids) == ids

    def missing(wanted, **fields):
        refusal = refused(
            "FAILED_PRECONDITION", "TOOL_RESULTS_MISSING", lambda: service.call("Append", conversationId=at, **fields)
        )
        assert all(call_id in refusal.metadata["tool_call_ids"] for call_id in wanted), refusal.metadata
        assert all(call_id not in refusal.metadata["tool_call_ids"] for call_id in set(ids) - set(wanted))

    missing(ids, input="Never mind")
    missing(ids)
    missing(ids[1:], inputs=[result_of(calls[0], "21 degrees")])
    results = [result_of(calls[1], "noon"), result_of(calls[0], "21 degrees")]
    second = service.call("Append", conversationId=at, inputs=results)
    assert state(second) == "STATE_COMPLETED" and "21 degrees" in answer(second) and "noon" in answer(second)
    foreign = {"functionResult": {"toolCallId": "none", "content": [{"text": "x"}]}}
    refused(
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
        lambda: service.call("Append", conversationId=second.conversation_id, inputs=[foreign]),
    )


def function_calls_streamed(service):
    for model in (MODEL, "offline-reasoning"):
        fields = {"model": model, "input": "call get_time and get_weather", "tools": TOOLS}
        events = service.events(start=fields)
        check_log(events)
        pieces = {}
        for event in events:
            if event.WhichOneof("kind") == "function_call_delta":
                delta = event.function_call_delta
                pieces[delta.tool_call_id] = pieces.get(delta.tool_call_id, "") + delta.arguments
        outputs = [entry.function_call for entry in events[-1].response_done.turn.outputs if entry.HasField("function_call")]
        assert pieces == {call.tool_call_id: call.arguments for call in outputs} and len(pieces) == 2, (pieces, outputs)


def tool_choice_named(service):
    args = {"toolChoice": {"functionName": "get_time"}}
    turn = start(service, "x", tools=TOOLS, completionArgs=args)
    assert [entry.function_call.name for entry in turn.outputs] == ["get_time"]


# What the provider answers, and what becomes of it.
PROVIDER_ERRORS = [
    ("400 invalid_model", "NOT_FOUND", "MODEL_NOT_FOUND", {"ResourceInfo"}),
    ("400 context", "INVALID_ARGUMENT", "CONTEXT_LENGTH_EXCEEDED", set()),
    ("400 order", "INVALID_ARGUMENT", "INVALID_REQUEST", set()),
    ("401", "UNAUTHENTICATED", "INVALID_API_KEY", set()),
    ("402", "FAILED_PRECONDITION", "INSUFFICIENT_CREDITS", set()),
    ("403 guardrail", "PERMISSION_DENIED", "GUARDRAIL_BLOCKED", set()),
    ("403 tier", "PERMISSION_DENIED", "PERMISSION_DENIED", set()),
    ("404 model", "NOT_FOUND", "MODEL_NOT_FOUND", {"ResourceInfo"}),
    ("408", "DEADLINE_EXCEEDED", "TIMEOUT", {"RetryInfo"}),
    ("422 list", "INVALID_ARGUMENT", "INVALID_REQUEST", set()),
    ("422 context", "INVALID_ARGUMENT", "CONTEXT_LENGTH_EXCEEDED", set()),
    ("429 rate 7", "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", {"RetryInfo"}),
    ("429 capacity", "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", {"RetryInfo"}),
    ("429 gateway", "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", {"RetryInfo"}),
    ("500 3000", "UNAVAILABLE", "SERVICE_UNAVAILABLE", {"RetryInfo"}),
    ("502 html", "UNAVAILABLE", "SERVICE_UNAVAILABLE", {"RetryInfo"}),
    ("503 text", "UNAVAILABLE", "SERVICE_UNAVAILABLE", {"RetryInfo"}),
    ("504 html", "UNAVAILABLE", "SERVICE_UNAVAILABLE", {"RetryInfo"}),
]


def errors_of_the_provider(service):
    for directive, code, reason, details in PROVIDER_ERRORS:
        try:
            refusal = refused(code, reason, lambda: start(service, f"/offline error {directive}"))
        except AssertionError as error:
            raise AssertionError(f"{directive}: {error}") from error
        assert details <= set(refusal.details), f"{directive}: {set(refusal.details)}"
        if directive == "429 rate 7":
            assert refusal.details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() == 7


def errors_of_the_request(service):
    refusal = refused(
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
        lambda: service.call("Start", completionArgs={"temperature": 9, "topP": 0}, tools=[{"function": {"name": "a b"}}]),
    )
    wanted = {"model", "completion_args.temperature", "completion_args.top_p", "tools[0].function.name"}
    assert wanted <= refusal.fields(), refusal.fields()
    refusal = refused("INVALID_ARGUMENT", "INVALID_REQUEST", lambda: service.events(start={"input": "x"}))
    assert "start.model" in refusal.fields(), refusal.fields()
    missing = [
        ("CONVERSATION_NOT_FOUND", "GetConversation", {"conversationId": an_id("conv")}, an_id("conv")),
        ("CONVERSATION_NOT_FOUND", "Append", {"conversationId": an_id("conv"), "input": "x"}, an_id("conv")),
        ("TURN_NOT_FOUND", "GetTurn", {"turnId": an_id("turn")}, an_id("turn")),
        ("TURN_NOT_FOUND", "CancelTurn", {"turnId": an_id("turn")}, an_id("turn")),
    ]
    for reason, method, fields, name in missing:
        refusal = refused("NOT_FOUND", reason, lambda: service.call(method, **fields))
        assert refusal.details["ResourceInfo"].resource_name == name, refusal.details


def errors_of_the_state(service):
    first = start(service, "Hello")
    at = first.conversation_id
    refused("FAILED_PRECONDITION", "NOTHING_TO_ANSWER", lambda: service.call("Append", conversationId=at))
    second = service.call("Append", conversationId=at, input="x", requireHead=True)
    moved = refused(
        "ABORTED", "HEAD_MOVED", lambda: service.call("Append", conversationId=at, input="y", requireHead=True)
    )
    assert second.conversation_id in moved.metadata["heads"]
    fields = {"conversationId": at, "fromEntryId": an_id("msg"), "input": "x"}
    gone = refused("NOT_FOUND", "ENTRY_NOT_FOUND", lambda: service.call("Restart", **fields))
    assert gone.details["ResourceInfo"].resource_name == an_id("msg")


def unknown_method(service):
    call = service.channel.unary_unary(f"/{SERVICE}/None")
    refused("UNIMPLEMENTED", "UNKNOWN_METHOD", lambda: call(b"", timeout=5))


def request_info_is_the_callers_request_id(service):
    options = {"metadata": [("x-request-id", "a-caller-s-own-id")]}
    call = lambda: service.call("GetTurn", options=options, turnId=an_id("turn"))
    assert refused("NOT_FOUND", "TURN_NOT_FOUND", call).details["RequestInfo"].request_id == "a-caller-s-own-id"


def deadlines_of_calls(service):
    began = time.monotonic()
    request = {"model": MODEL, "input": "/offline stall\n"}
    # Half of them by the header alone: then no timer of the client can pass for the server's answer.
    by_server = {"metadata": [("grpc-timeout", "200m")]}
    calls = [service.future("Start", timeout=0.2, **request) for _ in range(20)]
    calls += [service.future("Start", timeout=None, options=by_server, **request) for _ in range(20)]
    codes = [call.code().name for call in calls]
    assert codes == ["DEADLINE_EXCEEDED"] * 40, codes
    assert {Refusal(call.exception()).reason for call in calls[20:]} == {"TIMEOUT"}
    assert time.monotonic() - began < 5


def deadlines_of_streams(service):
    """Streams that have begun to answer when their deadline passes, read side by side."""
    call, request = service.bind("StreamEvents")
    message = request(start={"model": MODEL, "input": "/offline stall\n"})

    def read(_):
        events, watch = [], call(message, timeout=0.5)
        try:
            events.extend(watch)
        except grpc.RpcError:
            pass
        return watch.code().name, events

    with ThreadPoolExecutor(20) as readers:
        read = list(readers.map(read, range(20)))
    for code, events in read:
        assert "message_output_delta" in kinds(events), kinds(events)
        if code == "OK":
            # The turn's own end was faster than the client's timer: INCOMPLETE, for the same reason.
            turn = events[-1].response_done.turn
            assert state(turn) == "STATE_INCOMPLETE" and decode(turn.error)["ErrorInfo"].reason == "TIMEOUT", turn
        else:
            assert code == "DEADLINE_EXCEEDED", code
        ended = service.call("CancelTurn", turnId=events[0].turn_id)
        assert state(ended) == "STATE_INCOMPLETE" and answer(ended)


def cancelled_calls(service):
    call = service.future("Start", model=MODEL, input="/offline stall\n")
    assert call.cancel() and call.code() == grpc.StatusCode.CANCELLED
    assert state(start(service, "Hello")) == "STATE_COMPLETED"


def cancelled_turns(service):
    watcher = service.call("StreamEvents", start={"model": MODEL, "input": "/offline stall\n"})
    seen = [next(watcher)]
    while seen[-1].WhichOneof("kind") != "message_output_delta":
        seen.append(next(watcher))
    turn_id = seen[0].turn_id
    assert state(service.call("GetTurn", turnId=turn_id)) == "STATE_RUNNING"
    ended = service.call("CancelTurn", turnId=turn_id)
    assert state(ended) == "STATE_INCOMPLETE" and answer(ended), ended
    assert decode(ended.error)["ErrorInfo"].reason == "TURN_CANCELLED"
    assert service.call("CancelTurn", turnId=turn_id) == ended == service.call("GetTurn", turnId=turn_id)
    seen.extend(watcher)
    check_log(seen)
    assert seen[-1].response_done.turn == ended
    # What was said so far is a version that can be continued.
    assert state(service.call("Append", conversationId=ended.conversation_id, input="Hello")) == "STATE_COMPLETED"


def repeated_requests(service):
    request = {"model": MODEL, "input": "Hello", "requestId": str(uuid.uuid4())}
    first = service.call("Start", **request)
    assert service.call("Start", **request) == first
    assert service.events(start=request)[-1].response_done.turn == first
    reused = refused("ALREADY_EXISTS", "REQUEST_ID_REUSED", lambda: service.call("Start", **{**request, "input": "Other"}))
    assert reused.metadata["turn_id"] == first.id
    request = {"model": MODEL, "input": "/offline delay 100\nHello", "requestId": str(uuid.uuid4())}
    together = [call.result() for call in [service.future("Start", **request) for _ in range(8)]]
    assert all(turn == together[0] for turn in together)


def nothing_is_kept_on_request(service):
    turn = start(service, "Hello", store=False)
    assert answer(turn) and not turn.conversation_id
    refused("NOT_FOUND", "TURN_NOT_FOUND", lambda: service.call("GetTurn", turnId=turn.id))


def large_metadata(service):
    """14 KiB; the limit is 16."""
    options = {"metadata": [(f"x-large-{n}", "x" * 1024) for n in range(14)]}
    assert state(start(service, "Hello", options=options)) == "STATE_COMPLETED"


def large_messages(service):
    """As large as a turn's input may be, and larger than a message may be."""
    near = [user("x" * 1_000_000), user("x" * 1_000_000)]
    turn = service.call("Start", model=MODEL, inputs=near, skipCompletion=True)
    assert len(history(service, turn.conversation_id)) == 2
    for size in (4 << 20, 16 << 20):
        refused("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE", lambda: start(service, "x" * size))


def compressed_requests(service):
    turn = start(service, "Hello " * 1000, options={"compression": grpc.Compression.Gzip})
    assert state(turn) == "STATE_COMPLETED"


CHECKS = [
    health_check, health_watch_of_an_unknown_service_stays_open, reflection_lists_services, reflection_describes_messages,
    start_append_restart, versions_are_a_tree, history_pages_and_round_trip, events_of_a_turn, events_can_be_read_again,
    events_go_on_after_a_lost_connection, events_without_deltas, events_of_a_failed_turn, function_calls,
    function_calls_streamed, tool_choice_named, errors_of_the_provider, errors_of_the_request, errors_of_the_state,
    unknown_method, request_info_is_the_callers_request_id, deadlines_of_calls, deadlines_of_streams, cancelled_calls,
    cancelled_turns, repeated_requests, nothing_is_kept_on_request, large_metadata, large_messages, compressed_requests,
]


def main():
    with grpc.insecure_channel(sys.argv[1]) as channel:
        return run(CHECKS, Service(channel, SERVICE))


if __name__ == "__main__":
    sys.exit(main())
