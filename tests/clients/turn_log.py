"""What holds for the events of any turn, and how two readings of them are compared."""

DELTAS = {"message_output_delta", "function_call_delta", "tool_execution_delta"}
TERMINAL = {"response_done", "response_error"}


def kinds(events):
    return [event.WhichOneof("kind") for event in events]


def check_log(events, after=0):
    """Sequences without gaps, one terminal event, at the end."""
    for event in events:
        assert event.first_sequence == after + 1 <= event.sequence, f"after {after} came {event}"
        after = event.sequence
    names = kinds(events)
    assert [name in TERMINAL for name in names] == [False] * (len(names) - 1) + [True], names


def settled(events):
    """The events with neighbouring deltas of one chunk put together: how far they were merged is the reader's pace."""
    merged = []
    for event in events:
        kind, last = event.WhichOneof("kind"), merged[-1] if merged else None
        if kind in DELTAS and last is not None and place(last) == place(event):
            delta, piece = getattr(last, kind), getattr(event, kind)
            if kind == "message_output_delta":
                delta.content.text += piece.content.text
            else:
                delta.arguments += piece.arguments
            last.sequence = event.sequence
            last.created_at.CopyFrom(event.created_at)
        else:
            merged.append(type(event).FromString(event.SerializeToString()))
    return merged


def place(event):
    """Which chunk or call a delta belongs to."""
    kind = event.WhichOneof("kind")
    if kind == "message_output_delta" and event.message_output_delta.content.WhichOneof("kind") == "text":
        return event.message_output_delta.entry_id, event.message_output_delta.content_index
    if kind == "function_call_delta":
        return event.function_call_delta.entry_id, "arguments"
    return event.sequence
