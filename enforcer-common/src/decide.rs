//! The decision: which rules of a hook fire for an event, and what that does.
//!
//! The same code runs in the kernel over maps and on the host over whatever implements [`Tables`]. It is written for the
//! verifier: loops over [`WORDS`] with a constant bound, no recursion, no panics.

mod carry;
mod number;

pub use carry::{Carried, EPERM, Effects, MAX_COUNTED, Tally, carry_out, carry_out_rule, lower};
pub use number::keep_number;

use crate::bits::{EMPTY_VECTOR, Vector, WORDS, Words, winners};
use crate::dimension::{self, CHUNK_DOUBT, CHUNK_MASK, CHUNK_MAY, DimensionSet, Facet, MARK_CHUNKS, NAMESPACE_KINDS};
use crate::event::SocketData;
use crate::head::{
    CLASS_PROBE, Head, NEAR_CLASSES, NEEDS_MARKS, NEEDS_NAMESPACES, NEEDS_PROCESS, PROBE_CLASSES, RuleRow,
};
use crate::plan::{MAX_ARGS, kind};
use crate::process::{BinaryIds, Inherited};
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
    /// LPM_NET, by all bits of a number.
    fn range(&self, dimension: u32, value: u64) -> Option<u32>;
    /// LPM_NET, by all bits of a port.
    fn port(&self, dimension: u32, port: u16) -> Option<u32>;
    /// VEC.
    fn vector(&self, number: u32) -> Option<&Vector>;
    /// RULES.
    fn rule(&self, rule: u32) -> Option<RuleRow>;

    /// Combines the rules of vector `number` with `work`. Returns what [`Combine`] says.
    #[inline(always)]
    fn combine(&self, how: Combine, number: u32, work: &mut Work, words: u32) -> bool {
        match self.vector(number) {
            Some(vector) => combine(how, work, words, vector),
            None => how.without_vector(),
        }
    }

    /// [`keep_number`].
    #[inline(always)]
    fn keep_number(&self, head: &Head, of: u32, value: u64, work: &mut Work, words: u32) -> bool
    where
        Self: Sized,
    {
        keep_number(head, self, of, value, work, words)
    }

    /// [`conclude`].
    #[inline(always)]
    fn conclude(&self, head: &Head, work: &mut Work, words: u32) -> Outcome {
        conclude(head, words, work)
    }
}

/// What is done with the rules of a vector.
#[repr(u64)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// They become the possible ones. Whether there is any.
    Start = 0,
    /// They are those of the possible ones that stay possible. Whether any does.
    Narrow = 1,
    /// They cannot be judged. True.
    Mark = 2,
    /// Nothing. Whether any of them is possible.
    Meet = 3,
}

impl Combine {
    /// By its number.
    #[inline(always)]
    #[must_use]
    pub const fn numbered(number: u64) -> Self {
        match number {
            0 => Self::Start,
            1 => Self::Narrow,
            2 => Self::Mark,
            _ => Self::Meet,
        }
    }

