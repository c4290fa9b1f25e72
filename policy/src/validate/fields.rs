//! Every field that a policy can have, in one table: what it may hold, and whether this version carries it out.

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
    field("uprobes", Shape::List(&UPROBE)).later(),
    field("usdts", Shape::List(&USDT)).later(),
    field("fentries", Shape::List(&KPROBE)).later(),
    field("loader", Shape::Flag).later(),
    field("enforcers", Shape::List(&Shape::Object(&[field("calls", TEXTS).required()]))).later(),
    field("lists", Shape::List(&LIST)).later(),
    field("options", Shape::List(&OPTION)),
    field("selectorsMacros", Shape::Map(&SELECTOR)).later(),
    field("podSelector", LABEL_SELECTOR),
    field("containerSelector", LABEL_SELECTOR),
    field("hostSelector", LABEL_SELECTOR),
    field("nodeSelector", LABEL_SELECTOR),
    // Additions of this project.
    field("mode", Shape::OneOf { built: &["Enforce", "Monitor"], also: &[], later: &[] }),
    field("onFault", Shape::OneOf { built: &["Allow", "Deny"], also: &[], later: &[] }),
    field("minimumStrength", Shape::OneOf { built: &["Observe", "Signal", "Override", "Deny"], also: &[], later: &[] }),
]);

const KPROBE: Shape = Shape::Object(&[
    field("call", Shape::Text).required(),
    field("return", Shape::Flag).later(),
    field("syscall", Shape::Flag),
    field("message", Shape::Text),
    field("args", Shape::List(&ARG)),
    field("data", Shape::List(&ARG)).later(),
    field("returnArg", ARG).later(),
    field("returnArgAction", Shape::Text).later(),
    field("selectors", Shape::List(&SELECTOR)),
    field("tags", TEXTS),
    field("ignore", Shape::Object(&[field("callNotFound", Shape::Flag)])).later(),
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
    field(
        "type",
        Shape::OneOf { built: &["", "syscalls", "generated_syscalls", "generated_ftrace"], also: &[], later: &[] },
    ),
    field("values", TEXTS),
    field("pattern", Shape::Text),
    field("validated", Shape::Flag),
]);

const OPTION: Shape = Shape::Object(&[field("name", Shape::Text).required(), field("value", Shape::Text)]);

const ARG: Shape = Shape::Object(&[
    field("index", U32).required(),
    field("type", ARG_TYPE),
    field("resolve", Shape::Text).later(),
    field("sizeArgIndex", U32).later(),
    field("returnCopy", Shape::Flag).later(),
    field("maxData", Shape::Flag).later(),
    field("label", Shape::Text),
    field("source", Shape::Text).later(),
    field("btfType", Shape::Text).later(),
    field("btfTypeModule", Shape::Text).later(),
]);

/// `auto` is known here and refused by the hook, where it can be said what is wrong with it.
const ARG_TYPE: Shape = Shape::OneOf {
    built: &["int", "uint32", "size_t", "string", "file", "path", "linux_binprm", "sock", "sockaddr"],
    also: &["auto", "sint32", "int32", "uint64", "ulong", "socket"],
    later: &[
        "int8",
        "sint8",
        "uint8",
        "int16",
        "sint16",
        "uint16",
        "long",
        "sint64",
        "int64",
        "char_buf",
        "char_iovec",
        "iov_iter",
        "const_buf",
        "filename",
        "fd",
        "dentry",
        "kiocb",
        "skb",
        "sockaddr_un",
        "net_device",
        "cred",
        "user_namespace",
        "capability",
        "kernel_cap_t",
        "cap_inheritable",
        "cap_permitted",
        "cap_effective",
        "bpf_attr",
        "bpf_prog",
        "bpf_map",
        "bpf_cmd",
        "perf_event",
        "load_info",
        "module",
        "syscall64",
        "data_loc",
        "nop",
    ],
};

const SELECTOR: Shape = Shape::Object(&[
    field("label", Shape::Text).later(),
    field("macros", TEXTS).later(),
    field("matchPIDs", Shape::List(&PID_FILTER)),
    field("matchNamespaces", Shape::List(&NAMESPACE_FILTER)),
    field("matchCapabilities", Shape::List(&CAPABILITIES_FILTER)).later(),
    field("matchNamespaceChanges", Shape::List(&NAMESPACE_CHANGES_FILTER)).later(),
    field("matchCapabilityChanges", Shape::List(&CAPABILITIES_FILTER)).later(),
    field("matchBinaries", Shape::List(&BINARY_FILTER)),
    field("matchParentBinaries", Shape::List(&BINARY_FILTER)).later(),
    field("matchWorkloads", WORKLOADS).later(),
    field("matchArgs", Shape::List(&ARG_FILTER)),
    field("matchData", Shape::List(&ARG_FILTER)).later(),
    field("matchActions", Shape::List(&ACTION)),
    field("matchReturnArgs", Shape::List(&ARG_FILTER)).later(),
    field("matchReturnActions", Shape::List(&ACTION)).later(),
]);

const IN_OR_NOT_IN: Shape = Shape::OneOf { built: &["In", "NotIn"], also: &[], later: &[] };

