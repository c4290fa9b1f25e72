//! How large a document is at least, without reading it into memory: a few bytes of text can take hundreds once they are
//! read, and what is larger than any document may be is refused for that alone.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use stockade_policy::language::limits::MAX_DOCUMENT_BYTES;

/// Whether the document whose fields these are has more bytes as compact JSON than one may have. What the API server adds is
/// no part of it, and what it has checked already (metadata) is bounded.
pub(crate) fn is_too_large(document: &BTreeMap<String, &RawValue>) -> bool {
    let own = document.iter().filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"));
    let mut bytes = 0;
    own.map(|(_, raw)| compact_bytes_at_least(raw.get().as_bytes())).any(|more| {
        bytes += more;
        bytes > MAX_DOCUMENT_BYTES
    })
}

/// Never more than the bytes of the same JSON without white space, however its texts and numbers were written.
fn compact_bytes_at_least(json: &[u8]) -> usize {
    let mut bytes = 0;
    let mut rest = json.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => continue,
            b'"' => bytes += text_bytes(&mut rest),
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {}
            // A number may be written in many ways, a word in one: either counts as one byte.
            _ => while rest.next_if(|next| !b" \t\n\r{}[],:\"".contains(next)).is_some() {},
        }
        bytes += 1;
    }
    bytes
}

/// The rest of a text with the quote at its end: an escaped character has at least one byte.
fn text_bytes(rest: &mut impl Iterator<Item = u8>) -> usize {
    let mut bytes = 0;
    while let Some(byte) = rest.next() {
        bytes += 1;
        match byte {
            b'"' => break,
            // The four digits of \u are passed over; a pair of surrogates makes four bytes of text.
            b'\\' if rest.next() == Some(b'u') => rest.by_ref().take(4).for_each(|_| {}),
            _ => {}
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_counted_is_never_more_than_what_is_there() {
        let written = [
            r#"{"a" : [1, 2.50, -1e3, true, null, {}], "b":{"c":"d"} }"#,
            r#" [ "\u003c\u003e", "\\\"", "\ud83d\ude00", "é", "" ] "#,
            "7",
            "100000000000000000000000000000.000",
        ];
        for text in written {
            let compact = serde_json::from_str::<Value>(text).unwrap().to_string();
            let counted = compact_bytes_at_least(text.as_bytes());
            assert!(counted > 0 && counted <= compact.len(), "{text}: {counted}, {compact}");
        }
        let plain = json!({"values": ["a", "bc", {"d": "e"}]}).to_string();
        assert_eq!(compact_bytes_at_least(plain.as_bytes()), plain.len(), "only numbers and words count for less");
    }

    #[test]
    fn what_the_api_server_adds_does_not_make_a_document_too_large() {
        let long = format!("{:?}", "x".repeat(MAX_DOCUMENT_BYTES));
        let document = |field: &str| {
            let text = format!(r#"{{"kind": "TracingPolicy", {field:?}: {long}}}"#);
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&text).unwrap();
            is_too_large(&fields)
        };
        assert!(document("spec") && document("unheard"));
        assert!(!document("metadata") && !document("status"));
    }
}
