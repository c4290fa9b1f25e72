//! Every field that a policy can have, in one table: what it may hold.

use stockade_crds::spec::args::ARG_TYPES;
use stockade_crds::spec::selectors::{ACTIONS, ARG_OPERATORS, NAMESPACES};

use super::schema::{Field, Shape};

const U32: Shape = Shape::Integer { min: 0, max: u32::MAX as i64 };
const I32: Shape = Shape::Integer { min: i32::MIN as i64, max: i32::MAX as i64 };
const U64: Shape = Shape::Integer { min: 0, max: i64::MAX };
const TEXTS: Shape = Shape::List(&Shape::Text);

const fn field(name: &'static str, shape: Shape) -> Field {
    Field::new(name, shape)
}

/// `spec` of both kinds.
pub(super) const SPEC: Shape = Shape::Object(&[
    field("kprobes", Shape::List(&KPROBE)),
    field("tracepoints", Shape::List(&TRACEPOINT)),
    field("lsmhooks", Shape::List(&LSM_HOOK)),
    field("uprobes", Shape::List(&UPROBE)),
    field("usdts", Shape::List(&USDT)),
    field("fentries", Shape::List(&KPROBE)),
    field("loader", Shape::Flag),
    field("enforcers", Shape::List(&Shape::Object(&[field("calls", TEXTS).required()]))),
    field("lists", Shape::List(&LIST)),
    field("options", Shape::List(&OPTION)),
    field("selectorsMacros", Shape::Map(&SELECTOR)),
    field("podSelector", LABEL_SELECTOR),
    field("containerSelector", LABEL_SELECTOR),
    field("hostSelector", LABEL_SELECTOR),
    field("nodeSelector", LABEL_SELECTOR),
    // Additions of this project.
    field("mode", Shape::OneOf(&["Enforce", "Monitor"])),
    field("onFault", Shape::OneOf(&["Allow", "Deny"])),
    field("minimumStrength", Shape::OneOf(&["Observe", "Signal", "Override", "Deny"])),
]);

const KPROBE: Shape = Shape::Object(&[
    field("call", Shape::Text).required(),
    field("return", Shape::Flag),
    field("syscall", Shape::Flag),
    field("message", Shape::Text),
    field("args", Shape::List(&ARG)),
    field("data", Shape::List(&ARG)),
    field("returnArg", ARG),
    field("returnArgAction", Shape::Text),
    field("selectors", Shape::List(&SELECTOR)),
    field("tags", TEXTS),
    field("ignore", Shape::Object(&[field("callNotFound", Shape::Flag)])),
]);

const LSM_HOOK: Shape = Shape::Object(&[
    field("hook", Shape::Text).required(),
    field("message", Shape::Text),
    field("args", Shape::List(&ARG)),
    field("selectors", Shape::List(&SELECTOR)),
    field("tags", TEXTS),
]);

const TRACEPOINT: Shape = Shape::Object(&[
    field("subsystem", Shape::Text).required(),
    field("event", Shape::Text).required(),
    field("message", Shape::Text),
    field("args", Shape::List(&ARG)),
    field("selectors", Shape::List(&SELECTOR)),
    field("tags", TEXTS),
    field("raw", Shape::Flag),
]);

const UPROBE: Shape = Shape::Object(&[
    field("path", Shape::Text).required(),
    field("btfPath", Shape::Text),
    field("symbols", TEXTS),
    field("offsets", Shape::List(&U64)),
    field("addrs", Shape::List(&U64)),
    field("refCtrOffsets", Shape::List(&U64)),
    field("message", Shape::Text),
    field("tags", TEXTS),
    field("selectors", Shape::List(&SELECTOR)),
    field("args", Shape::List(&ARG)),
    field("data", Shape::List(&ARG)),
    field("return", Shape::Flag),
    field("returnArg", ARG),
    field("binaryDigests", TEXTS),
    field("ignore", Shape::Object(&[field("digestVerificationFailure", Shape::Flag)])),
]);

const USDT: Shape = Shape::Object(&[
    field("path", Shape::Text).required(),
    field("provider", Shape::Text).required(),
    field("name", Shape::Text).required(),
    field("btfPath", Shape::Text),
    field("message", Shape::Text),
    field("tags", TEXTS),
    field("args", Shape::List(&ARG)),
    field("selectors", Shape::List(&SELECTOR)),
]);

