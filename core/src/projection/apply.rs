//! One message: from delivery to row, or into quarantine.

use super::{Effect, Input, Projection, gate_cx};
use crate::cx::Cx;
use crate::gate::{Admitted, Delivery};
use crate::halt::Halt;
use crate::manifest::ProjectionDef;
use crate::marks::Mark;
use crate::program::contract::{self, Projected};
use crate::program::{Gas, ProgramError};
use crate::quarantine::{Cause, Parked, QuarantineKey};
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::time::Now;
use crate::wire::envelope::EventMessage;
use crate::wire::id::{EntityId, Name, TenantId};
use crate::wire::keys;
use crate::wire::stream::PlatformStream;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A view's row.
#[derive(Clone, PartialEq, Debug)]
pub struct ViewRow {
    /// Sequence of the event that last changed it.
    pub seq: u64,
    /// The row.
    pub value: Value,
}

impl ViewRow {
    /// Reads a row.
    ///
    /// # Errors
    /// [`Halt::Corrupt`] when it is not one.
    pub fn decode(row: &[u8]) -> Result<Self, Halt> {
        let corrupt = |detail: String| Halt::Corrupt { table: Table::View, detail };
        let (seq, json) =
            row.split_first_chunk::<8>().ok_or_else(|| corrupt("shorter than a sequence".into()))?;
        let value = serde_json::from_slice(json).map_err(|error| corrupt(error.to_string()))?;
        Ok(Self { seq: u64::from_be_bytes(*seq), value })
    }

    fn encode(seq: u64, value: &Value) -> Vec<u8> {
        let mut row = seq.to_be_bytes().to_vec();
        serde_json::to_writer(&mut row, value).expect("a row serialises");
        row
    }
}

/// What a message does to a view: rows by id, absent when removed.
type Changes = BTreeMap<EntityId, Option<Value>>;

impl Projection {
    pub(super) fn apply(
        &mut self,
        now: Now,
        view: &Name,
        definition: &ProjectionDef,
        delivery: &Delivery,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Some(gate) = self.gates.get(view) else { return Ok(()) };
        let source = QuarantineKey::source(gate.consumer().as_str(), &delivery.subject);
        if let Some(source) = &source
            && self.quarantine.holds(source, cx.view())?
        {
            return self.park(now, view, source, delivery, None, cx);
        }
        let stream = PlatformStream::AggregateEvents.name();
        let position = format!("{stream}:{}", delivery.stream_seq);
        let decoded =
            EventMessage::decode(&delivery.subject, &delivery.headers, &delivery.payload, &position);
        let cause = match decoded {
            Ok(message) => match self.project(view, definition, &message, delivery.stream_seq, cx)? {
                Ok(()) => {
                    let Some(gate) = self.gates.get_mut(view) else { return Ok(()) };
                    return gate_cx(view, cx, |cx| gate.applied(Admitted::of(delivery), cx));
                }
                Err(cause) => cause,
            },
            Err(error) => Cause { kind: "decode".into(), detail: error.to_string() },
        };
        match source {
            Some(source) => self.park(now, view, &source, delivery, Some(cause), cx),
            // Nothing of ours has such a subject; there is no key to hold back, so it is passed over.
            None => {
                let Some(gate) = self.gates.get_mut(view) else { return Ok(()) };
                let reason = format!("{}: {}", cause.kind, cause.detail);
                gate_cx(view, cx, |cx| gate.parked(Admitted::of(delivery), &reason, cx))
            }
        }
    }

    fn park(
        &mut self,
        now: Now,
        view: &Name,
        source: &QuarantineKey,
        delivery: &Delivery,
        cause: Option<Cause>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let parked = Parked {
            stream: PlatformStream::AggregateEvents.name(),
            stream_seq: delivery.stream_seq,
            subject: &delivery.subject,
            headers: &delivery.headers,
            payload: &delivery.payload,
            definition: self.config.definitions.get(view).map(|own| own.hash.as_str()),
        };
        let reason = cause.as_ref().map(|cause| format!("{}: {}", cause.kind, cause.detail));
        self.quarantine.park(now, source, &parked, cause, cx)?;
        let Some(gate) = self.gates.get_mut(view) else { return Ok(()) };
        let admitted = Admitted::of(delivery);
        gate_cx(view, cx, |cx| match reason {
            Some(reason) => gate.parked(admitted, &reason, cx),
            None => gate.applied(admitted, cx),
        })
    }

