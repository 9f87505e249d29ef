//! The token of a node: what asks for it, what does not, and what a node without one refuses to do.

use crate::world::{SOON, World, cloudlysis};
use std::fs;

const TOKEN: &str = "the-token-of-this-node";

pub(crate) async fn operators_show_a_token_and_probes_need_none(world: World) {
    let [file, wrong] = [("token", TOKEN), ("wrong", "the-token-of-another")].map(|(name, token)| {
        let path = world.data(name);
        fs::write(&path, format!("{token}\n")).expect("written");
        path.to_str().expect("a path that is text").to_owned()
    });
    let room = ["--events-gib", "1", "--workflow-gib", "1", "--bootstrap"];
    // Everybody may connect: that is what the token is for.
    let open = ["--listen", "0.0.0.0:0", "--admin-token-file", &file];
    let mut runner = world.serve("runner", "data", &[&room[..], &open].concat()).await;
    runner.ready().await;
    let shop = runner.shop();
    for path in ["/health", "/ready", "/metrics", "/info"] {
        assert_eq!(shop.get(path).await.map(|(status, _)| status), Ok(200), "{path}");
    }
    let info = shop.get("/info").await.expect("an answer").1.to_string();
    assert!(info.contains("admin.token_file") && !info.contains(TOKEN), "{info}");
    for path in ["/admin/runner/sagas", "/admin/runner/effects", "/admin/runner/dlq"] {
        let refused = shop.answer(path).await.expect("an answer");
        assert_eq!((refused.status, refused.problem()), (401, "unauthorised"), "{path}");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
    }
    let node = runner.url();
    let ask = async |further: &[&str]| {
        let arguments = [&["saga", "ls", "--node", &node][..], further].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let mut process = cloudlysis("saga ls", &arguments, world.dir());
        (process.exit(SOON).await.code(), process.log())
    };
    assert_eq!(ask(&["--token-file", &file]).await.0, Some(0));
    for (further, code) in [(&[][..], 5), (&["--token-file", &wrong], 5), (&["--token-file", "missing"], 2)] {
        let (exit, log) = ask(further).await;
        assert_eq!(exit, Some(code), "{further:?} {log}");
    }
}

pub(crate) async fn without_a_token_a_node_is_not_opened_to_others(world: World) {
    let data = world.data("data");
    let data = data.to_str().expect("a path that is text");
    let open = ["serve", "runner", crate::world::SHOP, "--data", data, "--listen", "0.0.0.0:0"];
    let mut process = cloudlysis("runner", &world.with_surroundings(&open), world.dir());
    assert_eq!(process.exit(SOON).await.code(), Some(2), "{}", process.log());
    assert!(process.log().contains("--admin-token-file"), "{}", process.log());
}
