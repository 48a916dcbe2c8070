//! Holds `docs/scenario-format.md` to the schema: every key, every kind and every word of it is documented.

use burnin_scenario::{EVENTS, FORMS, Scenario};
use serde_json::Value;
use std::collections::BTreeSet;

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scenario-format.md");
    std::fs::read_to_string(path).unwrap()
}

/// Every name that a file may hold: keys, kinds, and the words of enumerations.
fn names(schema: &Value, found: &mut BTreeSet<String>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        found.extend(properties.keys().cloned());
    }
    let words = schema.get("enum").and_then(Value::as_array).into_iter().flatten().chain(schema.get("const"));
    found.extend(words.filter_map(Value::as_str).map(str::to_owned));
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties.for_each(|(_, property)| names(property, found));
    for part in ["items", "oneOf", "anyOf", "additionalProperties"] {
        match schema.get(part) {
            Some(Value::Array(list)) => list.iter().for_each(|one| names(one, found)),
            Some(one) => names(one, found),
            None => {}
        }
    }
}

#[test]
fn every_name_of_the_schema_is_documented() {
    let document = document();
    let mut wanted = BTreeSet::new();
    names(&Scenario::json_schema_value(), &mut wanted);
    assert!(wanted.len() > 100, "only {} names found", wanted.len());
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| {
            !document.contains(&format!("`{name}`")) && !document.contains(&format!("`\"{name}\"`"))
        })
        .collect();
    assert!(missing.is_empty(), "docs/scenario-format.md does not mention {missing:?}");
}

#[test]
fn every_event_selector_and_anomaly_is_documented() {
    let document = document();
    for event in EVENTS {
        assert!(
            document.contains(&format!("`{event}`")),
            "docs/scenario-format.md does not mention the event {event}"
        );
    }
    for form in FORMS {
        let form = form.replace("TOPIC/0", "orders/0").replace("TOPIC/*", "orders/0");
        assert!(document.contains(&format!("`{form}`")), "docs/scenario-format.md does not mention {form}");
    }
    for property in burnin_checkers::properties() {
        let checker = property.id;
        assert!(
            document.contains(&format!("| {checker} |")),
            "docs/scenario-format.md has no row for {checker}"
        );
        for anomaly in property.anomalies() {
            assert!(
                document.contains(&format!("`{anomaly}`")),
                "docs/scenario-format.md does not mention {anomaly}"
            );
        }
    }
}

#[test]
fn every_key_has_a_description_in_the_schema() {
    fn walk(path: &str, schema: &Value, bare: &mut Vec<String>) {
        for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{key}");
            if key != "kind" && property.get("description").is_none() {
                bare.push(path.clone());
            }
            walk(&path, property, bare);
        }
        for part in ["items", "oneOf", "anyOf", "additionalProperties"] {
            match schema.get(part) {
                Some(Value::Array(list)) => list.iter().for_each(|one| walk(path, one, bare)),
                Some(one) => walk(path, one, bare),
                None => {}
            }
        }
    }
    let mut bare = Vec::new();
    walk("", &Scenario::json_schema_value(), &mut bare);
    assert!(bare.is_empty(), "without a description: {bare:?}");
}
