//! Every node as a process of its own.

use super::{Node, SHOP, World};

/// The broker reserves the room it promises: all streams fit.
pub(crate) const ROOM: [&str; 4] = ["--events-gib", "1", "--workflow-gib", "1"];

/// The nodes that a runner needs; each is started again where it was.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) aggregate: Node,
    pub(crate) projection: Node,
    pub(crate) gateway: Node,
}

impl Fleet {
    /// Aggregate, projection and gateway, ready, on streams that the first of them created.
    pub(crate) async fn start(world: &World) -> Self {
        let bootstrap = [&["--bootstrap"][..], &ROOM].concat();
        let aggregate = world.serve("aggregate", "data", &bootstrap).await;
        let projection = world.serve("projection", "data", &ROOM).await;
        let (aggregate_url, projection_url) = (aggregate.url(), projection.url());
        let upstreams = ["--aggregate", &aggregate_url, "--projection", &projection_url];
        let gateway = world.serve_gateway(&upstreams).await;
        let mut fleet = Self { aggregate, projection, gateway };
        for node in [&mut fleet.aggregate, &mut fleet.projection, &mut fleet.gateway] {
            node.stay();
            node.ready().await;
        }
        fleet
    }

    /// A runner that submits to this gateway, ready.
    pub(crate) async fn runner(&self, world: &World, further: &[&str]) -> Node {
        self.runner_of(SHOP, world, further).await
    }

    /// The same of another application.
    pub(crate) async fn runner_of(&self, app: &str, world: &World, further: &[&str]) -> Node {
        let gateway = self.gateway.url();
        let further = [&["--gateway", &gateway][..], &ROOM, further].concat();
        let mut runner = world.serve_of(app, "runner", "data", &further).await;
        runner.stay();
        runner.ready().await;
        runner
    }
}
