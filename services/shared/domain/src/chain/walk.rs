//! Walking along the chain from one commit to the next, and saying what is wrong with it.

use std::{collections::BTreeMap, fmt};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Hash, LinkFields, digest, link_hash};

/// Faults that are named; more are only counted.
const NAMED_MAX: usize = 20;

/// The chain's hash as it was told to an outside place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// After which commit.
    pub position: i64,
    /// The hash.
    pub hash: Hash,
    /// When.
    pub time: DateTime<Utc>,
}

/// Which record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordName {
    /// An event of an order.
    Event {
        /// Which order.
        order: Uuid,
        /// The order's version after it.
        version: i64,
    },
    /// A row of another table, such as `operator_acts/{id}`.
    Row(String),
}

impl fmt::Display for RecordName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event { order, version } => {
                write!(formatter, "the event orders/{order}, version {version}")
            }
            Self::Row(name) => write!(formatter, "the row {name}"),
        }
    }
}

/// A record as it is found.
#[derive(Clone, Debug)]
pub struct RecordSeen {
    /// Which.
    pub name: RecordName,
    /// The hash that was written with it.
    pub written: Option<Hash>,
    /// The hash of what stands there now; none when nothing does.
    pub found: Option<Hash>,
    /// Whether its words were erased.
    pub erased: bool,
}

/// A commit as it is found, with its records in their order.
#[derive(Clone, Debug)]
pub struct CommitSeen {
    /// Its place.
    pub position: i64,
    /// Which.
    pub id: Uuid,
    /// When it was written.
    pub create_time: DateTime<Utc>,
    /// How many records it had when it was written.
    pub record_count: Option<i32>,
    /// Over them.
    pub digest: Option<Hash>,
    /// The chain's hash after it.
    pub hash: Option<Hash>,
    /// What is there.
    pub records: Vec<RecordSeen>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing stands at this place, up to another one.
    Gap(i64),
    /// The commit has no hash.
    Unlinked,
    /// The hash does not follow from the one before.
    Broken,
    /// Records of the commit are gone: so many.
    RecordsMissing(usize),
    /// Records were put into the commit: so many.
    RecordsAdded(usize),
    /// A record is not what was written.
    Changed(RecordName),
    /// A record points to a row that is gone.
    Gone(RecordName),
    /// The records are in order each, and not those that were written.
    OtherRecords,
    /// The chain was told with another hash then.
    AnchorDiffers(DateTime<Utc>),
    /// The chain was told to go on to here then.
    Cut(DateTime<Utc>),
    /// The row that holds the last link says that the chain goes on to here.
    CutBeforeHead,
    /// That row has another hash.
    HeadDiffers,
    /// Commits stand behind the last link.
    BehindHead,
    /// A record belongs to no commit.
    NoCommit(RecordName),
    /// A row of a table that is in the chain is not.
    NotInChain(RecordName),
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of the commit; none where there is no commit.
    pub position: Option<i64>,
    /// What.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(out, "position {position}: ")?;
        }
        match &self.kind {
            FaultKind::Gap(last) if Some(*last) == self.position => {
                out.write_str("the commit that stood here was deleted")
            }
            FaultKind::Gap(last) => {
                write!(out, "the commits from here to {last} were deleted")
            }
            FaultKind::Unlinked => out.write_str("the commit has lost its hash"),
            FaultKind::Broken => out.write_str(
                "the hash does not follow from the one before: the commit's row was changed, or another stood here",
            ),
            FaultKind::RecordsMissing(count) => {
                write!(out, "{count} of the commit's records were deleted")
            }
            FaultKind::RecordsAdded(count) => {
                write!(out, "{count} records were put into the commit")
            }
            FaultKind::Changed(record) => write!(out, "{record} was changed"),
            FaultKind::Gone(record) => write!(out, "{record} was deleted"),
            FaultKind::OtherRecords => {
                out.write_str("the commit's records are not those that were written with it, or not in their order")
            }
            FaultKind::AnchorDiffers(time) => {
                write!(out, "the anchor of {time} has another hash: the chain was made anew")
            }
            FaultKind::Cut(time) => {
                write!(out, "the anchor of {time} stands here, and the chain ends before: its tail was cut off")
            }
            FaultKind::CutBeforeHead => {
                out.write_str("the last link was put here, and the chain ends before: its tail was cut off")
            }
            FaultKind::HeadDiffers => {
                out.write_str("the last link was put here with another hash: commits were changed, or the row in chain_heads")
            }
            FaultKind::BehindHead => out.write_str(
                "a commit with a hash stands behind the last link: the row in chain_heads was set back",
            ),
            FaultKind::NoCommit(record) => write!(out, "{record} belongs to a commit that was deleted"),
            FaultKind::NotInChain(record) => write!(out, "{record} was put in past the chain"),
        }
    }
}

