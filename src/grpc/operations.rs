//! `google.longrunning.Operations` over the turns: decode, ask the engine, encode.

use tonic::{Request, Response, Status};

use super::{
    convert::operation,
    service::{Call, cursor},
};
use crate::{
    domain::TurnId,
    engine::{Engine, TurnQuery},
    proto::longrunning::{
        CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
        ListOperationsResponse, Operation, WaitOperationRequest, operations_server,
    },
};

/// The service on an engine.
#[derive(Clone)]
pub(super) struct Operations {
    engine: Engine,
}

impl Operations {
    /// Serves this engine's turns.
    pub(super) fn new(engine: Engine) -> Operations {
        Operations { engine }
    }
}

#[tonic::async_trait]
impl operations_server::Operations for Operations {
    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let call = Call::of(&request);
        let asked = operation::list(request.into_inner()).map_err(call.refused())?;
        let operation::ListOperations { states, page } = asked;
        let below = cursor(page.cursor.as_deref(), TurnId::from_bytes).map_err(call.refused())?;
        let query = TurnQuery { states, ..TurnQuery::default() };
        let found = self.engine.turns(query, below, page.size).await.map_err(call.refused())?;
        Ok(Response::new(ListOperationsResponse {
            operations: found.turns.iter().map(operation::write).collect(),
            next_page_token: found.next.map(|id| page.next_token(id.as_bytes())).unwrap_or_default(),
            unreachable: Vec::new(),
        }))
    }

    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Result<Response<Operation>, Status> {
        let call = Call::of(&request);
        let id = operation::get(request.get_ref()).map_err(call.refused())?;
        let turn = self.engine.turn(id).await.map_err(call.refused())?;
        Ok(Response::new(operation::write(&turn)))
    }

    async fn delete_operation(&self, request: Request<DeleteOperationRequest>) -> Result<Response<()>, Status> {
        let call = Call::of(&request);
        let id = operation::delete(request.get_ref()).map_err(call.refused())?;
        // That there is one is all that there is to say.
        self.engine.turn(id).await.map_err(call.refused())?;
        Ok(Response::new(()))
    }

    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Result<Response<()>, Status> {
        let call = Call::of(&request);
        let id = operation::cancel(request.get_ref()).map_err(call.refused())?;
        self.engine.cancel(id).await.map_err(call.refused())?;
        Ok(Response::new(()))
    }

    async fn wait_operation(&self, request: Request<WaitOperationRequest>) -> Result<Response<Operation>, Status> {
        let call = Call::of(&request);
        let (id, timeout) = operation::wait(request.get_ref()).map_err(call.refused())?;
        let turn = self.engine.wait(id, call.patience(timeout)).await.map_err(call.refused())?;
        Ok(Response::new(operation::write(&turn)))
    }
}