const LIST: Shape = Shape::Object(&[
    field("name", Shape::Text).required(),
    field("type", Shape::OneOf(&["", "syscalls", "generated_syscalls", "generated_ftrace"])),
    field("values", TEXTS),
    field("pattern", Shape::Text),
    field("validated", Shape::Flag),
]);

const OPTION: Shape = Shape::Object(&[field("name", Shape::Text).required(), field("value", Shape::Text)]);

const ARG: Shape = Shape::Object(&[
    field("index", U32).required(),
    field("type", ARG_TYPE),
    field("resolve", Shape::Text),
    field("sizeArgIndex", U32),
    field("returnCopy", Shape::Flag),
    field("maxData", Shape::Flag),
    field("label", Shape::Text),
    field("source", Shape::Text),
    field("btfType", Shape::Text),
    field("btfTypeModule", Shape::Text),
]);

const ARG_TYPE: Shape = Shape::OneOf(ARG_TYPES);

const SELECTOR: Shape = Shape::Object(&[
    field("label", Shape::Text),
    field("macros", TEXTS),
    field("matchPIDs", Shape::List(&PID_FILTER)),
    field("matchNamespaces", Shape::List(&NAMESPACE_FILTER)),
    field("matchCapabilities", Shape::List(&CAPABILITIES_FILTER)),
    field("matchNamespaceChanges", Shape::List(&NAMESPACE_CHANGES_FILTER)),
    field("matchCapabilityChanges", Shape::List(&CAPABILITIES_FILTER)),
    field("matchBinaries", Shape::List(&BINARY_FILTER)),
    field("matchParentBinaries", Shape::List(&BINARY_FILTER)),
    field("matchWorkloads", WORKLOADS),
    field("matchArgs", Shape::List(&ARG_FILTER)),
    field("matchData", Shape::List(&ARG_FILTER)),
    field("matchActions", Shape::List(&ACTION)),
    field("matchReturnArgs", Shape::List(&ARG_FILTER)),
    field("matchReturnActions", Shape::List(&ACTION)),
]);

const IN_OR_NOT_IN: Shape = Shape::OneOf(&["In", "NotIn"]);

const PID_FILTER: Shape = Shape::Object(&[
    field("operator", IN_OR_NOT_IN).required(),
    // The wide type of JSON: 4294967296 is then a pid that does not exist, like 5000000, and told so.
    field("values", Shape::List(&Shape::Integer { min: i64::MIN, max: i64::MAX })).required(),
    field("isNamespacePID", Shape::Flag),
    field("followForks", Shape::Flag),
]);

const NAMESPACE: Shape = Shape::OneOf(&NAMESPACES);

const NAMESPACE_FILTER: Shape = Shape::Object(&[
    field("namespace", NAMESPACE).required(),
    field("operator", IN_OR_NOT_IN).required(),
    field("values", TEXTS).required(),
]);

const NAMESPACE_CHANGES_FILTER: Shape =
    Shape::Object(&[field("operator", IN_OR_NOT_IN).required(), field("values", Shape::List(&NAMESPACE)).required()]);

const CAPABILITIES_FILTER: Shape = Shape::Object(&[
    field("type", Shape::OneOf(&["Effective", "Inheritable", "Permitted"])),
    field("operator", IN_OR_NOT_IN).required(),
    field("isNamespaceCapability", Shape::Flag),
    field("values", TEXTS).required(),
]);

const BINARY_FILTER: Shape = Shape::Object(&[
    field("operator", Shape::OneOf(&["In", "NotIn", "Prefix", "NotPrefix", "Postfix", "NotPostfix"])).required(),
    field("values", TEXTS).required(),
    field("followChildren", Shape::Flag),
]);

const ARG_FILTER: Shape = Shape::Object(&[
    field("operator", ARG_OPERATOR).required(),
    field("index", U32),
    field("args", Shape::List(&U32)),
    field("values", TEXTS),
]);

const ARG_OPERATOR: Shape = Shape::OneOf(ARG_OPERATORS);