    /// The answer where the vector is missing, which is counted: no rule is taken for possible, nothing is left out.
    #[inline(always)]
    #[must_use]
    pub const fn without_vector(self) -> bool {
        matches!(self, Self::Mark | Self::Meet)
    }
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
    /// Whether it was built for any of these.
    #[inline(always)]
    fn planned_any(&self, _dimensions: &DimensionSet) -> bool {
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
    /// What the process has from its ancestors.
    fn inherited(&mut self) -> Result<Inherited, Unreadable>;
    /// Which listed values the executable's path matches in a generation of the binary tables.
    fn binary(&mut self, generation: u64, slot: u32) -> Result<BinaryIds, Unreadable>;
    /// Thread group id in the host's pid namespace.
    fn pid(&mut self) -> u32;
    /// Thread group id in the process's own pid namespace.
    fn own_pid(&mut self) -> Result<u32, Unreadable>;
    /// Inode number of the task's namespace of this kind ([`crate::dimension::NamespaceKind`]).
    fn namespace(&mut self, kind: u32) -> Result<u32, Unreadable>;
    /// The task's capabilities as bits: effective (0), inheritable (1), permitted (2).
    fn capabilities(&mut self, set: u32) -> Result<u64, Unreadable>;
    /// An argument that is a number, sign-extended to 64 bits.
    fn number(&mut self, arg: u32) -> Result<u64, Unreadable>;
    /// An argument that is a socket, a socket address or a packet.
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

/// The number of the vector of a class's rules.
#[inline(always)]
fn scope<T: Tables>(head: &Head, tables: &T, class: u32) -> u32 {
    let index = opaque(u64::from(class));
    if index < NEAR_CLASSES as u64 {
        return head.scope.get(index as usize).copied().unwrap_or(EMPTY_VECTOR);
    }
    let row = tables.number(dimension::SCOPE, u64::from(class));
    row.unwrap_or(head.defaults.first().copied().unwrap_or(EMPTY_VECTOR))
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
    // Most events end at one of these two, before anything has been written.
    let scope = search.scope(event.class());
    // The rule of the agent's own probes is in no vector but that of its class, so that others can be empty.
    if event.class().wrapping_sub(CLASS_PROBE) < PROBE_CLASSES {
        let any = scope != EMPTY_VECTOR && search.combine(Combine::Start, scope);
        return if any { Some(tables.conclude(head, search.work, search.words)) } else { None };
    }
    let binary = search.binary(event);
    if scope == EMPTY_VECTOR || !binary.is_possible() {
        return None;
    }
    if search.combine(Combine::Start, scope)
        && search.keep_binary(&binary)
        && search.process(event)
        && search.cheap_arguments(event)
        && search.texts(event)
    {
        Some(tables.conclude(head, search.work, search.words))
    } else {
        None
    }
}

/// What the tables say about the executable: by comparison the number of a vector, [`Self::UNUSED`] where no rule asks.
struct Binary {
    exact: u32,
    prefix: u32,
    postfix: u32,
    unreadable: bool,
}

impl Binary {
    const UNUSED: u32 = u32::MAX;
    #[inline(always)]
    const fn is_possible(&self) -> bool {
        self.exact != EMPTY_VECTOR && self.prefix != EMPTY_VECTOR && self.postfix != EMPTY_VECTOR
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

    /// The number of the vector that a look-up answers with; the dimension's default where the value is in no row.
    #[inline(always)]
    fn answer(&self, dimension: u32, row: Option<u32>) -> u32 {
        match row {
            Some(number) => number,
            None => self.head.defaults.get(dimension as usize).copied().unwrap_or(EMPTY_VECTOR),
        }
    }

    /// The rules of the process's class.
    #[inline(always)]
    fn scope(&self, class: u32) -> u32 {
        if !class_possible(self.head, class) {
            return EMPTY_VECTOR;
        }
        scope(self.head, self.tables, class)
    }

    /// What is known of the process besides its executable: marks, pids, namespaces, capabilities.
    #[inline(always)]
    fn process<E: Event>(&mut self, event: &mut E) -> bool {
        self.marks(event) && self.pids(event) && self.namespaces(event) && self.capabilities(event)
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
        let Ok(inherited) = event.inherited() else { return self.fault(NEEDS_MARKS) };
        let [low, high] = inherited.marks;
        for chunk in 0..MARK_CHUNKS as u32 {
            if self.uses(event, dimension::marks(chunk)) {
                let word = if chunk < 8 { low } else { high };
                if !self.chunk(dimension::marks(chunk), word >> (8 * (chunk & 7)) & 0xff, inherited.unknown) {
                    return false;
                }
            }
        }
        true
    }

    /// A chunk of marks. That a mark is set is known; that it is not set is not, where an ancestor's executable is unknown.
    #[inline(always)]
    fn chunk(&mut self, dimension: u32, bits: u64, unknown: bool) -> bool {
        let mask = self.tables.number(dimension, CHUNK_MASK).unwrap_or(0xff);
        let bits = bits & u64::from(mask);
        if unknown && let Some(may) = self.tables.number(dimension, bits | CHUNK_MAY) {
            let doubtful = self.tables.number(dimension, bits | CHUNK_DOUBT).unwrap_or(EMPTY_VECTOR);
            self.combine(Combine::Mark, doubtful);
            return self.narrow(dimension, Some(may));
        }
        self.number(dimension, bits)
    }

    #[inline(always)]
    fn binary<E: Event>(&self, event: &mut E) -> Binary {
        const UNUSED: u32 = Binary::UNUSED;
        let exact = self.uses(event, dimension::BINARY_EXACT);
        let prefix = self.uses(event, dimension::BINARY_PREFIX);
        let postfix = self.uses(event, dimension::BINARY_POSTFIX);
        let mut binary = Binary { exact: UNUSED, prefix: UNUSED, postfix: UNUSED, unreadable: false };
        if !exact && !prefix && !postfix {
            return binary;
        }
        let Ok(ids) = event.binary(self.head.binary_generation, self.head.binary_slot) else {
            return Binary { unreadable: true, ..binary };
        };
        if exact {
            binary.exact = self.listed(dimension::BINARY_EXACT, ids.exact);
        }
        if prefix {
            binary.prefix = self.listed(dimension::BINARY_PREFIX, ids.prefix);
        }
        if postfix {
            binary.postfix = self.listed(dimension::BINARY_POSTFIX, ids.postfix);
        }
        binary
    }

    /// The answer for a listed value of an executable's path; for most paths none is listed, and there is no row for that.
    #[inline(always)]
    fn listed(&self, dimension: u32, id: u64) -> u32 {
        self.answer(dimension, if id == 0 { None } else { self.tables.number(dimension, id) })
    }

    #[inline(always)]
    fn keep_binary(&mut self, binary: &Binary) -> bool {
        if binary.unreadable {
            return self.fault(NEEDS_PROCESS);
        }
        let keep = |search: &mut Self, number| number == Binary::UNUSED || search.combine(Combine::Narrow, number);
        keep(self, binary.exact) && keep(self, binary.prefix) && keep(self, binary.postfix)
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
                number if kind::is_number(number) => self.numeric(event, arg),
                socket if kind::is_socket(socket) => self.socket(event, arg),
                _ => true,
            };
            if !possible {
                return false;
            }
        }
        true
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
            if kind::is_text(event.kind(arg)) && !self.text(event, arg) {
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
        self.keep(self.answer(dimension, row))
    }

    /// Keeps the rules of a vector.
    #[inline(always)]
    fn keep(&mut self, number: u32) -> bool {
        // Most events end here, whatever the number of rules.
        number != EMPTY_VECTOR && self.combine(Combine::Narrow, number)
    }

    /// Keeps the rules that need what cannot be read, and marks them.
    #[inline(always)]
    fn fault(&mut self, what: usize) -> bool {
        self.combine(Combine::Mark, self.needs(what))
    }

    /// Whether a rule that is still possible needs it.
    #[inline(always)]
    fn needed(&mut self, what: usize) -> bool {
        self.combine(Combine::Meet, self.needs(what))
    }

    #[inline(always)]
    fn needs(&self, what: usize) -> u32 {
        self.head.needs.get(what).copied().unwrap_or(EMPTY_VECTOR)
    }

    #[inline(always)]
    fn combine(&mut self, how: Combine, number: u32) -> bool {
        self.tables.combine(how, number, self.work, self.words)
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
}

/// Combines the rules of a vector with those of a decision.
#[inline(always)]
pub fn combine(how: Combine, work: &mut Work, words: u32, vector: &Vector) -> bool {
    let mut any = 0;
    for index in 0..WORDS {
        if index >= words as usize {
            break;
        }
        if let (Some(possible), Some(faulted), Some(word)) =
            (work.possible.get_mut(index), work.faulted.get_mut(index), vector.words.get(index))
        {
            match how {
                Combine::Start => {
                    *possible = *word;
                    *faulted = 0;
                    any |= *word;
                }
                Combine::Narrow => {
                    *possible &= *word;
                    any |= *possible;
                }
                Combine::Mark => {
                    *faulted |= *word;
                    any = 1;
                }
                Combine::Meet => any |= *possible & *word,
            }
        }
    }
    any != 0
}

/// The first rule of each policy, and what they ask for.
#[inline(always)]
#[must_use]
pub fn conclude(head: &Head, words: u32, work: &mut Work) -> Outcome {
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
    let Some(vector) = tables.vector(scope(head, tables, class)) else { return false };
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

impl Outcome {
    /// The outcome as a number, for functions that return numbers.
    #[inline(always)]
    #[must_use]
    pub const fn packed(&self) -> u64 {
        let Self { fired, faulted, deny, signal, would_deny, post } = *self;
        fired as u64
            | (faulted as u64) << 16
            | (deny as u64) << 32
            | (signal as u64) << 33
            | (would_deny as u64) << 34
            | (post as u64) << 35
    }

    /// What [`Self::packed`] has packed.
    #[inline(always)]
    #[must_use]
    pub const fn unpacked(packed: u64) -> Self {
        Self {
            fired: packed as u16 as u32,
            faulted: (packed >> 16) as u16 as u32,
            deny: packed >> 32 & 1 == 1,
            signal: packed >> 33 & 1 == 1,
            would_deny: packed >> 34 & 1 == 1,
            post: packed >> 35 & 1 == 1,
        }
    }

    /// Bit *i*: word *i* has a rule that fired or could not be judged.
    #[inline(always)]
    #[must_use]
    pub const fn rules(&self) -> u32 {
        self.fired | self.faulted
    }
}

#[cfg(test)]
mod tests;
