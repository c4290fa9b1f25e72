//! Who has which address. Rigs have networks of their own, so these are the same in all of them.

/// The rig's side of the network: API server, registry, and the nodes' gateway.
pub(crate) const API_SERVER: &str = "172.30.0.1";
/// The network of API server and nodes.
pub(crate) const NETWORK_PREFIX: u8 = 24;
/// Addresses of services.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// The service `kubernetes`.
pub(crate) const FIRST_SERVICE_ADDRESS: &str = "10.96.0.1";
/// Addresses of all pods.
pub(crate) const PODS: &str = "10.244.0.0/16";
/// Where images come from.
pub(crate) const REGISTRY: &str = "172.30.0.1:5000";

/// One node of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    number: u8,
    /// Its kernel, as `versions.toml` calls it.
    pub(crate) kernel: &'static str,
}

/// The nodes: two kernels that people have, three years apart.
pub(crate) const NODES: [Node; 2] = [Node { number: 1, kernel: "6.12" }, Node { number: 2, kernel: "6.1" }];

impl Node {
    /// Its name as a host and in the API.
    pub(crate) fn name(self) -> String {
        format!("node-{}", self.number)
    }

    /// Its address.
    pub(crate) fn address(self) -> String {
        format!("172.30.0.1{}", self.number)
    }

    /// The addresses of its pods.
    pub(crate) fn pods(self) -> String {
        format!("10.244.{}.0/24", self.number)
    }

    /// Its network interface on the rig's side.
    pub(crate) fn tap(self) -> String {
        format!("tap{}", self.number)
    }

    /// Its hardware address.
    pub(crate) fn mac(self) -> String {
        format!("52:54:00:00:00:0{}", self.number)
    }
}

impl Node {
    /// The node with this name.
    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        let found = NODES.into_iter().find(|node| node.name() == name);
        found.ok_or_else(|| {
            anyhow::anyhow!("there is no node `{name}`; there are {}", NODES.map(Self::name).join(" and "))
        })
    }
}
