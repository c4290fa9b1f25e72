//! Which pods' system calls reach this node's kernel: those of sandboxes with a kernel of their own do not, and no policy
//! reaches what is done in them.
//!
//! A pod names a RuntimeClass, which names a handler of the container runtime. What a handler does is for the node's
//! configuration to say; those that everybody has are known here, others can be told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::node::v1::RuntimeClass;
use kube::{Api, Client};
use tokio::sync::watch;

use crate::pods::PodInfo;
use crate::source::cluster::ClusterView;

/// Handlers whose containers are processes of the node's kernel, whatever else they add.
const HOST_KERNEL: [&str; 7] =
    ["runc", "crun", "youki", "nvidia", "nvidia-cdi", "nvidia-legacy", "nvidia-experimental"];
/// Classes are looked at again after this long: somebody may have changed them, or the API server may have been away.
const AGAIN: Duration = Duration::from_secs(300);

/// The handler of each RuntimeClass that a pod of this node has.
pub type Handlers = BTreeMap<String, String>;

/// Who tells handlers of the host's kernel from others.
#[derive(Debug, Clone, Default)]
pub struct Runtimes {
    /// Handlers that are of the host's kernel, too.
    pub also_host: BTreeSet<String>,
}

impl Runtimes {
    /// Whether policies reach what is done in `pod`. A class of which nobody has said the handler yet is taken for one that is
    /// named like it, as they usually are.
    #[must_use]
    pub fn reaches(&self, pod: &PodInfo, handlers: &Handlers) -> bool {
        let Some(class) = &pod.runtime_class else { return true };
        let handler = handlers.get(class).unwrap_or(class);
        HOST_KERNEL.contains(&handler.as_str()) || self.also_host.contains(handler)
    }
}

/// Looks up the handlers of the classes that pods have, for as long as somebody listens.
pub async fn follow(client: Client, mut view: watch::Receiver<ClusterView>, handlers: watch::Sender<Handlers>) {
    let classes: Api<RuntimeClass> = Api::all(client);
    let mut known = BTreeSet::new();
    loop {
        let named: BTreeSet<String> =
            view.borrow_and_update().desired.pods.values().filter_map(|pod| pod.runtime_class.clone()).collect();
        for class in named.difference(&known) {
            match classes.get_opt(class).await {
                Ok(found) => {
                    let handler = found.map(|found| found.handler);
                    handlers.send_if_modified(|handlers| {
                        let before = handlers.get(class).cloned();
                        match &handler {
                            Some(handler) => drop(handlers.insert(class.clone(), handler.clone())),
                            None => drop(handlers.remove(class)),
                        }
                        before != handler
                    });
                }
                Err(error) => tracing::warn!(%error, class, "a RuntimeClass could not be read; it is tried again"),
            }
        }
        known = named;
        let look_again = tokio::time::sleep(AGAIN);
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            () = look_again => known.clear(),
            () = handlers.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_class_is_called_says_nothing_once_its_handler_is_known() {
        let pod = |class: Option<&str>| PodInfo { runtime_class: class.map(str::to_owned), ..PodInfo::default() };
        let handlers = Handlers::from([("fast".into(), "crun".into()), ("safe".into(), "runsc".into())]);
        let runtimes = Runtimes { also_host: BTreeSet::from(["spin".into()]) };
        let reached =
            [None, Some("fast"), Some("nvidia"), Some("spin")].map(|class| runtimes.reaches(&pod(class), &handlers));
        assert_eq!(reached, [true; 4]);
        let beyond =
            [Some("safe"), Some("kata"), Some("unheard")].map(|class| runtimes.reaches(&pod(class), &handlers));
        assert_eq!(beyond, [false; 3]);
    }
}