const WORKLOADS: Shape = Shape::Object(&[
    field("podSelector", LABEL_SELECTOR),
    field("containerSelector", LABEL_SELECTOR),
    field("hostSelector", LABEL_SELECTOR),
]);

const ACTION: Shape = Shape::Object(&[
    field("action", Shape::OneOf(&ACTIONS)).required(),
    field("argError", I32),
    field("argSig", U32),
    field("argUrl", Shape::Text),
    field("argFqdn", Shape::Text),
    field("argSock", U32),
    field("argIndex", U32),
    field("argValue", U32),
    field("argRegs", TEXTS),
    field("argNewSymbol", Shape::Text),
    field("argNewAddr", U64),
    field("argNewOffset", U64),
    field("rateLimit", Shape::Text),
    field("rateLimitScope", Shape::Text),
    field("kernelStackTrace", Shape::Flag),
    field("userStackTrace", Shape::Flag),
    field("imaHash", Shape::Flag),
]);

const LABEL_SELECTOR: Shape = Shape::Object(&[
    field("matchLabels", Shape::Map(&Shape::Text)),
    field("matchExpressions", Shape::List(&LABEL_EXPRESSION)),
]);

const LABEL_EXPRESSION: Shape = Shape::Object(&[
    field("key", Shape::Text).required(),
    field("operator", Shape::OneOf(&["In", "NotIn", "Exists", "DoesNotExist"])).required(),
    field("values", TEXTS),
]);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use stockade_crds::names::PolicyKind;
    use stockade_crds::schema::policy_schema_of;

    use super::*;

    /// What differs between the table and the schema that the API server has.
    fn compare(shape: &Shape, schema: &Value, path: &str, differences: &mut Vec<String>) {
        let mut differ = |what: String| differences.push(format!("{path}: {what}"));
        let ty = schema.get("type").and_then(Value::as_str).unwrap_or("none");
        let expected = match shape {
            Shape::Text | Shape::OneOf(_) => "string",
            Shape::Flag => "boolean",
            Shape::Integer { .. } => "integer",
            Shape::List(_) => "array",
            Shape::Map(_) | Shape::Object(_) => "object",
        };
        if ty != expected {
            differ(format!("the schema has type {ty}"));
        }
        match shape {
            Shape::Text | Shape::Flag | Shape::Integer { .. } => {}
            Shape::OneOf(names) => {
                let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
                let listed: BTreeSet<&str> = listed.filter_map(Value::as_str).collect();
                let known: BTreeSet<&str> = names.iter().copied().collect();
                if !listed.is_empty() && listed != known {
                    let only: Vec<_> = listed.symmetric_difference(&known).collect();
                    differ(format!("only one of the two knows {only:?}"));
                }
            }
            Shape::List(element) => compare(element, &schema["items"], &format!("{path}[]"), differences),
            Shape::Map(element) => {
                compare(element, &schema["additionalProperties"], &format!("{path}.*"), differences);
            }
            Shape::Object(fields) => compare_fields(fields, schema, path, differences),
        }
    }

    fn compare_fields(fields: &[Field], schema: &Value, path: &str, differences: &mut Vec<String>) {
        let empty = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let required: BTreeSet<&str> = required.filter_map(Value::as_str).collect();
        for name in properties.keys().filter(|name| fields.iter().all(|field| field.name != name.as_str())) {
            differences.push(format!("{path}: only the schema has {name}"));
        }
        for field in fields {
            let path = format!("{path}.{}", field.name);
            match properties.get(field.name) {
                None => differences.push(format!("{path}: the schema does not have it")),
                Some(schema) => compare(&field.shape, schema, &path, differences),
            }
            if field.required != required.contains(field.name) {
                differences.push(format!("{path}: only one of the two requires it"));
            }
        }
    }

    #[test]
    fn the_table_and_the_schema_of_the_api_server_have_the_same_fields() {
        for kind in [PolicyKind::Cluster, PolicyKind::Namespaced] {
            let mut differences = Vec::new();
            compare(&SPEC, &policy_schema_of(kind)["properties"]["spec"], "spec", &mut differences);
            assert_eq!(differences, Vec::<String>::new());
        }
    }
}
