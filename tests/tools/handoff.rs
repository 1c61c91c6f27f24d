//! Handing over: from agent to agent, in the service or by the caller, and to a person.

use causerie::proto::{
    self, ErrorReason, HandoffExecution, agent_service_client::AgentServiceClient, entry::Kind,
    stream_events_request::Request, turn::State,
};
use tonic::transport::Channel;

use super::{asked, runs_of, server, server_with, stream};
use crate::support::{
    calls,
    completion::{calls as calls_for, finish, says, stream_of, stream_of_calls},
    event_log,
    golden::assert_golden,
    provider::{Reply, ScriptedProvider},
    refusal::fields,
    server::{Client, TestServer, append, start, text_of},
    status::{carried, reason_of},
};

type Agents = AgentServiceClient<Channel>;

async fn agent(agents: &mut Agents, agent: proto::Agent) -> proto::Agent {
    let request = proto::CreateAgentRequest { agent: Some(agent), ..Default::default() };
    agents.create_agent(request).await.expect("an agent").into_inner()
}

fn named(name: &str, handoffs: &[&proto::Agent]) -> proto::Agent {
    proto::Agent {
        name: name.to_owned(),
        description: format!("Knows all about {name}."),
        model: format!("model-of-{name}"),
        instructions: format!("You are {name}."),
        handoffs: handoffs.iter().map(|agent| agent.id.clone()).collect(),
        ..Default::default()
    }
}

fn led_by(agent: &proto::Agent) -> proto::StartRequest {
    proto::StartRequest { model: String::new(), agent_id: agent.id.clone(), ..start("Help") }
}

