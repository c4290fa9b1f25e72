//! Every class of fault and warning, by its stable name.
//!
//! A name is part of the API: it is what `kubectl` prints, what an alert matches and what the documentation explains. It is
//! never reused for something else. `docs/faults.md` is written from this table, and `stockade explain CODE` prints it.

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
    /// Why that is a fault, in a sentence or two.
    pub why: &'static str,
    /// An example, in Markdown; empty where none would help.
    pub wrong: &'static str,
    /// What to write instead, in Markdown; empty where it depends.
    pub right: &'static str,
}

macro_rules! codes {
    ($($severity:ident $constant:ident $name:literal {
        when: $when:literal, why: $why:literal, wrong: $wrong:literal, right: $right:literal,
    })*) => {
        $(
            #[doc = $when]
            pub const $constant: &str = $name;
        )*

        /// All of them.
        pub const ALL: &[Code] = &[
            $(Code {
                name: $name,
                severity: Severity::$severity,
                when: $when,
                why: $why,
                wrong: $wrong,
                right: $right,
            },)*
        ];
    };
}

/// The code of that name, whatever the case of its letters.
#[must_use]
pub fn named(name: &str) -> Option<&'static Code> {
    ALL.iter().find(|code| code.name.eq_ignore_ascii_case(name))
}

