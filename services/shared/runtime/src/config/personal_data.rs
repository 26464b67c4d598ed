//! The keys that personal data is sealed with in the database, and found by.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{kept, redact};

/// The word before the root of the keyed hashes.
const LOOKUP: &str = "lookup";

/// What personal data is sealed with. See [`PersonalData::keys_or_create`] for the keys of a development machine.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PersonalData {
    /// `lookup:KEY 2:KEY 1:KEY`, parted by white space: each key is 32 random bytes in base64. The first numbered key
    /// seals, all of them open; `lookup` is never changed.
    #[serde(serialize_with = "redact::optional_secret")]
    pub keys: Option<SecretString>,
    /// A file that holds the keys, one a line, instead of `keys`.
    pub keys_file: Option<PathBuf>,
}

/// Keys that were read from their text. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct PersonalDataKeys {
    /// The root of the keyed hashes.
    pub lookup: [u8; 32],
    /// Number and key; the first one seals.
    pub numbered: Vec<(u16, [u8; 32])>,
}

impl fmt::Debug for PersonalDataKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PersonalDataKeys({} keys)", self.numbered.len())
    }
}

/// Why there are no keys. No key is told.
#[derive(Debug, thiserror::Error)]
pub enum PersonalDataError {
    /// The file of the development keys can neither be read nor made.
    #[error("keep the keys of personal data in {}", path.display())]
    Keep {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// What stands there is no list of keys.
    #[error("personal_data.keys {0}")]
    Unusable(String),
}

impl PersonalData {
    /// The configured keys. Without any (a development machine; [`super::Config::validate`] refuses that next to a database
    /// server) those in `kept_in`, by custom `./var/personal-data.keys`, which are made from `fresh` random bytes when there
    /// are none and are readable by their owner only.
    pub fn keys_or_create(
        &self,
        kept_in: &Path,
        fresh: [[u8; 32]; 2],
    ) -> Result<PersonalDataKeys, PersonalDataError> {
        if let Some(keys) = &self.keys {
            return read(keys).map_err(PersonalDataError::Unusable);
        }
        let [lookup, first] = fresh.map(|key| STANDARD.encode(key));
        let text = kept::read_or_create(kept_in, &format!("{LOOKUP}:{lookup}\n1:{first}\n"))
            .map_err(|source| PersonalDataError::Keep {
                path: kept_in.to_owned(),
                source,
            })?;
        read(&SecretString::from(text)).map_err(PersonalDataError::Unusable)
    }
}

/// Reads keys; what is wrong is told by the number of the key, never by the key.
pub(super) fn read(text: &SecretString) -> Result<PersonalDataKeys, String> {
    let (mut lookup, mut numbered) = (None, Vec::new());
    for (place, word) in (1..).zip(text.expose_secret().split_whitespace()) {
        let (name, key) = word
            .split_once(':')
            .ok_or_else(|| format!("must be words such as 1:KEY; word {place} has no colon"))?;
        let key: [u8; 32] = STANDARD
            .decode(key)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| format!("must hold keys of 32 bytes in base64; word {place} is none"))?;
        if name == LOOKUP {
            if lookup.replace(key).is_some() {
                return Err(format!("must hold {LOOKUP} once"));
            }
            continue;
        }
        let number = name
            .parse::<u16>()
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| {
                format!("must name each key {LOOKUP} or by a number from 1 to 65535; word {place} is neither")
            })?;
        if numbered.iter().any(|(known, _)| *known == number) {
            return Err(format!("must hold the number {number} once"));
        }
        numbered.push((number, key));
    }
    let lookup = lookup.ok_or_else(|| format!("must hold {LOOKUP}:KEY"))?;
    if numbered.is_empty() {
        return Err("must hold a numbered key, such as 1:KEY".to_owned());
    }
    // One key for two purposes would tie what is found to what is read.
    if numbered.iter().any(|(_, key)| *key == lookup) {
        return Err(format!("must hold another key for {LOOKUP}"));
    }
    Ok(PersonalDataKeys { lookup, numbered })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use tempfile::TempDir;

    use super::*;

    fn key(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    fn told(text: &str) -> String {
        read(&SecretString::from(text)).unwrap_err()
    }

    #[test]
    fn keys_are_read_in_their_sequence() {
        let text = format!("lookup:{}\n 7:{}\n2:{}\n", key(1), key(7), key(2));
        let keys = read(&SecretString::from(text)).unwrap();
        assert_eq!(keys.lookup, [1; 32]);
        assert_eq!(keys.numbered, [(7, [7; 32]), (2, [2; 32])]);
        assert_eq!(format!("{keys:?}"), "PersonalDataKeys(2 keys)");
    }

    #[test]
    fn what_is_no_list_of_keys_is_told_without_showing_one() {
        let (one, two) = (key(1), key(2));
        for (text, words) in [
            (String::new(), "must hold lookup:KEY"),
            (format!("1:{one}"), "must hold lookup:KEY"),
            (format!("lookup:{one}"), "must hold a numbered key"),
            (format!("lookup:{one} 1:{one}"), "must hold another key"),
            (
                format!("lookup:{one} lookup:{two}"),
                "must hold lookup once",
            ),
            (format!("lookup:{one} 1:{two} 1:{two}"), "the number 1 once"),
            (format!("lookup:{one} 0:{two}"), "word 2 is neither"),
            (format!("lookup:{one} 70000:{two}"), "word 2 is neither"),
            (format!("lookup:{one} {two}"), "word 2 has no colon"),
            (format!("lookup:{one} 1:short"), "word 2 is none"),
        ] {
            let told = told(&text);
            assert!(told.contains(words), "{told}");
            assert!(!told.contains(&one) && !told.contains(&two), "{told}");
        }
    }

    #[test]
    fn development_keys_are_made_once_and_kept_for_their_owner_only() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("var/personal-data.keys");
        let none = PersonalData::default();
        let first = none.keys_or_create(&path, [[1; 32], [2; 32]]).unwrap();
        let second = none.keys_or_create(&path, [[3; 32], [4; 32]]).unwrap();
        assert_eq!(first, second);
        assert_eq!(first.numbered, [(1, [2; 32])]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let configured = PersonalData {
            keys: Some(SecretString::from(format!(
                "lookup:{} 3:{}",
                key(8),
                key(9)
            ))),
            keys_file: None,
        };
        let keys = configured
            .keys_or_create(&path, [[1; 32], [2; 32]])
            .unwrap();
        assert_eq!(keys.numbered, [(3, [9; 32])]);
    }
}
