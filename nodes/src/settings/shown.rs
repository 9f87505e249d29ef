//! Settings as people and programs read them.

use super::{Key, NodeKind, Settings};
use serde_json::{Value, json};

impl Settings {
    /// A file of settings in TOML that says the same, with the origin of each beside it. Secrets are left out.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let line = |(key, value, origin): (Key, &Value, &super::Origin)| {
            let setting = format!("{} = {}", key.name(), key.kind().shown(value));
            format!("{setting:<56}  # {origin}\n")
        };
        self.all().map(line).collect()
    }

    /// The same for programs: one object per setting.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let object = |(key, value, origin): (Key, &Value, &super::Origin)| json!({ "name": key.name(), "value": key.kind().shown(value), "origin": origin.to_string() });
        json!({ "node": self.node().name(), "settings": self.all().map(object).collect::<Vec<_>>() })
    }
}

/// The table of all settings, as the documentation has it.
#[must_use]
pub fn table() -> String {
    let mut out = String::from("| setting | nodes | default | allowed | |\n|---|---|---|---|---|\n");
    for key in Key::ALL {
        let nodes: Vec<&str> = key.nodes().iter().map(|node| node.name()).collect();
        let nodes = if nodes.len() == NodeKind::ALL.len() { "all".to_owned() } else { nodes.join(", ") };
        let (name, default, kind, about) = (key.name(), key.default(), key.kind(), key.about());
        out.push_str(&format!("| `{name}` | {nodes} | `{default}` | {kind} | {about} |\n"));
    }
    out
}
