//! The local mailbox: letters, texts and calls that a trial run keeps instead of sending them.

use std::fmt;

use chrono::{DateTime, Utc};
use countersign_domain::{ids::OrderId, order::Channel};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Store,
    catalog::Page,
    data_keys::DataKeys,
    entity::mailbox,
    error::{During, StoreError},
    rows::At,
    sealed::{MAILBOX_CONTENT, MAILBOX_RECIPIENT},
};

/// A message that was put into the mailbox instead of being sent. `Debug` shows neither recipient nor words.
#[derive(Clone, PartialEq, Eq)]
pub struct MailboxItem {
    /// Of the delivery; in order of time.
    pub id: Uuid,
    /// About which order.
    pub order_id: OrderId,
    /// By what way it would have gone.
    pub channel: Channel,
    /// E-mail address or E.164 number.
    pub recipient: String,
    /// What it says.
    pub content: MailboxContent,
    /// When it was put in.
    pub create_time: DateTime<Utc>,
}

impl fmt::Debug for MailboxItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailboxItem({} {})", self.channel, self.id)
    }
}

/// What a message says, as its channel carries it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MailboxContent {
    /// A letter.
    Email {
        /// One line.
        subject: String,
        /// As plain text.
        text: String,
        /// As HTML.
        html: String,
    },
    /// A text message.
    Sms {
        /// One line.
        text: String,
    },
    /// A telephone call.
    Phone {
        /// Language spoken, BCP 47.
        language: String,
        /// Said one after the other.
        prompts: Vec<String>,
        /// Keys that mean something.
        keys: Vec<MailboxKey>,
    },
}

/// A key of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxKey {
    /// "0" to "9".
    pub digit: String,
    /// "confirm", "object" or "repeat".
    pub means: String,
}

impl Store {
    /// Puts a message into the mailbox. The same id a second time is the same message.
    pub async fn insert_mailbox_item(&self, item: &MailboxItem) -> Result<(), StoreError> {
        const DOING: &str = "insert into the mailbox";
        let row = mailbox::ActiveModel {
            id: Set(item.id),
            order_id: Set(item.order_id.as_uuid()),
            channel: Set(item.channel.as_str().to_owned()),
            recipient: Set(MAILBOX_RECIPIENT.seal_text(&self.keys, &item.id, &item.recipient)?),
            content: Set(MAILBOX_CONTENT.seal_json(&self.keys, &item.id, &item.content)?),
            create_time: Set(item.create_time),
        };
        match mailbox::Entity::insert(row)
            .exec_without_returning(&self.db)
            .await
            .during(DOING)
        {
            Err(error) if error.is_unique_violation() => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// A page of the mailbox, newest first, from before an item on.
    pub async fn list_mailbox(
        &self,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<Page<MailboxItem>, StoreError> {
        let mut query = mailbox::Entity::find()
            .order_by_desc(mailbox::Column::Id)
            .limit(limit + 1);
        if let Some(before) = before {
            query = query.filter(mailbox::Column::Id.lt(before));
        }
        let rows = query.all(&self.db).await.during("list the mailbox")?;
        let page = Page::cut(rows, limit, |row| item(&self.keys, &row));
        Ok(Page {
            items: page.items.into_iter().collect::<Result<_, _>>()?,
            more: page.more,
        })
    }

    /// One message of the mailbox.
    pub async fn find_mailbox_item(&self, id: Uuid) -> Result<Option<MailboxItem>, StoreError> {
        mailbox::Entity::find_by_id(id)
            .one(&self.db)
            .await
            .during("find a message in the mailbox")?
            .map(|row| item(&self.keys, &row))
            .transpose()
    }
}

fn item(keys: &DataKeys, row: &mailbox::Model) -> Result<MailboxItem, StoreError> {
    let at = At {
        table: "mailbox",
        row: &row.id,
    };
    Ok(MailboxItem {
        channel: at.word("channel", &row.channel)?,
        content: MAILBOX_CONTENT.open_json(keys, &row.id, &row.content)?,
        id: row.id,
        order_id: OrderId::from_uuid(row.order_id),
        recipient: MAILBOX_RECIPIENT.open_text(keys, &row.id, &row.recipient)?,
        create_time: row.create_time,
    })
}
