//! How much is held at once: the operator has little memory, and anybody in the cluster may connect.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of the bodies that are held at once.
pub const MAX_BODIES: usize = 4 * crate::server::MAX_BODY;
/// Bodies are accounted for in pieces of this many bytes.
const PIECE: usize = 1 << 10;
/// An API server waits for five seconds by default; whoever has no room by then is told so before.
const PATIENCE: Duration = Duration::from_secs(2);

/// Room for bodies, and for the one document that is judged at a time: that can take a hundred MiB, and rarely takes more
/// than a millisecond.
#[derive(Debug, Clone)]
pub struct Room {
    bodies: Arc<Semaphore>,
    judging: Arc<Semaphore>,
    patience: Duration,
}

/// Room that is taken; given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Default for Room {
    fn default() -> Self {
        Self::with_patience(PATIENCE)
    }
}

impl Room {
    /// Whoever finds no room for so long is refused.
    #[must_use]
    pub fn with_patience(patience: Duration) -> Self {
        let bodies = Arc::new(Semaphore::new(MAX_BODIES / PIECE));
        Self { bodies, judging: Arc::new(Semaphore::new(1)), patience }
    }

    /// Room for a body of so many bytes; `None`: there is none.
    pub async fn for_body(&self, bytes: usize) -> Option<Place> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX);
        self.wait(Arc::clone(&self.bodies).acquire_many_owned(pieces)).await
    }

    /// Room for a document that is judged; `None`: there is none.
    pub async fn for_document(&self) -> Option<Place> {
        self.wait(Arc::clone(&self.judging).acquire_owned()).await
    }

    async fn wait<E>(&self, place: impl Future<Output = Result<OwnedSemaphorePermit, E>>) -> Option<Place> {
        timeout(self.patience, place).await.ok()?.ok().map(|permit| Place { _permit: permit })
    }

    /// How long a body may take to arrive once there is room for it: somebody else may be waiting.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }
}
