//! Webhooks: what endpoints are told, when, and what happens when they don't take it.

mod callbacks;
mod crash;
mod delivery;
mod faults;
mod gone;
mod order;
mod redeliver;
pub(crate) mod refused;
mod secrets;

use std::collections::BTreeMap;

use causerie::proto::{
    self, CreateWebhookRequest, GetWebhookRequest, ListDeliveriesRequest, UpdateWebhookRequest, Webhook,
    WebhookDelivery, webhook::State, webhook_service_client::WebhookServiceClient,
};
use prost_types::FieldMask;
use tonic::{Status, transport::Channel};

use crate::support::{
    provider::{Captured, Reply, ScriptedProvider},
    server::{Client, TestServer, append, start},
    status::named,
};

pub(crate) type Webhooks = WebhookServiceClient<Channel>;

const ALLOW: &str = "[tools.http]\nallow = [\"127.0.0.1\"]\n";
/// What failed is tried again at once.
const AT_ONCE: [(&str, &str); 2] = [("webhooks.backoff_base", "1ms"), ("webhooks.backoff_max", "5ms")];

/// A server whose webhooks may reach this machine.
async fn server_with(settings: &[(&str, &str)]) -> TestServer {
    let server = TestServer::configured(ALLOW, settings).await;
    server.provider.on_every(Reply::text("ok"));
    server
}

/// The same; what failed is tried again at once.
async fn server() -> TestServer {
    server_with(&AT_ONCE).await
}

async fn client(server: &TestServer) -> Webhooks {
    Webhooks::new(server.channel().await)
}

/// A receiver that takes all that comes.
async fn receiver() -> ScriptedProvider {
    let receiver = ScriptedProvider::start().await;
    receiver.on_every(taken());
    receiver
}

fn taken() -> Reply {
    Reply::plain(200, "text/plain", "thanks, said the receiver")
}

fn no() -> Reply {
    Reply::plain(500, "text/plain", "no, said the receiver")
}

async fn create_with(webhooks: &mut Webhooks, webhook: Webhook) -> Webhook {
    let request = CreateWebhookRequest { webhook: Some(webhook), start: None };
    webhooks.create_webhook(request).await.expect("a webhook").into_inner()
}

/// A webhook for this receiver.
async fn create(webhooks: &mut Webhooks, receiver: &ScriptedProvider) -> Webhook {
    create_with(webhooks, Webhook { url: receiver.base_url(), ..Webhook::default() }).await
}

async fn get(webhooks: &mut Webhooks, id: &str) -> Result<Webhook, Status> {
    let request = GetWebhookRequest { webhook_id: id.to_owned() };
    webhooks.get_webhook(named("get", request)).await.map(tonic::Response::into_inner)
}

/// Asks until it is so. Each question goes through the server, so it gets on meanwhile.
async fn until(webhooks: &mut Webhooks, id: &str, is_so: impl Fn(&Webhook) -> bool) -> Webhook {
    let mut last = None;
    for _ in 0..20_000 {
        let webhook = get(webhooks, id).await.expect("it is there");
        if is_so(&webhook) {
            return webhook;
        }
        last = Some(webhook);
    }
    panic!("it never is so: {last:?}");
}

/// Changes the fields that the mask names.
async fn update(webhooks: &mut Webhooks, webhook: Webhook, mask: &[&str]) -> Result<Webhook, Status> {
    let update_mask = Some(FieldMask { paths: mask.iter().map(|path| (*path).to_owned()).collect() });
    let request = UpdateWebhookRequest { webhook: Some(webhook), update_mask };
    webhooks.update_webhook(named("update", request)).await.map(tonic::Response::into_inner)
}

async fn set_state(webhooks: &mut Webhooks, id: &str, state: State) -> Webhook {
    let webhook = Webhook { id: id.to_owned(), state: state.into(), ..Webhook::default() };
    update(webhooks, webhook, &["state"]).await.expect("changed")
}

async fn deliveries(webhooks: &mut Webhooks, id: &str) -> Vec<WebhookDelivery> {
    let request = ListDeliveriesRequest { webhook_id: id.to_owned(), page_size: 1000, ..Default::default() };
    webhooks.list_deliveries(request).await.expect("a list").into_inner().deliveries
}

/// Runs a first turn; its version.
async fn begin(client: &mut Client) -> proto::Turn {
    client.start(start("hello")).await.expect("an answer").into_inner()
}

/// Runs a turn on a version.
async fn go_on(client: &mut Client, turn: &proto::Turn) -> proto::Turn {
    client.append(append(&turn.conversation_id, "more")).await.expect("an answer").into_inner()
}

fn webhook_id(request: &Captured) -> &str {
    request.header("webhook-id").expect("a webhook-id")
}

fn turn_of(request: &Captured) -> &str {
    request.json["data"]["turnId"].as_str().expect("a turn")
}

fn revision_of(request: &Captured) -> i64 {
    request.json["data"]["revision"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
}

/// Nothing was delivered under two ids, and nothing different under one.
fn assert_one_id_each(requests: &[Captured]) {
    let mut bodies: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let mut ids: BTreeMap<i64, &str> = BTreeMap::new();
    for request in requests {
        let id = webhook_id(request);
        assert_eq!(*bodies.entry(id).or_insert(&request.raw), request.raw, "{id}");
        assert_eq!(*ids.entry(revision_of(request)).or_insert(id), id);
    }
}
