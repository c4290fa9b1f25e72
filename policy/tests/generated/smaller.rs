//! A failing document, without what it does not need to fail.

use serde_json::Value;

/// How often it is tried to leave something out.
const TRIES: usize = 2000;

/// The smallest document that was found for which `fails` still says why.
pub(super) fn smallest(
    mut document: Value,
    mut why: String,
    fails: impl Fn(&Value) -> Option<String>,
) -> (Value, String) {
    let (mut place, mut tries) = (0, 0);
    while tries < TRIES {
        let mut without = document.clone();
        if !leave_out(&mut without, &mut place.clone()) {
            break;
        }
        tries += 1;
        match fails(&without) {
            // What followed has moved up.
            Some(reason) => (document, why) = (without, reason),
            None => place += 1,
        }
    }
    (document, why)
}

/// Leaves out the element or field at the `place`th place; whether there is one.
fn leave_out(value: &mut Value, place: &mut usize) -> bool {
    match value {
        Value::Array(values) => {
            if *place < values.len() {
                values.remove(*place);
                return true;
            }
            *place -= values.len();
            values.iter_mut().any(|value| leave_out(value, place))
        }
        Value::Object(map) => {
            if let Some(key) = map.keys().nth(*place).cloned() {
                map.shift_remove(&key);
                return true;
            }
            *place -= map.len();
            map.values_mut().any(|value| leave_out(value, place))
        }
        _ => false,
    }
}
