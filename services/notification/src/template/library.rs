//! The words in force: those of the program, those of the folder above them, and above both the versions of the database.
//! An activated version is taken within a second, without a restart; a version that was ever used can still be had.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use countersign_domain::{message::Delivery, order::Channel};
use countersign_runtime::config;
use countersign_store::{Store, StoreError, TemplateKey};
use minijinja::ErrorKind;
use tokio_util::sync::CancellationToken;

use super::{
    Locale, MessageContext, MessageKind, RenderError, Templates, engine_errors, lint::problem_of,
};
use crate::channel::{self, Content};

/// How often the counter of changes is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Versions that are kept compiled. Those in use are a handful.
const KEPT_MAX: usize = 256;

/// Why a message cannot be written.
pub(crate) enum Unwritable {
    /// This version of the program cannot make anything of its words; a newer one may.
    Unknown(String),
    /// Its words and its order do not go together.
    Wrong(String),
}

/// Words to write a message with; or why this program has none.
#[derive(Clone)]
pub(crate) struct Words(Result<Arc<Templates>, String>);

/// Which words, and which version of them; 0: those that are not in the database.
pub(crate) type Wanted = (TemplateKey, u32);

/// The words in force.
#[derive(Debug)]
pub(crate) struct Library {
    store: Store,
    shipped: Arc<Templates>,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    /// The counter of changes that `active` was read at.
    counter: Option<i64>,
    active: HashMap<TemplateKey, u32>,
    compiled: HashMap<Wanted, Words>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shelf({} active)", self.active.len())
    }
}

impl Words {
    /// Writes one message.
    pub(crate) fn write(
        &self,
        kind: &str,
        channel: Channel,
        locale: Locale,
        context: &MessageContext,
    ) -> Result<Content, Unwritable> {
        let templates = self
            .0
            .as_ref()
            .map_err(|problem| Unwritable::Unknown(problem.clone()))?;
        let kind: MessageKind = kind
            .parse()
            .map_err(|error: RenderError| Unwritable::Unknown(error.to_string()))?;
        templates
            .render(kind, carried_by(channel), locale, context)
            .map_err(|error| {
                let problem = problem_of(&error);
                if is_of_a_newer_program(&error) {
                    Unwritable::Unknown(problem)
                } else {
                    Unwritable::Wrong(problem)
                }
            })
    }
}

impl Library {
    /// With the words of the program, and those of the folder above them.
    pub(crate) fn of(config: &config::Templates, store: &Store) -> Result<Self, RenderError> {
        let shipped = match &config.folder {
            Some(folder) => Templates::with_overrides(folder)?,
            None => Templates::embedded()?,
        };
        Ok(Self {
            store: store.clone(),
            shipped: Arc::new(shipped),
            shelf: Mutex::default(),
        })
    }

    /// The words that are not in the database.
    pub(crate) const fn shipped(&self) -> &Arc<Templates> {
        &self.shipped
    }

    /// The version that is in force; 0: the words that are not in the database.
    pub(crate) fn active(&self, key: &TemplateKey) -> u32 {
        self.shelf().active.get(key).copied().unwrap_or(0)
    }

    /// Follows what is put in force, until the soft stage.
    pub(crate) async fn follow(self: Arc<Self>, soft: CancellationToken) {
        while !soft.is_cancelled() {
            if let Err(error) = self.look().await {
                tracing::warn!(error = %error, "the words in force are not known; those before stay");
            }
            tokio::select! {
                () = soft.cancelled() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Learns what is in force, when it has changed.
    pub(crate) async fn look(&self) -> Result<(), StoreError> {
        let counter = self.store.reference_versions().await?.templates;
        if self.shelf().counter == Some(counter) {
            return Ok(());
        }
        let found = self.store.list_templates().await?;
        let active: HashMap<TemplateKey, u32> = found
            .into_iter()
            .filter(|it| it.active_version > 0)
            .map(|it| (it.key, it.active_version))
            .collect();
        tracing::info!(versions = active.len(), "words of the company are in force");
        let mut books = self.shelf();
        books.active = active;
        books.counter = Some(counter);
        Ok(())
    }

    /// The words of some messages, compiled.
    pub(crate) async fn fetch(
        &self,
        wanted: HashSet<Wanted>,
    ) -> Result<HashMap<Wanted, Words>, StoreError> {
        let mut found = HashMap::new();
        for it in wanted {
            let words = self.words(&it).await?;
            found.insert(it, words);
        }
        Ok(found)
    }

    /// The words that a delivery was, or is to be, written with.
    pub(crate) async fn words_of(
        &self,
        delivery: &Delivery,
        locale: Locale,
    ) -> Result<Words, StoreError> {
        let key = key(delivery, locale);
        let version = delivery.template_version.unwrap_or(0);
        self.words(&(key, version)).await
    }

    /// One version.
    pub(crate) async fn words(&self, wanted: &Wanted) -> Result<Words, StoreError> {
        if wanted.1 == 0 {
            return Ok(Words(Ok(self.shipped.clone())));
        }
        if let Some(words) = self.shelf().compiled.get(wanted) {
            return Ok(words.clone());
        }
        let (key, version) = wanted;
        let found = self.store.find_template_version(key, *version).await?;
        let Some(found) = found else {
            let problem = format!("{} has no version {version}", key.resource_name());
            return Ok(Words(Err(problem)));
        };
        let words = Words(self.compile(key, &found.source));
        let mut books = self.shelf();
        if books.compiled.len() >= KEPT_MAX {
            books.compiled.clear();
        }
        books.compiled.insert(wanted.clone(), words.clone());
        Ok(words)
    }

    fn compile(&self, key: &TemplateKey, source: &str) -> Result<Arc<Templates>, String> {
        let kind: MessageKind = key
            .kind
            .parse()
            .map_err(|error: RenderError| error.to_string())?;
        let locale = Locale::ALL.iter().find(|it| it.tag() == key.locale);
        let locale = locale.ok_or_else(|| format!("unknown language {:?}", key.locale))?;
        self.shipped
            .with_page(kind, *locale, source)
            .map(Arc::new)
            .map_err(|error| problem_of(&error))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose words a delivery is written with.
pub(crate) fn key(delivery: &Delivery, locale: Locale) -> TemplateKey {
    TemplateKey {
        kind: delivery.kind.as_str().to_owned(),
        channel: delivery.channel,
        locale: locale.tag().to_owned(),
    }
}

/// The channel in the words of the senders.
pub(crate) const fn carried_by(channel: Channel) -> channel::Channel {
    match channel {
        Channel::Email => channel::Channel::Email,
        Channel::Sms => channel::Channel::Sms,
        Channel::Phone => channel::Channel::Phone,
    }
}

/// Whether words ask for something that only a newer version of the program has.
fn is_of_a_newer_program(error: &RenderError) -> bool {
    engine_errors(error).iter().any(|inner| {
        matches!(
            inner.kind(),
            ErrorKind::UnknownFilter
                | ErrorKind::UnknownFunction
                | ErrorKind::UnknownTest
                | ErrorKind::SyntaxError
        )
    })
}
