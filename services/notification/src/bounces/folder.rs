//! A Maildir that a mail server fills with what comes to the bounce address.
//!
//! A message is moved from `new` to `cur` only after what it says is in the inbox, so a crash in between reads it again; the
//! inbox knows it by its bytes. Several workers may read one folder: they store the same thing, and one of them moves it.
//! Nothing but delivery reports is looked at: a reply by mail is no answer to anything.

use std::{io, path::PathBuf, time::Duration};

use countersign_domain::{reply::ReplyContent, secrets::LinkKey};
use countersign_store::StoreError;
use tokio::{fs, io::AsyncReadExt as _};
use tokio_util::sync::CancellationToken;

use super::{fingerprint, report::read_report};
use crate::{
    inbox::{Inbox, ReplyInput},
    metrics::Metrics,
};

/// Who brings it, in the inbox.
const SOURCE: &str = "BOUNCE_FOLDER";
/// How much of a message is read. What is said stands at the beginning; a whole letter may be appended.
const MAX_BYTES: u64 = 256 * 1024;
/// Between two looks into the folder.
const POLL: Duration = Duration::from_secs(1);
/// Messages that are taken in one look, so that the end of the process is never far.
const BATCH: usize = 500;

/// Reads the folder.
pub(crate) struct BounceFolder {
    pub(crate) folder: PathBuf,
    pub(crate) inbox: Inbox,
    pub(crate) link_key: LinkKey,
    pub(crate) metrics: Metrics,
}

/// Why the folder could not be worked through.
#[derive(Debug, thiserror::Error)]
enum FolderError {
    #[error("the folder cannot be read")]
    Folder(#[from] io::Error),
    #[error("the inbox does not answer")]
    Inbox(#[from] StoreError),
}

impl BounceFolder {
    /// Runs until the soft stage.
    pub(crate) async fn run(self, soft: CancellationToken) {
        let mut failing = false;
        while !soft.is_cancelled() {
            match self.look().await {
                Ok(()) => failing = false,
                // Told once, not every second.
                Err(error) if !failing => {
                    tracing::error!(error = %error, "the bounce folder cannot be worked through; it is tried again");
                    failing = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = soft.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn look(&self) -> Result<(), FolderError> {
        let mut entries = fs::read_dir(self.folder.join("new")).await?;
        let mut taken = 0;
        while taken < BATCH
            && let Some(entry) = entries.next_entry().await?
        {
            taken += 1;
            if !entry.file_type().await?.is_file() {
                continue;
            }
            let Some(bytes) = read(entry.path()).await? else {
                continue;
            };
            self.take(&bytes).await?;
            let mut name = entry.file_name();
            name.push(":2,S");
            let seen = self.folder.join("cur");
            fs::create_dir_all(&seen).await?;
            match fs::rename(entry.path(), seen.join(name)).await {
                // Another worker was as quick.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                moved => moved?,
            }
        }
        Ok(())
    }

    async fn take(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let Some((delivery, generation, told)) = read_report(bytes, &self.link_key) else {
            self.metrics.bounce("IGNORED");
            return Ok(());
        };
        self.metrics.bounce(told.bounce.as_str());
        self.inbox
            .receive(ReplyInput {
                source: SOURCE,
                source_event_id: fingerprint(bytes),
                order: None,
                content: ReplyContent::Bounce {
                    delivery: delivery.as_uuid(),
                    generation,
                    bounce: told.bounce,
                    code: told.code,
                },
            })
            .await?;
        Ok(())
    }
}

/// The beginning of a file; none when another worker has moved it.
async fn read(path: PathBuf) -> io::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).await?;
    Ok(Some(bytes))
}