/// Three agents in a row, each of which hands over to the next.
async fn chain(server: &TestServer) -> (Client, [proto::Agent; 3]) {
    let mut agents = AgentServiceClient::new(server.channel().await);
    let expert = agent(&mut agents, named("expert", &[])).await;
    let billing = agent(&mut agents, named("billing", &[&expert])).await;
    let triage = agent(&mut agents, named("triage", &[&billing])).await;
    let to = |name: &str| stream_of_calls(&[("transfer_to_agent", &format!(r#"{{"agent":"{name}"}}"#))]);
    server.provider.on_model("model-of-triage", [to("billing")]);
    server.provider.on_model("model-of-billing", [to("expert")]);
    server.provider.on_model("model-of-expert", [stream_of(&["I know."], "stop")]);
    (server.client().await, [triage, billing, expert])
}

#[tokio::test]
async fn a_turn_goes_through_three_agents() {
    let server = server().await;
    let (mut client, [triage, _, expert]) = chain(&server).await;
    let seen = stream(&client, Request::Start(led_by(&triage))).await;
    assert_golden("turns/handoff_chain.jsonl", &event_log::told(&[("from triage to the expert", &seen.events)]));
    let turn = seen.turn();
    assert_eq!((turn.state(), text_of(turn).as_str()), (State::Completed, "I know."));
    assert_eq!((turn.agent_id.as_str(), turn.agent_version), (triage.id.as_str(), 1));
    assert_eq!(turn.outputs.last().expect("an answer").agent_id, expert.id);
    let request = server.provider.requests_for("model-of-expert").remove(0);
    assert_eq!(
        asked(&request),
        [
            "system: You are expert.",
            "user: Help",
            r#"assistant: transfer_to_agent({"agent":"billing"})"#,
            "tool: transferred",
            r#"assistant: transfer_to_agent({"agent":"expert"})"#,
            "tool: transferred",
        ]
    );
    // Who led last goes on.
    let version = calls::get_conversation(&mut client, &turn.conversation_id).await.expect("a version");
    assert_eq!(version.agent_id, expert.id);
    let on = stream(&client, Request::Append(append(&turn.conversation_id, "More"))).await;
    assert_eq!((on.turn().state(), on.turn().agent_id.as_str()), (State::Completed, expert.id.as_str()));
    server.stop().await;
}

#[tokio::test]
async fn the_caller_can_swap_the_agents() {
    let server = server().await;
    let (client, [triage, billing, expert]) = chain(&server).await;
    let handoff_execution = HandoffExecution::Client.into();
    let request = proto::StartRequest { handoff_execution, ..led_by(&triage) };
    let first = stream(&client, Request::Start(request)).await;
    assert_eq!(first.turn().state(), State::RequiresAction);
    let Some(Kind::AgentHandoff(handoff)) = &first.turn().outputs[0].kind else { panic!("{:?}", first.turn()) };
    assert_eq!((handoff.previous_agent_id.as_str(), handoff.next_agent_id.as_str()), (&*triage.id, &*billing.id));
    let request = proto::AppendRequest { handoff_execution, ..append(&first.turn().conversation_id, "") };
    let second = stream(&client, Request::Append(request)).await;
    let logs = [("triage hands over", &first.events[..]), ("and so does billing", &second.events)];
    assert_golden("turns/handoff_client.jsonl", &event_log::told(&logs));
    assert_eq!(second.turn().agent_id, billing.id);
    let last = stream(&client, Request::Append(append(&second.turn().conversation_id, ""))).await;
    assert_eq!((last.turn().state(), last.turn().agent_id.as_str()), (State::Completed, expert.id.as_str()));
    server.stop().await;
}

#[tokio::test]
async fn agents_that_go_in_a_circle_are_stopped() {
    let server = server().await;
    let mut agents = AgentServiceClient::new(server.channel().await);
    let one = agent(&mut agents, named("one", &[])).await;
    let two = agent(&mut agents, named("two", &[&one])).await;
    let back = proto::Agent { handoffs: vec![two.id.clone()], ..one.clone() };
    let mask = prost_types::FieldMask { paths: vec!["handoffs".to_owned()] };
    let request = proto::UpdateAgentRequest { agent: Some(back), update_mask: Some(mask), ..Default::default() };
    let one = agents.update_agent(request).await.expect("an agent").into_inner();
    let to = |name: &str| stream_of_calls(&[("transfer_to_agent", &format!(r#"{{"agent":"{name}"}}"#))]);
    server.provider.on_model("model-of-one", [to("two")]);
    server.provider.on_model("model-of-two", [to("one")]);
    let seen = stream(&server.client().await, Request::Start(led_by(&one))).await;
    let turn = seen.turn();
    let error = carried(turn.error.as_ref().expect("an error"));
    assert_eq!((turn.state(), reason_of(&error).as_str()), (State::Incomplete, "TURN_LIMIT_EXCEEDED"));
    assert!(error.message().contains("circle"), "{error:?}");
    assert_eq!(turn.outputs.len(), 2, "there and back once");
    server.stop().await;
}

#[tokio::test]
async fn a_turn_is_handed_over_so_often_and_no_more() {
    let server = server_with(&[("turns.max_handoffs", "1")]).await;
    let (client, [triage, billing, _]) = chain(&server).await;
    let seen = stream(&client, Request::Start(led_by(&triage))).await;
    let turn = seen.turn();
    let error = carried(turn.error.as_ref().expect("an error"));
    assert_eq!(reason_of(&error), ErrorReason::TurnLimitExceeded.as_str_name());
    assert_eq!((turn.state(), turn.outputs.len()), (State::Incomplete, 1));
    let version = calls::get_conversation(&mut client.clone(), &turn.conversation_id).await.expect("a version");
    assert_eq!(version.agent_id, billing.id, "it stopped there");
    server.stop().await;
}

#[tokio::test]
async fn a_person_is_asked_and_answers() {
    let server = server().await;
    let mut agents = AgentServiceClient::new(server.channel().await);
    let tools = vec![proto::Tool { kind: Some(proto::tool::Kind::HumanHandoff(proto::HumanHandoffTool::default())) }];
    let support = agent(&mut agents, proto::Agent { tools, ..named("support", &[]) }).await;
    server.provider.reply(stream_of_calls(&[("transfer_to_human", r#"{"message":"May I refund 20 euros?"}"#)]));
    let client = server.client().await;
    let seen = stream(&client, Request::Start(led_by(&support))).await;
    let turn = seen.turn();
    assert_eq!(turn.state(), State::RequiresAction);

    // In the assistant's place: nobody is asked.
    let said = |role: proto::Role, text: &str| {
        let content = vec![proto::Chunk { kind: Some(proto::chunk::Kind::Text(text.to_owned())) }];
        let message = proto::MessageInput { role: role.into(), content, prefix: false };
        proto::Entry { kind: Some(Kind::MessageInput(message)), ..Default::default() }
    };
    let inputs = vec![said(proto::Role::Assistant, "I have refunded them.")];
    let request = proto::AppendRequest { inputs, ..append(&turn.conversation_id, "") };
    let answered = stream(&client, Request::Append(request)).await;
    assert_eq!((answered.turn().state(), server.provider.requests().len()), (State::Completed, 1));
    server.provider.reply(stream_of(&["You are welcome."], "stop"));
    let on = stream(&client, Request::Append(append(&answered.turn().conversation_id, "Thanks"))).await;
    let logs = [
        ("a person is asked", &seen.events[..]),
        ("and answers in the assistant's place", &answered.events),
        ("the conversation goes on", &on.events),
    ];
    assert_golden("turns/handoff_human.jsonl", &event_log::told(&logs));
    assert_eq!(
        asked(&server.provider.requests()[1])[2..],
        [
            r#"assistant: transfer_to_human({"message":"May I refund 20 euros?"})"#,
            "tool: transferred",
            "assistant: I have refunded them.",
            "user: Thanks",
        ]
    );
    // Or as a user: the agent goes on.
    server.provider.reply(stream_of(&["Then I refund them."], "stop"));
    let yes = stream(&client, Request::Append(append(&turn.conversation_id, "Yes, do."))).await;
    assert_eq!((yes.turn().state(), text_of(yes.turn()).as_str()), (State::Completed, "Then I refund them."));
    server.stop().await;
}

#[tokio::test]
async fn a_handoff_to_nobody_and_a_second_one_are_told_to_the_model() {
    let server = server().await;
    let mut agents = AgentServiceClient::new(server.channel().await);
    let expert = agent(&mut agents, named("expert", &[])).await;
    let triage = agent(&mut agents, named("triage", &[&expert])).await;
    let nobody = stream_of_calls(&[("transfer_to_agent", r#"{"agent":"nobody"}"#)]);
    let twice = stream_of_calls(&[
        ("transfer_to_agent", r#"{"agent":"expert"}"#),
        ("transfer_to_agent", r#"{"agent":"expert"}"#),
    ]);
    server.provider.on_model("model-of-triage", [nobody, twice]);
    server.provider.on_model("model-of-expert", [stream_of(&["Here."], "stop")]);
    let seen = stream(&server.client().await, Request::Start(led_by(&triage))).await;
    let turn = seen.turn();
    assert_eq!(turn.state(), State::Completed);
    let errors: Vec<&str> = runs_of(turn).iter().map(|run| run.error.as_str()).collect();
    assert_eq!(
        errors,
        [
            "there is no such agent to hand over to; there are expert",
            "not handed over: another handoff of the same answer came first"
        ]
    );
    server.stop().await;
}

#[tokio::test]
async fn a_deleted_agent_leaves_its_conversations_readable() {
    let server = server().await;
    let (mut client, [_, _, expert]) = chain(&server).await;
    let seen = stream(&client, Request::Start(led_by(&expert))).await;
    let id = seen.turn().conversation_id.clone();
    let mut agents = AgentServiceClient::new(server.channel().await);
    let request = proto::DeleteAgentRequest { agent_id: expert.id.clone(), ..Default::default() };
    agents.delete_agent(request).await.expect("it is deleted");
    assert_eq!(calls::history(&mut client, &id).await.expect("a history").len(), 2);
    let gone = client.append(append(&id, "More")).await.expect_err("nobody leads");
    assert_eq!(reason_of(&gone), ErrorReason::AgentNotFound.as_str_name());
    assert!(gone.message().contains("deleted") && gone.message().contains("expert"), "{gone:?}");
    // Somebody else takes over.
    server.provider.on_model("other", [stream_of(&["Here I am."], "stop")]);
    let request = proto::AppendRequest { model: "other".to_owned(), ..append(&id, "More") };
    let on = stream(&client, Request::Append(request)).await;
    assert_eq!((on.turn().model.as_str(), on.turn().agent_id.as_str()), ("other", ""));
    server.stop().await;
}

#[tokio::test]
async fn unpinned_conversations_follow_their_agent_and_pinned_ones_do_not() {
    let server = server().await;
    let (client, [_, _, expert]) = chain(&server).await;
    let mut agents = AgentServiceClient::new(server.channel().await);
    let alias = proto::SetAgentAliasRequest {
        agent_id: expert.id.clone(),
        alias: "prod".to_owned(),
        version: "1".to_owned(),
        ..Default::default()
    };
    agents.set_agent_alias(alias.clone()).await.expect("an alias");
    let mut ids = Vec::new();
    for agent_version in ["", "1", "prod"] {
        let request = proto::StartRequest { agent_version: agent_version.to_owned(), ..led_by(&expert) };
        ids.push(stream(&client, Request::Start(request)).await.turn().conversation_id.clone());
    }
    let changed = proto::Agent { instructions: "You are new.".to_owned(), etag: String::new(), ..expert.clone() };
    let mask = prost_types::FieldMask { paths: vec!["instructions".to_owned()] };
    let request = proto::UpdateAgentRequest { agent: Some(changed), update_mask: Some(mask), ..Default::default() };
    agents.update_agent(request).await.expect("a new version");
    let mut led = Vec::new();
    for id in &ids {
        led.push(stream(&client, Request::Append(append(id, "More"))).await.turn().agent_version);
    }
    assert_eq!(led, [2, 1, 1]);
    agents.set_agent_alias(proto::SetAgentAliasRequest { version: "2".to_owned(), ..alias }).await.expect("it moves");
    let moved = stream(&client, Request::Append(append(&ids[2], "More"))).await;
    assert_eq!(moved.turn().agent_version, 2);
    let last = server.provider.requests_for("model-of-expert").pop().expect("a request");
    assert_eq!(asked(&last)[0], "system: You are new.");
    server.stop().await;
}

/// What an agent said before a handoff that is not done is no answer.
#[tokio::test]
async fn a_turn_that_is_not_handed_over_goes_on_also_after_words() {
    let server = server_with(&[("turns.max_handoffs", "0")]).await;
    let mut agents = AgentServiceClient::new(server.channel().await);
    let next = agent(&mut agents, named("next", &[])).await;
    let first = agent(&mut agents, named("first", &[&next])).await;
    let asks =
        [says("One moment."), calls_for(0, Some("transfer_to_agent"), r#"{"agent":"next"}"#), finish("tool_calls")];
    server.provider.on_model("model-of-first", [Reply::sse(&asks), stream_of(&["I know."], "stop")]);
    let client = server.client().await;
    let seen = stream(&client, Request::Start(led_by(&first))).await;
    let error = carried(seen.turn().error.as_ref().expect("an error"));
    assert_eq!(reason_of(&error), ErrorReason::TurnLimitExceeded.as_str_name());
    let on = stream(&client, Request::Append(append(&seen.turn().conversation_id, ""))).await;
    assert_eq!(on.turn().state(), State::Completed);
    server.stop().await;
}

/// Who takes tools away means it, and an agent's own would still be there.
#[tokio::test]
async fn what_an_agent_has_of_its_own_is_not_taken_away_by_leaving_it_empty() {
    let server = server().await;
    let (mut client, [_, _, expert]) = chain(&server).await;
    let id = stream(&client, Request::Start(led_by(&expert))).await.turn().conversation_id.clone();
    let request = proto::AppendRequest { clear_tools: true, instructions: Some(String::new()), ..append(&id, "More") };
    let refused = client.append(request).await.expect_err("an agent leads");
    assert_eq!(fields(&refused), ["clear_tools", "instructions"], "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_caller_who_pays_is_not_handed_over_to_another_provider() {
    let other = ScriptedProvider::start().await;
    let file = format!("[providers.other]\nbase_url = \"{}\"\nkey_header = \"none\"\n", other.base_url());
    let server = TestServer::configured(&file, &[("providers.mistral.caller_keys", "true")]).await;
    let mut agents = AgentServiceClient::new(server.channel().await);
    let away = agent(&mut agents, proto::Agent { model: "other/model".to_owned(), ..named("away", &[]) }).await;
    let triage = agent(&mut agents, named("triage", &[&away])).await;
    server.provider.reply(stream_of_calls(&[("transfer_to_agent", r#"{"agent":"away"}"#)]));
    server.provider.reply(Reply::text("Then I answer."));
    let mut request = tonic::Request::new(led_by(&triage));
    request.metadata_mut().insert("x-provider-api-key", "mine".parse().expect("a key"));
    let turn = server.client().await.start(request).await.expect("a turn").into_inner();
    assert_eq!((turn.state(), other.requests().len()), (State::Completed, 0));
    assert!(runs_of(&turn)[0].error.contains("the caller's key"), "{turn:?}");
    server.stop().await;
}
