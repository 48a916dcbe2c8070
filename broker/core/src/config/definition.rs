//! What a property is: its name, type, default, range, and how it can be changed.
//!
//! Names, types, defaults and ranges are Kafka's (`LogConfig`, `ServerConfigs`, `SocketServerConfigs`, ...), with
//! the exceptions that the property's own text states.

use super::ConfigError;

/// The type of a property's value, in Kafka's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// 16 bits, signed.
    Short,
    /// 32 bits, signed.
    Int,
    /// 64 bits, signed.
    Long,
    /// A floating point number.
    Double,
    /// Any text.
    Text,
    /// Comma separated texts.
    List,
}

impl Kind {
    /// The number of the type in DescribeConfigs responses (`DescribeConfigsResponse.ConfigType`).
    pub const fn wire_id(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::Text => 2,
            Kind::Int => 3,
            Kind::Short => 4,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
        }
    }

    /// How error messages call it.
    pub const fn noun(self) -> &'static str {
        match self {
            Kind::Boolean => "true or false",
            Kind::Short => "a 16-bit number",
            Kind::Int => "a 32-bit number",
            Kind::Long => "a 64-bit number",
            Kind::Double => "a number",
            Kind::Text => "text",
            Kind::List => "a comma separated list",
        }
    }
}

/// Which values of its type a property can have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// All of them.
    Any,
    /// This number or a higher one.
    AtLeast(i64),
    /// A number from the first to the second, both included.
    Between(i64, i64),
    /// A real number from 0 to 1.
    Fraction,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list of these texts.
    Each(&'static [&'static str]),
    /// A list of `partition:broker`, or `*` (`ThrottledReplicaListValidator`).
    Replicas,
}

/// How a broker property can be changed while the broker runs (`DynamicBrokerConfig`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only by a restart.
    ReadOnly,
    /// For one broker or as the cluster's default.
    ClusterWide,
}

/// What this broker does with a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is obeyed.
    Used,
    /// It is accepted and changes nothing: it tunes something that this broker does not have, or not yet.
    None,
}

/// A property.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Kafka's name.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The default as text; `None` is Kafka's null.
    pub default: Option<&'static str>,
    /// Allowed values.
    pub range: Range,
    /// Whether it is dynamic.
    pub update: Update,
    /// Whether it does anything.
    pub effect: Effect,
    /// What it means, for DescribeConfigs.
    pub doc: &'static str,
}

/// A checked value. Lists are texts without blanks around the commas.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of [`Kind::Boolean`].
    Boolean(bool),
    /// Of the integer kinds.
    Number(i64),
    /// Of [`Kind::Double`].
    Real(f64),
    /// Of [`Kind::Text`].
    Text(String),
    /// Of [`Kind::List`].
    List(Vec<String>),
}

