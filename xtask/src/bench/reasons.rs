//! Why a budget is missed: beside the figure, in the table and in the JSON.

/// By the beginning of a row's name. A row that misses its budget and is not here says so.
const REASONS: &[(&str, &str)] = &[];

/// The reason of a row.
pub(super) fn of(name: &str) -> Option<&'static str> {
    REASONS.iter().find(|(beginning, _)| name.starts_with(beginning)).map(|(_, reason)| *reason)
}
