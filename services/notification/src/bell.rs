//! Wakes whoever waits for messages to deliver.

use tokio::sync::watch;

/// Rung when the queue of deliveries may have changed. Clones are the same bell.
#[derive(Clone, Debug)]
pub(crate) struct Bell(watch::Sender<()>);

impl Default for Bell {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Bell {
    /// Wakes everybody who listens, or is about to.
    pub(crate) fn ring(&self) {
        self.0.send_replace(());
    }

    /// Hears every ring from now on; rings that were not waited for are one.
    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}