    /// Runs the programs for every event of a message and stages what they say, all or nothing.
    fn project(
        &self,
        view: &Name,
        definition: &ProjectionDef,
        message: &EventMessage,
        seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Result<(), Cause>, Halt> {
        let source_key = keys::view_source(&message.tenant, view, &message.aggregate, &message.id);
        if message.version > 0 && !self.config.quirks.has(Quirk::ProjectionSkipDedupe) {
            let seen = match cx.view().get(Table::ViewSource, &source_key)? {
                Some(row) => keys::parse_position(row).ok_or_else(|| Halt::Corrupt {
                    table: Table::ViewSource,
                    detail: "not a version".into(),
                })?,
                None => 0,
            };
            if message.last_version() <= seen {
                cx.mark(Mark::ProjectionRepeated);
                return Ok(Ok(()));
            }
            if message.version != seen + 1 {
                cx.mark(Mark::ProjectionHole);
                let detail = format!(
                    "version {} follows version {seen}: events in between are missing",
                    message.version
                );
                return Ok(Err(Cause { kind: "version_gap".into(), detail }));
            }
        }
        let mut changes = Changes::new();
        for (at, event) in message.events.iter().enumerate() {
            let Some(source) = definition.on.get(&(message.aggregate.clone(), event.kind.clone())) else {
                continue;
            };
            let seen = json!({
                "type": event.kind,
                "payload": event.payload,
                "version": message.version + at as u64,
                "aggregate_type": message.aggregate,
                "aggregate_id": message.id,
                "tenant_id": message.tenant,
                "timestamp": message.timestamp,
            });
            let mut gas = Gas::new(self.config.gas_max);
            let id = match source.view_id.run(&[("event", &seen)], &mut gas) {
                Ok(Value::Null) => continue,
                Ok(id) => match id.as_str().map(EntityId::parse) {
                    Some(Ok(id)) => id,
                    Some(Err(error)) => return Ok(Err(id_cause(view, &error.to_string()))),
                    None => return Ok(Err(id_cause(view, &format!("{id} is not text")))),
                },
                Err(error) => return Ok(Err(program_cause(view, &error))),
            };
            let row = match changes.get(&id) {
                Some(changed) if !self.config.quirks.has(Quirk::ProjectionStaleRow) => {
                    changed.clone().unwrap_or(Value::Null)
                }
                _ => self.row(&message.tenant, view, &id, cx.view())?,
            };
            match contract::project(&source.project, &row, &seen, &mut gas) {
                Ok(Projected::Row(row)) => drop(changes.insert(id, Some(row))),
                Ok(Projected::Deleted) => drop(changes.insert(id, None)),
                Ok(Projected::Unchanged) => {}
                Err(error) => return Ok(Err(program_cause(view, &error))),
            }
        }
        for (id, row) in changes {
            let key = keys::view(&self.tenant_of(message), view, &id);
            match row {
                Some(row) => cx.put(Table::View, &key, &ViewRow::encode(seq, &row)),
                None => {
                    cx.mark(Mark::ProjectionDeleted);
                    cx.delete(Table::View, &key);
                }
            }
        }
        if message.version > 0 {
            cx.put(Table::ViewSource, &source_key, &keys::position(message.last_version()));
        }
        Ok(Ok(()))
    }

    fn row(&self, tenant: &TenantId, view: &Name, id: &EntityId, rows: &dyn View) -> Result<Value, Halt> {
        let row = rows.get(Table::View, &keys::view(tenant, view, id))?;
        row.map_or(Ok(Value::Null), |row| ViewRow::decode(row).map(|row| row.value))
    }

    fn tenant_of(&self, message: &EventMessage) -> TenantId {
        if self.config.quirks.has(Quirk::ProjectionForgetTenant) {
            TenantId::default_tenant()
        } else {
            message.tenant.clone()
        }
    }
}

fn program_cause(view: &Name, error: &ProgramError) -> Cause {
    Cause { kind: format!("program_{}", error.kind()), detail: format!("view {view}: {error}") }
}

fn id_cause(view: &Name, detail: &str) -> Cause {
    Cause { kind: "view_id".into(), detail: format!("view {view}: {detail}") }
}
