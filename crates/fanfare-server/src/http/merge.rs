//! Merges JSON documents.

use serde_json::Value;

/// Returns one document from `parts`, which may be null. Objects are joined, lists get the missing items, other values are replaced.
pub(super) fn merged(parts: impl Iterator<Item = Value>) -> Value {
    let mut document = Value::Object(serde_json::Map::new());
    for part in parts.filter(|part| !part.is_null()) {
        merge(&mut document, part);
    }
    document
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                match into.get_mut(&name) {
                    Some(there) => merge(there, value),
                    None => {
                        into.insert(name, value);
                    }
                }
            }
        }
        (Value::Array(into), Value::Array(more)) => {
            for item in more {
                if !into.contains(&item) {
                    into.push(item);
                }
            }
        }
        (into, more) => *into = more,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_merged() {
        let parts = [
            json!({"a": {"b": 1, "list": [1, 2]}, "x": 1}),
            Value::Null,
            json!({"a": {"c": 2, "list": [2, 3]}, "x": 2}),
        ];
        let whole = json!({"a": {"b": 1, "c": 2, "list": [1, 2, 3]}, "x": 2});
        assert_eq!(merged(parts.into_iter()), whole);
    }
}
