//! Records of the ring → typed events. Nothing in a record is trusted to be as long as it says.

use stockade_enforcer_common::event::{
    ArgHeader, CredentialsData, EventHeader, ExecEvent, ExitEvent, HookEvent, ObjectData, SocketData,
    UserNamespaceData, arg_status, event_kind,
};
use stockade_enforcer_common::plan::kind;
use zerocopy::FromBytes;

use crate::legend::{Memory, Rule};

/// What a process did.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It executed a program, or was found running one.
    Exec(Exec),
    /// It ended.
    Exit(ExitEvent),
    /// It did something that rules are about.
    Hook(Hook),
}

/// An exec.
#[derive(Debug, Clone, PartialEq)]
pub struct Exec {
    /// The record.
    pub record: ExecEvent,
    /// The executable's path; empty when it could not be built.
    pub path: Vec<u8>,
    /// Its arguments, the first included.
    pub args: Vec<Vec<u8>>,
}

/// What fired at a hook.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// The record.
    pub record: HookEvent,
    /// Where (`lsm/file_open`); empty when the generation's legend is lost.
    pub attach: String,
    /// The rules that fired, with what each did.
    pub fired: Vec<Fired>,
    /// The rules that could not be judged.
    pub faulted: Vec<Rule>,
    /// The arguments by position in the plan.
    pub args: Vec<Arg>,
    /// Rules whose meaning is lost with the legend.
    pub unexplained: usize,
}

/// A rule that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// Which.
    pub rule: Rule,
    /// What it did.
    pub verdict: Verdict,
}

/// What a rule did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It only reports.
    Observed,
    /// The operation was refused.
    Denied,
    /// A signal was sent.
    Signalled,
    /// It would have refused or signalled.
    WouldDeny,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// Its position in the plan.
    pub position: u8,
    /// Its value.
    pub value: Value,
}

/// The value of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Unsigned(u64),
    /// A string or path; `cut`: only its beginning.
    Text {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Only the beginning is there.
        cut: bool,
    },
    /// A socket or socket address.
    Socket(SocketData),
    /// Credentials.
    Credentials(CredentialsData),
    /// A user namespace.
    UserNamespace(UserNamespaceData),
    /// A program or map of BPF, a perf event or a module; the kind says what its numbers are.
    Object(u32, ObjectData),
    /// It could not be read.
    Unreadable,
    /// It was not needed for the decision and was not read.
    NotRead,
}

/// Why a record cannot be decoded: program and agent are not of one build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("an event record ends too early")]
    Short,
    /// It is of no known kind.
    #[error("an event record is of unknown kind {0}")]
    Kind(u16),
}

/// Takes bytes off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    fn read<T: FromBytes>(&mut self) -> Result<T, DecodeError> {
        T::read_from_bytes(self.take(size_of::<T>())?).map_err(|_| DecodeError::Short)
    }
}

/// Decodes a record; `memory` explains its numbers.
pub fn decode(record: &[u8], memory: &Memory) -> Result<Event, DecodeError> {
    let (header, _) = EventHeader::read_from_prefix(record).map_err(|_| DecodeError::Short)?;
    let record = record.get(..header.size as usize).ok_or(DecodeError::Short)?;
    let mut reader = Reader(record);
    match header.kind {
        event_kind::EXEC => exec(&mut reader).map(Event::Exec),
        event_kind::EXIT => reader.read().map(Event::Exit),
        event_kind::HOOK => hook(&mut reader, memory).map(Event::Hook),
        other => Err(DecodeError::Kind(other)),
    }
}

fn exec(reader: &mut Reader<'_>) -> Result<Exec, DecodeError> {
    let record: ExecEvent = reader.read()?;
    let path = reader.take(usize::from(record.path_length))?.to_vec();
    let args = reader.take(usize::from(record.args_length))?;
    let args = args.split(|byte| *byte == 0).take(record.argc as usize).map(<[u8]>::to_vec).collect();
    Ok(Exec { record, path, args })
}

fn hook(reader: &mut Reader<'_>, memory: &Memory) -> Result<Hook, DecodeError> {
    let record: HookEvent = reader.read()?;
    let fired = numbers(reader, record.fired_summary)?;
    let faulted = numbers(reader, record.fault_summary)?;
    let mut args = Vec::with_capacity(usize::from(record.args));
    for _ in 0..record.args {
        args.push(arg(reader)?);
    }
    let legend = memory.legend(record.hook, record.generation);
    let rule = |number: &u32| legend.and_then(|legend| legend.rules.get(number)).cloned();
    let explained: Vec<Rule> = fired.iter().filter_map(rule).collect();
    let fault_rules: Vec<Rule> = faulted.iter().filter_map(rule).collect();
    Ok(Hook {
        unexplained: fired.len() + faulted.len() - explained.len() - fault_rules.len(),
        fired: explained.into_iter().map(|rule| Fired { verdict: verdict(&rule, &record), rule }).collect(),
        faulted: fault_rules,
        attach: legend.map(|legend| legend.attach.clone()).unwrap_or_default(),
        record,
        args,
    })
}

fn verdict(rule: &Rule, record: &HookEvent) -> Verdict {
    let acts = rule.deny.is_some() || rule.signal.is_some();
    if acts && rule.monitor {
        Verdict::WouldDeny
    } else if rule.deny.is_some() && record.errno != 0 {
        Verdict::Denied
    } else if rule.signal.is_some() {
        Verdict::Signalled
    } else {
        Verdict::Observed
    }
}

/// The rules of the words that `summary` names.
fn numbers(reader: &mut Reader<'_>, summary: u16) -> Result<Vec<u32>, DecodeError> {
    let mut numbers = Vec::new();
    for word in (0..16).filter(|word| summary >> word & 1 == 1) {
        let bits: u64 = reader.read()?;
        numbers.extend((0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| word * 64 + bit));
    }
    Ok(numbers)
}

fn arg(reader: &mut Reader<'_>) -> Result<Arg, DecodeError> {
    let header: ArgHeader = reader.read()?;
    let data = reader.take(header.length as usize)?;
    // Padding; the last argument's may have been left out.
    let padding = (header.length as usize).next_multiple_of(8) - header.length as usize;
    reader.take(padding.min(reader.0.len()))?;
    let number = || u64::read_from_prefix(data).map(|(number, _)| number).map_err(|_| DecodeError::Short);
    let value = match header.status {
        arg_status::UNREADABLE => Value::Unreadable,
        arg_status::NOT_READ => Value::NotRead,
        status => match u32::from(header.kind) {
            kind::INT | kind::INT64 => Value::Int(number()?.cast_signed()),
            kind::UINT32 | kind::SIZE => Value::Unsigned(number()?),
            kind::CREDENTIALS => {
                Value::Credentials(CredentialsData::read_from_prefix(data).map_err(|_| DecodeError::Short)?.0)
            }
            kind::USER_NAMESPACE => {
                Value::UserNamespace(UserNamespaceData::read_from_prefix(data).map_err(|_| DecodeError::Short)?.0)
            }
            object if kind::is_object(object) => {
                Value::Object(object, ObjectData::read_from_prefix(data).map_err(|_| DecodeError::Short)?.0)
            }
            socket if kind::is_socket(socket) => {
                Value::Socket(SocketData::read_from_prefix(data).map_err(|_| DecodeError::Short)?.0)
            }
            _ => Value::Text { bytes: data.to_vec(), cut: status == arg_status::CUT },
        },
    };
    Ok(Arg { position: header.position, value })
}
