//! The configuration file, as a function of bytes.

use std::path::Path;

use super::{Config, Layer, Sources, shape};

pub(crate) fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // A file of a secret, or of a server's keys, is another's to read: no path of an input may be followed.
    // An escaped name would not be seen by its letters.
    if text.contains("file")
        || text.contains("folder")
        || text.contains("\\u")
        || text.contains("\\U")
    {
        return;
    }
    let Ok(layer) = Layer::from_text(Path::new("countersign.toml"), &text) else {
        return;
    };
    let Ok(shape) = shape() else { return };
    if let Ok(config) = Config::of(vec![layer], &Sources::default(), &shape) {
        assert!(toml::from_str::<toml::Table>(&config.redacted()).is_ok());
    }
}
