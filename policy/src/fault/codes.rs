//! Every class of fault and warning, by its stable name.
//!
//! A name is part of the API: it is what `kubectl` prints, what an alert matches and what the documentation explains. It is
//! never reused for something else. `docs/policies.md` has a row for each, and a test keeps it so.

/// What a code says about a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The document is refused.
    Fault,
    /// The document is accepted, with this remark.
    Warning,
}

/// One class of fault or warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Its stable name, in CamelCase.
    pub name: &'static str,
    /// What it does to the document.
    pub severity: Severity,
    /// When it is given, in a few words.
    pub when: &'static str,
}

macro_rules! codes {
    ($($severity:ident $constant:ident $name:literal $when:literal;)*) => {
        $(
            #[doc = $when]
            pub const $constant: &str = $name;
        )*

        /// All of them.
        pub const ALL: &[Code] = &[
            $(Code { name: $name, severity: Severity::$severity, when: $when },)*
        ];
    };
}

codes! {
    // The document as a whole.
    Fault DOCUMENT_TOO_LARGE "DocumentTooLarge" "the document is larger than 1 MiB";
    Fault TOO_MANY_FAULTS "TooManyFaults" "more faults were found than are shown";
    Fault WRONG_KIND "WrongKind" "it is not a tracing policy of a known version";
    Fault INVALID_NAME "InvalidName" "the object's name or namespace is not one that Kubernetes accepts";
    Warning NAMESPACE_IGNORED "NamespaceIgnored" "a cluster-wide policy names a namespace, which the API server drops";
    Fault MISSING_FIELD "MissingField" "a required field is absent";
    Fault WRONG_TYPE "WrongType" "a field has a JSON type that it cannot have";
    Fault UNKNOWN_FIELD "UnknownField" "a field does not exist";
    Fault UNKNOWN_VALUE "UnknownValue" "a value is not one of those that the field knows";
    Fault OUT_OF_RANGE "OutOfRange" "a number is outside what its field can hold";
    Fault TOO_MANY "TooMany" "a list is longer than what can be represented";
    Fault TEXT_LENGTH "TextLength" "a message or tag is too short or too long";
    Fault UNSUPPORTED "Unsupported" "a field, type, operator or action exists but is not built in this version";

    // The policy.
    Fault NO_HOOKS "NoHooks" "the policy hooks nothing";
    Fault OPTION_UNKNOWN "OptionUnknown" "an option does not exist";
    Fault OPTION_VALUE "OptionValue" "an option has a value that it cannot have, or two";
    Fault MODE_CONTRADICTION "ModeContradiction" "spec.mode and the option policy-mode disagree";
    Fault NOTHING_ENFORCES "NothingEnforces" "a setting about enforcement in a policy that enforces nothing";
    Fault STRENGTH_UNREACHABLE "StrengthUnreachable" "minimumStrength is above what the hook can ever reach";

    // Its scope.
    Fault LABEL_SELECTOR_INVALID "LabelSelectorInvalid" "a label selector is malformed";
    Fault LABEL_SELECTOR_NEVER "LabelSelectorNever" "no set of labels satisfies a label selector";
    Fault CONTAINER_KEY "ContainerKey" "containerSelector uses a key that containers do not have";
    Fault HOST_SELECTOR_LABELS "HostSelectorLabels" "hostSelector has labels";
    Fault HOST_SELECTOR_IN_NAMESPACED "HostSelectorInNamespaced" "a namespaced policy selects host processes";
    Fault UPROBES_IN_NAMESPACED "UprobesInNamespaced" "a namespaced policy hooks user-space functions of the node";
    Fault USDTS_IN_NAMESPACED "UsdtsInNamespaced" "a namespaced policy hooks static probes of the node's binaries";
    Fault ENFORCERS_IN_NAMESPACED "EnforcersInNamespaced" "a namespaced policy has enforcers";
    Fault LOADER_IN_NAMESPACED "LoaderInNamespaced" "a namespaced policy asks for loader events";
    Fault GENERATED_LIST_IN_NAMESPACED "GeneratedListInNamespaced" "a namespaced policy has a generated list";
    Fault GET_URL_IN_NAMESPACED "GetUrlInNamespaced" "a namespaced policy makes the agent fetch a URL";
    Fault DNS_LOOKUP_IN_NAMESPACED "DnsLookupInNamespaced" "a namespaced policy makes the agent resolve a name";
    Fault SET_IN_NAMESPACED "SetInNamespaced" "a namespaced policy writes into a process's memory";

    // Hooks and arguments.
    Fault SYMBOL_INVALID "SymbolInvalid" "the name of a hook is not one that the kernel can have";
    Fault SYSCALL_MISMATCH "SyscallMismatch" "the function's name and the field syscall contradict each other";
    Fault TYPE_UNSTATED "TypeUnstated" "the type of an argument is not written out";
    Fault ARG_INDEX "ArgIndex" "the function does not have that argument";
    Fault ARG_TYPE_MISMATCH "ArgTypeMismatch" "the function's argument cannot be read as that type";
    Fault ARG_DUPLICATE "ArgDuplicate" "an argument is listed twice";
    Fault ARG_NOT_READ "ArgNotRead" "a filter is about an argument that is not in args";
    Fault RETURN_UNUSED "ReturnUnused" "something about the return value without return: true";
    Fault TOO_MANY_SELECTORS "TooManySelectors" "a hook has more selectors than can be represented";

    // Selectors.
    Fault SELECTOR_EMPTY "SelectorEmpty" "a selector says nothing";
    Fault SELECTOR_UNREACHABLE "SelectorUnreachable" "an earlier selector of the hook always matches first";
    Fault SELECTOR_NO_EFFECT "SelectorNoEffect" "a selector does nothing, and no later one is kept from anything by it";
    Fault VALUES_EMPTY "ValuesEmpty" "a filter has no values";
    Fault VALUES_UNUSED "ValuesUnused" "an operator that takes no values has some";
    Fault OPERATOR_ON_TYPE "OperatorOnType" "the operator cannot be evaluated on the argument's type";
    Fault VALUE_TOO_LONG "ValueTooLong" "a string is longer than what can be compared";
    Fault VALUE_NEVER "ValueNever" "a single value that nothing can ever equal, begin or end with";
    Fault NUMBER_INVALID "NumberInvalid" "a value is not a number of the argument's type";
    Fault FILTER_NEVER "FilterNever" "the filters on one argument or property exclude each other";
    Fault FILTER_ALWAYS "FilterAlways" "a filter that everything satisfies";

    // PIDs.
    Fault PID_ZERO "PidZero" "a list of pids contains 0";
    Fault PID_RANGE "PidRange" "a pid above 4194304";
    Fault PID_FORKS_UNSTATED "PidForksUnstated" "matchPIDs does not say whether children are meant";
    Fault PID_NAMESPACE_UNSTATED "PidNamespaceUnstated" "a pod's policy does not say whose pid numbers are meant";
    Fault PID_HOST_IN_NAMESPACED "PidHostInNamespaced" "a namespaced policy uses the host's pids";
    Fault PID_HOST_EVERYWHERE "PidHostEverywhere" "pids of the host on more than one node";
    Fault PID_CONTRADICTION "PidContradiction" "the entries of matchPIDs leave no pid";

    // Addresses and ports.
    Fault ADDR_INVALID "AddrInvalid" "a value is not an IP address or range";
    Fault ADDR_SPELLING "AddrSpelling" "an address is spelt in a way that programs read differently";
    Fault ADDR_MAPPED_PREFIX "AddrMappedPrefix" "a mapped IPv4 address with an IPv6 prefix shorter than 96";
    Fault ADDR_COVERS_MAPPED "AddrCoversMapped" "an IPv6 range that contains all of IPv4";
    Fault ADDR_HOST_BITS "AddrHostBits" "bits are set after the prefix";
    Fault ADDR_COMPAT "AddrCompat" "an IPv4-compatible IPv6 address";
    Fault ADDR_FAMILY_NEVER "AddrFamilyNever" "Family and the addresses exclude each other";
    Fault ADDR_NEVER "AddrNever" "the address filters leave no address";
    Fault ADDR_ALWAYS "AddrAlways" "an address filter that every address satisfies";
    Warning ADDR_NATIVE_ONLY "AddrNativeOnly" "::/0 without 0.0.0.0/0";
    Warning ADDR_OVERLAP "AddrOverlap" "one range contains another of the same list";
    Warning ADDR_NOT_YET "AddrNotYet" "the hook runs before the socket has the address that the filter is about";
    Fault PORT_INVALID "PortInvalid" "a value is not a port or a range of ports";
    Fault PORT_ZERO "PortZero" "port 0";
    Fault PORT_RANGE "PortRange" "a range of ports that ends before it begins";
    Fault PORT_NEVER "PortNever" "the port filters leave no port";
    Fault PORT_ALWAYS "PortAlways" "a port filter that every port satisfies";

    // Actions.
    Fault ACTION_CONTRADICTION "ActionContradiction" "the actions of a selector exclude each other";
    Fault ACTION_ON_HOOK "ActionOnHook" "the hook cannot carry out the action";
    Fault ACTION_ARGUMENT "ActionArgument" "a parameter that the action does not have";
    Fault ERROR_NUMBER "ErrorNumber" "argError is absent or not an error that the kernel can return";
    Fault SIGNAL_NUMBER "SignalNumber" "argSig is absent or not a signal";
    Fault RATE_LIMIT_SCOPE_ALONE "RateLimitScopeAlone" "rateLimitScope without rateLimit";

    // What nodes can do: only ever warnings.
    Warning HOOK_UNAVAILABLE "HookUnavailable" "some nodes cannot run a hook of the policy";
    Warning NO_NODE_CAN_RUN_THIS "NoNodeCanRunThis" "no node can run a hook of the policy";
    Warning NO_NODE_MATCHES "NoNodeMatches" "nodeSelector matches no node";
}