/// What a walk came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Commits that were looked at.
    pub commits: u64,
    /// Records that were looked at.
    pub records: u64,
    /// Records whose words were erased.
    pub erased: u64,
    /// Commits that a version wrote that knew no chain; their records are not covered.
    pub uncovered: u64,
    /// The last place.
    pub position: i64,
    /// The chain's hash there.
    pub hash: Hash,
    /// What is wrong, by position as far as there is one: the first of them.
    pub faults: Vec<Fault>,
    /// How many there are.
    pub fault_count: u64,
}

/// A walk along the chain.
#[derive(Debug)]
pub struct Walk {
    summary: Summary,
    /// None where the commit before is not there.
    previous: Option<Hash>,
    anchors: BTreeMap<i64, Vec<Anchor>>,
}

impl Walk {
    /// Begins behind a place whose hash is known.
    pub fn new(position: i64, hash: Option<Hash>, anchors: Vec<Anchor>) -> Self {
        let mut by_position: BTreeMap<i64, Vec<Anchor>> = BTreeMap::new();
        for anchor in anchors {
            if anchor.position > position {
                by_position.entry(anchor.position).or_default().push(anchor);
            }
        }
        Self {
            summary: Summary {
                commits: 0,
                records: 0,
                erased: 0,
                uncovered: 0,
                position,
                hash: hash.unwrap_or_default(),
                faults: Vec::new(),
                fault_count: 0,
            },
            previous: hash,
            anchors: by_position,
        }
    }

    /// What was found so far.
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Takes the next commit.
    pub fn take(&mut self, commit: &CommitSeen) {
        let expected = self.summary.position + 1;
        if commit.position > expected {
            self.fault(Some(expected), FaultKind::Gap(commit.position - 1));
            self.previous = None;
        }
        let position = Some(commit.position);
        match (&commit.hash, &self.previous) {
            (None, _) => self.fault(position, FaultKind::Unlinked),
            (Some(hash), Some(previous)) => {
                let link = LinkFields {
                    position: commit.position,
                    commit: commit.id,
                    create_time: commit.create_time,
                    records: commit.record_count,
                    digest: commit.digest.as_ref(),
                };
                if link_hash(previous, &link) != *hash {
                    self.fault(position, FaultKind::Broken);
                }
            }
            (Some(_), None) => {}
        }
        match &commit.digest {
            Some(digest) => self.records(commit, digest),
            None => self.summary.uncovered += 1,
        }
        let anchors = self.anchors.remove(&commit.position).unwrap_or_default();
        for anchor in anchors {
            if commit.hash != Some(anchor.hash) {
                self.fault(position, FaultKind::AnchorDiffers(anchor.time));
            }
        }
        self.previous = commit.hash;
        self.summary.commits += 1;
        self.summary.position = commit.position;
        self.summary.hash = commit.hash.unwrap_or_default();
    }

    fn records(&mut self, commit: &CommitSeen, written: &Hash) {
        let position = Some(commit.position);
        let before = self.summary.fault_count;
        let wanted = usize::try_from(commit.record_count.unwrap_or_default()).unwrap_or_default();
        let there = commit.records.len();
        if there < wanted {
            self.fault(position, FaultKind::RecordsMissing(wanted - there));
        } else if there > wanted {
            self.fault(position, FaultKind::RecordsAdded(there - wanted));
        }
        let mut hashes = Vec::with_capacity(there);
        for record in &commit.records {
            if record.found.is_none() {
                self.fault(position, FaultKind::Gone(record.name.clone()));
            } else if record.found != record.written {
                self.fault(position, FaultKind::Changed(record.name.clone()));
            }
            if record.erased {
                self.summary.erased += 1;
            }
            hashes.push(record.written.unwrap_or_default());
        }
        self.summary.records += there as u64;
        if before == self.summary.fault_count && digest(hashes.iter()) != *written {
            self.fault(position, FaultKind::OtherRecords);
        }
    }

    /// Adds what is not found on the way.
    pub fn fault(&mut self, position: Option<i64>, kind: FaultKind) {
        self.summary.fault_count += 1;
        if self.summary.faults.len() < NAMED_MAX {
            self.summary.faults.push(Fault { position, kind });
        }
    }

