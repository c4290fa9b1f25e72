//! The decision: which rules of a hook fire for an event, and what that does.
//!
//! The same code runs in the kernel over maps and on the host over whatever implements [`Tables`]. It is written for the
//! verifier: loops over [`WORDS`] with a constant bound, no recursion, no panics, everything inlined into the hook's shell.

use crate::bits::{MAX_RULES, Vector, WORDS, Words, winners};
use crate::dimension::{self, Facet, MARK_CHUNKS, NAMESPACE_KINDS};
use crate::event::SocketData;
use crate::head::{Head, NEEDS_NAMESPACES, NEEDS_PROCESS, RuleRow};
use crate::plan::{MAX_ARGS, kind};
use crate::process::BinaryIds;
use crate::verifier::opaque;

/// Something could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// The rows of one generation of one hook. Look-ups answer with a vector's number.
pub trait Tables {
    /// A text: on the host its bytes, in the kernel where they lie.
    type Text: Copy;

    /// NUM.
    fn number(&self, dimension: u32, value: u64) -> Option<u32>;
    /// STR64 or STR256; a text longer than [`crate::key::MAX_TEXT`] is in no row.
    fn whole(&self, dimension: u32, text: Self::Text) -> Option<u32>;
    /// LPM_STR, by the first bytes.
    fn prefix(&self, dimension: u32, text: Self::Text) -> Option<u32>;
    /// LPM_STR, by the last bytes.
    fn postfix(&self, dimension: u32, text: Self::Text) -> Option<u32>;
    /// LPM_NET, by all bits of an address.
    fn address(&self, dimension: u32, address: &[u8; 16]) -> Option<u32>;
    /// LPM_NET, by all bits of a port.
    fn port(&self, dimension: u32, port: u16) -> Option<u32>;
    /// VEC.
    fn vector(&self, number: u32) -> Option<&Vector>;
    /// RULES.
    fn rule(&self, rule: u32) -> Option<RuleRow>;
}

/// The event that is judged. Each method is asked at most once (for an argument or a kind), and only when a rule that is
/// still possible needs it; texts also when a rule that is still possible posts an event.
pub trait Event {
    /// As the tables'.
    type Text: Copy;

    /// Whether the program was built for this dimension; what it was not built for is not looked at.
    #[inline(always)]
    fn planned(&self, _dimension: u32) -> bool {
        true
    }
    /// How many words of rules the program was built for: no head has more.
    #[inline(always)]
    fn words(&self) -> u32 {
        WORDS as u32
    }
    /// How an argument is read: [`kind`].
    fn kind(&self, arg: u32) -> u32;
    /// The scope class of the process.
    fn class(&self) -> u32;
    /// The process's inherited bits.
    fn marks(&mut self) -> Result<[u64; 2], Unreadable>;
    /// Which listed values the executable's path matches in a generation of the binary tables.
    fn binary(&mut self, generation: u64, slot: u32) -> Result<BinaryIds, Unreadable>;
    /// Thread group id in the host's pid namespace.
    fn pid(&mut self) -> u32;
    /// Thread group id in the process's own pid namespace.
    fn own_pid(&mut self) -> Result<u32, Unreadable>;
    /// Inode number of the task's namespace of this kind ([`crate::dimension::NamespaceKind`]).
    fn namespace(&mut self, kind: u32) -> Result<u32, Unreadable>;
    /// An argument that is a number, sign-extended to 64 bits.
    fn number(&mut self, arg: u32) -> Result<u64, Unreadable>;
    /// An argument that is a socket or a socket address.
    fn socket(&mut self, arg: u32) -> Result<&SocketData, Unreadable>;
    /// An argument that is a string or a path.
    fn text(&mut self, arg: u32) -> Result<Self::Text, Unreadable>;
}

/// The state of a decision. In the kernel it lies in per-CPU scratch.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// While deciding: the rules that are still possible. Afterwards: those that fired.
    pub possible: Words,
    /// While deciding: rules that need something unreadable. Afterwards: those that could not be judged and come first
    /// in their policy.
    pub faulted: Words,
}