const PID_FILTER: Shape = Shape::Object(&[
    field("operator", IN_OR_NOT_IN).required(),
    // The wide type of JSON: 4294967296 is then a pid that does not exist, like 5000000, and told so.
    field("values", Shape::List(&Shape::Integer { min: i64::MIN, max: i64::MAX })).required(),
    field("isNamespacePID", Shape::Flag),
    field("followForks", Shape::Flag),
]);

const NAMESPACE: Shape = Shape::OneOf {
    built: &["Uts", "Ipc", "Mnt", "Pid", "PidForChildren", "Net", "Time", "TimeForChildren", "Cgroup", "User"],
    also: &[],
    later: &[],
};

const NAMESPACE_FILTER: Shape = Shape::Object(&[
    field("namespace", NAMESPACE).required(),
    field("operator", IN_OR_NOT_IN).required(),
    field("values", TEXTS).required(),
]);

const NAMESPACE_CHANGES_FILTER: Shape =
    Shape::Object(&[field("operator", IN_OR_NOT_IN).required(), field("values", Shape::List(&NAMESPACE)).required()]);

const CAPABILITIES_FILTER: Shape = Shape::Object(&[
    field("type", Shape::OneOf { built: &["Effective", "Inheritable", "Permitted"], also: &[], later: &[] }),
    field("operator", IN_OR_NOT_IN).required(),
    field("isNamespaceCapability", Shape::Flag),
    field("values", TEXTS).required(),
]);

const BINARY_FILTER: Shape = Shape::Object(&[
    field(
        "operator",
        Shape::OneOf { built: &["In", "NotIn", "Prefix", "NotPrefix", "Postfix", "NotPostfix"], also: &[], later: &[] },
    )
    .required(),
    field("values", TEXTS).required(),
    field("followChildren", Shape::Flag),
]);

const ARG_FILTER: Shape = Shape::Object(&[
    field("operator", ARG_OPERATOR).required(),
    field("index", U32),
    field("args", Shape::List(&U32)).later(),
    field("values", TEXTS),
]);

const ARG_OPERATOR: Shape = Shape::OneOf {
    built: &[
        "Equal",
        "NotEqual",
        "Prefix",
        "NotPrefix",
        "Postfix",
        "NotPostfix",
        "SAddr",
        "NotSAddr",
        "DAddr",
        "NotDAddr",
        "SPort",
        "NotSPort",
        "DPort",
        "NotDPort",
        "SPortPriv",
        "NotSportPriv",
        "DPortPriv",
        "NotDPortPriv",
        "Family",
        "Protocol",
    ],
    also: &[],
    later: &[
        "GT",
        "GreaterThan",
        "LT",
        "LessThan",
        "Mask",
        "SubString",
        "SubStringIgnCase",
        "InMap",
        "NotInMap",
        "InRange",
        "NotInRange",
        "State",
        "FileType",
        "NotFileType",
        "CapabilitiesGained",
        "CelExpr",
    ],
};

const WORKLOADS: Shape = Shape::Object(&[
    field("podSelector", LABEL_SELECTOR),
    field("containerSelector", LABEL_SELECTOR),
    field("hostSelector", LABEL_SELECTOR),
]);

const ACTION: Shape = Shape::Object(&[
    field(
        "action",
        Shape::OneOf {
            built: &["Post", "NoPost", "Sigkill", "Signal", "Override"],
            also: &[],
            later: &[
                "GetUrl",
                "DnsLookup",
                "TrackSock",
                "UntrackSock",
                "NotifyEnforcer",
                "CleanupEnforcerNotification",
                "Set",
            ],
        },
    )
    .required(),
    field("argError", I32),
    field("argSig", U32),
    field("argUrl", Shape::Text).later(),
    field("argFqdn", Shape::Text).later(),
    field("argSock", U32).later(),
    field("argIndex", U32).later(),
    field("argValue", U32).later(),
    field("argRegs", TEXTS).later(),
    field("argNewSymbol", Shape::Text).later(),
    field("argNewAddr", U64).later(),
    field("argNewOffset", U64).later(),
    field("rateLimit", Shape::Text).later(),
    field("rateLimitScope", Shape::Text).later(),
    field("kernelStackTrace", Shape::Flag).later(),
    field("userStackTrace", Shape::Flag).later(),
    field("imaHash", Shape::Flag).later(),
]);

const LABEL_SELECTOR: Shape = Shape::Object(&[
    field("matchLabels", Shape::Map(&Shape::Text)),
    field("matchExpressions", Shape::List(&LABEL_EXPRESSION)),
]);

const LABEL_EXPRESSION: Shape = Shape::Object(&[
    field("key", Shape::Text).required(),
    field("operator", Shape::OneOf { built: &["In", "NotIn", "Exists", "DoesNotExist"], also: &[], later: &[] })
        .required(),
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
            Shape::Text | Shape::OneOf { .. } => "string",
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
            Shape::OneOf { built, also, later } => {
                let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
                let listed: BTreeSet<&str> = listed.filter_map(Value::as_str).collect();
                let known: BTreeSet<&str> = [*built, *also, *later].concat().into_iter().collect();
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
