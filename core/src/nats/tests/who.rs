//! Who may come and do what: users, keys, answers, accounts, changes of mind.

use super::talk::{NONCE, Talk, config};
use crate::nats::auth::{Credentials, Grant, Secret, Users, UsersError};
use crate::nats::nkey::PublicKey;
use crate::nats::permissions::{ANSWERS_MAX, Answering, Lists, NotASubject, Permissions, Subjects};
use crate::nats::server::{Config, Input};
use crate::nats::{Auth, Limits};

/// The public key of a test user of async-nats, and its signature below [`NONCE`].
const KEY: &str = "UAFHG6FUD2UU4SDFVAFUL5LDFO2XM4WYM76UNXTPJYJK7EEMYRBHT2VE";
const SIGNATURE: &str =
    "LSyZh4AAIxF7cW26MrQaqHaEeuXRzaufy4G6u962A2t9gWhzgTmo2k_3955oiV3KswOecLuncPqIQzZOnXv_DQ==";
const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";

fn lists(allow: &[&str], deny: &[&str]) -> Lists {
    let read = |entries: &[&str]| Subjects::new(entries.iter().copied(), true).expect("subjects");
    Lists { allow: read(allow), deny: read(deny) }
}

fn permissions(publish: Lists, subscribe: Lists, answering: Option<Answering>) -> Option<Permissions> {
    Some(Permissions { publish, subscribe, answering })
}

/// A user whose password is its name.
fn named(name: &str, account: &str, permissions: Option<Permissions>) -> (Credentials, Grant) {
    let credentials = Credentials::Password { user: name.to_owned(), password: Secret::new(name.to_owned()) };
    (credentials, Grant { account: account.to_owned(), permissions })
}

/// What the configuration in `recorded_auth.txt` says.
pub(super) fn everybody() -> Auth {
    let none = || lists(&[], &[]);
    let answering = |count_max, ttl_ms| Some(Answering { count_max: Some(count_max), ttl_ms: Some(ttl_ms) });
    let users = [
        (
            "a",
            permissions(
                lists(&["ok.>"], &["ok.no", "ok.w.*"]),
                lists(
                    &["ok.>", "_INBOX.>", "al.>", "al.x q", "qs q", "qw q.*"],
                    &["ok.no", "ok.x q", "ok.d.*"],
                ),
                None,
            ),
        ),
        ("b", permissions(lists(&["def.>"], &[]), lists(&["def.>", "_INBOX.>"], &[]), None)),
        ("c", permissions(lists(&["pp"], &[]), lists(&["svc"], &[]), None)),
        ("d", permissions(none(), lists(&[], &["ok.>", "ok.x q", "*.y"]), None)),
        ("e", permissions(none(), none(), None)),
        ("r", permissions(lists(&[], &[">"]), lists(&["svc"], &[]), answering(2, 60_000))),
        ("t", permissions(lists(&["svc"], &[]), lists(&["svc", "rep.>"], &[]), answering(1, 120_000))),
        ("v", permissions(none(), lists(&["svc"], &[]), Some(Answering::DEFAULT))),
        ("w", permissions(lists(&[], &["x.*"]), lists(&[], &["x.y"]), None)),
        ("s", permissions(lists(&["s.>", "s2", "x.>"], &[]), lists(&[], &["x.*"]), None)),
        ("h", permissions(none(), none(), None)),
    ];
    let users = users.map(|(name, permissions)| named(name, "$G", permissions));
    Auth::Users(Users::new(users, Some("h")).expect("users"))
}

fn users(users: impl IntoIterator<Item = (Credentials, Grant)>, no_auth_user: Option<&str>) -> Auth {
    Auth::Users(Users::new(users, no_auth_user).expect("users"))
}

fn keyed() -> Auth {
    let key = Credentials::Key(PublicKey::decode(KEY).expect("a key"));
    users([(key, Grant::default()), named("a", "$G", None)], None)
}

fn come(talk: &mut Talk, client: u64, name: &str, more: &str) {
    talk.connect(client);
    let hello = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"user\":\"{name}\",\"pass\":\"{name}\"{more}}}"
    );
    talk.send(client, format!("{hello}\r\n").as_bytes());
    assert_eq!(talk.heard(client), "", "{name}");
}