/// What the rules that fired ask for.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Bit *i*: [`Work::possible`] has a rule in word *i*.
    pub fired: u32,
    /// Bit *i*: [`Work::faulted`] has a rule in word *i*.
    pub faulted: u32,
    /// The operation is to be refused.
    pub deny: bool,
    /// A signal is to be sent.
    pub signal: bool,
    /// A rule in monitor mode would refuse or signal.
    pub would_deny: bool,
    /// An event is to be posted.
    pub post: bool,
}

/// Whether any rule can apply to a class: the answer for most events, without a look-up.
#[inline(always)]
#[must_use]
pub fn class_possible(head: &Head, class: u32) -> bool {
    let index = opaque(u64::from(class >> 6));
    if index >= WORDS as u64 {
        return true;
    }
    match head.scope_any.get(index as usize) {
        Some(word) => word >> (class & 63) & 1 == 1,
        None => true,
    }
}

/// Judges an event. `None`: no rule fires, and none could not be judged.
///
/// When something cannot be read, the rules that need it stay possible and are marked; one that is first in its policy at
/// the end is a fault, which the policy's fault mode decides, and no later rule of that policy fires (an earlier one does).
#[inline(always)]
pub fn decide<T, E>(head: &Head, tables: &T, event: &mut E, work: &mut Work) -> Option<Outcome>
where
    T: Tables,
    E: Event<Text = T::Text>,
{
    let mut search = Search { head, tables, work, words: event.words() };
    if search.scope(event.class()) && search.process(event) && search.cheap_arguments(event) && search.texts(event) {
        Some(conclude(head, search.words, search.work))
    } else {
        None
    }
}

/// A decision under way. Its methods answer whether any rule is still possible.
struct Search<'a, T> {
    head: &'a Head,
    tables: &'a T,
    work: &'a mut Work,
    words: u32,
}

impl<'a, T: Tables> Search<'a, T> {
    #[inline(always)]
    fn uses<E: Event>(&self, event: &E, dimension: u32) -> bool {
        event.planned(dimension) && dimension::contains(&self.head.used, dimension)
    }

