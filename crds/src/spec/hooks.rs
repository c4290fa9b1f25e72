//! The hook families.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::args::KProbeArg;
use super::selectors::KProbeSelector;

/// A kernel function or system call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KProbeSpec {
    /// The function or system call, or list:NAME.
    pub call: String,
    /// Whether call is a system call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscall: Option<bool>,
    /// Whether to hook the return as well; needs returnArg.
    #[serde(default, rename = "return", skip_serializing_if = "Option::is_none")]
    pub on_return: Option<bool>,
    /// Copied to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Arguments to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<KProbeArg>>,
    /// Further data to read, from where source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<KProbeArg>>,
    /// The return value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_arg: Option<KProbeArg>,
    /// TrackSock or UntrackSock: done with the return value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_arg_action: Option<String>,
    /// Alternatives; the first that matches gives the actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selectors: Option<Vec<KProbeSelector>>,
    /// Copied to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub tags: Option<Vec<String>>,
    /// What is no failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<KProbeIgnore>,
}

/// What is no failure of a kprobe.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KProbeIgnore {
    /// That the kernel has no such function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_not_found: Option<bool>,
}

/// A static tracepoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracepointSpec {
    /// Such as syscalls.
    pub subsystem: String,
    /// Such as sys_enter_openat.
    pub event: String,
    /// Attach as a raw tracepoint: indices are those of its raw arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<bool>,
    /// Copied to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Fields to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<KProbeArg>>,
    /// Alternatives; the first that matches gives the actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selectors: Option<Vec<KProbeSelector>>,
    /// Copied to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub tags: Option<Vec<String>>,
}

/// A security hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LsmHookSpec {
    /// Such as file_open.
    pub hook: String,
    /// Copied to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Arguments to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<KProbeArg>>,
    /// Alternatives; the first that matches gives the actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selectors: Option<Vec<KProbeSelector>>,
    /// Copied to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub tags: Option<Vec<String>>,
}

/// A function of a program or library; exactly one of symbols, offsets and addrs says which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UProbeSpec {
    /// The program or library.
    pub path: String,
    /// BTF file for resolve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub btf_path: Option<String>,
    /// Functions: name or name+0xOFFSET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbols: Option<Vec<String>>,
    /// Offsets in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets: Option<Vec<i64>>,
    /// Virtual addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addrs: Option<Vec<i64>>,
    /// Offsets of reference counters, one for each symbol or offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ref_ctr_offsets: Option<Vec<i64>>,
    /// Copied to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Arguments to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<KProbeArg>>,
    /// Further data to read, from where source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<KProbeArg>>,
    /// Whether to hook the return as well; needs returnArg.
    #[serde(default, rename = "return", skip_serializing_if = "Option::is_none")]
    pub on_return: Option<bool>,
    /// The return value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_arg: Option<KProbeArg>,
    /// Alternatives; the first that matches gives the actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selectors: Option<Vec<KProbeSelector>>,
    /// Copied to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub tags: Option<Vec<String>>,
    /// Hook only a file with one of these digests: ALGORITHM:HEX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_digests: Option<Vec<String>>,
    /// What is no failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<UProbeIgnore>,
}

/// What is no failure of a uprobe.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UProbeIgnore {
    /// That the file has another digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest_verification_failure: Option<bool>,
}

/// A static probe of a program or library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsdtSpec {
    /// The program or library.
    pub path: String,
    /// The probe's provider.
    pub provider: String,
    /// The probe's name.
    pub name: String,
    /// BTF file for resolve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub btf_path: Option<String>,
    /// Copied to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Arguments to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<KProbeArg>>,
    /// Alternatives; the first that matches gives the actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selectors: Option<Vec<KProbeSelector>>,
    /// Copied to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub tags: Option<Vec<String>>,
}
