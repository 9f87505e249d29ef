//! Definitions in use: today's of every saga, and those that running instances began under.
//!
//! ```text
//! instance begins ─► its definition has one more user ─► kept whole: `saga_definition`, `saga_pinned`
//! instance ends, or is migrated ─► one less ─► the last one's definition is removed
//! ```
//!
//! An instance reacts by the definition it began under, whatever its manifest says meanwhile, until it ends or an operator
//! migrates it. What is kept is the manifest itself, without positions and comments; a life compiles what it finds.
//!
//! Limit: [`DEFINITIONS_MAX`] definitions in use besides today's; more refuse to start.

use super::instance::Instance;
use super::transition::Sagas;
use crate::cx::Cx;
use crate::halt::{Fence, Halt};
use crate::invariant;
use crate::manifest::SagaDef;
use crate::marks::Mark;
use crate::program::Natives;
use crate::quirks::Quirk;
use crate::store::{Table, View, try_scan};
use crate::wire::id::{EntityId, Name, TenantId};
use crate::wire::keys;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Most definitions that only running instances use.
pub const DEFINITIONS_MAX: usize = 256;

/// Every definition by its hash.
pub(super) type ByHash = BTreeMap<String, Arc<SagaDef>>;

/// Compiles what running instances began under.
pub(super) fn recover(
    today: &BTreeMap<Name, Arc<SagaDef>>,
    natives: &Natives,
    view: &dyn View,
) -> Result<ByHash, Halt> {
    let mut all: ByHash = today.values().map(|own| (own.hash.clone(), Arc::clone(own))).collect();
    try_scan(view, Table::SagaDefinition, b"", &mut |key, row| {
        let hash = text(key)?;
        if !all.contains_key(hash) {
            all.insert(hash.to_owned(), Arc::new(read(hash, row, natives)?));
        }
        let over = all.len() > DEFINITIONS_MAX + today.len();
        Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if all.len() > DEFINITIONS_MAX + today.len() {
        return Err(Fence::TooManyDefinitions { max: DEFINITIONS_MAX }.into());
    }
    Ok(all)
}

fn text(bytes: &[u8]) -> Result<&str, Halt> {
    std::str::from_utf8(bytes)
        .map_err(|error| Halt::Corrupt { table: Table::SagaDefinition, detail: error.to_string() })
}

fn read(hash: &str, row: &[u8], natives: &Natives) -> Result<SagaDef, Halt> {
    let unreadable = |detail: String| Fence::DefinitionUnreadable { hash: hash.to_owned(), detail };
    let definition = SagaDef::of_canonical(text(row)?, natives).map_err(unreadable)?;
    if definition.hash != hash {
        let detail = format!("a definition reads back as {}", definition.hash);
        return Err(Halt::Corrupt { table: Table::SagaDefinition, detail });
    }
    Ok(definition)
}

/// Looks at an instance that has ended, by its key.
type LookAtFinished<'look> = &'look mut dyn FnMut(&[u8], &Instance) -> Result<(), Halt>;

fn users(row: Option<&[u8]>) -> u64 {
    row.and_then(keys::parse_position).unwrap_or_default()
}

/// The definition an instance reacts by, read beside the machine: today's, if it is that one.
///
/// # Errors
/// When it cannot be read.
pub fn definition_of(
    view: &dyn View,
    instance: &Instance,
    today: Option<&Arc<SagaDef>>,
    natives: &Natives,
) -> Result<Option<Arc<SagaDef>>, Halt> {
    if let Some(today) = today.filter(|own| own.hash == instance.definition) {
        return Ok(Some(Arc::clone(today)));
    }
    let row = view.get(Table::SagaDefinition, instance.definition.as_bytes())?;
    row.map(|row| read(&instance.definition, row, natives).map(Arc::new)).transpose()
}

impl Sagas {
    /// Every definition in use, in the order of their hashes.
    pub fn in_use(&self) -> impl Iterator<Item = &Arc<SagaDef>> {
        self.by_hash.values()
    }

    /// Whether instances may begin under this definition.
    #[must_use]
    pub fn is_today(&self, definition: &SagaDef) -> bool {
        self.config.definitions.get(&definition.name).is_some_and(|own| own.hash == definition.hash)
    }

    /// Whether an event that this definition correlates with an instance is for it: each instance is found by its own
    /// definition, and one that is not there yet by today's.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn is_found_by(
        &self,
        definition: &SagaDef,
        tenant: &TenantId,
        correlation: &EntityId,
        view: &dyn View,
    ) -> Result<bool, Halt> {
        if self.by_hash.len() == self.config.definitions.len() {
            return Ok(true);
        }
        Ok(match view.get(Table::Saga, &keys::saga(tenant, &definition.name, correlation))? {
            Some(row) => Instance::decode(row)?.definition == definition.hash,
            None => self.is_today(definition),
        })
    }

    /// What an instance reacts by.
    pub(super) fn definition_of<I, E>(
        &self,
        saga: &Name,
        instance: &Instance,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Arc<SagaDef>, Halt> {
        if self.config.quirks.has(Quirk::SagaFollowsManifest)
            && let Some(today) = self.config.definitions.get(saga)
        {
            return Ok(Arc::clone(today));
        }
        let own = self.by_hash.get(&instance.definition).ok_or_else(|| Halt::Corrupt {
            table: Table::SagaDefinition,
            detail: format!(
                "{}, which an instance of saga {saga} began under, is not there",
                instance.definition
            ),
        })?;
        if !self.is_today(own) {
            cx.mark(Mark::SagaPinned);
        }
        Ok(Arc::clone(own))
    }

    /// The definition has one user more.
    pub(super) fn pin<I, E>(&self, definition: &SagaDef, cx: &mut Cx<'_, I, E>) -> Result<(), Halt> {
        let key = definition.hash.as_bytes();
        let before = users(cx.view().get(Table::SagaPinned, key)?);
        if before == 0 {
            cx.put(Table::SagaDefinition, key, definition.canonical.as_bytes());
        }
        cx.put(Table::SagaPinned, key, &keys::position(before + 1));
        Ok(())
    }

    /// The definition has one user less.
    pub(super) fn unpin<I, E>(&self, hash: &str, cx: &mut Cx<'_, I, E>) -> Result<(), Halt> {
        let key = hash.as_bytes();
        let after = users(cx.view().get(Table::SagaPinned, key)?).saturating_sub(1);
        if after == 0 || self.config.quirks.has(Quirk::SagaUnpinsTooSoon) {
            cx.delete(Table::SagaPinned, key);
            cx.delete(Table::SagaDefinition, key);
        } else {
            cx.put(Table::SagaPinned, key, &keys::position(after));
        }
        Ok(())
    }

    /// INV-SAGA-8: every definition in use is kept, with the number of its users. INV-SAGA-4: what is in memory is what the
    /// rows say. `finished` is shown every instance that has ended, by its key.
    ///
    /// # Errors
    /// [`Halt::Broken`] when it does not hold, or what `finished` says.
    pub fn check(&self, view: &dyn View, finished: LookAtFinished<'_>) -> Result<(), Halt> {
        let mut running = BTreeMap::<String, u64>::new();
        try_scan(view, Table::Saga, b"", &mut |key, row| {
            let instance = Instance::decode(row)?;
            let kept = self.kept.get(key);
            let agrees = kept.is_none_or(|kept| *kept == instance);
            invariant!(agrees, Saga4, "{} is {kept:?} in memory, its row says {instance:?}", text(key)?);
            if instance.status.is_final() {
                finished(key, &instance)?;
            } else {
                *running.entry(instance.definition).or_default() += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut pinned = BTreeMap::new();
        try_scan(view, Table::SagaPinned, b"", &mut |key, row| {
            pinned.insert(text(key)?.to_owned(), users(Some(row)));
            Ok(ControlFlow::Continue(()))
        })?;
        invariant!(running == pinned, Saga8, "running: {running:?}; pinned: {pinned:?}");
        for hash in pinned.keys() {
            let kept = view.get(Table::SagaDefinition, hash.as_bytes())?.is_some();
            invariant!(kept, Saga8, "{hash} is in use and not kept");
        }
        Ok(())
    }
}
