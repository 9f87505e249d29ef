//! Reads that any replica may answer.

use crate::script::Script;
use crate::side::Side;
use cloudlysis_core::Wall;
use cloudlysis_core::jetstream::MessageBy;
use cloudlysis_core::jetstream::api::{Discard, MessageGet, Storage};

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

pub(crate) async fn several_at_once(s: &mut Script<impl Side>) {
    s.stream("D", |config| config.allow_direct = true).await;
    for nth in 0..3 {
        for of in ["d.a", "d.b", "d.c"] {
            let headers: &[(&str, &str)] = if of == "d.b" { &[("H", "1")] } else { &[] };
            s.publish_with(of, &nth.to_string(), headers).await;
        }
    }
    s.delete_message("D", 5).await;
    let none = MessageGet::default();
    let one = |subject: &str| vec![subject.to_owned()];
    for get in [
        MessageGet { batch: 3, ..none.clone() },
        MessageGet { seq: 4, batch: 3, ..none.clone() },
        MessageGet { seq: 1, batch: 3, next_by_subj: "d.b".into(), ..none.clone() },
        MessageGet { batch: 2, next_by_subj: "d.*".into(), ..none.clone() },
        MessageGet { seq: 1, batch: 100, ..none.clone() },
        MessageGet { seq: 100, batch: 2, ..none.clone() },
        MessageGet { seq: 1, batch: 5, max_bytes: 10, ..none.clone() },
        MessageGet { seq: 1, batch: 5, max_bytes: 60, ..none.clone() },
        MessageGet { start_time: Some(Wall::from_ms(1_000)), batch: 2, ..none.clone() },
        MessageGet { start_time: Some(Wall::from_ms(1_000)), next_by_subj: "d.b".into(), ..none.clone() },
        MessageGet { start_time: Some(Wall::from_ms(4_000_000_000_000)), batch: 2, ..none.clone() },
        MessageGet { start_time: Some(Wall::from_ms(1_000)), seq: 1, ..none.clone() },
        MessageGet { multi_last: vec!["d.a".into(), "d.b".into()], ..none.clone() },
        MessageGet { multi_last: one("d.>"), ..none.clone() },
        MessageGet { multi_last: one("d.>"), seq: 8, ..none.clone() },
        MessageGet { multi_last: one("d.>"), up_to_seq: 4, ..none.clone() },
        MessageGet { multi_last: one("d.>"), up_to_seq: 100, ..none.clone() },
        MessageGet { multi_last: one("d.>"), up_to_time: Some(Wall::from_ms(1_000)), ..none.clone() },
        MessageGet {
            multi_last: one("d.>"),
            up_to_time: Some(Wall::from_ms(4_000_000_000_000)),
            ..none.clone()
        },
        MessageGet { multi_last: one("d.>"), batch: 2, ..none.clone() },
        MessageGet { multi_last: one("d.>"), batch: 2, max_bytes: 1, ..none.clone() },
        MessageGet { multi_last: one("zz"), ..none.clone() },
        MessageGet { multi_last: one("d..a"), ..none.clone() },
        MessageGet { multi_last: one("d.>"), next_by_subj: "d.a".into(), ..none.clone() },
        MessageGet { seq: 3, last_by_subj: "d.a".into(), ..none.clone() },
        MessageGet { batch: 2, last_by_subj: "d.a".into(), ..none.clone() },
        MessageGet { last_by_subj: "d.a".into(), next_by_subj: "d.a".into(), ..none.clone() },
        MessageGet { last_by_subj: "d..a".into(), ..none.clone() },
        MessageGet { next_by_subj: "d.a".into(), ..none.clone() },
        MessageGet { up_to_seq: 3, ..none.clone() },
        MessageGet { seq: 1, no_hdr: true, ..none.clone() },
        none,
    ] {
        s.read_directly("D", get).await;
    }
    let start = Wall::from_ms(1_000);
    for subject in [None, Some("d.c".to_owned()), Some("d.z".to_owned())] {
        s.get("D", MessageBy::NextByTime { subject, start }).await;
    }
}
