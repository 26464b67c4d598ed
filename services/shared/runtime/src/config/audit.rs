//! Where the end of the audit chain is told to, so that a tail that was cut off shows.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// How the end of the audit chain is told to an outside place.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// A file that lines are added to, best in a place that whoever may write to the database may not. Without one the chain's
    /// end stands in the log only.
    pub anchor_file: Option<PathBuf>,
    /// Seconds between two anchors.
    pub anchor_interval_seconds: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            anchor_file: None,
            anchor_interval_seconds: 3_600,
        }
    }
}

impl Audit {
    /// [`Self::anchor_interval_seconds`] as a duration.
    pub const fn anchor_interval(&self) -> Duration {
        Duration::from_secs(self.anchor_interval_seconds)
    }
}
