//! `ModelService`: which models turns can name.

use tonic::{Request, Response, Status};

use super::{convert, service::Call};
use crate::{
    engine::Engine,
    proto::{self, model_service_server::ModelService},
};

/// The service on an engine.
#[derive(Clone)]
pub(super) struct Models {
    engine: Engine,
}

impl Models {
    /// Serves this engine's models.
    pub(super) fn new(engine: Engine) -> Models {
        Models { engine }
    }
}

#[tonic::async_trait]
impl ModelService for Models {
    async fn list_models(
        &self,
        request: Request<proto::ListModelsRequest>,
    ) -> Result<Response<proto::ListModelsResponse>, Status> {
        let call = Call::of(&request);
        let only = convert::model::list_models(request.into_inner());
        let listed = self.engine.list_models(only.as_deref(), call.deadline).await;
        let (providers, models) = listed.map_err(call.refused())?;
        Ok(Response::new(proto::ListModelsResponse {
            providers: providers.into_iter().map(convert::model::write_provider).collect(),
            models: models.into_iter().map(convert::model::write).collect(),
        }))
    }
}