    /// The vector of a look-up's answer; the dimension's default where the value is in no row.
    #[inline(always)]
    fn vector(&self, dimension: u32, row: Option<u32>) -> Option<&'a Vector> {
        let number = match row {
            Some(number) => number,
            None => *self.head.defaults.get(dimension as usize)?,
        };
        self.tables.vector(number)
    }

    /// Starts with the rules of the process's class.
    #[inline(always)]
    fn scope(&mut self, class: u32) -> bool {
        if !class_possible(self.head, class) {
            return false;
        }
        let row = self.tables.number(dimension::SCOPE, u64::from(class));
        let Some(vector) = self.vector(dimension::SCOPE, row) else { return false };
        start(self.work, self.words, vector)
    }

    /// What is known of the process: marks, binary, pids, namespaces.
    #[inline(always)]
    fn process<E: Event>(&mut self, event: &mut E) -> bool {
        self.marks(event) && self.binary(event) && self.pids(event) && self.namespaces(event)
    }

    #[inline(always)]
    fn marks<E: Event>(&mut self, event: &mut E) -> bool {
        let mut any = false;
        for chunk in 0..MARK_CHUNKS as u32 {
            any |= self.uses(event, dimension::marks(chunk));
        }
        if !any {
            return true;
        }
        let Ok([low, high]) = event.marks() else { return self.fault(crate::head::NEEDS_MARKS) };
        for chunk in 0..MARK_CHUNKS as u32 {
            if self.uses(event, dimension::marks(chunk)) {
                let word = if chunk < 8 { low } else { high };
                if !self.number(dimension::marks(chunk), word >> (8 * (chunk & 7)) & 0xff) {
                    return false;
                }
            }
        }
        true
    }

    #[inline(always)]
    fn binary<E: Event>(&mut self, event: &mut E) -> bool {
        let exact = self.uses(event, dimension::BINARY_EXACT);
        let prefix = self.uses(event, dimension::BINARY_PREFIX);
        let postfix = self.uses(event, dimension::BINARY_POSTFIX);
        if !exact && !prefix && !postfix {
            return true;
        }
        let Ok(ids) = event.binary(self.head.binary_generation, self.head.binary_slot) else {
            return self.fault(NEEDS_PROCESS);
        };
        (!exact || self.number(dimension::BINARY_EXACT, ids.exact))
            && (!prefix || self.number(dimension::BINARY_PREFIX, ids.prefix))
            && (!postfix || self.number(dimension::BINARY_POSTFIX, ids.postfix))
    }

    #[inline(always)]
    fn pids<E: Event>(&mut self, event: &mut E) -> bool {
        if self.uses(event, dimension::PID_HOST) && !self.number(dimension::PID_HOST, u64::from(event.pid())) {
            return false;
        }
        if !self.uses(event, dimension::PID_OWN) {
            return true;
        }
        match event.own_pid() {
            Ok(pid) => self.number(dimension::PID_OWN, u64::from(pid)),
            Err(Unreadable) => self.fault(NEEDS_NAMESPACES),
        }
    }

    #[inline(always)]
    fn namespaces<E: Event>(&mut self, event: &mut E) -> bool {
        for kind in 0..NAMESPACE_KINDS as u32 {
            let dimension = dimension::NAMESPACES + kind;
            if self.uses(event, dimension) {
                let possible = match event.namespace(kind) {
                    Ok(inode) => self.number(dimension, u64::from(inode)),
                    Err(Unreadable) => self.fault(NEEDS_NAMESPACES),
                };
                if !possible {
                    return false;
                }
            }
        }
        true
    }

    /// Numbers and sockets.
    #[inline(always)]
    fn cheap_arguments<E: Event>(&mut self, event: &mut E) -> bool {
        for arg in 0..MAX_ARGS as u32 {
            let possible = match event.kind(arg) {
                kind::INT | kind::UINT32 | kind::SIZE => self.numeric(event, arg),
                kind::SOCK | kind::SOCKADDR => self.socket(event, arg),
                _ => true,
            };
            if !possible {
                return false;
            }
        }
        true
    }

    #[inline(always)]
    fn numeric<E: Event>(&mut self, event: &mut E, arg: u32) -> bool {
        let dimension = dimension::argument(arg, Facet::Number);
        if !self.uses(event, dimension) {
            return true;
        }
        match event.number(arg) {
            Ok(value) => self.number(dimension, value),
            Err(Unreadable) => self.fault(arg as usize),
        }
    }

    #[inline(always)]
    fn socket<E: Event>(&mut self, event: &mut E, arg: u32) -> bool {
        let family = self.uses(event, dimension::argument(arg, Facet::Family));
        let protocol = self.uses(event, dimension::argument(arg, Facet::Protocol));
        let source = self.uses(event, dimension::argument(arg, Facet::SourceAddress));
        let destination = self.uses(event, dimension::argument(arg, Facet::DestinationAddress));
        let source_port = self.uses(event, dimension::argument(arg, Facet::SourcePort));
        let destination_port = self.uses(event, dimension::argument(arg, Facet::DestinationPort));
        if !family && !protocol && !source && !destination && !source_port && !destination_port {
            return true;
        }
        let Ok(socket) = event.socket(arg) else { return self.fault(arg as usize) };
        (!family || self.number(dimension::argument(arg, Facet::Family), u64::from(socket.family)))
            && (!protocol || self.number(dimension::argument(arg, Facet::Protocol), u64::from(socket.protocol)))
            && (!source_port || self.port(dimension::argument(arg, Facet::SourcePort), socket.source_port))
            && (!destination_port
                || self.port(dimension::argument(arg, Facet::DestinationPort), socket.destination_port))
            && (!source || self.address(dimension::argument(arg, Facet::SourceAddress), &socket.source))
            && (!destination || self.address(dimension::argument(arg, Facet::DestinationAddress), &socket.destination))
    }

    /// Strings and paths: read only if a rule that is still possible needs them, or posts an event that will contain them.
    #[inline(always)]
    fn texts<E: Event<Text = T::Text>>(&mut self, event: &mut E) -> bool {
        for arg in 0..MAX_ARGS as u32 {
            let is_text = matches!(event.kind(arg), kind::STRING | kind::FILE | kind::PATH | kind::BINPRM);
            if is_text && !self.text(event, arg) {
                return false;
            }
        }
        true
    }

    #[inline(always)]
    fn text<E: Event<Text = T::Text>>(&mut self, event: &mut E, arg: u32) -> bool {
        let whole = dimension::argument(arg, Facet::Whole);
        let prefix = dimension::argument(arg, Facet::Prefix);
        let postfix = dimension::argument(arg, Facet::Postfix);
        let (by_whole, by_prefix, by_postfix) =
            (self.uses(event, whole), self.uses(event, prefix), self.uses(event, postfix));
        let needed = (by_whole || by_prefix || by_postfix) && self.needed(arg as usize);
        if !needed && !self.posts() {
            return true;
        }
        let Ok(text) = event.text(arg) else { return self.fault(arg as usize) };
        (!by_whole || self.narrow(whole, self.tables.whole(whole, text)))
            && (!by_prefix || self.narrow(prefix, self.tables.prefix(prefix, text)))
            && (!by_postfix || self.narrow(postfix, self.tables.postfix(postfix, text)))
    }

    #[inline(always)]
    fn number(&mut self, dimension: u32, value: u64) -> bool {
        self.narrow(dimension, self.tables.number(dimension, value))
    }

    #[inline(always)]
    fn port(&mut self, dimension: u32, port: u16) -> bool {
        self.narrow(dimension, self.tables.port(dimension, port))
    }

    #[inline(always)]
    fn address(&mut self, dimension: u32, address: &[u8; 16]) -> bool {
        self.narrow(dimension, self.tables.address(dimension, address))
    }

    /// Keeps the rules that the value satisfies.
    #[inline(always)]
    fn narrow(&mut self, dimension: u32, row: Option<u32>) -> bool {
        match self.vector(dimension, row) {
            Some(vector) => narrow(self.work, self.words, vector),
            None => false,
        }
    }

    /// Keeps the rules that need what cannot be read, and marks them.
    #[inline(always)]
    fn fault(&mut self, what: usize) -> bool {
        if let Some(vector) = self.needs(what) {
            mark(self.work, self.words, vector);
        }
        true
    }

    /// Whether a rule that is still possible needs it.
    #[inline(always)]
    fn needed(&self, what: usize) -> bool {
        match self.needs(what) {
            Some(vector) => meets(self.work, self.words, vector),
            None => true,
        }
    }

    /// Whether a rule that is still possible posts an event.
    #[inline(always)]
    fn posts(&self) -> bool {
        let mut any = 0;
        for index in 0..WORDS {
            if index >= self.words as usize {
                break;
            }
            if let (Some(possible), Some(post)) = (self.work.possible.get(index), self.head.post.get(index)) {
                any |= *possible & *post;
            }
        }
        any != 0
    }

    #[inline(always)]
    fn needs(&self, what: usize) -> Option<&'a Vector> {
        self.tables.vector(*self.head.needs.get(what)?)
    }
}

