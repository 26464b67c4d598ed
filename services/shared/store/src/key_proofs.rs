//! Whether the keys that a process was given are those that the database was written with: a wrong key must be found at the
//! start, not order by order, and a wrong key of keyed hashes would forget who wants no letters.

use chrono::{DateTime, Utc};
use sea_orm::{EntityTrait, QueryOrder};

use crate::{
    Store,
    bulk::Bulk,
    entity::personal_data_keys,
    error::{During, StoreError},
    sealed::{KeyColumn, SealedColumn},
};

const DOING: &str = "compare the keys of personal data";
/// The key of keyed hashes stands among the numbered ones.
const LOOKUP: i32 = 0;

const KEYS: Bulk = Bulk {
    operation: DOING,
    table: "personal_data_keys",
    columns: &["number", "proof", "create_time"],
};
const PROOF: SealedColumn = SealedColumn {
    table: "personal_data_keys",
    column: "proof",
    key: &[KeyColumn::Number("number")],
    erased: None,
};

impl Store {
    /// Compares the keys with those that wrote here before, and puts those that will write now on record. Refused when one
    /// of them is another one, or one that wrote here is missing.
    pub async fn prove_keys(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let known = self.proofs().await?;
        let writing = i32::from(self.keys.writing());
        let mut fresh = Vec::new();
        if known.iter().all(|row| row.number != LOOKUP) {
            fresh.extend([LOOKUP.into(), self.lookup_proof().into(), now.into()]);
        }
        if known.iter().all(|row| row.number != writing) {
            let proof = PROOF.seal(&self.keys, &writing, &[])?;
            fresh.extend([writing.into(), proof.into(), now.into()]);
        }
        if fresh.is_empty() {
            return self.compare(&known);
        }
        // Before anything is put on record: a process with wrong keys leaves nothing behind.
        self.compare(&known)?;
        self.again(|| async {
            let transaction = self.begin_write().await?;
            let result = KEYS
                .insert_new(&transaction, self.kind, self.backend(), fresh.clone())
                .await;
            self.conclude(transaction, result).await
        })
        .await?;
        // Another process may have been first, with other keys.
        self.compare(&self.proofs().await?)
    }

    fn compare(&self, known: &[personal_data_keys::Model]) -> Result<(), StoreError> {
        for row in known {
            let wrong = |what: String| StoreError::Settings(format!("personal_data.keys: {what}"));
            if row.number == LOOKUP {
                if row.proof != self.lookup_proof() {
                    return Err(wrong(
                        "lookup is another key than the one that this database was written with"
                            .to_owned(),
                    ));
                }
                continue;
            }
            if self.keys.numbers().all(|it| i32::from(it) != row.number) {
                return Err(wrong(format!(
                    "key {} is missing; values of this database are sealed with it",
                    row.number
                )));
            }
            if PROOF.open(&self.keys, &row.number, &row.proof).is_err() {
                return Err(wrong(format!(
                    "key {} is another one than that which sealed values of this database",
                    row.number
                )));
            }
        }
        Ok(())
    }

    /// Forgets a key that seals nothing here any more.
    pub(crate) async fn forget_key(&self, number: u16) -> Result<(), StoreError> {
        personal_data_keys::Entity::delete_by_id(i32::from(number))
            .exec(&self.db)
            .await
            .during("forget a key")?;
        Ok(())
    }

    /// Numbers of the keys that wrote here.
    pub(crate) async fn proven_keys(&self) -> Result<Vec<u16>, StoreError> {
        let rows = self.proofs().await?;
        Ok(rows
            .iter()
            .filter(|row| row.number != LOOKUP)
            .filter_map(|row| u16::try_from(row.number).ok())
            .collect())
    }

    async fn proofs(&self) -> Result<Vec<personal_data_keys::Model>, StoreError> {
        personal_data_keys::Entity::find()
            .order_by_asc(personal_data_keys::Column::Number)
            .all(&self.db)
            .await
            .during(DOING)
    }

    fn lookup_proof(&self) -> Vec<u8> {
        self.lookup_key().hash("proof", &[]).to_vec()
    }
}
