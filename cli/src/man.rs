//! `stockade man`: the manual pages, made from what `--help` says.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::Outcome;
use crate::args::{Args, ManArgs};

/// Prints a page, or writes all of them into a folder.
pub(crate) fn run(args: &ManArgs) -> anyhow::Result<Outcome> {
    let pages = pages();
    if let Some(folder) = &args.dir {
        write(&pages, folder)?;
        return Ok(Outcome::Fine);
    }
    let name = args.command.as_ref().map_or_else(|| "stockade".to_owned(), |command| format!("stockade-{command}"));
    let page = pages.iter().find(|page| page.get_name() == name);
    let page = page.with_context(|| {
        let commands: Vec<&str> = pages.iter().filter_map(|page| page.get_name().strip_prefix("stockade-")).collect();
        format!("there is no such command; there are {}", commands.join(", "))
    })?;
    io::stdout().write_all(&rendered(page)?)?;
    Ok(Outcome::Fine)
}

/// The command, and each of its commands under the name of its page.
fn pages() -> Vec<Command> {
    let command = Args::command().name("stockade").bin_name("stockade").disable_help_subcommand(true).after_help(None);
    let own = command.get_subcommands().filter(|own| !own.is_hide_set()).map(|own| {
        let name = format!("stockade-{}", own.get_name());
        let usage = format!("stockade {}", own.get_name());
        own.clone().name(name).bin_name(usage)
    });
    let own: Vec<Command> = own.collect();
    [command].into_iter().chain(own).collect()
}

/// What `--help` says last.
const END: &str = "\
.SH \"EXIT STATUS\"
0 nothing is refused; 1 something is; 2 it could not be found out.
";

fn rendered(page: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(page.clone()).source(concat!("stockade ", env!("CARGO_PKG_VERSION"))).render(&mut text)?;
    text.extend_from_slice(END.as_bytes());
    Ok(text)
}

fn write(pages: &[Command], folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    for page in pages {
        let path = folder.join(format!("{}.1", page.get_name()));
        fs::write(&path, rendered(page)?).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
