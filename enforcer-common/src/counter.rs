//! COUNTERS: what went wrong, per CPU and by place.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A row of COUNTERS.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Counter {
    /// How often.
    pub count: u64,
    /// The latest error of the helper that failed; 0 where no helper was asked.
    pub error: i64,
}

macro_rules! places {
    ($($(#[doc = $doc:literal])+ $place:ident = $number:literal, $name:literal;)*) => {
        /// Where something went wrong: the index into COUNTERS.
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Place {
            $($(#[doc = $doc])+ $place = $number,)*
        }

        impl Place {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$place,)*];

            /// Its name in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$place => $name,)* }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$place => concat!($($doc),+),)* }
            }
        }
    };
}

places! {
    /// An event found no room in the ring.
    EventLost = 0, "event_lost";
    /// No working space was free: the check was given up, and denied where a rule could.
    ScratchFull = 1, "scratch_full";
    /// A path changed while it was read, and was read again.
    PathRead = 2, "path_read_again";
    /// A process had no record when a hook ran.
    ProcessMissing = 3, "process_missing";
    /// A process record could not be stored: the table is full.
    ProcessFull = 4, "process_full";
    /// The path of an executable could not be stored: the table is full.
    BinaryFull = 5, "binary_full";
    /// The path of a process's executable was not stored when a new generation asked for it.
    BinaryMissing = 6, "binary_missing";
    /// A path could not be read.
    PathUnreadable = 7, "path_unreadable";
    /// A path had more components or bytes than can be built.
    PathTooLong = 8, "path_too_long";
    /// A path kept changing while it was read: the check was given up, and denied where a rule could.
    PathChanged = 9, "path_changed";
    /// An argument other than a path could not be read.
    ArgumentUnreadable = 10, "argument_unreadable";
    /// A vector or rule that a table names is not there.
    RowMissing = 11, "row_missing";
    /// The hook has no head: no generation has been installed.
    HeadMissing = 12, "head_missing";
    /// A signal could not be sent.
    SignalFailed = 13, "signal_failed";
    /// More rules fired in one event than are counted one by one.
    FiredUncounted = 14, "fired_uncounted";
    /// The arguments of an exec could not be read.
    ExecArguments = 15, "exec_arguments";
    /// The cgroup of a process could not be read.
    CgroupUnreadable = 16, "cgroup_unreadable";
    /// A fact of a process (namespace, own pid) could not be read.
    ProcessUnreadable = 17, "process_unreadable";
}

/// Rows of COUNTERS.
pub const PLACES: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbered_without_gaps_and_named_apart() {
        for (index, place) in Place::ALL.iter().enumerate() {
            assert_eq!(*place as usize, index);
        }
        assert!(Place::ALL.len() <= PLACES as usize);
        let mut names: Vec<_> = Place::ALL.iter().map(|place| place.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Place::ALL.len());
    }
}
