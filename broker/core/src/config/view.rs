//! Typed access to properties that were checked one by one.

use super::definition::Value;
use super::layers::Layers;
use super::{ConfigError, broker_definition};
use std::path::PathBuf;

/// Typed access to checked properties.
pub(super) struct View<'a>(pub(super) Layers<'a>);

impl View<'_> {
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        let definition = broker_definition(name).unwrap_or_else(|| panic!("no broker property {name}"));
        let text = self.0.value(name)?;
        Some(
            definition
                .parse(&text)
                .unwrap_or_else(|error| panic!("checked property became invalid: {error}")),
        )
    }

    pub(super) fn number(&self, name: &str) -> i64 {
        match self.value(name) {
            Some(Value::Number(number)) => number,
            other => panic!("broker property {name} is not a number: {other:?}"),
        }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            Some(Value::Boolean(flag)) => flag,
            other => panic!("broker property {name} is not a boolean: {other:?}"),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text).filter(|text| !text.is_empty()),
            None => None,
            other => panic!("broker property {name} is not a text: {other:?}"),
        }
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(items)) => items,
            None => Vec::new(),
            other => panic!("broker property {name} is not a list: {other:?}"),
        }
    }

    pub(super) fn refusal(&self, name: &str, wanted: &str) -> ConfigError {
        let value = self.0.value(name).unwrap_or_default();
        ConfigError::Invalid { name: name.to_owned(), value, wanted: wanted.to_owned() }
    }

    pub(super) fn node_id(&self) -> Result<i32, ConfigError> {
        let (node, broker) = (self.0.fixed.get("node.id"), self.0.fixed.get("broker.id"));
        match (node, broker) {
            (Some(node), Some(broker)) if node.trim() != broker.trim() => {
                Err(self.refusal("broker.id", &format!("the same as node.id, which is {node}")))
            }
            (None, Some(_)) if self.number("broker.id") < 0 => {
                Err(self.refusal("broker.id", "a number, at least 0"))
            }
            (None, Some(_)) => Ok(self.number("broker.id") as i32),
            _ => Ok(self.number("node.id") as i32),
        }
    }

    pub(super) fn cluster_id(&self) -> Result<Option<String>, ConfigError> {
        let id = self.text("cluster.id");
        let is_id = |id: &String| {
            (1..=64).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        match id {
            Some(id) if !is_id(&id) => {
                Err(self.refusal("cluster.id", "1 to 64 letters, digits, `-` and `_`"))
            }
            other => Ok(other),
        }
    }

    pub(super) fn data_dir(&self) -> Result<PathBuf, ConfigError> {
        let dirs = self.list("log.dirs");
        let dir = match dirs.as_slice() {
            [] => self.text("log.dir").ok_or_else(|| self.refusal("log.dir", "a directory"))?,
            [one] => one.clone(),
            _ => return Err(self.refusal("log.dirs", "exactly one directory; several are not supported yet")),
        };
        match self.text("metadata.log.dir") {
            Some(metadata) if metadata != dir => {
                Err(self.refusal("metadata.log.dir", &format!("the data directory itself, which is {dir}")))
            }
            _ => Ok(PathBuf::from(dir)),
        }
    }
}