#[inline(always)]
fn start(work: &mut Work, words: u32, vector: &Vector) -> bool {
    let mut any = 0;
    for index in 0..WORDS {
        if index >= words as usize {
            break;
        }
        if let (Some(possible), Some(faulted), Some(word)) =
            (work.possible.get_mut(index), work.faulted.get_mut(index), vector.words.get(index))
        {
            *possible = *word;
            *faulted = 0;
            any |= *word;
        }
    }
    any != 0
}

#[inline(always)]
fn narrow(work: &mut Work, words: u32, vector: &Vector) -> bool {
    let mut any = 0;
    for index in 0..WORDS {
        if index >= words as usize {
            break;
        }
        if let (Some(possible), Some(word)) = (work.possible.get_mut(index), vector.words.get(index)) {
            *possible &= *word;
            any |= *possible;
        }
    }
    any != 0
}

#[inline(always)]
fn mark(work: &mut Work, words: u32, vector: &Vector) {
    for index in 0..WORDS {
        if index >= words as usize {
            break;
        }
        if let (Some(faulted), Some(word)) = (work.faulted.get_mut(index), vector.words.get(index)) {
            *faulted |= *word;
        }
    }
}

#[inline(always)]
fn meets(work: &Work, words: u32, vector: &Vector) -> bool {
    let mut any = 0;
    for index in 0..WORDS {
        if index >= words as usize {
            break;
        }
        if let (Some(possible), Some(word)) = (work.possible.get(index), vector.words.get(index)) {
            any |= *possible & *word;
        }
    }
    any != 0
}

