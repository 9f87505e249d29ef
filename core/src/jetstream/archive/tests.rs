//! What is written is read again, in any pieces; what the original wrote is read; what is damaged is refused.

use super::*;
use proptest::prelude::*;

type Entry = (String, i64, u64, Vec<u8>, Vec<u8>);

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new();
    for (name, timestamp_ns, seq, headers, payload) in entries {
        writer.add(name, *timestamp_ns, *seq, headers, payload);
    }
    writer.end();
    writer.take(writer.ready()).to_vec()
}

fn read(archive: &[u8], piece: usize) -> Result<Vec<Entry>, Torn> {
    let (mut reader, mut entries, mut pieces) = (Reader::default(), Vec::new(), archive.chunks(piece.max(1)));
    loop {
        if reader.head()?.is_some_and(Head::is_end) {
            return Ok(entries);
        }
        match reader.entry()? {
            Some((head, body)) => {
                let (headers, payload) = body.split_at(head.header_bytes);
                entries.push((head.name, head.timestamp_ns, head.seq, headers.to_vec(), payload.to_vec()));
            }
            None => reader.push(pieces.next().ok_or(reader.torn())?),
        }
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let bytes = |max: usize| {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..max),
            // What repeats, near and far.
            (prop::collection::vec(any::<u8>(), 1..9), 0..max).prop_map(|(unit, times)| unit.repeat(times)),
            (prop::collection::vec(0_u8..3, 0..max)),
        ]
    };
    // Without a sequence and a time it might be the end.
    let entry = ("[a-z.]{0,40}", any::<i64>(), 1..=u64::MAX, bytes(99), bytes(30_000));
    prop::collection::vec(entry, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_written_is_read(entries in entries(), piece in 1_usize..9_999) {
        let archive = written(&entries);
        prop_assert_eq!(read(&archive, piece), Ok(entries));
    }

    #[test]
    fn an_archive_without_its_end_is_torn(entries in entries(), at in any::<prop::sample::Index>()) {
        let mut archive = written(&entries);
        archive.truncate(at.index(archive.len()));
        prop_assert!(read(&archive, 512).is_err());
    }

    #[test]
    fn a_flipped_bit_is_noticed_or_does_no_harm(
        entries in entries(),
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let mut archive = written(&entries);
        let at = at.index(archive.len());
        archive[at] ^= 1_u8 << bit;
        // Frames that are passed over, and their lengths, have no checksum.
        if let Ok(read) = read(&archive, 512) {
            prop_assert!(read.len() <= entries.len());
        }
    }

    #[test]
    fn nothing_makes_a_reader_panic(junk in prop::collection::vec(any::<u8>(), 0..4_000)) {
        let framed = [b"\xff\x06\0\0S2sTwO\0\xff\x0f\0".as_slice(), &junk].concat();
        prop_assert!(read(&junk, 100).is_err());
        let _ = read(&framed, 100);
        let _ = block::decompress(&junk);
        // What a checksum would have kept from it.
        let mut reader = Reader::default();
        reader.raw.extend_from_slice(&junk);
        reader.begun = true;
        while let Ok(Some(_)) = reader.head() {
            let Ok(Some(_)) = reader.entry() else { break };
        }
    }

    #[test]
    fn blocks_are_read_again(bytes in prop::collection::vec(0_u8..4, 0..block::BYTES)) {
        prop_assert_eq!(block::decompress(&block::compress(&bytes)), Some(bytes));
    }
}

/// Taken from a real server: a stream of three messages, one of which is gone, and a consumer.
#[test]
fn an_archive_of_the_original_is_read() {
    use base64::Engine as _;
    let archive = include_str!("tests/original.base64").split_whitespace().collect::<String>();
    let archive = base64::engine::general_purpose::STANDARD.decode(archive).expect("base64");
    let entries = read(&archive, 100).expect("an archive");
    let names: Vec<(&str, u64)> = entries.iter().map(|entry| (entry.0.as_str(), entry.2)).collect();
    assert_eq!(names, [("state.json", 0), ("consumers/c", 0), ("a.1", 1), ("a.1", 3)]);
    assert_eq!(entries[2].3, b"NATS/1.0\r\nk: v\r\n\r\n");
    assert_eq!(entries[3].4, b"three three three three three three");
    let (config, state) = consumers::read("c", &entries[1].4).expect("a consumer");
    assert_eq!(config.durable_name.as_deref(), Some("c"));
    assert_eq!((state.delivered.consumer_seq, state.delivered.stream_seq), (2, 3));
    assert_eq!((state.ack_floor.consumer_seq, state.ack_floor.stream_seq), (1, 2));
    assert_eq!(state.pending.keys().copied().collect::<Vec<_>>(), [3]);
}

#[test]
fn what_does_not_repeat_is_not_made_longer() {
    let noise: Vec<u8> =
        (0..200_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let archive = written(&[("n".into(), 0, 1, Vec::new(), noise.clone())]);
    assert!(archive.len() < noise.len() + 200, "{}", archive.len());
    let repeated = written(&[("n".into(), 0, 1, Vec::new(), b"tenant.1 ".repeat(20_000))]);
    assert!(repeated.len() < 20_000, "{}", repeated.len());
}
