//! Whether what is in force works: probed where there is a harmless operation, read back elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stockade_enforcer_common::counter::Place;

use super::Engine;
use crate::binaries;
use crate::counters;
use crate::execute::Installed;
use crate::instance::Attach;
use crate::ops::Slot;
use crate::probe::{Checked, Liveness, Prober};
use crate::program_file::ProgramFile;

/// How long a probe's event may take: it is in the ring when the operation ends.
const PATIENCE: Duration = Duration::from_secs(1);
/// Events that are kept for [`Engine::poll_events`] while a probe's is looked for.
const KEPT: usize = 8192;

/// A probe that was seen and whose event is to come.
struct Waiting {
    at: usize,
    hook: u32,
}

impl Engine {
    /// Probes every hook instance in force; where that cannot be done, reads it back. To be called every few seconds: what
    /// else has to be done now and then is done here too.
    pub fn probe(&mut self) -> Vec<Liveness> {
        if let Err(error) = binaries::make_room(&self.started.kernel) {
            tracing::warn!(%error, "the table of executables fills up");
        }
        let hooks: Vec<(String, Installed)> =
            self.state.hooks.iter().map(|(name, installed)| (name.clone(), installed.clone())).collect();
        self.prober.forget();
        let lost = self.lost();
        let mut waiting = Vec::new();
        let mut all = Vec::new();
        for (at, (name, installed)) in hooks.iter().enumerate() {
            self.options.progress.step();
            let attach = self.attaches.get(name).cloned();
            let policies = attach.as_ref().and_then(|attach| self.users.get(attach)).cloned().unwrap_or_default();
            let (checked, wrong) = match self.probe_one(name, installed, attach.as_ref()) {
                Ok(None) => {
                    waiting.push(Waiting { at, hook: installed.identity.number });
                    (Checked::Probed, None)
                }
                Ok(wrong) => (Checked::Probed, wrong),
                Err(why) => (Checked::ReadBack(why), self.read_back(name, installed)),
            };
            let attach = attach.map(|attach| attach.to_string()).unwrap_or_default();
            all.push(Liveness { hook: name.clone(), attach, policies, checked, wrong });
        }
        let mut unreported = self.wait_for_reports(&waiting);
        if self.lost() != lost {
            // The ring is full: the events are counted as lost, which is another trouble than a hook that does not work.
            unreported.clear();
        }
        for at in unreported {
            if let Some(found) = all.get_mut(at) {
                found.wrong = Some("its probe has been counted and has not come back as an event".into());
            }
        }
        let broken = all.iter().filter_map(|found| Some((found.hook.clone(), found.wrong.clone()?)));
        self.broken = broken.collect();
        all
    }

    /// `Err`: why it cannot be probed. `Ok(Some)`: what is wrong.
    fn probe_one(
        &mut self,
        name: &str,
        installed: &Installed,
        attach: Option<&Attach>,
    ) -> Result<Option<String>, String> {
        let attach = attach.ok_or("where it is attached is known after the next change")?;
        if let Some(why) = Prober::why_not(attach) {
            return Err(why);
        }
        let legend = self.memory.legend(installed.identity.number, installed.head.generation);
        let rule = legend.and_then(|legend| legend.probe).ok_or("it has no room for a probe's rule")?;
        let kernel = &self.started.kernel;
        let instance = kernel.instances.get(name).ok_or("it is not loaded")?;
        let slot = Slot::from_index(installed.head.slot);
        let count = || counters::rule_counts(instance, slot, rule).map_err(|error| error.to_string());
        let before = count()?;
        let probe = self.prober.probe(attach, kernel)?;
        let after = count()?;
        let denies = installed.head.deny.get(rule as usize / 64).is_some_and(|word| word >> (rule % 64) & 1 == 1);
        if after.matched == before.matched && probe.refused {
            return Err("another hook refuses its operation first".into());
        }
        Ok(if after.matched == before.matched {
            Some(format!("it has not seen a probe (which ended with {})", error_name(probe.errno)))
        } else if denies && !probe.refused {
            Some(format!("it has not refused a probe (which ended with {})", error_name(probe.errno)))
        } else {
            None
        })
    }

    pub(super) fn read_back(&self, name: &str, installed: &Installed) -> Option<String> {
        if let Some(Attach::Uprobe { path, stamp, .. }) = self.attaches.get(name)
            && ProgramFile::is_replaced(path, stamp)
        {
            // The kernel's probe is in the file that was there, which no new process runs.
            return Some(format!("`{path}` has been replaced or removed since"));
        }
        match self.started.kernel.instances.get(name) {
            Some(instance) => instance.check(installed),
            None => Some("it is not loaded".to_owned()),
        }
    }

    /// Takes events until every probe has come back; returns those that have not.
    fn wait_for_reports(&mut self, waiting: &[Waiting]) -> Vec<usize> {
        let until = Instant::now() + PATIENCE;
        loop {
            while self.pending.len() < KEPT
                && let Some(event) = self.started.kernel.ring.next(&self.memory)
            {
                self.pending.extend(self.prober.take(event));
            }
            let missing = waiting.iter().filter(|probe| !self.prober.has_reported(probe.hook));
            let missing: Vec<usize> = missing.map(|probe| probe.at).collect();
            if missing.is_empty() || Instant::now() >= until || self.pending.len() >= KEPT {
                return if self.pending.len() >= KEPT { Vec::new() } else { missing };
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Events lost so far.
    fn lost(&self) -> u64 {
        let mut places = BTreeMap::new();
        for instance in self.started.kernel.instances.values() {
            if let Some(map) = instance.maps.get(stockade_enforcer_common::name::hook_map::COUNTERS)
                && let Err(error) = counters::add_places(&mut places, map)
            {
                tracing::warn!(%error, "the counters of a hook instance cannot be read");
            }
        }
        places.get(Place::EventLost.name()).copied().unwrap_or_default()
    }
}

fn error_name(errno: i32) -> String {
    if errno == 0 { "success".into() } else { std::io::Error::from_raw_os_error(errno).to_string() }
}
