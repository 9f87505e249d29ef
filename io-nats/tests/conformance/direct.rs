//! Reads that any replica may answer.

use crate::script::Script;
use crate::side::Side;
use cloudlysis_core::jetstream::MessageBy;
use cloudlysis_core::jetstream::api::{Discard, Storage};

pub(crate) async fn direct_gets(s: &mut Script<impl Side>) {
    s.get_directly("NOPE", MessageBy::Seq(1)).await;
    s.stream("NONE", |_| {}).await;
    s.publish("none.a").await;
    s.get_directly("NONE", MessageBy::Seq(1)).await;
    s.update("NONE", |config| config.allow_direct = true).await;
    s.get_directly("NONE", MessageBy::Seq(1)).await;
    s.update("NONE", |config| config.allow_direct = false).await;
    s.get_directly("NONE", MessageBy::Seq(1)).await;
    for (name, storage) in [("D", Storage::File), ("M", Storage::Memory)] {
        s.stream(name, |config| {
            (config.allow_direct, config.storage, config.discard) = (true, storage, Discard::New);
        })
        .await;
        let subject = |of: &str| format!("{}.{of}", name.to_lowercase());
        s.get_directly(name, MessageBy::LastBySubject(subject("a"))).await;
        s.publish_with(&subject("a"), "first", &[("A", "1"), ("A", "2"), ("Nats-Msg-Id", "id")]).await;
        for of in ["b", "a", "b", "c.d"] {
            s.publish(&subject(of)).await;
        }
        s.delete_message(name, 2).await;
        for by in [
            MessageBy::Seq(1),
            MessageBy::Seq(2),
            MessageBy::Seq(9),
            MessageBy::LastBySubject(subject("a")),
            MessageBy::LastBySubject(subject("*")),
            MessageBy::LastBySubject(subject(">")),
            MessageBy::LastBySubject(subject("z")),
            MessageBy::LastBySubject(subject("c.d")),
            MessageBy::NextBySubject { subject: subject("b"), seq: 1 },
            MessageBy::NextBySubject { subject: subject("b"), seq: 4 },
            MessageBy::NextBySubject { subject: subject("b"), seq: 5 },
            MessageBy::NextBySubject { subject: subject(">"), seq: 2 },
            MessageBy::NextBySubject { subject: subject("a"), seq: 99 },
        ] {
            s.get_directly(name, by).await;
        }
        s.purge(name, None, None, None).await;
        s.get_directly(name, MessageBy::Seq(1)).await;
    }
    s.delete_stream("D").await;
    s.get_directly("D", MessageBy::Seq(1)).await;
}
