//! `CommandService` at the gateway: hands commands on to the aggregate node as they are.

use crate::proto::command::command_service_client::CommandServiceClient;
use crate::proto::command::command_service_server::CommandService;
use crate::proto::command::{SubmitRequest, SubmitResponse};
use crate::settings::UPSTREAM_DEADLINE;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// Hands commands on.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    upstream: CommandServiceClient<Channel>,
}

impl Relay {
    pub(super) const fn new(upstream: CommandServiceClient<Channel>) -> Self {
        Self { upstream }
    }
}

#[tonic::async_trait]
impl CommandService for Relay {
    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        let mut onward = Request::new(request.into_inner());
        onward.set_timeout(UPSTREAM_DEADLINE);
        self.upstream.clone().submit(onward).await
    }
}
