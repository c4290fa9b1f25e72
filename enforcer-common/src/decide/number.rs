//! Numbers: equal to one of several, in a range, with a bit of a mask. Sets of capabilities are numbers with bits.

use super::{Event, Search, Tables, Unreadable, Work, is_set};
use crate::bits::EMPTY_VECTOR;
use crate::dimension::{self, CAPABILITY_SETS, DIMENSIONS, Facet, MASK_CHUNKS, MASKED, contains, intersects};
use crate::head::{Head, NEEDS_CAPABILITIES};
use crate::plan::MAX_ARGS;
use crate::verifier::opaque;

impl<T: Tables> Search<'_, T> {
    #[inline(always)]
    pub(super) fn numeric<E: Event>(&mut self, event: &mut E, arg: u32) -> bool {
        let equal = dimension::argument(arg, Facet::Number);
        let by_equal = self.uses(event, equal);
        let by_more = self.uses_more(event, arg);
        if !by_equal && !by_more {
            return true;
        }
        let Ok(value) = event.number(arg) else { return self.fault(arg as usize) };
        (!by_equal || self.number(equal, value)) && (!by_more || self.keep_number(arg, value))
    }

    #[inline(always)]
    pub(super) fn capabilities<E: Event>(&mut self, event: &mut E) -> bool {
        for set in 0..CAPABILITY_SETS as u32 {
            let of = dimension::capabilities(set);
            if self.uses_more(event, of) {
                let possible = match event.capabilities(set) {
                    Ok(value) => self.keep_number(of, value),
                    Err(Unreadable) => self.fault(NEEDS_CAPABILITIES + set as usize),
                };
                if !possible {
                    return false;
                }
            }
        }
        true
    }

    #[inline(always)]
    fn uses_more<E: Event>(&self, event: &E, of: u32) -> bool {
        let more = dimension::more_of_number(of);
        event.planned_any(&more) && intersects(&self.head.used, &more)
    }

    #[inline(always)]
    fn keep_number(&mut self, of: u32, value: u64) -> bool {
        self.tables.keep_number(self.head, of, value, self.work, self.words)
    }
}

/// Keeps the rules whose ranges a number is in and whose masks have one of its bits; those that do not ask stay. Whether any
/// is left. `of`: an argument, or [`dimension::capabilities`].
#[inline(always)]
pub fn keep_number<T: Tables>(head: &Head, tables: &T, of: u32, value: u64, work: &mut Work, words: u32) -> bool {
    let mut search = Search { head, tables, work, words };
    if of < MAX_ARGS as u32 {
        let range = dimension::argument(of, Facet::Range);
        if contains(&head.used, range) && !search.keep(answer(head, range, tables.range(range, value))) {
            return false;
        }
    }
    for chunk in 0..MASK_CHUNKS as u32 {
        let dimension = dimension::masks(of, chunk);
        if contains(&head.used, dimension) {
            let row = tables.number(dimension, met(head, of, chunk, value));
            if !search.keep(answer(head, dimension, row)) {
                return false;
            }
        }
    }
    true
}

/// As [`Search::answer`], for a dimension that the verifier does not know.
#[inline(always)]
fn answer(head: &Head, dimension: u32, row: Option<u32>) -> u32 {
    let index = opaque(u64::from(dimension));
    match row {
        Some(number) => number,
        None if index >= DIMENSIONS as u64 => EMPTY_VECTOR,
        None => head.defaults.get(index as usize).copied().unwrap_or(EMPTY_VECTOR),
    }
}

/// Bit *i*: the number has a bit of mask *i* of the chunk.
#[inline(always)]
fn met(head: &Head, of: u32, chunk: u32, value: u64) -> u64 {
    let row = opaque(u64::from(of) * MASK_CHUNKS as u64 + u64::from(chunk));
    if row >= (MASKED * MASK_CHUNKS) as u64 {
        return 0;
    }
    let Some(masks) = head.masks.get(row as usize) else { return 0 };
    let mut met = 0;
    for (bit, mask) in masks.iter().enumerate() {
        met |= u64::from(is_set(value & mask)) << bit;
    }
    met
}
