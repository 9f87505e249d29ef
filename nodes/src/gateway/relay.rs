//! `CommandService` at the gateway: hands commands on to the aggregate node as they are.

use crate::proto::command::command_service_client::CommandServiceClient;
use crate::proto::command::command_service_server::CommandService;
use crate::proto::command::{SubmitRequest, SubmitResponse};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// Hands commands on.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    upstream: CommandServiceClient<Channel>,
    deadline: Duration,
}

impl Relay {
    pub(super) const fn new(upstream: CommandServiceClient<Channel>, deadline: Duration) -> Self {
        Self { upstream, deadline }
    }
}

#[tonic::async_trait]
impl CommandService for Relay {
    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        let mut onward = Request::new(request.into_inner());
        onward.set_timeout(self.deadline);
        self.upstream.clone().submit(onward).await
    }
}
