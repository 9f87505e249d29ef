//! Connecting to a server that is not there.

use cloudlysis_io_nats::connect::{ConnectError, Connection, Options};

async fn connect(url: String) -> Result<Connection, ConnectError> {
    Connection::open(&Options { url: url.into(), name: "test".into(), fail_fast: true, seed: 0 }).await
}

#[tokio::test]
async fn no_error_says_a_password() {
    for url in [
        "nats://u:s3cret@127.0.0.1:1",
        "http://u:s3cret@127.0.0.1:1",
        "nats://u:s3/cret@127.0.0.1:1",
        "nats://u:s3,cret@127.0.0.1:1",
        "nats://u:s3cret@127.0.0.1:1,nats://v:s3cret@127.0.0.1:2",
    ] {
        let error = connect(url.to_owned()).await.expect_err("nobody is there");
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(
                shown.contains("127.0.0.1") && !shown.contains("s3") && !shown.contains("cret"),
                "{shown}"
            );
        }
    }
}
