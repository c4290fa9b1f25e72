//! Figures as rows: read from what the bench printed, completed with ratios and verdicts, shown as a table.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::reasons;

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    name: String,
    value: f64,
    unit: String,
    /// The name of the row that this one is compared with.
    #[serde(default)]
    ratio_to: Option<String>,
    #[serde(default)]
    ratio: Option<f64>,
    /// At most this: for the ratio if there is one, else for the value.
    #[serde(default)]
    budget: Option<f64>,
    #[serde(default)]
    ok: Option<bool>,
    /// Why a budget was missed, or what else should be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// The rows among the lines of a bench, with what can be calculated from them.
pub(super) fn parse(output: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in output.lines().filter(|line| line.starts_with("{\"")) {
        rows.push(serde_json::from_str(line).with_context(|| format!("not a row of a bench: {line}"))?);
    }
    let values: Vec<(String, f64)> = rows.iter().map(|row: &Row| (row.name.clone(), row.value)).collect();
    for row in &mut rows {
        complete(row, &values)?;
    }
    Ok(rows)
}

fn complete(row: &mut Row, values: &[(String, f64)]) -> Result<()> {
    if let (Some(to), None) = (&row.ratio_to, row.ratio) {
        let other = values.iter().find(|(name, _)| name == to);
        let (_, other) = other.with_context(|| format!("`{}` is compared with `{to}`, which is no row", row.name))?;
        row.ratio = Some(row.value / other).filter(|ratio| ratio.is_finite());
    }
    // What is compared with nothing, or costs less than nothing, was not measured; it must not pass for cheap.
    if row.ratio_to.is_some() && !row.ratio.is_some_and(|ratio| ratio > 0.0) {
        row.ok = row.budget.map(|_| false);
        row.note = Some("not measured: the ratio makes no sense".to_owned());
    } else if let (Some(budget), None) = (row.budget, row.ok) {
        row.ok = Some(row.ratio.unwrap_or(row.value) <= budget);
    }
    if row.ok == Some(false) && row.note.is_none() {
        row.note = Some(reasons::of(&row.name).unwrap_or("the reason is not known").to_owned());
    }
    Ok(())
}

/// The rows as a table in Markdown.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::from("| what | value | compared with | ratio | budget | |\n|---|--:|---|--:|--:|---|\n");
    for Row { name, value, unit, ratio_to, ratio, budget, ok, note } in rows {
        let verdict = match ok {
            Some(true) => "✓",
            Some(false) => "✗ over budget",
            None => "",
        };
        let note = note.as_deref().unwrap_or_default();
        let ratio_to = ratio_to.as_deref().unwrap_or_default();
        let last = [verdict, note].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(": ");
        let (ratio, budget) = (optional(*ratio), optional(*budget));
        // Writing to a string cannot fail.
        writeln!(text, "| {name} | {} {unit} | {ratio_to} | {ratio} | {budget} | {last} |", number(*value)).ok();
    }
    text
}

fn optional(value: Option<f64>) -> String {
    value.map(number).unwrap_or_default()
}

/// Three digits say enough of a ratio; large figures are whole.
fn number(value: f64) -> String {
    let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    match text.split_once('.') {
        Some((_, zeros)) if zeros.chars().all(|digit| digit == '0') => format!("{value:.0}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_verdicts_are_calculated_from_the_rows() {
        let output = "noise\n{\"name\":\"empty\",\"value\":160,\"unit\":\"instructions\"}\n\
            {\"name\":\"ours\",\"value\":320,\"unit\":\"instructions\",\"ratio_to\":\"empty\",\"budget\":2.1}\n\
            {\"name\":\"size\",\"value\":30000,\"unit\":\"instructions\",\"budget\":20000,\"note\":\"why\"}\n";
        let rows = parse(output).unwrap();
        assert_eq!((rows[1].ratio, rows[1].ok), (Some(2.0), Some(true)));
        assert_eq!(rows[2].ok, Some(false));
        let table = table(&rows);
        assert!(table.contains("| ours | 320 instructions | empty | 2 | 2.10 | ✓ |"), "{table}");
        assert!(table.contains("| 30000 instructions |  |  | 20000 | ✗ over budget: why |"), "{table}");
    }

    #[test]
    fn a_ratio_that_makes_no_sense_never_keeps_a_budget() {
        let row = |ratio: &str| {
            format!("{{\"name\":\"a\",\"value\":1,\"unit\":\"x\",\"ratio_to\":\"b\",{ratio}\"budget\":2,\"ok\":true}}")
        };
        assert_eq!(parse(&row("\"ratio\":-0.7,")).unwrap()[0].ok, Some(false));
        assert_eq!(parse(&row("\"ratio\":0.5,")).unwrap()[0].ok, Some(true));
        let by_zero = format!("{{\"name\":\"b\",\"value\":0,\"unit\":\"x\"}}\n{}", row(""));
        assert_eq!(parse(&by_zero).unwrap()[1].ok, Some(false));
    }

    #[test]
    fn a_row_that_is_compared_with_nothing_is_an_error() {
        assert!(parse("{\"name\":\"a\",\"value\":1,\"unit\":\"x\",\"ratio_to\":\"b\"}").is_err());
        assert!(parse("{\"name\":\"a\"}").is_err());
        assert!(parse("").unwrap().is_empty());
    }
}