#[test]
fn a_key_is_known_by_its_letters() {
    let key = PublicKey::decode(KEY).expect("a key");
    assert!(key.has_signed(NONCE, SIGNATURE));
    assert!(key.has_signed(NONCE, SIGNATURE.trim_end_matches('=')));
    assert!(!key.has_signed("another", SIGNATURE));
    assert!(!key.has_signed(NONCE, &SIGNATURE.replace("LSy", "LSz")));
    for not_a_signature in ["", "x", &SIGNATURE[..80], &"ä".repeat(43)] {
        assert!(!key.has_signed(NONCE, not_a_signature), "{not_a_signature}");
    }
    for not_a_key in [
        "",
        "x",
        // A letter changed: the checksum.
        "UAFHG6FUD2UU4SDFVAFUL5LDFO2XM4WYM76UNXTPJYJK7EEMYRBHT2VF",
        "UAFHG6FUD2UU4SDFVAFUL5LDFO2XM4WYM76UNXTPJYJK7EEMYRBHT2V1",
        // The same key, as an account's.
        "AAFHG6FUD2UU4SDFVAFUL5LDFO2XM4WYM76UNXTPJYJK7EEMYRBHS6G3",
        &KEY.to_lowercase(),
        &"Ä".repeat(28),
    ] {
        assert!(PublicKey::decode(not_a_key).is_err(), "{not_a_key}");
    }
}

