#!/usr/bin/env bash
# Checks a server that runs with --offline through `buf curl`, which knows of it only what reflection tells.
#
#     CAUSERIE_BUF=buf bash buf_curl.sh 127.0.0.1:PORT
#
# Prints one line per check and `N passed, 0 failed`; exits with 1 when a check failed.
set -u

server=http://$1
buf=${CAUSERIE_BUF:-buf}
service=causerie.v1.ConversationService
out=$(mktemp) err=$(mktemp)
trap 'rm -f "$out" "$err"' EXIT
passed=0 failed=0

# No check may hang on a server that never answers.
curl() {
    timeout 20 "$buf" curl --protocol grpc --http2-prior-knowledge --reflect-protocol "$reflection" "$@" >"$out" 2>"$err"
}

# Calls a method: METHOD JSON.
call() {
    curl -d "$2" "$server/$service/$1"
}

# The output as one line without spaces: protobuf's JSON puts them anywhere.
flat() {
    tr -d ' \n' <"$1"
}

# Whether the output holds every one of these texts.
holds() {
    local file=$1 text
    shift
    for text in "$@"; do
        if ! flat "$file" | grep -qF -- "$text"; then
            echo "no $text in: $(cat "$out" "$err")"
            return 1
        fi
    done
}

# The first value of a field of texts.
value() {
    flat "$out" | grep -oE "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4
}

# Whether the call failed with a code, named as gRPC does and numbered, and a reason in its details.
refused() {
    local code=$1 number=$2 reason=$3 status=$4
    # buf exits with eight times the code.
    if [ "$status" -ne $((number * 8)) ]; then
        echo "exit code $status: $(cat "$out" "$err")"
        return 1
    fi
    holds "$err" "\"code\":\"$code\"" '"type":"google.rpc.ErrorInfo"' || return 1
    # Details are printed as base64 without padding, or as JSON.
    flat "$err" | grep -qF "\"reason\":\"$reason\"" && return 0
    flat "$err" | grep -oE '"value":"[^"]*"' | cut -d '"' -f 4 | while read -r packed; do
        base64 -d <<<"$packed" 2>/dev/null
    done | grep -qaF "$reason" && return 0
    echo "no reason $reason in: $(cat "$err")"
    return 1
}

lists_services() {
    curl --list-services "$server"
    holds "$out" "$service" grpc.health.v1.Health "${reflection/grpc-/grpc.reflection.}.ServerReflection"
}

lists_methods() {
    curl --list-methods "$server"
    holds "$out" "$service/Start" "$service/StreamEvents" "$service/ListVersions"
}

health() {
    curl -d '{}' "$server/grpc.health.v1.Health/Check"
    holds "$out" '"status":"SERVING"'
}

start() {
    call Start '{"model": "offline-small", "input": "Hello"}' || { cat "$err"; return 1; }
    holds "$out" '"state":"STATE_COMPLETED"' 'Yousaid:' '"conversationId":"conv_'
}

append_and_read() {
    call Start '{"model": "offline-small", "input": "Hello"}'
    call Append "{\"conversationId\": \"$(value conversationId)\", \"input\": \"Again\"}"
    holds "$out" 'message3ofthisconversation' '"parentConversationId":"conv_' || return 1
    call ListEntries "{\"conversationId\": \"$(value conversationId)\"}"
    holds "$out" '"messageInput"' '"messageOutput"' '"text":"Again"'
}

stream_events() {
    call StreamEvents '{"start": {"model": "offline-small", "input": "Hello"}}' || { cat "$err"; return 1; }
    holds "$out" '"responseStarted"' '"messageOutputDelta"' '"entryDone"' '"responseDone"' || return 1
    local turn
    turn=$(value turnId)
    call StreamEvents "{\"resume\": {\"turnId\": \"$turn\"}}" || { cat "$err"; return 1; }
    holds "$out" "\"turnId\":\"$turn\"" '"sequence":"1"' '"responseDone"'
}

error_not_found() {
    call GetConversation '{"conversationId": "conv_00000000000070008000000000000000"}'
    refused not_found 5 CONVERSATION_NOT_FOUND $?
}

error_of_the_provider() {
    call Start '{"model": "offline-small", "input": "/offline error 429"}'
    refused resource_exhausted 8 RATE_LIMIT_EXCEEDED $?
}

error_after_events() {
    call StreamEvents '{"start": {"model": "offline-small", "input": "/offline error 503"}}'
    refused unavailable 14 SERVICE_UNAVAILABLE $? && holds "$out" '"responseStarted"' '"responseError"'
}

for reflection in grpc-v1 grpc-v1alpha; do
    for check in lists_services lists_methods health start append_and_read stream_events error_not_found \
        error_of_the_provider error_after_events; do
        if why=$("$check" 2>&1); then
            passed=$((passed + 1))
            echo "ok      $check ($reflection)"
        else
            failed=$((failed + 1))
            echo "FAILED  $check ($reflection): $why"
        fi
    done
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
