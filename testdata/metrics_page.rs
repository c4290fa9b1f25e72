//! What `docs/metrics.md` says of a program's metrics, beside what the program prints: for the tests of those that have any.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../docs/metrics.md");

/// Compares names, types and labels of the page's metrics that begin with `prefix` with those in OpenMetrics `text`. Returns the page.
pub(crate) fn compare(text: &str, prefix: &str) -> &'static str {
    let mut printed = BTreeSet::new();
    for line in text.lines() {
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let sample = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let labels = text.lines().find_map(|line| line.strip_prefix(&sample)?.strip_prefix('{')?.split_once('}'));
        let names = labels.iter().flat_map(|(labels, _)| labels.split(',')).filter_map(|label| label.split('=').next());
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        printed.insert(format!("| `{sample}` | {kind} | {} |", names.join(", ")).replace("|  |", "| |"));
    }
    let beginning = format!("| `{prefix}");
    let rows = PAGE.lines().filter(|line| line.starts_with(&beginning));
    let said: BTreeSet<String> = rows.map(|row| row.split('|').take(4).collect::<Vec<_>>().join("|") + "|").collect();
    assert_eq!(said, printed);
    PAGE
}
