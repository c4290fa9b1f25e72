//! The closed vocabularies of status: modes, strengths, states, condition types and reasons.
//!
//! Written by us, so closed here; open (`type: string`) in the schema and lenient when read, because during an upgrade an
//! older reader meets a newer writer, and one word it does not know must not cost it the whole object.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
            /// A word of another version. Never written.
            Other,
        }

        impl $name {
            /// Every word that this version writes, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As it is spelt in the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)+
                    Self::Other => "Other",
                }
            }

            /// The word of this spelling, [`Self::Other`] for one that this version does not know.
            #[must_use]
            pub fn parse(text: &str) -> Self {
                Self::ALL.iter().copied().find(|w| w.as_str() == text).unwrap_or(Self::Other)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::parse(&Cow::<'de, str>::deserialize(deserializer)?))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string" })
            }
        }
    };
}

words! {
    /// What a policy does with what it matches.
    Mode {
        /// Denies and kills where its actions say so.
        Enforce,
        /// Everything is evaluated and counted, nothing is denied.
        Monitor,
        /// Nothing in the policy enforces.
        Observe,
    }
}

words! {
    /// How certainly a hook prevents the operation on a node. Weakest first, so that the least of several is what holds.
    Strength {
        /// Nothing is prevented.
        Observe,
        /// The process is killed; the operation may have happened.
        Signal,
        /// The function's return value is replaced.
        Override,
        /// A security hook refuses: the operation does not happen.
        Deny,
    }
}

words! {
    /// How far one policy is on one node.
    EntryState {
        /// On its way; what is in force is in `generationInForce`.
        Pending,
        /// In force as its mode asks, read back and probed.
        Programmed,
        /// Failed and being tried again (fewer than 5 tries or 5 minutes), or being repaired.
        Retrying,
        /// Failed for longer than that, or cannot succeed on this node.
        Failed,
    }
}

words! {
    /// Types of conditions, on policies and on node states.
    ConditionType {
        /// Policy: the document means one thing and is supported.
        Accepted,
        /// Policy: loaded on every live desired node.
        Programmed,
        /// Policy: what it forbids is denied on every live desired node.
        Enforcing,
        /// Policy: it does what its mode asks on every live desired node.
        Ready,
        /// Policy: work is going on; absent otherwise.
        Reconciling,
        /// Policy: it will not become ready without somebody's doing; absent otherwise.
        Stalled,
        /// Node: the enforcer is running and renews its Lease. Written by the operator.
        AgentReady,
        /// Node: the kernel has what enforcement needs.
        KernelSupported,
        /// Node: what is in the kernel is what was put there.
        Intact,
        /// Node: what pods do is done by the node's kernel, where policies are.
        PodsCovered,
    }
}

words! {
    /// Status of a condition.
    ConditionStatus {
        /// It holds.
        True,
        /// It does not hold.
        False,
        /// It cannot be known.
        Unknown,
    }
}

words! {
    /// Reasons of conditions and of node entries. From `Invalid` to `Progressing` in order of precedence: when several
    /// causes hold, the first one is named.
    Reason {
        /// The document is ambiguous, contradictory or asks for what is not supported.
        Invalid,
        /// What is in the kernel is not what was put there, or a probe was not denied.
        Tampered,
        /// Loaded, but weaker than `minimumStrength`.
        TooWeak,
        /// The node's kernel lacks a hook, type or feature that the policy needs.
        HookUnavailable,
        /// Loading failed.
        LoadFailed,
        /// An older generation of the policy is in force.
        StaleRevision,
        /// The enforcer of a live node does not renew its Lease.
        AgentDown,
        /// No desired node can be reached.
        NodesUnreachable,
        /// Being rolled out.
        Progressing,
        /// Nobody has looked at it yet.
        Pending,
        /// Accepted: the document means one thing.
        Valid,
        /// Loaded, read back and probed.
        Programmed,
        /// What it forbids is denied.
        Enforced,
        /// Enforcing is unknown: an older generation is in force on some nodes.
        PreviousGeneration,
        /// In monitor mode.
        Monitor,
        /// Ready, in monitor mode.
        Monitoring,
        /// In monitor mode through the annotation `stockade.dev/suspend`.
        Suspended,
        /// Nothing in it enforces.
        ObserveOnly,
        /// Ready, and nothing in it enforces.
        Observing,
        /// No node is meant.
        NoNodes,
        /// Nodes are meant, none has an enforcer.
        NoEnforcer,
        /// Node: the enforcer runs.
        AgentRunning,
        /// Node: the enforcer is starting.
        AgentStarting,
        /// Node: the agent of the tool whose API this is runs here too.
        UpstreamAgentRunning,
        /// Node: another enforcer of ours runs here.
        SecondEnforcer,
        /// Node: the kernel has everything.
        KernelSupported,
        /// Node: the kernel publishes no BTF.
        BtfMissing,
        /// Node: `bpf` is not among the active security modules.
        BpfLsmMissing,
        /// Node: the enforcer lacks a capability.
        CapabilityMissing,
        /// Node: no bpf file system to pin to.
        BpffsMissing,
        /// Node: no unified cgroup hierarchy.
        CgroupV2Missing,
        /// Node: the kernel is older than supported.
        KernelTooOld,
        /// Node: what was read back is what was written.
        ReadBack,
        /// Node: a table is full.
        TableFull,
        /// Node: a program that decides was not run for some calls.
        CallsMissed,
        /// Node: every pod's system calls are this kernel's.
        HostKernel,
        /// Node: pods have a runtime with a kernel of its own.
        SandboxedPods,
    }
}

impl Reason {
    /// Whether this is a cause for not being ready that has a place in the order of precedence.
    #[must_use]
    pub fn is_cause(self) -> bool {
        self <= Self::Progressing
    }
}