/// The first rule of each policy, and what they ask for.
#[inline(always)]
fn conclude(head: &Head, words: u32, work: &mut Work) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut deny, mut signal, mut would, mut post) = (0, 0, 0, 0);
    for index in 0..WORDS {
        if index >= words as usize {
            break;
        }
        let word = |words: &Words| words.get(index).copied().unwrap_or_default();
        let first = winners(word(&work.possible), word(&head.singles), word(&head.multis), word(&head.lows));
        let faulted = first & word(&work.faulted);
        let fired = first & !faulted;
        let monitor = word(&head.monitor);
        deny |= fired & word(&head.deny) & !monitor | faulted & word(&head.fault_deny);
        signal |= fired & word(&head.signal) & !monitor;
        would |= fired & (word(&head.deny) | word(&head.signal)) & monitor;
        post |= fired & word(&head.post) | faulted;
        outcome.fired |= is_set(fired) << index;
        outcome.faulted |= is_set(faulted) << index;
        if let (Some(possible), Some(fault)) = (work.possible.get_mut(index), work.faulted.get_mut(index)) {
            *possible = fired;
            *fault = faulted;
        }
    }
    outcome.deny = is_set(deny) != 0;
    outcome.signal = is_set(signal) != 0;
    outcome.would_deny = is_set(would) != 0;
    outcome.post = is_set(post) != 0;
    outcome
}

/// 1 if any bit is set, without a branch: the verifier would follow each of 2^16 ways.
#[inline(always)]
fn is_set(word: u64) -> u32 {
    (opaque(word | word.wrapping_neg()) >> 63) as u32
}

/// Whether a check that was given up because the task kept disturbing it refuses the operation: an enforcing rule that
/// denies is possible in the process's class.
#[inline(always)]
pub fn contended<T: Tables>(head: &Head, tables: &T, words: u32, class: u32) -> bool {
    if !class_possible(head, class) {
        return false;
    }
    let number = match tables.number(dimension::SCOPE, u64::from(class)) {
        Some(number) => number,
        None => head.defaults.first().copied().unwrap_or_default(),
    };
    let Some(vector) = tables.vector(number) else { return false };
    let mut any = 0;
    for index in 0..WORDS {
        if index >= words as usize {
            break;
        }
        let word = |words: &Words| words.get(index).copied().unwrap_or_default();
        any |= word(&vector.words) & word(&head.deny) & !word(&head.monitor);
    }
    any != 0
}

/// What carrying out an [`Outcome`] needs from where it happens.
pub trait Effects {
    /// Counts what a rule has come to.
    fn count(&mut self, rule: u32, tally: Tally);
    /// Sends a signal to the process.
    fn send(&mut self, signal: u8);
    /// Rules fired that are not counted one by one.
    fn uncounted(&mut self);
    /// Whether [`Work`] is still this decision's.
    #[inline(always)]
    fn intact(&self) -> bool {
        true
    }
}

