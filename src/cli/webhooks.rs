//! `causerie webhooks`: the endpoints of a service, and what was sent to them.

use std::io::{Write, stdout};

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use prost_types::FieldMask;

use super::{
    connect::{Server, Webhooks, quick},
    failure::Failure,
    json,
    table::table,
};
use crate::proto::{
    ChangeFilter, CreateWebhookRequest, DeleteWebhookRequest, GetWebhookRequest, ListDeliveriesRequest,
    ListWebhooksRequest, RedeliverRequest, TestWebhookRequest, UpdateWebhookRequest, Webhook, WebhookDelivery,
    WebhookPayload, create_webhook_request::Start, redeliver_request::What, webhook::State, webhook_delivery,
};

pub(super) const AFTER_HELP: &str = "\
To be told of changes, and to see that it works:

  causerie webhooks create https://example.com/hooks
  causerie webhooks test hook_…
  causerie webhooks deliveries hook_…

`create` prints the secret that deliveries are signed with. It is shown this once.";

/// Deliveries that are listed unless more are asked for.
const DELIVERIES: i32 = 50;

/// What `causerie webhooks` takes.
#[derive(Debug, Args)]
pub struct WebhooksArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all webhooks, newest first (what `causerie webhooks` does without a command).
    List,
    /// Make a webhook, and show it with its secret.
    Create {
        /// Where it is told.
        url: String,
        #[command(flatten)]
        wanted: Wanted,
        /// Begin with the oldest change that is kept, and not now.
        #[arg(long, conflicts_with = "after")]
        from_oldest: bool,
        /// Begin after this revision.
        #[arg(long, value_name = "REVISION")]
        after: Option<i64>,
    },
    /// Show a webhook.
    Show {
        /// Its id.
        webhook: String,
    },
    /// Change a webhook: what is given, and nothing else.
    Update {
        /// Its id.
        webhook: String,
        /// Where it is told.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        wanted: Wanted,
        /// Sign with the secrets of this file, one a line, the newest first: several while one is replaced.
        #[arg(long, value_name = "FILE")]
        secrets_file: Option<std::path::PathBuf>,
    },
    /// Let a disabled webhook go on where it stopped.
    Enable {
        /// Its id.
        webhook: String,
    },
    /// Tell a webhook nothing until it is enabled again.
    Disable {
        /// Its id.
        webhook: String,
    },
    /// Delete a webhook with its deliveries.
    Delete {
        /// Its id.
        webhook: String,
    },
    /// Send a test now, and say what came of it.
    Test {
        /// Its id.
        webhook: String,
    },
    /// List what was sent, newest first.
    Deliveries {
        /// Its id.
        webhook: String,
        /// How many at most.
        #[arg(long, value_name = "NUMBER", default_value_t = DELIVERIES)]
        limit: i32,
        /// Only those that stand so.
        #[arg(long)]
        state: Vec<DeliveryState>,
    },
    /// Send a delivery again, or all changes after a revision.
    Redeliver {
        /// Its id.
        webhook: String,
        /// The delivery.
        #[arg(required_unless_present = "after", conflicts_with = "after")]
        delivery: Option<String>,
        /// All changes after this revision.
        #[arg(long, value_name = "REVISION")]
        after: Option<i64>,
    },
}

