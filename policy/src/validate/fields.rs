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
