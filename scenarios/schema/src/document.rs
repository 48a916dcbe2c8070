//! Reads TOML by its JSON Schema: every unknown key, wrong type and impossible value of a file is found in
//! one pass, each with its place. The schema comes from the Rust types, so that what is accepted, what is
//! documented and what is deserialised cannot differ.

use crate::names;
use crate::problem::Problem;
use crate::units::Leaf;
use crate::{ranges, rates, scenario, seed, selector, units, workload};
use serde_json::Value as Json;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A TOML file with the places of everything in it.
#[derive(Debug)]
pub struct Document<'a>(Spanned<DeTable<'a>>);

/// A step from a table or an array to what it holds.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// The value of this key.
    Key(&'a str),
    /// The element with this number.
    Index(usize),
}

impl<'a> Document<'a> {
    /// Reads the text; gives every error of syntax.
    pub fn parse(text: &'a str) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Document(table));
        }
        Err(errors
            .iter()
            .map(|error| Problem::new(error.span().unwrap_or(0..0), error.message().trim().to_owned()))
            .collect())
    }

    /// What the schema has against it.
    pub fn check(&self, schema: &schemars::Schema) -> Vec<Problem> {
        let mut problems = Vec::new();
        let name = schema.get("title").and_then(Json::as_str).unwrap_or("the file").to_lowercase();
        check_table(self.0.get_ref(), &(0..0), schema.as_value(), &format!("the {name}"), &mut problems);
        problems
    }

    /// Where the thing at the end of `path` is, or the nearest thing around it that exists.
    pub fn span(&self, path: &[Step<'_>]) -> Range<usize> {
        let mut span = 0..0;
        let Some((first, rest)) = path.split_first() else { return span };
        let Step::Key(key) = first else { return span };
        let Some((name, mut value)) = self.0.get_ref().get_key_value(*key) else { return span };
        span =
            if value.get_ref().is_table() || value.get_ref().is_array() { name.span() } else { value.span() };
        for step in rest {
            let next = match (step, value.get_ref()) {
                (Step::Key(key), DeValue::Table(table)) => table.get(*key),
                (Step::Index(index), DeValue::Array(array)) => array.get(*index),
                _ => None,
            };
            match next {
                Some(next) => (value, span) = (next, next.span()),
                None => break,
            }
        }
        span
    }
}

fn check_value(value: &Spanned<DeValue<'_>>, schema: &Json, what: &str, problems: &mut Vec<Problem>) {
    let span = value.span();
    if let Some(inner) = alternatives(schema) {
        return check_value(value, inner, what, problems);
    }
    match value.get_ref() {
        DeValue::Table(table) if allows(schema, "object") => {
            check_table(table, &span, schema, what, problems)
        }
        DeValue::Array(array) if allows(schema, "array") => {
            for (key, wrong) in [("minItems", "fewer"), ("maxItems", "more")] {
                let Some(bound) = schema.get(key).and_then(Json::as_u64) else { continue };
                let too_few = wrong == "fewer" && (array.len() as u64) < bound;
                let too_many = wrong == "more" && (array.len() as u64) > bound;
                if too_few || too_many {
                    let elements = if array.len() == 1 { "element" } else { "elements" };
                    let message = format!("{what} has {} {elements}, {wrong} than {bound}", array.len());
                    problems.push(Problem::new(span.clone(), message));
                }
            }
            for element in array.iter() {
                if let Some(items) = schema.get("items") {
                    check_value(element, items, what, problems);
                }
            }
        }
        leaf => {
            if let Err(message) = check_leaf(leaf, schema, what) {
                problems.push(Problem::new(span, message));
            }
        }
    }
}

/// The schema without "or null", which TOML cannot say.
fn alternatives(schema: &Json) -> Option<&Json> {
    let any = schema.get("anyOf")?.as_array()?;
    any.iter().find(|option| option.get("type").and_then(Json::as_str) != Some("null"))
}

fn allows(schema: &Json, name: &str) -> bool {
    types(schema).contains(&name)
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(many)) => {
            many.iter().filter_map(Json::as_str).filter(|one| *one != "null").collect()
        }
        _ if schema.get("properties").is_some() => vec!["object"],
        _ => vec!["string"],
    }
}

fn check_table(
    table: &DeTable<'_>,
    around: &Range<usize>,
    schema: &Json,
    what: &str,
    problems: &mut Vec<Problem>,
) {
    let mut known: Vec<(&str, &Json)> = properties(schema).collect();
    let mut required: Vec<&str> = required_keys(schema).collect();
    let mut what = what.to_owned();
    if let Some(variants) = schema.get("oneOf").and_then(Json::as_array) {
        let kinds: Vec<&str> = variants.iter().filter_map(kind_of).collect();
        match table.get("kind") {
            Some(kind) => {
                match kind.get_ref().as_str().and_then(|name| kinds.iter().position(|k| *k == name)) {
                    Some(index) => {
                        known.extend(properties(&variants[index]));
                        required.extend(required_keys(&variants[index]));
                        what = format!("{what} of kind `{}`", kinds[index]);
                    }
                    None => {
                        let name = text_of(kind.get_ref());
                        let message = format!(
                            "unknown kind `{name}` of {what} ({})",
                            names::choices(&name, kinds.iter().copied())
                        );
                        return problems.push(Problem::new(kind.span(), message));
                    }
                }
            }
            None => {
                let message = format!("{what} has no `kind` (known: {})", kinds.join(", "));
                return problems.push(Problem::new(around.clone(), message));
            }
        }
    }
    known.sort_by_key(|(key, _)| *key);
    let others = schema.get("additionalProperties").filter(|others| others.is_object());
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        match known.iter().find(|(known, _)| *known == name) {
            Some((_, schema)) => check_value(value, schema, &format!("`{name}`"), problems),
            None => match others {
                Some(schema) => check_value(value, schema, &format!("`{name}`"), problems),
                None => {
                    let choices = names::choices(name, known.iter().map(|(known, _)| *known));
                    problems.push(Problem::new(
                        key.span(),
                        format!("unknown key `{name}` in {what} ({choices})"),
                    ));
                }
            },
        }
    }
    let missing: Vec<String> =
        required.iter().filter(|key| table.get(**key).is_none()).map(|key| format!("`{key}`")).collect();
    if !missing.is_empty() {
        problems.push(Problem::new(around.clone(), format!("{what} has no {}", missing.join(", no "))));
    }
}

