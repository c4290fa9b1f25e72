//! The report as annotations of a GitHub workflow: the forge shows each beside the line that it is about.

use std::io::{self, Write};

use super::report::{Entry, Finding, Report};
use super::text;

/// Writes one workflow command for each finding, and the summary as a line of the log.
pub(crate) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for entry in &report.entries {
        for (level, findings) in [("error", &entry.faults), ("warning", &entry.warnings)] {
            for finding in findings {
                writeln!(out, "{}", command(level, entry, finding))?;
            }
        }
    }
    writeln!(out, "{}", text::summary(report))
}

fn command(level: &str, entry: &Entry, finding: &Finding) -> String {
    let Finding { path, code, message, help, line, column, place: _ } = finding;
    let mut text = if path.is_empty() { message.clone() } else { format!("{path}: {message}") };
    if !help.is_empty() {
        text += &format!("; {help}");
    }
    format!(
        "::{level} file={},line={line},col={column},title={}::{}",
        property(&entry.file),
        property(code),
        data(&text)
    )
}

/// What would end the message.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// What would end the property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
