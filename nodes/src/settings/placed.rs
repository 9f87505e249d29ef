//! Where a placement is said.

use super::{Fault, Key, Settings};
use cloudlysis_core::placement::{Placement, PlacementError};

/// Who says where the tenants are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlacementFrom {
    /// Nobody: all of them are in partition 0.
    All,
    /// The bucket.
    Bucket,
    /// The setting.
    Map(Placement),
}

impl PlacementFrom {
    pub(super) fn parse(text: &str) -> Result<Self, PlacementError> {
        match text {
            "all" => Ok(Self::All),
            "bucket" => Ok(Self::Bucket),
            map => Placement::parse(map).map(Self::Map),
        }
    }
}

impl Settings {
    /// A placement that is none, or a partition that nothing is placed in.
    pub(super) fn misplaced(&self) -> Option<Fault> {
        let together = |key: Key, rule: String| {
            let (value, origin) = self.values.get(&key)?.clone();
            Some(Fault::Together { name: key.name(), value, origin, rule })
        };
        self.values.get(&Key::Placement)?;
        match PlacementFrom::parse(self.text(Key::Placement)) {
            Err(error) => {
                let rule = format!("`all`, `bucket` or TENANT=PARTITION,…: {error}");
                together(Key::Placement, rule)
            }
            Ok(PlacementFrom::All) if self.partition() != 0 => {
                let rule = format!("0 when `{}` is `all`", Key::Placement.name());
                together(Key::Partition, rule)
            }
            Ok(_) => None,
        }
    }
}
