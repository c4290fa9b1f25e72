//! Every code, and what can be rewritten where it is given.

use super::case::{Case, Found};
use super::{actions, addresses, hooks, numbers, pids, removal, spelling, values};
use crate::fault::codes;

/// What is to be said and done about one code.
pub struct Rule {
    /// The code.
    pub code: &'static str,
    /// What a conversion does about it.
    pub does: Does,
}

pub(super) type Find = fn(&Case<'_>) -> Found;

/// What a conversion does about a code. The texts go on after "A conversion …".
#[derive(Clone, Copy)]
pub enum Does {
    /// It rewrites it, where the document says one thing; the text says where it only offers, or leaves it.
    Rewrites(&'static str, Finder),
    /// It offers readings, of which a person chooses.
    Offers(&'static str, Finder),
    /// It leaves it, and why.
    Leaves(&'static str),
}

/// How what is to be written is found.
#[derive(Clone, Copy)]
pub struct Finder(Find);

impl Does {
    pub(super) const fn finder(self) -> Option<Find> {
        match self {
            Self::Rewrites(_, Finder(find)) | Self::Offers(_, Finder(find)) => Some(find),
            Self::Leaves(_) => None,
        }
    }

    /// The sentence for people.
    #[must_use]
    pub fn sentence(self) -> String {
        match self {
            Self::Rewrites(what, _) => format!("rewrites it: {what}"),
            Self::Offers(what, _) => format!("offers a choice: {what}"),
            Self::Leaves(why) => format!("leaves it to you: {why}"),
        }
    }
}

/// Codes about which nothing but the faulty value or word itself decides.
const ABOUT_ITSELF: [&str; 22] = [
    codes::WRONG_TYPE,
    codes::UNKNOWN_FIELD,
    codes::UNKNOWN_VALUE,
    codes::OBSOLETE,
    codes::TEXT_LENGTH,
    codes::OPTION_NO_EFFECT,
    codes::LIST_UNDEFINED,
    codes::MACRO_UNDEFINED,
    codes::SYMBOL_INVALID,
    codes::VALUE_NEVER,
    codes::NUMBER_INVALID,
    codes::ONE_VALUE,
    codes::NUMBER_RANGE,
    codes::PID_RANGE,
    codes::ADDR_SPELLING,
    codes::ADDR_MAPPED_PREFIX,
    codes::ADDR_HOST_BITS,
    codes::ADDR_COMPAT,
    codes::PORT_INVALID,
    codes::PORT_ZERO,
    codes::PORT_RANGE,
    codes::ERROR_NUMBER,
];

pub(super) fn is_about_itself(code: &str) -> bool {
    ABOUT_ITSELF.contains(&code)
}

/// What is done about the code of that name.
#[must_use]
pub fn of(code: &str) -> Option<&'static Rule> {
    ALL.iter().find(|rule| rule.code == code)
}

const fn rewrites(code: &'static str, what: &'static str, find: Find) -> Rule {
    Rule { code, does: Does::Rewrites(what, Finder(find)) }
}

const fn offers(code: &'static str, what: &'static str, find: Find) -> Rule {
    Rule { code, does: Does::Offers(what, Finder(find)) }
}

const fn leaves(code: &'static str, why: &'static str) -> Rule {
    Rule { code, does: Does::Leaves(why) }
}

const REFUSED_BEFORE: &str = "Tetragon refuses it too, so there is nothing that it did";
const NEVER_BEFORE: &str = "it has never matched, and what it should match is not written in it";
const TENANT: &str = "whether the policy may reach beyond its namespace is not for a rewriting to say";
const ACCEPTED: &str = "the document is accepted, so it is not touched";

/// One rule for each of [`codes::ALL`], in its order.
pub const ALL: &[Rule] = &[
    // The document as a whole.
    leaves(codes::DOCUMENT_TOO_LARGE, "where to cut it is not written in it"),
    leaves(codes::TOO_MANY_FAULTS, "the others are looked at, shown or not"),
    leaves(codes::TOO_MANY_WARNINGS, ACCEPTED),
    leaves(codes::WRONG_KIND, "of another version nothing is known"),
    leaves(codes::INVALID_NAME, "others may refer to the name"),
    leaves(codes::NAMESPACE_IGNORED, ACCEPTED),
    leaves(codes::MISSING_FIELD, "what is not written cannot be read"),
    rewrites(
        codes::WRONG_TYPE,
        "a number gets quotes or loses them, one value becomes a list of one; anything else is left",
        spelling::wrong_type,
    ),
    rewrites(
        codes::UNKNOWN_FIELD,
        "the field gets the name of the one that is nearest; where there is not exactly one, it is left",
        spelling::unknown_field,
    ),
    rewrites(
        codes::UNKNOWN_VALUE,
        "letters get their case; a word that is only near to a known one is offered",
        spelling::unknown_value,
    ),
    leaves(codes::OUT_OF_RANGE, "which number is meant is not written in it"),
    leaves(codes::TOO_MANY, REFUSED_BEFORE),
    rewrites(
        codes::TEXT_LENGTH,
        "a text that is too long is cut where Tetragon cuts it, which is what its events have; a short one is left",
        spelling::text_length,
    ),
    leaves(codes::TEXT_NUL, "what the text was to say after the NUL is not known"),
    leaves(codes::UNSUPPORTED, "it says one thing already, which a later release will do"),
    rewrites(
        codes::OBSOLETE,
        "the word becomes the one that has its meaning today, an action that has none goes; the rest is left",
        spelling::obsolete,
    ),
    // The policy.
    leaves(codes::NO_HOOKS, "there is nothing to read"),
    rewrites(
        codes::OPTION_UNKNOWN,
        "the option goes, as Tetragon ignores it; one that is nearly a known one is a choice",
        removal::option_unknown,
    ),
    rewrites(
        codes::OPTION_VALUE,
        "letters get their case; of two modes one is to be chosen; other values are left",
        hooks::option_value,
    ),
    offers(
        codes::MODE_CONTRADICTION,
        "the one mode or the other, in the option policy-mode",
        hooks::mode_contradiction,
    ),
    leaves(codes::NOTHING_ENFORCES, "whether an action is missing is not written in it"),
    leaves(codes::STRENGTH_UNREACHABLE, "what to be content with is not written in it"),
    rewrites(codes::OPTION_NO_EFFECT, "the option goes", removal::option_no_effect),
    leaves(codes::LOADER_SCOPE, REFUSED_BEFORE),
    leaves(codes::ENFORCER_INVALID, REFUSED_BEFORE),
    rewrites(
        codes::ENFORCER_UNUSED,
        "the enforcers go, with the lists that only they refer to",
        removal::enforcer_unused,
    ),
    leaves(codes::ENFORCER_MISSING, REFUSED_BEFORE),
    rewrites(codes::LIST_INVALID, "a pattern or note that nothing reads goes; the rest is left", removal::list_invalid),
    leaves(codes::LIST_DUPLICATE, "which of the two a reference means is not written in it"),
    offers(codes::LIST_UNDEFINED, "the list whose name is nearest, where one is near", spelling::reference),
    rewrites(
        codes::LIST_UNUSED,
        "the list goes, unless a reference is to a list that is not there",
        removal::list_unused,
    ),
    offers(codes::MACRO_UNDEFINED, "the macro whose name is nearest, where one is near", spelling::reference),
    leaves(codes::MACRO_NESTED, REFUSED_BEFORE),
    leaves(codes::MACRO_FIELD, REFUSED_BEFORE),
    rewrites(
        codes::MACRO_UNUSED,
        "the macro goes, unless a reference is to a macro that is not there",
        removal::macro_unused,
    ),
    // Its scope.
    leaves(codes::LABEL_SELECTOR_INVALID, REFUSED_BEFORE),
    leaves(codes::LABEL_SELECTOR_NEVER, NEVER_BEFORE),
    leaves(codes::CONTAINER_KEY, NEVER_BEFORE),
    leaves(codes::HOST_SELECTOR_LABELS, REFUSED_BEFORE),
    leaves(codes::HOST_SELECTOR_IN_NAMESPACED, REFUSED_BEFORE),
    leaves(codes::UPROBES_IN_NAMESPACED, REFUSED_BEFORE),
    leaves(codes::USDTS_IN_NAMESPACED, REFUSED_BEFORE),
    leaves(codes::ENFORCERS_IN_NAMESPACED, TENANT),
    leaves(codes::LOADER_IN_NAMESPACED, TENANT),
    leaves(codes::GENERATED_LIST_IN_NAMESPACED, TENANT),
    leaves(codes::GET_URL_IN_NAMESPACED, TENANT),
    leaves(codes::DNS_LOOKUP_IN_NAMESPACED, TENANT),
    leaves(codes::SET_IN_NAMESPACED, TENANT),
    // Hooks and arguments.
    rewrites(
        codes::SYMBOL_INVALID,
        "security_ before an LSM hook's name goes; the rest is left",
        hooks::symbol_invalid,
    ),
    rewrites(
        codes::SYSCALL_MISMATCH,
        "syscall becomes what the name says; a name that is a system call without its sys_ is a choice, and so is reading \
         other arguments",
        hooks::syscall_mismatch,
    ),
    leaves(codes::TYPE_UNSTATED, REFUSED_BEFORE),
    leaves(codes::ARG_INDEX, "which argument is meant is not written in it"),
    leaves(codes::ARG_TYPE_MISMATCH, "what was read there so far was nonsense"),
    rewrites(
        codes::ARG_DUPLICATE,
        "the same once more goes, where nothing counts the arguments; the rest is left",
        removal::arg_duplicate,
    ),
    rewrites(
        codes::ARG_NOT_READ,
        "at a tracepoint, a position in args becomes the number of its field, which is how Tetragon reads it; elsewhere it \
         is left",
        hooks::arg_not_read,
    ),
    offers(codes::RETURN_UNUSED, "without it, as Tetragon ignores it, or with return: true", hooks::return_unused),
    leaves(codes::TOO_MANY_SELECTORS, REFUSED_BEFORE),
    leaves(codes::SYSCALL_UNKNOWN, ACCEPTED),
    leaves(codes::TYPE_ON_HOOK, REFUSED_BEFORE),
    rewrites(
        codes::ARG_REFERENCE,
        "of two references to one argument, one goes; where they are to two, it is a choice; the rest is left",
        hooks::arg_reference,
    ),
    rewrites(
        codes::SIZE_INVALID,
        "a size of something that is no buffer goes; maxData and returnCopy are a choice; the rest is left",
        removal::size_invalid,
    ),
    rewrites(
        codes::RESOLVE_INVALID,
        "a type for a pointer that is not followed goes; resolve of a tracepoint's field, which Tetragon ignores, is a \
         choice; the rest is left",
        removal::resolve_invalid,
    ),
    leaves(codes::SOURCE_INVALID, REFUSED_BEFORE),
    leaves(codes::UPROBE_INVALID, REFUSED_BEFORE),
    leaves(codes::UPROBE_PLACE, REFUSED_BEFORE),
    // Selectors.
    rewrites(
        codes::SELECTOR_EMPTY,
        "what matches every event says so: it goes if it is alone, and says Post beside others; a macro is left",
        hooks::selector_empty,
    ),
    offers(codes::SELECTOR_UNREACHABLE, "without it, as it is never reached", removal::selector_unreachable),
    rewrites(codes::SELECTOR_NO_EFFECT, "it goes, unless it is the only one", removal::selector_no_effect),
    offers(
        codes::VALUES_EMPTY,
        "without the filter, of matchBinaries, where Tetragon ignores it; the rest is left",
        removal::values_empty,
    ),
    rewrites(
        codes::VALUES_UNUSED,
        "the values go, as Tetragon ignores them; those of SPortPriv and the like are a choice",
        removal::values_unused,
    ),
    leaves(codes::OPERATOR_ON_TYPE, "what was compared so far was nothing, or anything"),
    leaves(codes::VALUE_TOO_LONG, REFUSED_BEFORE),
    rewrites(
        codes::VALUE_NEVER,
        "a NUL at the end goes, as strings are compared without it; a path is offered without what no path has; what \
         nothing equals goes if other values are left",
        values::never,
    ),
    rewrites(
        codes::NUMBER_INVALID,
        "underscores and plus signs go; with a leading 0, octal and decimal are a choice; the rest is left",
        numbers::invalid,
    ),
    leaves(codes::FILTER_NEVER, NEVER_BEFORE),
    leaves(codes::FILTER_ALWAYS, "who wrote it meant something"),
    rewrites(
        codes::ONE_VALUE,
        "of several bounds the one that decides is kept, the lowest of GT, the highest of LT; expressions are left",
        numbers::one_value,
    ),
    offers(codes::NUMBER_RANGE, "the other way around, or without it, as it is empty", numbers::range),
    leaves(codes::EXPRESSION_INVALID, REFUSED_BEFORE),
    leaves(codes::UNCHANGED_MATCHES, ACCEPTED),
    // PIDs.
    rewrites(
        codes::PID_ZERO,
        "the 0 goes; where it has kept the filter from ever matching in Tetragon, only if you say so; alone in In, it is left",
        pids::zero,
    ),
    rewrites(codes::PID_RANGE, "the number goes if others are left", pids::range),
    offers(codes::PID_FORKS_UNSTATED, "followForks: false, Tetragon's default, or true", pids::forks_unstated),
    offers(
        codes::PID_NAMESPACE_UNSTATED,
        "isNamespacePID: false, Tetragon's default, where the host's pids can be used, or true",
        pids::namespace_unstated,
    ),
    offers(codes::PID_HOST_IN_NAMESPACED, "isNamespacePID: true", pids::host_in_namespaced),
    leaves(codes::PID_HOST_EVERYWHERE, "which node is meant is not written in it"),
    leaves(codes::PID_CONTRADICTION, NEVER_BEFORE),
    // Addresses and ports.
    leaves(codes::ADDR_INVALID, "which address is meant is not written in it"),
    rewrites(
        codes::ADDR_SPELLING,
        "a prefix length loses its leading 0; what programs read differently, and a zone, is offered in plain",
        addresses::spelling,
    ),
    offers(codes::ADDR_MAPPED_PREFIX, "the IPv4 range that it seems to be", addresses::mapped_prefix),
    leaves(codes::ADDR_COVERS_MAPPED, "whether IPv4 is meant is not written in it"),
    offers(
        codes::ADDR_HOST_BITS,
        "the network, which is what Tetragon compares, or the one address",
        addresses::host_bits,
    ),
    offers(codes::ADDR_COMPAT, "the IPv4 address, or without it, as no socket has it", addresses::compat),
    leaves(codes::ADDR_FAMILY_NEVER, NEVER_BEFORE),
    leaves(codes::ADDR_NEVER, NEVER_BEFORE),
    leaves(codes::ADDR_ALWAYS, "who wrote it meant something"),
    leaves(codes::ADDR_NATIVE_ONLY, ACCEPTED),
    leaves(codes::ADDR_OVERLAP, ACCEPTED),
    leaves(codes::FAMILY_IMPLIED, ACCEPTED),
    leaves(codes::ADDR_NOT_YET, ACCEPTED),
    rewrites(
        codes::PORT_INVALID,
        "first-last becomes first:last; with a leading 0, octal and decimal are a choice; the rest is left",
        numbers::port_invalid,
    ),
    rewrites(codes::PORT_ZERO, "a range begins with 1; a single 0 is left", numbers::port_zero),
    offers(codes::PORT_RANGE, "the other way around, or without it, as it is empty", numbers::range),
    leaves(codes::PORT_NEVER, NEVER_BEFORE),
    leaves(codes::PORT_ALWAYS, "who wrote it meant something"),
    // Actions.
    offers(
        codes::ACTION_CONTRADICTION,
        "NoPost, which decides in Tetragon, or Post; the rest is left",
        actions::contradiction,
    ),
    leaves(codes::ACTION_ON_HOOK, "what should happen instead is not written in it"),
    rewrites(
        codes::ACTION_ARGUMENT,
        "a parameter that another action of the selector has too, or that nothing could carry out there, goes; otherwise \
         its going, as Tetragon ignores it, or Override beside it are a choice; the rest is left",
        actions::argument,
    ),
    rewrites(
        codes::ERROR_NUMBER,
        "at an LSM hook, 1 becomes -1, which is what Tetragon returns for it; elsewhere the number with its sign is offered",
        actions::error_number,
    ),
    leaves(codes::SIGNAL_NUMBER, REFUSED_BEFORE),
    rewrites(codes::RATE_LIMIT_SCOPE_ALONE, "the scope goes", removal::itself),
    leaves(codes::RATE_LIMIT_INVALID, REFUSED_BEFORE),
    // What nodes can do.
    leaves(codes::HOOK_UNAVAILABLE, ACCEPTED),
    leaves(codes::TOO_WEAK, ACCEPTED),
    leaves(codes::NO_NODE_CAN_RUN_THIS, ACCEPTED),
    leaves(codes::NO_NODE_MATCHES, ACCEPTED),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::codes::Severity;

    #[test]
    fn every_code_has_an_answer_and_only_faults_are_rewritten() {
        let rules: Vec<&str> = ALL.iter().map(|rule| rule.code).collect();
        let all: Vec<&str> = codes::ALL.iter().map(|code| code.name).collect();
        assert_eq!(rules, all);
        for (rule, code) in ALL.iter().zip(codes::ALL) {
            let leaves = matches!(rule.does, Does::Leaves(_));
            assert!(leaves || code.severity == Severity::Fault, "{}", code.name);
        }
    }
}
