//! From text to a scenario or a plan, and back.

use crate::document::Document;
use crate::overrides;
use crate::plan::Plan;
use crate::problem::{Problem, Problems};
use crate::scenario::Scenario;
use crate::validate::{self, PropertyRules};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use std::path::Path;

impl Scenario {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Scenario, Box<Problems>> {
        Self::load_with(path, &[], None)
    }

    /// The same with overrides: pairs of a key path (`run.duration`, `workload.writers.rate`) and a value; and
    /// with somebody who knows the broker's properties.
    pub fn load_with(
        path: &Path,
        overrides: &[(String, String)],
        rules: Option<&PropertyRules>,
    ) -> Result<Scenario, Box<Problems>> {
        let name = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| Box::new(Problems::unreadable(&name, error)))?;
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        overridden(&name, &text, stem, overrides, rules)
    }

    /// Reads and checks text in the same way; `name` is for errors.
    pub fn parse_with(
        name: &str,
        text: &str,
        overrides: &[(String, String)],
        rules: Option<&PropertyRules>,
    ) -> Result<Scenario, Box<Problems>> {
        overridden(name, text, None, overrides, rules)
    }

    /// Reads and checks text; `name` is for errors.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, Box<Problems>> {
        parse_scenario(name, text, None, None)
    }

    /// The JSON Schema of scenario files, for editors.
    pub fn json_schema_value() -> serde_json::Value {
        schema_of::<Scenario>().to_value()
    }

    /// A hash of what the scenario says: comments and order of keys do not change it, values do.
    pub fn content_hash(&self) -> String {
        let json = serde_json::to_vec(self).expect("a scenario is plain data");
        format!("{:016x}", crate::seed::fnv1a(0, &json))
    }
}

/// What the text says, and then what it says with the overrides: so an error of the text is told from one of theirs.
fn overridden(
    name: &str,
    text: &str,
    stem: Option<&str>,
    overrides: &[(String, String)],
    rules: Option<&PropertyRules>,
) -> Result<Scenario, Box<Problems>> {
    let scenario = parse_scenario(name, text, stem, rules)?;
    if overrides.is_empty() {
        return Ok(scenario);
    }
    let text = overrides::apply(text, overrides)
        .map_err(|message| Box::new(Problems::new(name, "", vec![Problem::new(0..0, message)])))?;
    parse_scenario(&format!("{name} with --set"), &text, stem, rules)
}

fn parse_scenario(
    name: &str,
    text: &str,
    stem: Option<&str>,
    rules: Option<&PropertyRules>,
) -> Result<Scenario, Box<Problems>> {
    read(name, text, |document, scenario| validate::check(scenario, document, stem, rules))
}

impl Plan {
    /// Reads a plan from a `.toml` or a `.json` file.
    pub fn load(path: &Path) -> Result<Plan, Box<Problems>> {
        let name = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| Box::new(Problems::unreadable(&name, error)))?;
        if path.extension().is_some_and(|extension| extension == "json") {
            return serde_json::from_str(&text).map_err(|error| {
                Box::new(Problems::new(&name, &text, vec![Problem::new(0..0, error.to_string())]))
            });
        }
        Plan::parse(&name, &text)
    }

    /// Reads a plan from TOML; `name` is for errors.
    pub fn parse(name: &str, text: &str) -> Result<Plan, Box<Problems>> {
        read(name, text, |_, _| Vec::new())
    }

    /// The plan as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a plan is plain data")
    }

    /// Whether the plan was made from this scenario; if not, says what differs.
    pub fn belongs_to(&self, scenario: &Scenario) -> Result<(), String> {
        if self.scenario != scenario.name {
            return Err(format!(
                "the plan was made from scenario `{}`, not from `{}`",
                self.scenario, scenario.name
            ));
        }
        let hash = scenario.content_hash();
        if self.scenario_hash != hash {
            return Err(format!(
                "the plan was made from another version of scenario `{}`: its content hash was {} and is {hash} now",
                self.scenario, self.scenario_hash
            ));
        }
        Ok(())
    }
}

/// The schema with everything in place, so that it can be walked without following references.
fn schema_of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    close(schema.as_object_mut().expect("a schema of a struct"));
    schema
}

/// Says in the schema what the reader does: keys that are not known are errors, also beside `oneOf`.
fn close(object: &mut serde_json::Map<String, serde_json::Value>) {
    let is_tagged = object.contains_key("oneOf") && object.contains_key("properties");
    if is_tagged {
        object.insert("unevaluatedProperties".to_owned(), false.into());
    }
    for (key, value) in object.iter_mut() {
        if is_tagged && key == "oneOf" {
            continue;
        }
        close_value(value);
    }
}

fn close_value(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(object) => close(object),
        serde_json::Value::Array(list) => list.iter_mut().for_each(close_value),
        _ => {}
    }
}

fn read<T: DeserializeOwned + JsonSchema>(
    name: &str,
    text: &str,
    validate: impl Fn(&Document<'_>, &T) -> Vec<Problem>,
) -> Result<T, Box<Problems>> {
    let fail = |problems| Box::new(Problems::new(name, text, problems));
    let document = Document::parse(text).map_err(fail)?;
    let problems = document.check(&schema_of::<T>());
    if !problems.is_empty() {
        return Err(fail(problems));
    }
    let value: T = toml::from_str(text).map_err(|error| {
        fail(vec![Problem::new(error.span().unwrap_or(0..0), error.message().to_owned())])
    })?;
    let problems = validate(&document, &value);
    if problems.is_empty() { Ok(value) } else { Err(fail(problems)) }
}
