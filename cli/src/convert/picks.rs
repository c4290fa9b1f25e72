//! Which readings the user has chosen.

use std::cell::Cell;

use anyhow::{Context as _, bail};

/// `--choose`: of the choices at a place, the N-th reading.
#[derive(Debug)]
pub(super) struct Picks {
    picks: Vec<Pick>,
}

#[derive(Debug)]
struct Pick {
    /// A path, a code, or `CODE@PATH`.
    place: String,
    /// From 1.
    number: usize,
    used: Cell<bool>,
}

impl Picks {
    pub(super) fn read(texts: &[String]) -> anyhow::Result<Self> {
        let pick = |text: &String| {
            let (place, number) =
                text.rsplit_once('=').with_context(|| format!("--choose {text}: write PATH=N or CODE=N"))?;
            let number = number.parse().ok().filter(|number| *number > 0);
            let number = number.with_context(|| format!("--choose {text}: write the number of a reading, from 1"))?;
            Ok(Pick { place: place.to_owned(), number, used: Cell::new(false) })
        };
        Ok(Self { picks: texts.iter().map(pick).collect::<anyhow::Result<_>>()? })
    }

    /// Which of `count` readings is chosen, from 0. What is most exactly named counts.
    pub(super) fn chosen(&self, code: &str, path: &str, count: usize) -> anyhow::Result<Option<usize>> {
        let exact = format!("{code}@{path}");
        let names = [exact.as_str(), path, code];
        let Some(pick) = names.iter().find_map(|name| self.picks.iter().find(|pick| pick.place == *name)) else {
            return Ok(None);
        };
        if pick.number > count {
            bail!("--choose {}={}: there are {count} readings at {path}", pick.place, pick.number);
        }
        pick.used.set(true);
        Ok(Some(pick.number - 1))
    }

    /// An error, if one was about nothing.
    pub(super) fn check_use(&self) -> anyhow::Result<()> {
        match self.picks.iter().find(|pick| !pick.used.get()) {
            Some(pick) => bail!("--choose {}={}: there is no such choice", pick.place, pick.number),
            None => Ok(()),
        }
    }
}