/// What a rule has come to: zeros and ones, to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// It fired.
    pub matched: u64,
    /// Its denial or signal is carried out, or it denies because it could not be judged.
    pub denied: u64,
    /// Its denial or signal is only counted.
    pub would_deny: u64,
    /// It could not be judged.
    pub faults: u64,
}

/// Rules that are counted one by one in an event.
pub const MAX_COUNTED: u32 = 8;

/// The errno of a denial for which no rule names one.
pub const EPERM: u16 = 1;

/// Counts the rules that fired, sends their signals, and returns the errno to refuse with (0: none): the lowest of those
/// that the denying rules name, so that it does not depend on how rules are numbered.
#[inline(always)]
pub fn carry_out<T: Tables, F: Effects>(
    head: &Head,
    tables: &T,
    work: &Work,
    outcome: &Outcome,
    effects: &mut F,
) -> u16 {
    // One less than the errno, so that none is the highest.
    let mut lowest = u64::MAX;
    let mut words = u64::from(outcome.fired | outcome.faulted);
    let (mut index, mut rest) = (0, 0);
    // One step takes a rule or goes to the next word that has one.
    for _ in 0..MAX_COUNTED as usize + WORDS {
        if rest == 0 {
            if words == 0 {
                break;
            }
            index = words.trailing_zeros();
            words &= words.wrapping_sub(1);
            rest = word_of(&work.possible, index) | word_of(&work.faulted, index);
            if !effects.intact() {
                rest = 0;
                effects.uncounted();
                break;
            }
            continue;
        }
        let shift = rest.trailing_zeros();
        rest &= rest.wrapping_sub(1);
        let rule = (index << 6 | shift) & (MAX_RULES as u32 - 1);
        let tally = tally(head, work, index, shift);
        effects.count(rule, tally);
        let Some(row) = tables.rule(rule) else { continue };
        let denies = word_of(&head.deny, index) >> shift & tally.denied;
        lowest = lower(lowest, u64::from(row.errno).wrapping_sub(1) | denies.wrapping_sub(1));
        let signal = u64::from(row.signal) & (tally.matched & tally.denied).wrapping_neg();
        if signal != 0 {
            effects.send(signal as u8);
        }
    }
    if rest != 0 || words != 0 {
        effects.uncounted();
    }
    match (outcome.deny, lowest) {
        (false, _) => 0,
        (true, 0..4095) => lowest as u16 + 1,
        (true, _) => EPERM,
    }
}

/// The lower of two, without a branch.
#[inline(always)]
fn lower(one: u64, other: u64) -> u64 {
    // Both are at most 2^16, or all ones, which counts as -1 only after its highest bits are gone.
    let (one, other) = (one & 0xffff_ffff, other & 0xffff_ffff);
    let below = opaque(one.wrapping_sub(other) >> 63).wrapping_neg();
    one & below | other & !below
}

/// Word `index`, which is below [`WORDS`].
#[inline(always)]
fn word_of(words: &Words, index: u32) -> u64 {
    let index = opaque(u64::from(index));
    if index >= WORDS as u64 { 0 } else { words.get(index as usize).copied().unwrap_or_default() }
}

/// What a rule that fired or could not be judged comes to. Without branches: the verifier would follow each.
#[inline(always)]
fn tally(head: &Head, work: &Work, index: u32, shift: u32) -> Tally {
    let bit = |words: &Words| word_of(words, index) >> shift & 1;
    let (faults, fault_denies) = (bit(&work.faulted), bit(&head.fault_deny));
    let (acts, monitor) = (bit(&head.deny) | bit(&head.signal), bit(&head.monitor));
    let matched = faults ^ 1;
    Tally {
        matched,
        denied: matched & acts & (monitor ^ 1) | faults & fault_denies,
        would_deny: matched & acts & monitor,
        faults,
    }
}

#[cfg(test)]
mod tests;