    /// Ends at the last link.
    pub fn finish(mut self, position: i64, hash: &Hash) -> Summary {
        if position > self.summary.position {
            self.fault(Some(position), FaultKind::CutBeforeHead);
        } else if self.previous.is_some_and(|previous| previous != *hash) {
            self.fault(Some(position), FaultKind::HeadDiffers);
        }
        for anchor in std::mem::take(&mut self.anchors).into_values().flatten() {
            self.fault(Some(anchor.position), FaultKind::Cut(anchor.time));
        }
        self.summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::GENESIS;

    fn chain(length: i64) -> Vec<CommitSeen> {
        let mut previous = GENESIS;
        (1..=length)
            .map(|position| {
                let record = digest([[u8::try_from(position).unwrap(); 32]].iter());
                let over = digest([record].iter());
                let id = Uuid::from_u128(position.unsigned_abs().into());
                let link = LinkFields {
                    position,
                    commit: id,
                    create_time: DateTime::UNIX_EPOCH,
                    records: Some(1),
                    digest: Some(&over),
                };
                previous = link_hash(&previous, &link);
                CommitSeen {
                    position,
                    id,
                    create_time: DateTime::UNIX_EPOCH,
                    record_count: Some(1),
                    digest: Some(over),
                    hash: Some(previous),
                    records: vec![RecordSeen {
                        name: RecordName::Row(format!("acts/{position}")),
                        written: Some(record),
                        found: Some(record),
                        erased: false,
                    }],
                }
            })
            .collect()
    }

    /// The last link stands at `head`, with the hash that the last commit has.
    fn walk(commits: &[CommitSeen], anchors: Vec<Anchor>, head: i64) -> Summary {
        let mut walk = Walk::new(0, Some(GENESIS), anchors);
        for commit in commits {
            walk.take(commit);
        }
        let hash = commits.last().and_then(|it| it.hash).unwrap_or_default();
        walk.finish(head, &hash)
    }

    fn faults(commits: &[CommitSeen]) -> Vec<Fault> {
        walk(commits, Vec::new(), commits.last().unwrap().position).faults
    }

    fn at(position: i64, kind: FaultKind) -> Vec<Fault> {
        vec![Fault {
            position: Some(position),
            kind,
        }]
    }

    #[test]
    fn a_whole_chain_passes() {
        let summary = walk(&chain(9), Vec::new(), 9);
        assert_eq!((summary.commits, summary.records), (9, 9));
        assert_eq!(summary.faults, []);
    }

    #[test]
    fn j_08_a_changed_record_is_named() {
        let mut commits = chain(9);
        commits[4].records[0].found = Some([1; 32]);
        let name = RecordName::Row("acts/5".to_owned());
        assert_eq!(faults(&commits), at(5, FaultKind::Changed(name)));
        // Who changes the hash beside it, too, is found by the commit's.
        commits[4].records[0].written = Some([1; 32]);
        assert_eq!(faults(&commits), at(5, FaultKind::OtherRecords));
        // Who changes that, too, is found by the chain's.
        commits[4].digest = Some(digest([[1; 32]].iter()));
        assert_eq!(faults(&commits), at(5, FaultKind::Broken));
        // Who goes on like that must make all that follows anew, and meets an anchor.
        commits[4].hash = Some([2; 32]);
        assert_eq!(faults(&commits)[1], at(6, FaultKind::Broken)[0]);
    }

    #[test]
    fn j_08_what_was_deleted_is_named() {
        let mut commits = chain(9);
        commits[2].records.clear();
        assert_eq!(faults(&commits), at(3, FaultKind::RecordsMissing(1)));
        let mut commits = chain(9);
        commits.drain(2..4);
        assert_eq!(faults(&commits), at(3, FaultKind::Gap(4)));
        assert_eq!(
            faults(&commits)[0].to_string(),
            "position 3: the commits from here to 4 were deleted"
        );
        let mut commits = chain(9);
        commits[2].records[0].found = None;
        let name = RecordName::Row("acts/3".to_owned());
        assert_eq!(faults(&commits), at(3, FaultKind::Gone(name)));
    }

    #[test]
    fn j_08_what_was_moved_is_named() {
        let mut commits = chain(9);
        commits.swap(3, 6);
        commits[3].position = 4;
        commits[6].position = 7;
        assert_eq!(faults(&commits)[0], at(4, FaultKind::Broken)[0]);
        let mut commits = chain(9);
        let moved = commits[3].records.remove(0);
        commits[5].records.push(moved);
        assert_eq!(faults(&commits)[0], at(4, FaultKind::RecordsMissing(1))[0]);
        assert_eq!(faults(&commits)[1], at(6, FaultKind::RecordsAdded(1))[0]);
    }

    #[test]
    fn j_08_a_tail_that_was_cut_off_is_found_by_an_anchor_alone() {
        let whole = chain(9);
        let anchor = |position: usize| Anchor {
            position: i64::try_from(position).unwrap(),
            hash: whole[position - 1].hash.unwrap(),
            time: DateTime::UNIX_EPOCH,
        };
        let cut = &whole[..6];
        assert_eq!(walk(cut, Vec::new(), 6).faults, []);
        assert_eq!(walk(cut, vec![anchor(4), anchor(6)], 6).faults, []);
        assert_eq!(
            walk(cut, vec![anchor(4), anchor(8)], 6).faults,
            at(8, FaultKind::Cut(DateTime::UNIX_EPOCH))
        );
        // Who forgets the counter needs no anchor to be found.
        assert_eq!(
            walk(cut, Vec::new(), 9).faults,
            at(9, FaultKind::CutBeforeHead)
        );
        let other = Anchor {
            hash: [3; 32],
            ..anchor(4)
        };
        assert_eq!(
            walk(&whole, vec![other], 9).faults,
            at(4, FaultKind::AnchorDiffers(DateTime::UNIX_EPOCH))
        );
    }
}