fn properties(schema: &Json) -> impl Iterator<Item = (&str, &Json)> {
    schema
        .get("properties")
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

fn required_keys(schema: &Json) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

fn kind_of(variant: &Json) -> Option<&str> {
    variant.get("properties")?.get("kind")?.get("const")?.as_str()
}

fn text_of(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.clone().into_owned(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(when) => when.to_string(),
        DeValue::Array(_) => "[...]".to_owned(),
        DeValue::Table(_) => "{...}".to_owned(),
    }
}

fn check_leaf(value: &DeValue<'_>, schema: &Json, what: &str) -> Result<(), String> {
    let wrong_type = || {
        let wanted = types(schema).iter().map(|name| type_name(name)).collect::<Vec<_>>().join(" or ");
        let hint = example(schema).map_or(String::new(), |example| format!(", such as {example}"));
        format!("{what} must be {wanted}{hint}, not {} `{}`", type_name(value.type_str()), text_of(value))
    };
    let leaf = match value {
        DeValue::String(text) => Leaf::Text(text),
        DeValue::Integer(number) => {
            let digits = i64::from_str_radix(number.as_str(), number.radix());
            Leaf::Integer(digits.map_err(|_| format!("{what}: `{number}` is too large"))?)
        }
        DeValue::Float(number) => {
            Leaf::Float(number.as_str().replace('_', "").parse().map_err(|_| wrong_type())?)
        }
        DeValue::Boolean(value) => Leaf::Boolean(*value),
        _ => return Err(wrong_type()),
    };
    if let Some(words) = words(schema) {
        let Leaf::Text(text) = leaf else {
            return Err(format!("{what} must be one of {}, not `{leaf}`", words.join(", ")));
        };
        return match words.contains(&text) {
            true => Ok(()),
            false => {
                Err(format!("unknown {what} `{text}` ({})", names::choices(text, words.iter().copied())))
            }
        };
    }
    let fits = match leaf {
        Leaf::Text(_) => allows(schema, "string"),
        Leaf::Integer(_) => allows(schema, "integer") || allows(schema, "number"),
        Leaf::Float(_) => allows(schema, "number"),
        Leaf::Boolean(_) => allows(schema, "boolean"),
    };
    if !fits {
        return Err(wrong_type());
    }
    if let Some(format) = schema.get("format").and_then(Json::as_str)
        && let Some(read) = unit_named(format)
    {
        return read(leaf).map_err(|message| format!("{what}: {message}"));
    }
    if let Leaf::Integer(number) = leaf {
        let low = schema.get("minimum").and_then(Json::as_i64).unwrap_or(i64::MIN);
        let high = schema.get("maximum").and_then(Json::as_i64).unwrap_or(i64::MAX);
        if !(low..=high).contains(&number) {
            let range = match (low, high) {
                (low, i64::MAX) => format!("at least {low}"),
                (i64::MIN, high) => format!("at most {high}"),
                (low, high) if low == high => format!("{low}"),
                (low, high) => format!("from {low} to {high}"),
            };
            return Err(format!("{what} must be {range}, not {number}"));
        }
    }
    Ok(())
}

/// The words that an enumeration allows.
fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(list) = schema.get("enum").and_then(Json::as_array) {
        return Some(list.iter().filter_map(Json::as_str).collect());
    }
    let options = schema.get("oneOf")?.as_array()?;
    let mut words = Vec::new();
    for option in options {
        match (option.get("const"), option.get("enum")) {
            (Some(word), _) => words.extend(word.as_str()),
            (None, Some(list)) => {
                words.extend(list.as_array().into_iter().flatten().filter_map(Json::as_str))
            }
            (None, None) => return None,
        }
    }
    Some(words)
}

fn example(schema: &Json) -> Option<&str> {
    schema.get("examples")?.get(0)?.as_str()
}

fn type_name(name: &str) -> &str {
    match name {
        "object" | "table" => "a table",
        "array" => "a list",
        "string" => "a string",
        "integer" => "a whole number",
        "number" | "float" => "a number",
        "boolean" => "true or false",
        "datetime" => "a date",
        other => other,
    }
}

/// How a unit of this name is read; `None` for formats that schemars adds by itself (`uint32`).
fn unit_named(format: &str) -> Option<fn(Leaf<'_>) -> Result<(), String>> {
    fn read<U: units::Unit>(leaf: Leaf<'_>) -> Result<(), String> {
        U::read(leaf).map(drop)
    }
    macro_rules! named {
        ($($unit:ty),*) => {
            $(if format == <$unit as units::Unit>::FORMAT { return Some(read::<$unit>); })*
        };
    }
    named!(
        units::Dur,
        units::SignedDur,
        units::Size,
        rates::Pace,
        rates::Probability,
        ranges::DurRange,
        ranges::SignedDurRange,
        ranges::SizeRange,
        ranges::CountRange,
        selector::Selector,
        seed::Seed,
        scenario::PropertyValue,
        scenario::Controllers,
        workload::AcksSetting
    );
    None
}
