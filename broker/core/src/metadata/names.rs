//! Which names a topic can have (`org.apache.kafka.common.internals.Topic`).

/// The topic of the metadata log.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

const LENGTH_MAX: usize = 249;

/// Why `name` cannot be a topic's, in Kafka's words.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Topic name is invalid: the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > LENGTH_MAX {
        return Err(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {LENGTH_MAX}"
        ));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, \
             '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// The form in which names that differ only in `.` and `_` are the same: metrics cannot tell them apart.
pub(super) fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_directories_are_refused() {
        for good in ["a", "orders.v1", "__consumer_offsets", "A-B_c.9", &"x".repeat(249)] {
            assert_eq!(check_topic_name(good), Ok(()));
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            assert!(check_topic_name(bad).is_err(), "{bad}");
        }
    }
}
