//! Mirrors and sources in a configuration: what may be copied from where.

use super::super::api::{ApiError, Retention, StreamConfig, StreamSource};
use super::super::error::{error, not_pedantic, stream_config as refused};
use super::super::transform::Transform;
use super::{Known, is_token};
use crate::wire::subject::Filter;
use std::collections::{BTreeSet, VecDeque};

/// Numbers and texts of what can be wrong with an origin: a mirror's, a source's.
struct Errors {
    name: (u32, &'static str),
    filters: (u32, &'static str),
    transform_source: (u32, &'static str),
    transform: (u32, &'static str),
    overlap: (u32, &'static str),
    size: (u32, &'static str),
    filter: &'static str,
}

const MIRROR: Errors = Errors {
    name: (10_142, "mirrored stream name is invalid"),
    filters: (10_150, "mirror with multiple subject transforms cannot also have a single subject filter"),
    transform_source: (10_151, "mirror transform source"),
    transform: (10_154, "mirror transform"),
    overlap: (10_152, "mirror subject filters can not overlap"),
    size: (10_030, "stream mirror must have max message size >= source"),
    filter: "mirror",
};

const SOURCE: Errors = Errors {
    name: (10_141, "sourced stream name is invalid"),
    filters: (10_144, "source with multiple subject transforms cannot also have a single subject filter"),
    transform_source: (10_145, "source transform source"),
    transform: (10_146, "source transform"),
    overlap: (10_147, "source filters can not overlap"),
    size: (10_046, "stream source must have max message size >= target"),
    filter: "source:",
};

fn bad((number, why): (u32, &str)) -> ApiError {
    error(400, number, why)
}

pub(super) fn check(config: &mut StreamConfig, pedantic: bool, known: &Known<'_>) -> Result<(), ApiError> {
    check_mirror(config, pedantic, known)?;
    if !config.sources.is_empty() && config.allow_msg_schedules {
        return Err(error(400, 10_187, "stream source can not also schedule messages"));
    }
    let mut seen = BTreeSet::new();
    for source in &config.sources {
        if !is_token(&source.name) || source.name.contains(['/', '\\']) {
            return Err(bad(SOURCE.name));
        }
        if !seen.insert(identity(source)) {
            return Err(error(400, 10_140, "duplicate source configuration detected"));
        }
        check_origin(config, source, &SOURCE, known)?;
    }
    check_cycles(config, known)
}

/// What tells two sources of one stream apart.
fn identity(source: &StreamSource) -> (&str, Vec<(&str, &str)>) {
    let mut takes: Vec<(&str, &str)> = Vec::new();
    if source.subject_transforms.is_empty() {
        takes.push((source.filter_subject.as_str(), ""));
    }
    for transform in &source.subject_transforms {
        takes.push((transform.src.as_str(), transform.dest.as_str()));
    }
    (&source.name, takes)
}

fn check_mirror(config: &mut StreamConfig, pedantic: bool, known: &Known<'_>) -> Result<(), ApiError> {
    let Some(mirror) = &config.mirror else { return Ok(()) };
    for (is_wrong, number, why) in [
        (config.first_seq > 0, 10_143, "stream mirrors can not have first sequence configured"),
        (!config.subjects.is_empty(), 10_034, "stream mirrors can not contain subjects"),
        (!config.sources.is_empty(), 10_031, "stream mirrors can not also contain other sources"),
        (config.allow_msg_counter, 10_173, "stream mirrors can not also calculate counters"),
        (config.allow_atomic, 10_198, "stream mirrors can not also use atomic publishing"),
        (config.allow_batched, 10_209, "stream mirrors can not also use batch publishing"),
        (config.allow_msg_schedules, 10_186, "stream mirrors can not also schedule messages"),
    ] {
        if is_wrong {
            return Err(error(400, number, why));
        }
    }
    if config.subject_delete_marker_ttl_ns > 0 {
        return Err(refused("subject delete markers forbidden on mirrors"));
    }
    check_origin(config, mirror, &MIRROR, known)?;
    if let Some(origin) = known(&mirror.name).filter(|_| mirror.external.is_none()) {
        if pedantic && config.mirror_direct != origin.allow_direct {
            return Err(not_pedantic("origin stream has direct get set, mirror has it disabled"));
        }
        config.mirror_direct = origin.allow_direct;
    }
    Ok(())
}

fn check_origin(
    config: &StreamConfig,
    source: &StreamSource,
    errors: &Errors,
    known: &Known<'_>,
) -> Result<(), ApiError> {
    if !source.filter_subject.is_empty() && !source.subject_transforms.is_empty() {
        return Err(bad(errors.filters));
    }
    for transform in &source.subject_transforms {
        if !transform.src.is_empty() && Filter::parse(&transform.src).is_err() {
            let (number, what) = errors.transform_source;
            return Err(error(400, number, format!("{what}: invalid subject {}", transform.src)));
        }
        if let Err(why) = Transform::parse(&transform.src, &transform.dest) {
            let (number, what) = errors.transform;
            return Err(error(400, number, format!("{what}: {why}")));
        }
    }
    for (at, transform) in source.subject_transforms.iter().enumerate() {
        let overlaps = |other: &str| match (filter(&transform.src), filter(other)) {
            (Some(own), Some(other)) => own.overlaps(&other),
            (None, _) | (_, None) => false,
        };
        if source.subject_transforms[at + 1..].iter().any(|other| overlaps(&other.src)) {
            return Err(bad(errors.overlap));
        }
    }
    if !is_token(&source.name) || source.name.contains(['/', '\\']) {
        return Err(bad(errors.name));
    }
    if filter(&source.filter_subject).is_none() {
        let why =
            format!("subject filter '{}' for the {} invalid subject", source.filter_subject, errors.filter);
        return Err(error(500, 10_049, why));
    }
    if known(&source.name).is_some_and(|origin| origin.retention == Retention::Interest) {
        return Err(refused("copying from a stream of interest retention is not supported by this broker"));
    }
    let origin_max = known(&source.name).map_or(-1, |origin| origin.max_msg_size);
    if source.external.is_none() && config.max_msg_size > 0 && origin_max > config.max_msg_size {
        return Err(bad(errors.size));
    }
    Ok(())
}

/// What a filter takes; nothing said is everything.
fn filter(subject: &str) -> Option<Filter> {
    Filter::parse(if subject.is_empty() { ">" } else { subject }).ok()
}

/// No message may come back to where it was.
fn check_cycles(config: &StreamConfig, known: &Known<'_>) -> Result<(), ApiError> {
    let cycle = || Err(refused("detected cycle"));
    let mut to_visit = VecDeque::from([config]);
    let mut visited = BTreeSet::new();
    while let Some(own) = to_visit.pop_front() {
        visited.insert(own.name.as_str());
        for source in own.sources.iter().filter(|source| source.external.is_none()) {
            if visited.contains(source.name.as_str()) {
                let takes = filter(&source.filter_subject);
                let collides = |subject: &String| {
                    filter(subject)
                        .is_some_and(|own| takes.as_ref().is_some_and(|takes| takes.overlaps(&own)))
                };
                if source.filter_subject.is_empty() || own.subjects.iter().any(collides) {
                    return cycle();
                }
            } else if let Some(origin) = known(&source.name) {
                to_visit.push_back(origin);
            }
        }
        if let Some(mirror) = own.mirror.as_ref().filter(|mirror| mirror.external.is_none()) {
            if visited.contains(mirror.name.as_str()) {
                return cycle();
            }
            to_visit.extend(known(&mirror.name));
        }
    }
    Ok(())
}
