//! The kernel stamps events with its boot time; people read the time of day.

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Converts boot time to the time of day.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Time of day minus boot time, in nanoseconds.
    offset: i128,
}

impl Clock {
    /// Reads both clocks now. Read again from time to time: the time of day can be set.
    #[must_use]
    pub fn now() -> Self {
        let nanos = |clock| {
            let time = clock_gettime(clock);
            i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
        };
        Self { offset: nanos(ClockId::Realtime) - nanos(ClockId::Boottime) }
    }

    /// The time of day now.
    #[must_use]
    pub fn time_of_day(self) -> String {
        format!("{:.9}", Timestamp::now())
    }

    /// RFC 3339 with nanoseconds, in UTC.
    #[must_use]
    pub fn at(self, boot_ns: u64) -> String {
        Timestamp::from_nanosecond(self.offset + i128::from(boot_ns))
            .map_or_else(|_| String::new(), |time| format!("{time:.9}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_in_utc() {
        let clock = Clock { offset: 1_700_000_000_000_000_000 };
        assert_eq!(clock.at(5), "2023-11-14T22:13:20.000000005Z");
    }
}