#[test]
fn who_has_a_key_signs_what_it_was_greeted_with() {
    let hello = |fields: &str| format!("CONNECT {{\"verbose\":false{fields}}}\r\nPING\r\n");
    let with = |sig: &str| hello(&format!(r#","nkey":"{KEY}","sig":"{sig}""#));
    for (sent, answer) in [
        (with(SIGNATURE), "PONG\r\n"),
        (with(&SIGNATURE.replace("LSy", "LSz")), VIOLATION),
        (with(""), VIOLATION),
        (hello(&format!(r#","nkey":"{KEY}""#)), VIOLATION),
        (hello(r#","nkey":"nobody's","sig":"x""#), VIOLATION),
        (hello(r#","user":"a","pass":"a""#), "PONG\r\n"),
        (hello(r#","jwt":"a.b.c","sig":"x""#), VIOLATION),
    ] {
        let mut talk = Talk::new(config(keyed()));
        let info = talk.connect(1);
        assert!(info.contains(&format!(r#""nonce":"{NONCE}""#)), "{info}");
        talk.send(1, sent.as_bytes());
        assert_eq!(talk.heard(1), answer, "{sent}");
    }
    let mut talk = Talk::new(config(everybody()));
    assert!(!talk.connect(1).contains("nonce"), "nobody can sign");
}

#[test]
fn who_need_not_say_who_it_is_is_not_asked() {
    let mut talk = Talk::new(config(everybody()));
    assert!(!talk.connect(1).contains("auth_required"));
    talk.wait_ms(3_000);
    assert!(!talk.is_closed(1));
    talk.send(1, b"CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\nPING\r\n");
    let heard = talk.heard(1);
    let words = [r#""auth_required":true"#, r#""connect_info":true,"remote_account":"$G""#];
    assert!(words.iter().all(|word| heard.contains(word)), "{heard}");
    assert!(heard.starts_with("PONG\r\nINFO ") && heard.ends_with("} \r\nPONG\r\n"), "once: {heard}");
    assert!(!heard.contains("nonce"));
}

#[test]
fn users_must_go_together() {
    let twice = Users::new([named("a", "A", None), named("a", "B", None)], None);
    assert_eq!(twice, Err(UsersError::Duplicate("a".into())));
    let missing = Users::new([named("a", "A", None)], Some("b"));
    assert_eq!(missing, Err(UsersError::NobodyOfThatName("b".into())));
    for entry in ["", "a..b", "a.>.b", "a b c", "a b..c"] {
        assert_eq!(Subjects::new([entry], true), Err(NotASubject(entry.into())));
    }
    assert!(Subjects::new(["a q"], false).is_err());
    assert_eq!(format!("{:?}", Auth::token("hidden")), "Token(Secret)");
}

#[test]
fn an_answer_may_be_given_so_often_and_so_long() {
    let mut talk = Talk::new(config(everybody()));
    come(&mut talk, 1, "h", "");
    come(&mut talk, 2, "r", "");
    talk.send(2, b"SUB svc 1\r\n");
    talk.send(1, b"SUB rep.* 1\r\nPUB svc rep.1 0\r\n\r\nPUB svc rep.2 0\r\n\r\n");
    talk.heard(2);
    talk.send(2, b"PUB rep.1 1\r\na\r\nPUB rep.1 1\r\nb\r\nPUB rep.1 1\r\nc\r\nPUB rep.3 1\r\nd\r\n");
    let denied = |subject: &str| format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n");
    assert_eq!(talk.heard(2), denied("rep.1") + &denied("rep.3"));
    assert_eq!(talk.heard(1), "MSG rep.1 1 1\r\na\r\nMSG rep.1 1 1\r\nb\r\n");
    talk.wait_ms(60_000);
    talk.send(2, b"PUB rep.2 1\r\na\r\n");
    assert_eq!(talk.heard(1), "MSG rep.2 1 1\r\na\r\n", "at the last moment");
    talk.wait_ms(1);
    talk.send(2, b"PUB rep.2 1\r\na\r\n");
    assert_eq!((talk.heard(1), talk.heard(2)), (String::new(), denied("rep.2")));
    for number in 0..=ANSWERS_MAX {
        talk.send(1, format!("PUB svc rep.n{number} 0\r\n\r\n").as_bytes());
    }
    talk.heard(2);
    talk.send(2, b"PUB rep.n0 0\r\n\r\nPUB rep.n1 0\r\n\r\n");
    assert_eq!((talk.heard(1).as_str(), talk.heard(2)), ("MSG rep.n1 1 0\r\n\r\n", denied("rep.n0")));
}

#[test]
fn accounts_do_not_hear_each_other() {
    let auth = users([named("a", "A", None), named("b", "B", None), named("n", "A", None)], Some("n"));
    let limits = Limits { subscriptions_max: 3, ..Limits::DEFAULT };
    let mut talk = Talk::new(Config { limits, ..config(auth) });
    come(&mut talk, 1, "a", r#","headers":true,"no_responders":true,"protocol":1"#);
    come(&mut talk, 2, "b", "");
    talk.send(1, b"PING\r\n");
    assert!(talk.heard(1).contains(r#""remote_account":"A""#));
    talk.send(2, b"SUB > 1\r\n");
    talk.send(1, b"SUB r 1\r\nPUB x r 0\r\n\r\n");
    let nobody = "HMSG r 1 33 33\r\nNATS/1.0 503\r\nNats-Subject: x\r\n\r\n\r\n";
    assert_eq!((talk.heard(1).as_str(), talk.heard(2).as_str()), (nobody, ""));
    talk.send(1, b"SUB y 2\r\nSUB z 3\r\n");
    assert_eq!(talk.heard(1), "-ERR 'maximum subscriptions exceeded'\r\n", "of all together");
    talk.send(1, b"UNSUB 2\r\n");
    // Who comes as nobody in particular and becomes somebody elsewhere leaves its subscriptions behind.
    talk.connect(3);
    talk.send(3, b"SUB y 1\r\nCONNECT {\"verbose\":false,\"user\":\"b\",\"pass\":\"b\"}\r\n");
    assert_eq!(talk.heard(3), "+OK\r\n");
    talk.send(1, b"PUB y 0\r\n\r\n");
    assert_eq!((talk.heard(3).as_str(), talk.server.subscriptions()), ("", 2));
}

#[test]
fn who_leaves_says_so_to_those_who_understand() {
    let mut talk = Talk::new(config(Auth::Open));
    talk.client(1, r#","protocol":1"#);
    talk.client(2, "");
    talk.client(3, r#","protocol":1"#);
    (1..=2).for_each(|client| talk.send(client, b"PING\r\n"));
    (1..=2).for_each(|client| assert!(talk.heard(client).starts_with("PONG\r\n")));
    talk.input(Input::LameDuckBegan);
    let heard = talk.heard(1);
    assert!(heard.starts_with("INFO ") && heard.contains(r#""ldm":true"#), "{heard}");
    assert!(!heard.contains("connect_info"), "{heard}");
    assert_eq!((talk.heard(2).as_str(), talk.heard(3).as_str()), ("", ""), "not asked for, or too early");
    talk.send(3, b"PING\r\n");
    assert!(talk.heard(3).contains(r#""ldm":true"#), "as soon as it is told anything");
}

#[test]
fn who_is_not_wanted_any_more_is_closed() {
    let mut talk = Talk::new(config(users([named("a", "A", None), named("b", "A", None)], None)));
    come(&mut talk, 1, "a", "");
    come(&mut talk, 2, "b", "");
    talk.connect(3);
    let limits = Limits { payload_bytes_max: 10, ..Limits::DEFAULT };
    let denied = permissions(lists(&[], &["x"]), lists(&[], &[]), None);
    let auth = users([named("a", "A", denied), named("c", "A", None)], None);
    talk.input(Input::Reconfigured { auth, limits });
    assert_eq!((talk.heard(1).as_str(), talk.heard(2).as_str()), ("", VIOLATION));
    assert_eq!((talk.is_closed(1), talk.is_closed(2), talk.is_closed(3)), (false, true, false));
    talk.send(1, b"PUB x 0\r\n\r\n");
    assert_eq!(talk.heard(1), "-ERR 'Permissions Violation for Publish to \"x\"'\r\n");
    talk.send(3, b"CONNECT {\"verbose\":false,\"user\":\"c\",\"pass\":\"c\"}\r\nPING\r\n");
    assert_eq!(talk.heard(3), "PONG\r\n");
    assert!(talk.connect(4).contains(r#""max_payload":10,"#));
    talk.input(Input::Reconfigured { auth: Auth::token("t"), limits });
    assert!(talk.is_closed(1) && talk.is_closed(3) && !talk.is_closed(4));
}
