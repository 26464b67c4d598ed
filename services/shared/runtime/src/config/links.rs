//! The key that links and codes are derived from.

use std::{
    io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::SecretString;

use super::{Links, kept};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum LinkKeyError {
    /// The file of the development key can neither be read nor made.
    #[error("keep the link key in {}", path.display())]
    Keep {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The file of the development key was cut short; links made with it could be guessed.
    #[error("the link key in {} is shorter than {} bytes", path.display(), Links::MIN_KEY_BYTES)]
    Short {
        /// Which file.
        path: PathBuf,
    },
}

impl Links {
    /// How many keys there may be: each of them signs what partners are told, and receivers look at ten signatures at most.
    pub const KEYS_MAX: usize = 5;
    /// A shorter key could be guessed.
    pub const MIN_KEY_BYTES: usize = 32;

    /// The configured keys, one a line. Without one (a development machine; [`super::Config::validate`] refuses that next to a
    /// database server) the key in `kept`, by custom `./var/link.key`, which is made from `fresh` random bytes when it
    /// does not exist and is readable by its owner only.
    pub fn key_or_create(
        &self,
        kept: &Path,
        fresh: [u8; 32],
    ) -> Result<SecretString, LinkKeyError> {
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        let failed = |source| LinkKeyError::Keep {
            path: kept.to_owned(),
            source,
        };
        let key = kept::read_or_create(kept, &STANDARD.encode(fresh)).map_err(failed)?;
        if key.trim().len() < Self::MIN_KEY_BYTES {
            return Err(LinkKeyError::Short {
                path: kept.to_owned(),
            });
        }
        Ok(SecretString::from(key.trim()))
    }
}
