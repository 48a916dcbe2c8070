//! `--set a.b=c`: changes a scenario from outside. A step of the path is a key, or in a list the `id`, the
//! `name` or the number of an element.

use toml::{Table, Value};

/// The text of the scenario with the overrides in it.
pub fn apply(text: &str, overrides: &[(String, String)]) -> Result<String, String> {
    let mut root: Value = Value::Table(text.parse::<Table>().map_err(|error| error.to_string())?);
    for (path, value) in overrides {
        set(&mut root, path, value)?;
    }
    toml::to_string(&root).map_err(|error| error.to_string())
}

fn set(root: &mut Value, path: &str, value: &str) -> Result<(), String> {
    let steps = split(path)?;
    let (last, way) = steps.split_last().expect("a path has a step");
    let mut place = root;
    for (depth, step) in way.iter().enumerate() {
        place = enter(place, step).ok_or_else(|| {
            format!("`--set {path}={value}`: there is no `{step}` in {}", describe(&steps[..depth]))
        })?;
    }
    let table = place
        .as_table_mut()
        .ok_or_else(|| format!("`--set {path}={value}`: {} has no keys", describe(way)))?;
    table.insert(last.clone(), literal(value));
    Ok(())
}

/// Cuts a path at its dots; a step in double quotes may hold dots (`topology.properties."log.dirs"`).
fn split(path: &str) -> Result<Vec<String>, String> {
    let mut steps = vec![String::new()];
    let mut quoted = false;
    for c in path.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => steps.push(String::new()),
            c => steps.last_mut().expect("never empty").push(c),
        }
    }
    if quoted || steps.iter().any(String::is_empty) {
        return Err(format!(
            "`{path}` is not a key path (write it like run.duration or workload.writers.rate)"
        ));
    }
    Ok(steps)
}

fn enter<'a>(place: &'a mut Value, step: &str) -> Option<&'a mut Value> {
    match place {
        Value::Table(table) => {
            Some(table.entry(step.to_owned()).or_insert_with(|| Value::Table(Table::new())))
        }
        Value::Array(list) => {
            let named = |value: &Value| {
                ["id", "name"].iter().any(|key| value.get(key).and_then(Value::as_str) == Some(step))
            };
            let index = list.iter().position(named).or_else(|| step.parse().ok())?;
            list.get_mut(index)
        }
        _ => None,
    }
}

/// A value as TOML has it; what is not TOML is a string, so that `5s` needs no quotes.
fn literal(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>();
    parsed.ok().and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn describe(steps: &[String]) -> String {
    if steps.is_empty() { "the scenario".to_owned() } else { format!("`{}`", steps.join(".")) }
}
