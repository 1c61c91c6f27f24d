//! `WebhookService`: decode, ask the engine, encode.

use tonic::{Request, Response, Status};

use super::{
    convert::{webhook as write, webhook_request as read},
    service::{Call, cursor},
};
use crate::{
    domain::{Webhook, WebhookId},
    engine::{DeliveryCursor, Engine},
    proto::{self, webhook_service_server::WebhookService},
};

/// The service on an engine.
#[derive(Clone)]
pub(super) struct Webhooks {
    engine: Engine,
}

impl Webhooks {
    /// Serves this engine's webhooks.
    pub(super) fn new(engine: Engine) -> Webhooks {
        Webhooks { engine }
    }
}

type Answer = Result<Response<proto::Webhook>, Status>;

fn answer(webhook: &Webhook) -> Response<proto::Webhook> {
    Response::new(write::write(webhook))
}

#[tonic::async_trait]
impl WebhookService for Webhooks {
    async fn create_webhook(&self, request: Request<proto::CreateWebhookRequest>) -> Answer {
        let call = Call::of(&request);
        let (spec, start) = read::create(request.into_inner()).map_err(call.refused())?;
        let is_made_up = spec.secrets.is_empty();
        let webhook = self.engine.create_webhook(spec, start).await.map_err(call.refused())?;
        let told = if is_made_up { write::write_with_secrets(&webhook) } else { write::write(&webhook) };
        Ok(Response::new(told))
    }

    async fn get_webhook(&self, request: Request<proto::GetWebhookRequest>) -> Answer {
        let call = Call::of(&request);
        let proto::GetWebhookRequest { webhook_id } = request.into_inner();
        let id = read::id(&webhook_id).map_err(call.refused())?;
        Ok(answer(&self.engine.webhook(id).await.map_err(call.refused())?))
    }

    async fn list_webhooks(
        &self,
        request: Request<proto::ListWebhooksRequest>,
    ) -> Result<Response<proto::ListWebhooksResponse>, Status> {
        let call = Call::of(&request);
        let page = read::list(request.into_inner()).map_err(call.refused())?;
        let after = cursor(page.cursor.as_deref(), |bytes| uuid::Uuid::from_slice(bytes).ok().map(WebhookId));
        let after = after.map_err(call.refused())?;
        let found = self.engine.webhooks(after, page.size).await.map_err(call.refused())?;
        Ok(Response::new(proto::ListWebhooksResponse {
            webhooks: found.webhooks.iter().map(write::write).collect(),
            next_page_token: found.next.map(|id| page.next_token(id.0.as_bytes())).unwrap_or_default(),
        }))
    }

    async fn update_webhook(&self, request: Request<proto::UpdateWebhookRequest>) -> Answer {
        let call = Call::of(&request);
        let (id, changes) = read::update(request.into_inner()).map_err(call.refused())?;
        Ok(answer(&self.engine.update_webhook(id, changes).await.map_err(call.refused())?))
    }

    async fn delete_webhook(&self, request: Request<proto::DeleteWebhookRequest>) -> Result<Response<()>, Status> {
        let call = Call::of(&request);
        let proto::DeleteWebhookRequest { webhook_id } = request.into_inner();
        let id = read::id(&webhook_id).map_err(call.refused())?;
        self.engine.delete_webhook(id).await.map_err(call.refused())?;
        Ok(Response::new(()))
    }

    async fn test_webhook(
        &self,
        request: Request<proto::TestWebhookRequest>,
    ) -> Result<Response<proto::WebhookDelivery>, Status> {
        let call = Call::of(&request);
        let proto::TestWebhookRequest { webhook_id } = request.into_inner();
        let id = read::id(&webhook_id).map_err(call.refused())?;
        let delivery = self.engine.test_webhook(id).await.map_err(call.refused())?;
        Ok(Response::new(write::write_delivery(&delivery)))
    }

    async fn list_deliveries(
        &self,
        request: Request<proto::ListDeliveriesRequest>,
    ) -> Result<Response<proto::ListDeliveriesResponse>, Status> {
        let call = Call::of(&request);
        let (id, states, page) = read::deliveries(request.into_inner()).map_err(call.refused())?;
        let after = cursor(page.cursor.as_deref(), |bytes| bytes.try_into().ok().map(DeliveryCursor::from_bytes));
        let after = after.map_err(call.refused())?;
        let found = self.engine.deliveries(id, states, after, page.size).await.map_err(call.refused())?;
        Ok(Response::new(proto::ListDeliveriesResponse {
            deliveries: found.deliveries.iter().map(write::write_delivery).collect(),
            next_page_token: found.next.map(|at| page.next_token(&at.to_bytes())).unwrap_or_default(),
        }))
    }

    async fn redeliver(&self, request: Request<proto::RedeliverRequest>) -> Answer {
        let call = Call::of(&request);
        let (id, what) = read::redeliver(request.into_inner()).map_err(call.refused())?;
        Ok(answer(&self.engine.redeliver(id, what).await.map_err(call.refused())?))
    }
}
