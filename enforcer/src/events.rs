//! From what the kernel reports to the JSON that people's pipelines already parse: upstream's field names and event
//! kinds, with what Stockade adds (`policy_namespace`, `hook_index`, `selector`, `verdict`, `strength`, `identity`).

pub mod arguments;
pub mod clock;
pub mod directory;
pub mod export;
pub mod processes;
pub mod procfs;
