//! The packed index beside maps that say the same.

use super::*;
use std::collections::BTreeMap;

/// Numbers that look as if they were drawn.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn meta(subject: &str, draw: &mut Draw) -> Meta {
    Meta {
        subject: subject.into(),
        stored_at: Wall::from_ms(draw.below(1 << 31) << 20),
        header_bytes: draw.below(1 << 17) as u32,
        payload_bytes: draw.below(1 << 31) as u32,
    }
}

fn agree(log: &Log, model: &BTreeMap<u64, Meta>, froms: impl Iterator<Item = u64>) {
    let expected = || model.iter().map(|(seq, meta)| (*seq, meta.as_ref()));
    assert!(log.iter().eq(expected()));
    assert!(log.iter().rev().eq(expected().rev()));
    assert_eq!(log.len(), model.len());
    assert_eq!(log.bytes(), expected().map(|(_, meta)| log.bytes_of(meta)).sum::<u64>());
    assert_eq!(log.first(), expected().next());
    let mut subjects: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (seq, meta) in model {
        subjects.entry(&meta.subject).or_default().push(*seq);
    }
    assert!(log.subjects().map(|(name, _)| &**name).eq(subjects.keys().copied()));
    for (name, seqs) in &subjects {
        let own = log.on_subject(name).expect("it has messages");
        assert!(own.iter().eq(seqs.iter().copied()));
        assert_eq!((own.len(), own.first()), (seqs.len(), seqs.first().copied()));
        assert_eq!(own.last(), seqs.last().copied());
    }
    for from in froms {
        assert_eq!(log.get(from), model.get(&from).map(Meta::as_ref));
        let expected = model.range(from..).map(|(seq, meta)| (*seq, meta.as_ref()));
        assert!(log.range(from).eq(expected.clone()));
        assert!(log.range(from).rev().eq(expected.rev()));
        for (name, seqs) in &subjects {
            let next = seqs.iter().copied().find(|seq| *seq >= from);
            assert_eq!(log.on_subject(name).and_then(|own| own.next(from)), next);
            let until = seqs.iter().copied().rev().find(|seq| *seq <= from);
            assert_eq!(log.on_subject(name).and_then(|own| own.last_until(from)), until);
        }
    }
}

#[test]
fn it_says_what_maps_would() {
    let mut draw = Draw(7);
    for round in 0..40_u64 {
        let (mut log, mut model) = (Log::new(Storage::File), BTreeMap::new());
        let subjects = [1, 2, 5, 300][(round % 4) as usize];
        for _ in 0..60 {
            for _ in 0..draw.below(60) {
                let gap = if draw.below(20) == 0 { draw.below(1000) } else { 0 };
                let seq = log.last_seq() + 1 + gap;
                let meta = meta(&format!("s.{}", draw.below(subjects)), &mut draw);
                log.append(seq, meta.clone());
                model.insert(seq, meta);
            }
            for _ in 0..draw.below(70) {
                let Some(last) = model.keys().next_back().copied() else { break };
                // From the front, from the end, from anywhere.
                let from = [0, last, draw.below(last + 1)][draw.below(3) as usize];
                let seq = model.range(from..).next().map_or(from, |(seq, _)| *seq);
                assert_eq!(log.remove(seq), model.remove(&seq));
                assert_eq!(log.remove(seq), None);
            }
        }
        let end = log.last_seq() + 300;
        let froms: Vec<u64> = (0..30).map(|_| draw.below(end)).chain([0, end]).collect();
        agree(&log, &model, froms.into_iter());
        assert!(log.clone() == log);
        for seq in model.keys().copied().collect::<Vec<_>>() {
            log.remove(seq);
        }
        agree(&log, &BTreeMap::new(), std::iter::once(0));
        assert_eq!(log.entries.heap_bytes() + log.subjects.heap_bytes(), 0);
    }
}

#[test]
fn the_same_messages_are_the_same_however_they_came() {
    let (mut once, mut again) = (Log::new(Storage::File), Log::new(Storage::File));
    let mut draw = Draw(1);
    let (first, second) = (meta("a", &mut draw), meta("b", &mut draw));
    for log in [&mut once, &mut again] {
        log.append(1, second.clone());
        log.append(2, first.clone());
    }
    assert!(once == again);
    again.remove(1);
    assert!(once != again);
    once.remove(1);
    again.append(3, second.clone());
    once.append(3, second);
    assert!(once == again);
}

#[test]
fn a_million_messages_take_a_few_bytes_each() {
    let bytes = |log: &Log| log.entries.heap_bytes() + log.subjects.heap_bytes();
    let mut draw = Draw(3);
    // Subjects in turn and a steady clock; anything on any subject; many subjects with a few each.
    for (subjects, is_regular, each_max) in [(64, true, 3), (1_000, false, 8), (100_000, false, 10)] {
        let subject_bytes = subjects as usize * 100;
        let mut log = Log::new(Storage::File);
        let names: Vec<Arc<str>> =
            (0..subjects).map(|number| format!("orders.{number}.placed").into()).collect();
        for seq in 1..=1_000_000_u64 {
            let (number, noise) =
                if is_regular { (seq % subjects, 0) } else { (draw.below(subjects), draw.below(1 << 9)) };
            let (subject, stored_at) =
                (names[number as usize].clone(), Wall::from_ms(seq * 7 / 100 + noise / 32));
            let (header_bytes, payload_bytes) = (40 + noise as u32 / 8, 300 + noise as u32);
            log.append(seq, Meta { subject, stored_at, header_bytes, payload_bytes });
        }
        assert!(bytes(&log) <= each_max * log.len() + subject_bytes, "{subjects} subjects: {}", bytes(&log));
        for seq in (1..=1_000_000).filter(|seq| seq % 10 != 0) {
            log.remove(seq);
        }
        assert!(
            bytes(&log) <= 4 * each_max * log.len() + subject_bytes,
            "{subjects} subjects, a tenth left: {}",
            bytes(&log)
        );
    }
}