codes! {
    // The document as a whole.
    Fault DOCUMENT_TOO_LARGE "DocumentTooLarge" {
        when: "the document is larger than 1 MiB",
        why: "The API server stores no larger objects, and every node reads every policy.",
        wrong: "60,000 paths in one list",
        right: "several policies",
    }
    Fault TOO_MANY_FAULTS "TooManyFaults" {
        when: "more faults were found than are shown",
        why: "Nobody reads more at once. All are counted, and the first are shown in reading order.",
        wrong: "",
        right: "",
    }
    Warning TOO_MANY_WARNINGS "TooManyWarnings" {
        when: "there is more to be warned of than is shown",
        why: "Nobody reads more at once. All are counted, and the first are shown in reading order.",
        wrong: "",
        right: "",
    }
    Fault WRONG_KIND "WrongKind" {
        when: "it is not a tracing policy of a known version",
        why: "Fields mean what their version says; of another version nothing is known.",
        wrong: "`apiVersion: cilium.io/v2`",
        right: "`cilium.io/v1alpha1`",
    }
    Fault INVALID_NAME "InvalidName" {
        when: "the object's name or namespace is not one that Kubernetes accepts",
        why: "The API server would refuse it, and status objects are named after it.",
        wrong: "`name: My_Policy`",
        right: "`my-policy`",
    }
    Warning NAMESPACE_IGNORED "NamespaceIgnored" {
        when: "a cluster-wide policy names a namespace, which the API server drops",
        why: "Who writes a namespace expects the policy to end at it; a TracingPolicy reaches the whole cluster.",
        wrong: "`metadata: {namespace: shop}`",
        right: "",
    }
    Fault MISSING_FIELD "MissingField" {
        when: "a required field is absent",
        why: "There is no value that would go without saying.",
        wrong: "`matchPIDs: [{values: [1]}]`",
        right: "`operator: In` beside it",
    }
    Fault WRONG_TYPE "WrongType" {
        when: "a field has a JSON type that it cannot have",
        why: "A number in quotes and a number are different things to the API server.",
        wrong: "`values: [2]` in `matchArgs`",
        right: "`values: [\"2\"]`",
    }
    Fault UNKNOWN_FIELD "UnknownField" {
        when: "a field does not exist",
        why: "A misspelt field would be dropped in silence, and with it the filter that somebody relied on.",
        wrong: "`matchPID:`",
        right: "`matchPIDs:`",
    }
    Fault UNKNOWN_VALUE "UnknownValue" {
        when: "a value is not one of those that the field knows",
        why: "A word that nobody knows would be ignored by one release and read by another.",
        wrong: "`action: SigKill`",
        right: "`Sigkill`",
    }
    Fault OUT_OF_RANGE "OutOfRange" {
        when: "a number is outside what its field can hold",
        why: "It would wrap around to another number.",
        wrong: "`index: -1`",
        right: "`index: 0`",
    }
    Fault TOO_MANY "TooMany" {
        when: "a list is longer than what can be represented",
        why: "What does not fit would have to be left out, and nothing is left out in silence.",
        wrong: "six `args`",
        right: "five",
    }
    Fault TEXT_LENGTH "TextLength" {
        when: "a message or tag is too short or too long",
        why: "It would be cut, and alerts that match it would miss it.",
        wrong: "`message: \"!\"`",
        right: "2 to 256 bytes",
    }
    Fault TEXT_NUL "TextNul" {
        when: "a message, tag or label has a NUL in it",
        why: "Most programs that read events end a text there, and alerts that match the rest would miss it.",
        wrong: "`message: \"a\\0b\"`",
        right: "the text without it",
    }
    Fault UNSUPPORTED "Unsupported" {
        when: "something is in the language, and this release does not carry it out",
        why: "It is in the language and says one thing, but no program of this release does it; ignoring it would weaken the policy.",
        wrong: "`operator: SubString`",
        right: "what [the tables](language.md) say is carried out",
    }
    Fault OBSOLETE "Obsolete" {
        when: "a word that older releases had, or that only looks like one of the language",
        why: "Releases differ in what they do with it, and none does what it once did.",
        wrong: "`action: FollowFD`",
        right: "what the help says: a word that the language has",
    }

    // The policy.
    Fault NO_HOOKS "NoHooks" {
        when: "the policy hooks nothing",
        why: "It would be in force and do nothing.",
        wrong: "`kprobes: []`",
        right: "an entry",
    }
    Fault OPTION_UNKNOWN "OptionUnknown" {
        when: "an option does not exist",
        why: "Other releases ignore unknown options, so nobody notices the one that is misspelt.",
        wrong: "`name: policymode`",
        right: "`policy-mode`",
    }
    Fault OPTION_VALUE "OptionValue" {
        when: "an option has a value that it cannot have, or two",
        why: "It would fall back to a default that nobody asked for.",
        wrong: "`policy-mode: Monitor`",
        right: "`monitor`",
    }
    Fault MODE_CONTRADICTION "ModeContradiction" {
        when: "spec.mode and the option policy-mode disagree",
        why: "One of them says that denials are carried out and the other that they are not.",
        wrong: "`mode: Enforce` with `monitor`",
        right: "one of them",
    }
    Fault NOTHING_ENFORCES "NothingEnforces" {
        when: "a setting about enforcement in a policy that enforces nothing",
        why: "The setting would have no effect: there is nothing to deny.",
        wrong: "`onFault: Deny` with `Post` alone",
        right: "an enforcing action",
    }
    Fault STRENGTH_UNREACHABLE "StrengthUnreachable" {
        when: "minimumStrength is above what the hook can ever reach",
        why: "No kernel can do what is asked for, so every node would report TooWeak.",
        wrong: "`Deny` on `tcp_connect`",
        right: "`Signal`, or an LSM hook",
    }
    Fault OPTION_NO_EFFECT "OptionNoEffect" {
        when: "an option of Tetragon that has nothing to act on here",
        why: "It steers a mechanism that this project chooses itself, so it would be ignored.",
        wrong: "`name: disable-kprobe-multi`",
        right: "nothing",
    }
    Fault LOADER_SCOPE "LoaderScope" {
        when: "loader together with selectors of pods or of the node's processes",
        why: "Loader events come from the whole node, whatever the selectors say.",
        wrong: "`loader: true` with `podSelector`",
        right: "one of them",
    }
    Fault ENFORCER_INVALID "EnforcerInvalid" {
        when: "enforcers that are more than one, or a call that cannot be refused",
        why: "A policy has one enforcer, and only system calls and `security_` functions can be refused.",
        wrong: "`calls: [tcp_connect]`",
        right: "`sys_connect` or `security_socket_connect`",
    }
    Fault ENFORCER_UNUSED "EnforcerUnused" {
        when: "enforcers without an action NotifyEnforcer",
        why: "An enforcer that nobody notifies does nothing.",
        wrong: "`enforcers` in a policy that only posts",
        right: "the action, or no enforcer",
    }
    Fault ENFORCER_MISSING "EnforcerMissing" {
        when: "the action NotifyEnforcer without enforcers",
        why: "Nobody would do what is asked for.",
        wrong: "`action: NotifyEnforcer` alone",
        right: "`enforcers` beside it",
    }
    Fault LIST_INVALID "ListInvalid" {
        when: "a list is malformed, or is not of the kind that is needed where it is used",
        why: "What it has would be ignored, or read as something else.",
        wrong: "`type: generated_syscalls` with `values`",
        right: "no values",
    }
    Fault LIST_DUPLICATE "ListDuplicate" {
        when: "two lists have one name",
        why: "A reference could mean either.",
        wrong: "two lists `name: calls`",
        right: "another name",
    }
    Fault LIST_UNDEFINED "ListUndefined" {
        when: "a reference to a list that is not there",
        why: "There is nothing to hook or compare with.",
        wrong: "`call: \"list:cals\"`",
        right: "`list:calls`",
    }
    Fault LIST_UNUSED "ListUnused" {
        when: "nothing refers to a list",
        why: "It would be ignored.",
        wrong: "a list and no `list:NAME`",
        right: "the reference, or no list",
    }
    Fault MACRO_UNDEFINED "MacroUndefined" {
        when: "a selector uses a macro that is not there",
        why: "The selector would be wider than what was meant.",
        wrong: "`macros: [shel]`",
        right: "`macros: [shell]`",
    }
    Fault MACRO_NESTED "MacroNested" {
        when: "a macro uses macros",
        why: "What it means would depend on the order in which they are put in.",
        wrong: "`macros` in `selectorsMacros`",
        right: "both in the selector",
    }
    Fault MACRO_FIELD "MacroField" {
        when: "a field is in several macros, or in a macro and its selector",
        why: "Which of the two is meant, or whether both are, is nobody's to guess.",
        wrong: "`matchArgs` in both",
        right: "one place, with the entries of both",
    }
    Fault MACRO_UNUSED "MacroUnused" {
        when: "no selector uses a macro",
        why: "It would be ignored.",
        wrong: "a macro and no `macros: [NAME]`",
        right: "the reference, or no macro",
    }

    // Its scope.
    Fault LABEL_SELECTOR_INVALID "LabelSelectorInvalid" {
        when: "a label selector is malformed",
        why: "No label can have such a key or value, or the operator lacks what it needs.",
        wrong: "`{key: app, operator: In}`",
        right: "with `values`",
    }
    Fault LABEL_SELECTOR_NEVER "LabelSelectorNever" {
        when: "no set of labels satisfies a label selector",
        why: "No pod can have such labels, so the policy would be about nothing.",
        wrong: "`app: web` and `app NotIn [web]`",
        right: "one of them",
    }
    Fault CONTAINER_KEY "ContainerKey" {
        when: "containerSelector uses a key that containers do not have",
        why: "Containers are told apart by name and repo alone; another key is never there.",
        wrong: "`app`",
        right: "`name`, `repo`, or `podSelector`",
    }
    Fault HOST_SELECTOR_LABELS "HostSelectorLabels" {
        when: "hostSelector has labels",
        why: "Processes of the node have no labels that could be compared.",
        wrong: "`matchLabels: {app: web}`",
        right: "`hostSelector: {}`",
    }
    Fault HOST_SELECTOR_IN_NAMESPACED "HostSelectorInNamespaced" {
        when: "a namespaced policy selects host processes",
        why: "Those who may write policies in one namespace do not decide about the node.",
        wrong: "`hostSelector: {}`",
        right: "`TracingPolicy`",
    }
    Fault UPROBES_IN_NAMESPACED "UprobesInNamespaced" {
        when: "a namespaced policy hooks user-space functions of the node",
        why: "The file on the node is used by other namespaces, too.",
        wrong: "`uprobes`",
        right: "`TracingPolicy`",
    }
    Fault USDTS_IN_NAMESPACED "UsdtsInNamespaced" {
        when: "a namespaced policy hooks static probes of the node's binaries",
        why: "The file on the node is used by other namespaces, too.",
        wrong: "`usdts`",
        right: "`TracingPolicy`",
    }
    Fault ENFORCERS_IN_NAMESPACED "EnforcersInNamespaced" {
        when: "a namespaced policy has enforcers",
        why: "Enforcers act on system calls of the whole node.",
        wrong: "`enforcers`",
        right: "`TracingPolicy`",
    }
    Fault LOADER_IN_NAMESPACED "LoaderInNamespaced" {
        when: "a namespaced policy asks for loader events",
        why: "Loader events come from the whole node.",
        wrong: "`loader: true`",
        right: "`TracingPolicy`",
    }
    Fault GENERATED_LIST_IN_NAMESPACED "GeneratedListInNamespaced" {
        when: "a namespaced policy has a generated list",
        why: "It hooks everything that the kernel has, at the cost of everybody.",
        wrong: "`type: generated_syscalls`",
        right: "`TracingPolicy`",
    }
    Fault GET_URL_IN_NAMESPACED "GetUrlInNamespaced" {
        when: "a namespaced policy makes the agent fetch a URL",
        why: "The agent would reach what only the node can reach.",
        wrong: "`action: GetUrl`",
        right: "`TracingPolicy`",
    }
    Fault DNS_LOOKUP_IN_NAMESPACED "DnsLookupInNamespaced" {
        when: "a namespaced policy makes the agent resolve a name",
        why: "The agent would ask in the node's name.",
        wrong: "`action: DnsLookup`",
        right: "`TracingPolicy`",
    }
    Fault SET_IN_NAMESPACED "SetInNamespaced" {
        when: "a namespaced policy writes into a process's memory",
        why: "Writing into a process's memory is more than watching it.",
        wrong: "`action: Set`",
        right: "`TracingPolicy`",
    }

    // Hooks and arguments.
    Fault SYMBOL_INVALID "SymbolInvalid" {
        when: "the name of a hook is not one that the kernel can have",
        why: "No kernel has such a name, so the hook could never be attached.",
        wrong: "`hook: security_file_open`",
        right: "`file_open`",
    }
    Fault SYSCALL_MISMATCH "SyscallMismatch" {
        when: "the function's name and the field syscall contradict each other",
        why: "Arguments of a system call are not where a function's are; read in the wrong place they are nonsense.",
        wrong: "`call: tcp_connect`",
        right: "`syscall: false` beside it",
    }
    Fault TYPE_UNSTATED "TypeUnstated" {
        when: "the type of an argument is not written out",
        why: "Without a type the value can be neither read nor compared, and the kernel does not say it.",
        wrong: "`{index: 0}`",
        right: "`type: file` beside it",
    }
    Fault ARG_INDEX "ArgIndex" {
        when: "the function does not have that argument",
        why: "What is read there is whatever the register happens to hold.",
        wrong: "`index: 2` of `security_file_permission`",
        right: "0 or 1",
    }
    Fault ARG_TYPE_MISMATCH "ArgTypeMismatch" {
        when: "the function's argument cannot be read as that type",
        why: "Read as another type it is nonsense, and filters would compare nonsense.",
        wrong: "`int` for argument 1 of `security_socket_connect`, a `struct sockaddr`",
        right: "`sockaddr`",
    }
    Fault ARG_DUPLICATE "ArgDuplicate" {
        when: "an argument is listed twice",
        why: "Filters could mean either of the two.",
        wrong: "`index: 0` twice",
        right: "once",
    }
    Fault ARG_NOT_READ "ArgNotRead" {
        when: "a filter is about an argument that is not in args",
        why: "A filter on a value that nobody reads can only be wrong.",
        wrong: "`matchArgs: [{index: 1, …}]`",
        right: "`index: 1` in `args`",
    }
    Fault RETURN_UNUSED "ReturnUnused" {
        when: "something about the return value without return: true",
        why: "A call is only looked at when it returns if return: true says so.",
        wrong: "`returnArg` alone",
        right: "`return: true` beside it",
    }
    Fault TOO_MANY_SELECTORS "TooManySelectors" {
        when: "a hook has more selectors than can be represented",
        why: "Selectors of a hook share one word of the kernel's rule table.",
        wrong: "",
        right: "fewer, or a second policy",
    }
    Warning SYSCALL_UNKNOWN "SyscallUnknown" {
        when: "no kernel that is known has a system call of that name",
        why: "A hook on a function that is not there is never attached; it may be the name of a function behind a system call.",
        wrong: "`sys_opnat`",
        right: "`sys_openat`",
    }
    Fault TYPE_ON_HOOK "TypeOnHook" {
        when: "the hook has no argument of that type",
        why: "There is nothing of the kind to read.",
        wrong: "`type: syscall64` on a kprobe",
        right: "another type",
    }
    Fault ARG_REFERENCE "ArgReference" {
        when: "a filter does not say which one argument it is about",
        why: "It could be about another.",
        wrong: "`index: 0` and `args: [1]`",
        right: "one of them",
    }
    Fault SIZE_INVALID "SizeInvalid" {
        when: "how many bytes a buffer has is not said, or said of something that is no buffer",
        why: "Too few bytes would be compared, or bytes of somebody else.",
        wrong: "`char_buf` alone",
        right: "`sizeArgIndex: 3`, counted from 1",
    }
    Fault RESOLVE_INVALID "ResolveInvalid" {
        when: "resolve is no path of fields, or has nothing to begin at",
        why: "Nothing could be read.",
        wrong: "`resolve: \"a..b\"`",
        right: "`a.b`",
    }
    Fault SOURCE_INVALID "SourceInvalid" {
        when: "source is absent in data, written in args, or none that the hook has",
        why: "It is not said where the reading begins.",
        wrong: "`source: task`",
        right: "`current_task` or `pt_regs`",
    }
    Fault UPROBE_INVALID "UprobeInvalid" {
        when: "a file, digest or probe of a program is not one",
        why: "It would be looked for where the agent happens to run, or not at all.",
        wrong: "`path: bin/bash`",
        right: "`/bin/bash`",
    }
    Fault UPROBE_PLACE "UprobePlace" {
        when: "not exactly one of symbols, offsets and addrs says where in a file a uprobe is",
        why: "It could be at any of them, or nowhere.",
        wrong: "`symbols` and `offsets`",
        right: "one of them",
    }

    // Selectors.
    Fault SELECTOR_EMPTY "SelectorEmpty" {
        when: "a selector says nothing",
        why: "It matches every event, which is seldom what somebody with an empty selector meant.",
        wrong: "`selectors: [{}]`",
        right: "nothing, or a filter",
    }
    Fault SELECTOR_UNREACHABLE "SelectorUnreachable" {
        when: "an earlier selector of the hook always matches first",
        why: "The first selector that matches decides, so this one never does.",
        wrong: "a selector behind one without filters",
        right: "the other order",
    }
    Fault SELECTOR_NO_EFFECT "SelectorNoEffect" {
        when: "a selector does nothing, and no later one is kept from anything by it",
        why: "A selector without effect is only useful as an exception to a later one.",
        wrong: "`NoPost` alone, as the last",
        right: "before the selector it is an exception to",
    }
    Fault VALUES_EMPTY "ValuesEmpty" {
        when: "a filter has no values",
        why: "Compared with nothing, a filter is always or never true, depending on who reads it.",
        wrong: "`values: []`",
        right: "a value, or no filter",
    }
    Fault VALUES_UNUSED "ValuesUnused" {
        when: "an operator that takes no values has some",
        why: "They would be ignored.",
        wrong: "`DPortPriv` with `[\"80\"]`",
        right: "`DPort`",
    }
    Fault OPERATOR_ON_TYPE "OperatorOnType" {
        when: "the operator cannot be evaluated on the argument's type",
        why: "Other releases let such a filter match everything, or nothing, even with Sigkill.",
        wrong: "`Prefix` on `int`",
        right: "`Equal`",
    }
    Fault VALUE_TOO_LONG "ValueTooLong" {
        when: "a string is longer than what can be compared",
        why: "Only this many bytes are compared; longer values would match by their beginning or not at all.",
        wrong: "",
        right: "a shorter one",
    }
    Fault VALUE_NEVER "ValueNever" {
        when: "a single value that nothing can ever equal, begin or end with",
        why: "Nothing that the kernel reports can ever compare with it.",
        wrong: "`Prefix .bashrc` on a path",
        right: "`Postfix .bashrc`",
    }
    Fault NUMBER_INVALID "NumberInvalid" {
        when: "a value is not a number of the argument's type",
        why: "It would be read as another number, or as none.",
        wrong: "`\"010\"`",
        right: "`\"10\"` or `\"0o10\"`",
    }
    Fault FILTER_NEVER "FilterNever" {
        when: "the filters on one argument or property exclude each other",
        why: "The selector would be in force and never match.",
        wrong: "`Equal 2` and `NotEqual 2`",
        right: "one of them",
    }
    Fault FILTER_ALWAYS "FilterAlways" {
        when: "a filter that everything satisfies",
        why: "The filter says nothing, and who wrote it meant something.",
        wrong: "`Prefix \"\"`",
        right: "no filter",
    }
    Fault ONE_VALUE "OneValue" {
        when: "an operator that compares with one value has several",
        why: "Of several, only one would ever decide, and it is not clear which is meant.",
        wrong: "`GT [\"5\", \"10\"]`",
        right: "`GT [\"5\"]`",
    }
    Fault NUMBER_RANGE "NumberRange" {
        when: "a range of numbers that ends before it begins",
        why: "Such a range is empty.",
        wrong: "`InRange [\"9:5\"]`",
        right: "`5:9`",
    }
    Fault EXPRESSION_INVALID "ExpressionInvalid" {
        when: "a CelExpr is no expression over numbers that is true or false",
        why: "Elsewhere such an expression never matches, in silence.",
        wrong: "`arg0 = 1`",
        right: "`arg0 == 1`",
    }
    Warning UNCHANGED_MATCHES "UnchangedMatches" {
        when: "NotIn of changes also matches when nothing has changed",
        why: "It is the negation of In. In Tetragon it means that something else has changed.",
        wrong: "`matchNamespaceChanges: NotIn [Mnt]`",
        right: "`In` with the others",
    }

    // PIDs.
    Fault PID_ZERO "PidZero" {
        when: "a list of pids contains 0",
        why: "0 is no process; lists with 0 in them have matched nothing, or everything, depending on the release.",
        wrong: "`values: [0, 1]`",
        right: "`[1]`",
    }
    Fault PID_RANGE "PidRange" {
        when: "a pid above 4194304",
        why: "No process ever has such an id.",
        wrong: "`5000000`",
        right: "",
    }
    Fault PID_FORKS_UNSTATED "PidForksUnstated" {
        when: "matchPIDs does not say whether children are meant",
        why: "Whether children are meant has changed between releases of Tetragon.",
        wrong: "`NotIn [1]`",
        right: "`followForks: true` or `false` beside it",
    }
    Fault PID_NAMESPACE_UNSTATED "PidNamespaceUnstated" {
        when: "a pod's policy does not say whose pid numbers are meant",
        why: "Pid 1 of a container and pid 1 of the node are different processes.",
        wrong: "`In [1]`",
        right: "`isNamespacePID: true` or `false` beside it",
    }
    Fault PID_HOST_IN_NAMESPACED "PidHostInNamespaced" {
        when: "a namespaced policy uses the host's pids",
        why: "A tenant cannot know them, and they belong to others.",
        wrong: "`isNamespacePID: false`",
        right: "`true`",
    }
    Fault PID_HOST_EVERYWHERE "PidHostEverywhere" {
        when: "pids of the host on more than one node",
        why: "The same number is another process on every node.",
        wrong: "`In [712]`",
        right: "`isNamespacePID: true`",
    }
    Fault PID_CONTRADICTION "PidContradiction" {
        when: "the entries of matchPIDs leave no pid",
        why: "The selector would be in force and never match.",
        wrong: "`In [1]` and `NotIn [1]`",
        right: "one of them",
    }

    // Addresses and ports.
    Fault ADDR_INVALID "AddrInvalid" {
        when: "a value is not an IP address or range",
        why: "Names are resolved by nobody in the kernel.",
        wrong: "`example.org`, `10.0.0.0/33`",
        right: "an address",
    }
    Fault ADDR_SPELLING "AddrSpelling" {
        when: "an address is spelt in a way that programs read differently",
        why: "Leading zeros are octal for some programs; short forms and zones are read in several ways.",
        wrong: "`010.0.0.1`, `10/8`, `fe80::1%eth0`",
        right: "`10.0.0.1`, `10.0.0.0/8`, `fe80::1`",
    }
    Fault ADDR_MAPPED_PREFIX "AddrMappedPrefix" {
        when: "a mapped IPv4 address with an IPv6 prefix shorter than 96",
        why: "Counted from the beginning of an IPv6 address, the prefix covers all of IPv4.",
        wrong: "`::ffff:172.16.0.0/12`",
        right: "`172.16.0.0/12`",
    }
    Fault ADDR_COVERS_MAPPED "AddrCoversMapped" {
        when: "an IPv6 range that contains all of IPv4",
        why: "An address is a value: IPv4 lies inside of this range, and a policy about IPv6 would be about all of it.",
        wrong: "`::/8`",
        right: "IPv4 and IPv6 separately",
    }
    Fault ADDR_HOST_BITS "AddrHostBits" {
        when: "bits are set after the prefix",
        why: "It could mean the network or the one address.",
        wrong: "`10.0.0.5/8`",
        right: "`10.0.0.0/8` or `10.0.0.5/32`",
    }
    Fault ADDR_COMPAT "AddrCompat" {
        when: "an IPv4-compatible IPv6 address",
        why: "The form is obsolete, and no socket has such an address.",
        wrong: "`::10.0.0.1`",
        right: "`10.0.0.1`",
    }
    Fault ADDR_FAMILY_NEVER "AddrFamilyNever" {
        when: "Family and the addresses exclude each other",
        why: "No socket of that family has such an address.",
        wrong: "`Family AF_INET` with `2001:db8::/32`",
        right: "one of them",
    }
    Fault ADDR_NEVER "AddrNever" {
        when: "the address filters leave no address",
        why: "The selector would be in force and never match.",
        wrong: "`DAddr 10.1.0.0/16` with `NotDAddr 10.0.0.0/8`",
        right: "one of them",
    }
    Fault ADDR_ALWAYS "AddrAlways" {
        when: "an address filter that every address satisfies",
        why: "The filter says nothing, and who wrote it meant something.",
        wrong: "`::/0` and `0.0.0.0/0`",
        right: "no filter",
    }
    Warning ADDR_NATIVE_ONLY "AddrNativeOnly" {
        when: "::/0 without 0.0.0.0/0",
        why: "Who writes ::/0 often means every address; IPv4, mapped or not, is not among them.",
        wrong: "`DAddr [\"::/0\"]`",
        right: "",
    }
    Warning ADDR_OVERLAP "AddrOverlap" {
        when: "one range contains another of the same list",
        why: "The narrower range changes nothing.",
        wrong: "`10.0.0.0/8` and `10.1.0.0/16`",
        right: "",
    }
    Warning FAMILY_IMPLIED "FamilyImplied" {
        when: "`Family` lists both families that have addresses, beside a filter on addresses or ports",
        why: "A filter on addresses or ports is about sockets of these families anyway, so that `Family` changes nothing.",
        wrong: "`Family [AF_INET, AF_INET6]` and `DPort 80`",
        right: "`DPort 80`",
    }
    Warning ADDR_NOT_YET "AddrNotYet" {
        when: "the hook runs before the socket has the address that the filter is about",
        why: "While a socket is being connected or bound it does not have the address yet, so the filter compares zeros.",
        wrong: "`DAddr` on the `sock` of `security_socket_connect`; its `sockaddr` (argument 1) has it",
        right: "",
    }
    Fault PORT_INVALID "PortInvalid" {
        when: "a value is not a port or a range of ports",
        why: "Names of services are not known in the kernel.",
        wrong: "`http`, `80-90`, `080`",
        right: "`80`, `80:90`",
    }
    Fault PORT_ZERO "PortZero" {
        when: "port 0",
        why: "A packet has no port 0; in a range it is a slip.",
        wrong: "`0:1023`",
        right: "`1:1023`",
    }
    Fault PORT_RANGE "PortRange" {
        when: "a range of ports that ends before it begins",
        why: "Such a range is empty.",
        wrong: "`90:80`",
        right: "`80:90`",
    }
    Fault PORT_NEVER "PortNever" {
        when: "the port filters leave no port",
        why: "The selector would be in force and never match.",
        wrong: "`SPort 8080` with `SPortPriv`",
        right: "one of them",
    }
    Fault PORT_ALWAYS "PortAlways" {
        when: "a port filter that every port satisfies",
        why: "The filter says nothing, and who wrote it meant something.",
        wrong: "`1:65535`",
        right: "no filter",
    }

    // Actions.
    Fault ACTION_CONTRADICTION "ActionContradiction" {
        when: "the actions of a selector exclude each other",
        why: "Only one of them can happen.",
        wrong: "`Post` and `NoPost`; two errors; two signals",
        right: "one of them",
    }
    Fault ACTION_ON_HOOK "ActionOnHook" {
        when: "the hook cannot carry out the action",
        why: "The hook cannot do it, and an enforcing action that is not carried out is a false promise.",
        wrong: "`Override` on `tcp_connect`",
        right: "an LSM hook, or `Sigkill`",
    }
    Fault ACTION_ARGUMENT "ActionArgument" {
        when: "a parameter that the action does not have",
        why: "It would be ignored, so half of what was meant would not happen.",
        wrong: "`Sigkill` with `argError`",
        right: "`Override` beside it",
    }
    Fault ERROR_NUMBER "ErrorNumber" {
        when: "argError is absent or not an error that the kernel can return",
        why: "A number that is no error would let the operation pass as done.",
        wrong: "`argError: 1`, `0`",
        right: "`-1`",
    }
    Fault SIGNAL_NUMBER "SignalNumber" {
        when: "argSig is absent or not a signal",
        why: "The kernel would send nothing.",
        wrong: "`argSig: 65`",
        right: "1 to 64",
    }
    Fault RATE_LIMIT_SCOPE_ALONE "RateLimitScopeAlone" {
        when: "rateLimitScope without rateLimit",
        why: "Without a limit there is nothing whose scope it could be.",
        wrong: "",
        right: "neither",
    }
    Fault RATE_LIMIT_INVALID "RateLimitInvalid" {
        when: "rateLimit is no time, or its scope is none",
        why: "It would limit nothing, or everything.",
        wrong: "`rateLimit: 1d`",
        right: "`24h`",
    }

    // What nodes can do: only ever warnings.
    Warning HOOK_UNAVAILABLE "HookUnavailable" {
        when: "some nodes cannot run a hook of the policy",
        why: "Kernels differ. The nodes that cannot run it say so in their status; the others do run it.",
        wrong: "`1 of 2 nodes (node-2, kernel 6.1): no LSM hook file_truncate`",
        right: "",
    }
    Warning TOO_WEAK "TooWeak" {
        when: "some nodes can only run a hook of the policy more weakly than minimumStrength",
        why: "It is in force there as far as the node can. Such nodes say so in their status, and the policy is not Ready.",
        wrong: "`1 of 2 nodes (node-2, kernel 6.1): Signal is what there is, Override is asked for`",
        right: "",
    }
    Warning NO_NODE_CAN_RUN_THIS "NoNodeCanRunThis" {
        when: "no node can run a hook of the policy",
        why: "Nothing will be in force until there is a node that can.",
        wrong: "",
        right: "",
    }
    Warning NO_NODE_MATCHES "NoNodeMatches" {
        when: "nodeSelector matches no node",
        why: "Nothing will be in force until there is a node with these labels.",
        wrong: "",
        right: "",
    }
}
