//! Reading files row by row: CSV or one JSON object a line, as they are or packed by gzip.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;

use super::record::{Header, Record};

/// Longer lines are no rows of orders; reading one must not fill the memory.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A row and the line of the file on which it begins, counted from 1.
pub(crate) type Row = (i64, Record);

/// The rows of a file, in its order.
pub(crate) struct Rows(Format);

enum Format {
    Csv(
        Arc<Header>,
        Box<csv::StringRecordsIntoIter<Box<dyn Read + Send>>>,
    ),
    Json(Box<dyn BufRead + Send>, i64),
}

impl Rows {
    /// Opens a file; its name tells the format: `.csv`, `.tsv`, `.jsonl` or `.ndjson`, each also with `.gz`.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Self::of(path, Box::new(file))
    }

    /// The rows of what such a file holds.
    fn of(path: &Path, file: Box<dyn Read + Send>) -> anyhow::Result<Self> {
        let name = path.to_string_lossy().to_lowercase();
        let (plain_name, reader): (_, Box<dyn Read + Send>) = match name.strip_suffix(".gz") {
            Some(plain) => (plain, Box::new(MultiGzDecoder::new(BufReader::new(file)))),
            None => (name.as_str(), file),
        };
        let format = match plain_name.rsplit('.').next() {
            Some("csv") => csv_rows(reader, b',')?,
            Some("tsv") => csv_rows(reader, b'\t')?,
            Some("jsonl" | "ndjson") => Format::Json(Box::new(BufReader::new(reader)), 0),
            _ => bail!(
                "{}: the name must end in .csv, .tsv, .jsonl or .ndjson, or one of them and .gz",
                path.display()
            ),
        };
        Ok(Self(format))
    }

    /// The rows of a text that is built in.
    pub(crate) fn of_csv(text: &'static str) -> anyhow::Result<Self> {
        Ok(Self(csv_rows(Box::new(text.as_bytes()), b',')?))
    }

    /// The rows of a file of the readers' tests.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn of_bytes(bytes: Vec<u8>, name: &str) -> anyhow::Result<Self> {
        Self::of(Path::new(name), Box::new(std::io::Cursor::new(bytes)))
    }

    /// Names of the columns; none where every row names its own.
    pub(crate) fn header(&self) -> Option<&Header> {
        match &self.0 {
            Format::Csv(header, _) => Some(header),
            Format::Json(..) => None,
        }
    }
}

fn csv_rows(reader: Box<dyn Read + Send>, delimiter: u8) -> anyhow::Result<Format> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .from_reader(reader);
    let names = reader
        .headers()
        .context("read the line with the columns' names")?;
    let header = names
        .iter()
        .enumerate()
        .map(|(at, name)| (name.trim_start_matches('\u{feff}').trim().to_owned(), at))
        .collect();
    Ok(Format::Csv(
        Arc::new(header),
        Box::new(reader.into_records()),
    ))
}

impl Iterator for Rows {
    type Item = anyhow::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Format::Csv(header, records) => Some(match records.next()? {
                Ok(cells) => {
                    let line = cells.position().map_or(0, csv::Position::line);
                    let line = i64::try_from(line).unwrap_or(i64::MAX);
                    Ok((line, Record::Cells(Arc::clone(header), cells)))
                }
                Err(error) => Err(anyhow::Error::new(error).context("read a row")),
            }),
            Format::Json(reader, line) => json_row(reader, line).transpose(),
        }
    }
}

/// The next line that is not blank.
fn json_row(reader: &mut dyn BufRead, line: &mut i64) -> anyhow::Result<Option<Row>> {
    loop {
        let mut text = String::new();
        let bytes = reader
            .take(LINE_BYTES_MAX)
            .read_line(&mut text)
            .with_context(|| format!("read line {}", *line + 1))?;
        if bytes == 0 {
            return Ok(None);
        }
        *line += 1;
        if text.trim().is_empty() {
            continue;
        }
        let value =
            serde_json::from_str(&text).with_context(|| format!("line {line} is not JSON"))?;
        return Ok(Some((*line, Record::Tree(value))));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn rows(name: &str, bytes: &[u8]) -> Vec<anyhow::Result<Row>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Rows::open(&path).unwrap().collect()
    }

    #[test]
    fn a_row_is_known_by_its_line_even_after_a_value_of_several_lines() {
        let rows = rows(
            "a.csv",
            "\u{feff}id,name\n1,\"a\nb\"\n2,\"say \"\"c\"\"\"\n".as_bytes(),
        );

        let (first, record) = rows[0].as_ref().unwrap();
        assert_eq!(
            (*first, record.first("name").unwrap().as_ref()),
            (2, "a\nb")
        );
        let (second, record) = rows[1].as_ref().unwrap();
        assert_eq!(
            (*second, record.first("name").unwrap().as_ref()),
            (4, "say \"c\"")
        );
        assert_eq!(record.first("id").as_deref(), Some("2"));
    }

    #[test]
    fn packed_files_and_json_lines_are_read_alike() {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(b"{\"id\": 1}\n\n{\"id\": 2}\n{").unwrap();

        let rows = rows("a.jsonl.gz", &packed.finish().unwrap());

        assert_eq!(rows.len(), 3);
        let (line, record) = rows[1].as_ref().unwrap();
        assert_eq!((*line, record.first("id").unwrap().as_ref()), (3, "2"));
        assert_eq!(
            rows[2].as_ref().unwrap_err().to_string(),
            "line 4 is not JSON"
        );
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.xlsx");
        std::fs::write(&path, "x").unwrap();
        let error = Rows::open(&path).err().unwrap().to_string();
        assert!(
            error.contains("orders.xlsx: the name must end in"),
            "{error}"
        );
    }
}