impl Definition {
    /// Checks type and range of `text`.
    pub fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        let value = self.typed(text)?;
        if self.in_range(&value) { Ok(value) } else { Err(self.refusal(text)) }
    }

    fn typed(&self, text: &str) -> Result<Value, ConfigError> {
        let text = text.trim();
        let number = |low: i64, high: i64| {
            let parsed = text.parse::<i64>().map_err(|_| self.refusal(text))?;
            if (low..=high).contains(&parsed) { Ok(Value::Number(parsed)) } else { Err(self.refusal(text)) }
        };
        match self.kind {
            Kind::Boolean if text.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            Kind::Boolean if text.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            Kind::Boolean => Err(self.refusal(text)),
            Kind::Short => number(i16::MIN.into(), i16::MAX.into()),
            Kind::Int => number(i32::MIN.into(), i32::MAX.into()),
            Kind::Long => number(i64::MIN, i64::MAX),
            Kind::Double => {
                let parsed = text.parse::<f64>().map_err(|_| self.refusal(text))?;
                if parsed.is_nan() { Err(self.refusal(text)) } else { Ok(Value::Real(parsed)) }
            }
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::List => Ok(Value::List(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            )),
        }
    }

    fn in_range(&self, value: &Value) -> bool {
        match (self.range, value) {
            (Range::Any, _) => true,
            (Range::AtLeast(low), Value::Number(n)) => *n >= low,
            (Range::Between(low, high), Value::Number(n)) => (low..=high).contains(n),
            (Range::Fraction, Value::Real(x)) => (0.0..=1.0).contains(x),
            (Range::OneOf(known), Value::Text(text)) => known.contains(&text.as_str()),
            (Range::Each(known), Value::List(items)) => {
                items.iter().all(|item| known.contains(&item.as_str()))
            }
            (Range::Replicas, Value::List(items)) => {
                let is_all = |item: &String| item == "*" && items.len() == 1;
                items.iter().all(|item| is_all(item) || throttled_replica(item).is_some())
            }
            (range, value) => {
                unreachable!("property {} pairs range {range:?} with value {value:?}", self.name)
            }
        }
    }

    fn refusal(&self, text: &str) -> ConfigError {
        ConfigError::Invalid { name: self.name.to_owned(), value: text.to_owned(), wanted: self.wanted() }
    }

    /// The allowed values in words, as in ``a 32-bit number, at least 1``.
    pub fn wanted(&self) -> String {
        let noun = self.kind.noun();
        match self.range {
            Range::Any => noun.to_owned(),
            Range::AtLeast(low) => format!("{noun}, at least {low}"),
            Range::Between(low, high) => format!("{noun} from {low} to {high}"),
            Range::Fraction => format!("{noun} from 0 to 1"),
            Range::OneOf(known) => format!("one of {}", known.join(", ")),
            Range::Each(known) => format!("{noun} of {}", known.join(", ")),
            Range::Replicas => format!("{noun} of partition:broker, or *"),
        }
    }
}

/// `partition:broker`.
pub(super) fn throttled_replica(text: &str) -> Option<(i32, i32)> {
    let (partition, broker) = text.split_once(':')?;
    let number = |text: &str| text.trim().parse().ok().filter(|number| *number >= 0);
    Some((number(partition)?, number(broker)?))
}

/// Shorthand of the tables: a property that is obeyed and needs a restart to change.
pub(super) const fn used(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    range: Range,
    doc: &'static str,
) -> Definition {
    Definition { name, kind, default, range, update: Update::ReadOnly, effect: Effect::Used, doc }
}

/// Shorthand of the tables: a property that is accepted without effect.
pub(super) const fn idle(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    range: Range,
    doc: &'static str,
) -> Definition {
    Definition { name, kind, default, range, update: Update::ReadOnly, effect: Effect::None, doc }
}

/// The same property, changeable while the broker runs.
pub(super) const fn dynamic(mut definition: Definition) -> Definition {
    definition.update = Update::ClusterWide;
    definition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_wrong_type_or_range_are_refused_with_the_choices() {
        let port = used("max.connections", Kind::Int, Some("1"), Range::AtLeast(1), "");
        assert_eq!(port.parse(" 7 ").unwrap(), Value::Number(7));
        for bad in ["", "seven", "7.0", "0", "2147483648", "-1"] {
            let error = port.parse(bad).unwrap_err().to_string();
            assert!(
                error.contains("max.connections") && error.contains("a 32-bit number, at least 1"),
                "{error}"
            );
        }
        let policy = used("cleanup.policy", Kind::List, None, Range::Each(&["compact", "delete"]), "");
        assert_eq!(
            policy.parse("compact, delete").unwrap(),
            Value::List(vec!["compact".into(), "delete".into()])
        );
        assert!(policy.parse("compact,remove").is_err());
        let replicas = used("replicas", Kind::List, Some(""), Range::Replicas, "");
        for (text, is_fine) in [("", true), ("*", true), ("0:1,10:2", true), ("0:1,*", false), ("0", false)] {
            assert_eq!(replicas.parse(text).is_ok(), is_fine, "{text}");
        }
        let ratio = used("ratio", Kind::Double, None, Range::Fraction, "");
        assert!(ratio.parse("0.5").is_ok() && ratio.parse("1.5").is_err() && ratio.parse("NaN").is_err());
    }
}
