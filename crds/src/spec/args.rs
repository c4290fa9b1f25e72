//! What of a hooked function's arguments is read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every argument type of the API.
pub const ARG_TYPES: &[&str] = &[
    "auto",
    "int",
    "sint32",
    "int32",
    "uint32",
    "int8",
    "sint8",
    "uint8",
    "int16",
    "sint16",
    "uint16",
    "long",
    "sint64",
    "int64",
    "ulong",
    "uint64",
    "size_t",
    "string",
    "char_buf",
    "char_iovec",
    "iov_iter",
    "const_buf",
    "filename",
    "fd",
    "file",
    "path",
    "dentry",
    "linux_binprm",
    "kiocb",
    "skb",
    "sock",
    "socket",
    "sockaddr",
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
    "perf_event",
    "bpf_cmd",
    "load_info",
    "module",
    "syscall64",
    "data_loc",
    "nop",
];

/// One argument to read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KProbeArg {
    /// Position among the function's arguments, from 0; for a tracepoint, the number of the field.
    #[schemars(range(min = 0))]
    pub index: i64,
    /// How to read, print and compare it.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ARG_TYPES))]
    pub ty: Option<String>,
    /// Path of fields to follow from the argument: a.b[3].c.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve: Option<String>,
    /// Which argument holds the size, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size_arg_index: Option<i64>,
    /// Read the buffer when the function returns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_copy: Option<bool>,
    /// Read up to 327360 bytes instead of 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_data: Option<bool>,
    /// Copied to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// In data: where resolve starts, current_task or pt_regs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Structure that the pointer is taken for before resolve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub btf_type: Option<String>,
    /// Kernel module that defines btfType.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub btf_type_module: Option<String>,
}