/// What a webhook is told, and how.
#[derive(Debug, Args)]
struct Wanted {
    /// For people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How much a delivery carries.
    #[arg(long)]
    payload: Option<Payload>,
    /// Which changes: a ChangeFilter in protobuf's JSON, such as '{"model": "mistral-small-latest"}'.
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Payload {
    Thin,
    Full,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DeliveryState {
    Pending,
    Delivered,
    Failed,
}

/// Does what is asked; results go to stdout.
pub async fn run(args: WebhooksArgs) -> Result<(), Failure> {
    let mut client = args.server.connect_webhooks().await?;
    let text = match args.command.unwrap_or(Command::List) {
        Command::List => list(&mut client).await?,
        Command::Create { url, wanted, from_oldest, after } => {
            let start = match (from_oldest, after) {
                (true, _) => Some(Start::FromOldest(true)),
                (false, Some(revision)) => Some(Start::AfterRevision(revision)),
                (false, None) => None,
            };
            let webhook = Webhook { url, ..wanted.webhook(&mut Vec::new())? };
            let request = CreateWebhookRequest { webhook: Some(webhook), start };
            pretty(&client.create_webhook(quick(request)).await?.into_inner())?
        }
        Command::Show { webhook } => {
            let request = GetWebhookRequest { webhook_id: webhook };
            pretty(&client.get_webhook(quick(request)).await?.into_inner())?
        }
        Command::Update { webhook, url, wanted, secrets_file } => {
            let mut paths = Vec::new();
            let mut changed = wanted.webhook(&mut paths)?;
            if let Some(url) = url {
                paths.push("url");
                changed.url = url;
            }
            if let Some(path) = secrets_file {
                paths.push("secrets");
                changed.secrets = secrets(&path)?;
            }
            update(&mut client, Webhook { id: webhook, ..changed }, &paths).await?
        }
        Command::Enable { webhook } => set_state(&mut client, webhook, State::Enabled).await?,
        Command::Disable { webhook } => set_state(&mut client, webhook, State::Disabled).await?,
        Command::Delete { webhook } => {
            client.delete_webhook(quick(DeleteWebhookRequest { webhook_id: webhook })).await?;
            String::new()
        }
        Command::Test { webhook } => test(&mut client, webhook).await?,
        Command::Deliveries { webhook, limit, state } => deliveries(&mut client, webhook, limit, &state).await?,
        Command::Redeliver { webhook, delivery, after } => {
            let what = delivery.map(What::DeliveryId).or(after.map(What::AfterRevision));
            let request = RedeliverRequest { webhook_id: webhook, what };
            pretty(&client.redeliver(quick(request)).await?.into_inner())?
        }
    };
    stdout().write_all(text.as_bytes())?;
    Ok(())
}

impl Wanted {
    /// A webhook with what was given; the fields are noted.
    fn webhook(self, fields: &mut Vec<&'static str>) -> Result<Webhook, Failure> {
        let Wanted { description, payload, filter } = self;
        let mut webhook = Webhook::default();
        if let Some(description) = description {
            fields.push("description");
            webhook.description = description;
        }
        if let Some(payload) = payload {
            fields.push("payload");
            webhook.payload = match payload {
                Payload::Thin => WebhookPayload::Thin.into(),
                Payload::Full => WebhookPayload::Full.into(),
            };
        }
        if let Some(filter) = filter {
            fields.push("filter");
            let wrong = |error| Failure::usage(format!("--filter is no ChangeFilter in JSON: {error}"));
            let filter: ChangeFilter = json::from_text("causerie.v1.ChangeFilter", &filter).map_err(wrong)?;
            webhook.filter = Some(filter);
        }
        Ok(webhook)
    }
}

/// The secrets of a file, one a line, the newest first.
fn secrets(path: &std::path::Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("{} cannot be read: {error}", path.display())))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

async fn update(client: &mut Webhooks, webhook: Webhook, fields: &[&str]) -> Result<String, Failure> {
    if fields.is_empty() {
        return Err(
            Failure::usage("nothing to change is given").note("`causerie webhooks update --help` shows what can be.")
        );
    }
    let update_mask = Some(FieldMask { paths: fields.iter().map(ToString::to_string).collect() });
    let request = UpdateWebhookRequest { webhook: Some(webhook), update_mask };
    pretty(&client.update_webhook(quick(request)).await?.into_inner())
}

async fn set_state(client: &mut Webhooks, id: String, state: State) -> Result<String, Failure> {
    update(client, Webhook { id, state: state.into(), ..Webhook::default() }, &["state"]).await
}

async fn list(client: &mut Webhooks) -> Result<String, Failure> {
    let mut request = ListWebhooksRequest { page_size: 1000, page_token: String::new() };
    let mut rows = vec![["id", "url", "state", "delivered", "failures", "last error"].map(str::to_owned)];
    loop {
        let page = client.list_webhooks(quick(request.clone())).await?.into_inner();
        rows.extend(page.webhooks.iter().map(webhook_cells));
        if page.next_page_token.is_empty() {
            return Ok(table(rows));
        }
        request.page_token = page.next_page_token;
    }
}

fn webhook_cells(webhook: &Webhook) -> [String; 6] {
    let state = match webhook.state() {
        State::Unspecified => "-",
        State::Enabled => "enabled",
        State::Disabled => "disabled",
    };
    [
        webhook.id.clone(),
        webhook.url.clone(),
        state.to_owned(),
        webhook.delivered_revision.to_string(),
        webhook.failure_count.to_string(),
        or_dash(&webhook.last_error),
    ]
}

async fn test(client: &mut Webhooks, webhook_id: String) -> Result<String, Failure> {
    let delivery = client.test_webhook(quick(TestWebhookRequest { webhook_id })).await?.into_inner();
    match delivery.state() {
        webhook_delivery::State::Delivered => {
            Ok(format!("delivered: it answered {} in {} ms\n", delivery.http_status, delivery.duration_ms))
        }
        webhook_delivery::State::Unspecified | webhook_delivery::State::Pending | webhook_delivery::State::Failed => {
            Err(Failure::new(format!("the test failed: {}", delivery.error)))
        }
    }
}

async fn deliveries(
    client: &mut Webhooks,
    webhook_id: String,
    limit: i32,
    states: &[DeliveryState],
) -> Result<String, Failure> {
    let states = states.iter().map(|state| match state {
        DeliveryState::Pending => webhook_delivery::State::Pending.into(),
        DeliveryState::Delivered => webhook_delivery::State::Delivered.into(),
        DeliveryState::Failed => webhook_delivery::State::Failed.into(),
    });
    let mut request =
        ListDeliveriesRequest { webhook_id, page_size: limit, page_token: String::new(), states: states.collect() };
    let mut rows = vec![["id", "revision", "type", "state", "attempts", "last", "error"].map(str::to_owned)];
    let most = usize::try_from(limit).unwrap_or_default() + 1;
    loop {
        let page = client.list_deliveries(quick(request.clone())).await?.into_inner();
        rows.extend(page.deliveries.iter().map(delivery_cells));
        if page.next_page_token.is_empty() || rows.len() >= most {
            rows.truncate(most);
            return Ok(table(rows));
        }
        request.page_token = page.next_page_token;
    }
}

fn delivery_cells(delivery: &WebhookDelivery) -> [String; 7] {
    let state = match delivery.state() {
        webhook_delivery::State::Unspecified => "-",
        webhook_delivery::State::Pending => "pending",
        webhook_delivery::State::Delivered => "delivered",
        webhook_delivery::State::Failed => "failed",
    };
    let at = delivery.attempted_at.and_then(|time| Timestamp::from_second(time.seconds).ok());
    [
        delivery.id.clone(),
        delivery.revision.to_string(),
        delivery.r#type.clone(),
        state.to_owned(),
        delivery.attempt_count.to_string(),
        at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
        or_dash(&delivery.error),
    ]
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn pretty(webhook: &Webhook) -> Result<String, Failure> {
    let text = json::to_text("causerie.v1.Webhook", webhook);
    text.map_err(|error| Failure::new(format!("what the server sent cannot be shown: {error}")))
}
