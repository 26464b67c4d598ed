//! Where each channel's messages go: out, or into the local mailbox.

pub(crate) mod check;
mod clouds;

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use countersign_domain::{message::Delivery, order::Channel, secrets::LinkKey};
use countersign_runtime::config::{
    self, Config, Dkim, EmailTransport, Gateway, GatewayTransport, Twilio,
};
use countersign_store::{MailboxContent, MailboxItem, MailboxKey, Store};
use secrecy::{ExposeSecret as _, SecretString};

use crate::account::{Account, Limits};
use crate::channel::{
    self, Content, KeyMeaning, Outcome, Outgoing, Reason, ReasonCode, Sender,
    dkim::DkimConfig,
    email::{EmailConfig, EmailSender},
    gateway::{GatewayConfig, GatewaySender, GatewayTimeouts},
    signature::SigningKeys,
    twilio::{TwilioConfig, TwilioFrom, TwilioSender},
};
use crate::ids::Ids;

/// Why the channels cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("set up the {channel} channel")]
pub struct TransportError {
    channel: Channel,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl TransportError {
    fn of<E: std::error::Error + Send + Sync + 'static>(
        channel: Channel,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self {
            channel,
            source: Box::new(source),
        }
    }

    fn missing(channel: Channel, what: &str) -> Self {
        Self {
            channel,
            source: what.into(),
        }
    }
}

/// How the messages of one channel leave.
#[derive(Clone)]
pub(crate) enum Transport {
    /// Into the local mailbox.
    Mailbox(Store),
    /// Out, to a relay or gateway.
    Carrier(Arc<dyn Sender>),
}

/// The accounts of all channels.
#[derive(Clone)]
pub(crate) struct Transports {
    accounts: Vec<Arc<Account>>,
}

impl Transports {
    /// As configured.
    pub(crate) fn of(
        config: &Config,
        store: &Store,
        link_key: &LinkKey,
        ids: &Arc<Ids>,
    ) -> Result<Self, TransportError> {
        let url = config.notification.public_url.trim_end_matches('/');
        let own = &config.notification;
        let account = |channel: Channel,
                       kind: &dyn fmt::Debug,
                       transport: Transport,
                       first: Option<Arc<Account>>| {
            let limits = limits(own, &transport, channel);
            let behind = if first.is_some() { "-fallback" } else { "" };
            let name = format!("{channel}-{kind:?}{behind}").to_lowercase();
            Account::new(name, channel, transport, limits, first)
        };
        let relay = email(config, store, link_key)?;
        let mut accounts = vec![account(
            Channel::Email,
            &config.email.transport,
            relay,
            None,
        )];
        for (channel, section) in [(Channel::Sms, &config.sms), (Channel::Phone, &config.phone)] {
            let mut first = None;
            for own in section.accounts() {
                let transport = gateway(own, channel, url, store, ids)?;
                let made = account(channel, &own.transport, transport, first);
                first = Some(made.clone());
                accounts.push(made);
            }
        }
        Ok(Self { accounts })
    }

    /// Has the accounts bear what the configuration says now.
    pub(crate) fn limit(&self, settings: &config::Notification) {
        for account in &self.accounts {
            account.limit(limits(settings, &account.transport, account.channel));
        }
    }

    /// All of them.
    pub(crate) fn accounts(&self) -> &[Arc<Account>] {
        &self.accounts
    }

    /// The one of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Account>> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// Whether anything leaves the machine.
    pub(crate) fn any_carrier(&self) -> bool {
        self.accounts
            .iter()
            .any(|account| matches!(account.transport, Transport::Carrier(_)))
    }

    /// Whether anything stays in the local mailbox.
    pub(crate) fn any_mailbox(&self) -> bool {
        self.accounts
            .iter()
            .any(|account| matches!(account.transport, Transport::Mailbox(_)))
    }
}

/// What an account is to bear.
fn limits(own: &config::Notification, transport: &Transport, channel: Channel) -> Limits {
    match (transport, channel) {
        (Transport::Mailbox(_), _) => Limits::at_once(own.workers),
        (_, Channel::Email) => Limits::at_once(own.letters_at_once),
        (_, Channel::Sms) => Limits::at_once(own.texts_at_once),
        (_, Channel::Phone) => Limits {
            per_second: Some(own.calls_per_second),
            ..Limits::at_once(own.calls_at_once)
        },
    }
}

/// The secret shared with a gateway, and the one before it.
fn secrets(own: &Gateway, channel: Channel) -> Result<Vec<SecretString>, TransportError> {
    let secret = own
        .secret
        .clone()
        .ok_or_else(|| TransportError::missing(channel, "the gateway's secret is missing"))?;
    let both = [Some(secret), own.previous_secret.clone()];
    Ok(both.into_iter().flatten().collect())
}

/// The keys shared with gateways of the generic contract, if any is used: whoever has one of them may call back.
pub(crate) fn signing_keys(
    gateway: &Gateway,
    channel: Channel,
) -> Result<Option<SigningKeys>, TransportError> {
    let mut shared = Vec::new();
    for own in gateway.accounts() {
        if own.transport == GatewayTransport::Gateway {
            shared.extend(secrets(own, channel)?);
        }
    }
    if shared.is_empty() {
        return Ok(None);
    }
    SigningKeys::parse(&shared)
        .map(Some)
        .map_err(TransportError::of(channel))
}

/// The keys of those who report bounces, if any does.
pub(crate) fn bounce_keys(config: &Config) -> Result<Option<SigningKeys>, TransportError> {
    let bounces = &config.email.bounces;
    let Some(secret) = bounces.secret.clone() else {
        return Ok(None);
    };
    let secrets: Vec<SecretString> = [Some(secret), bounces.previous_secret.clone()]
        .into_iter()
        .flatten()
        .collect();
    SigningKeys::parse(&secrets)
        .map(Some)
        .map_err(TransportError::of(Channel::Email))
}

fn email(config: &Config, store: &Store, link_key: &LinkKey) -> Result<Transport, TransportError> {
    if config.email.transport == EmailTransport::Mailbox {
        return Ok(Transport::Mailbox(store.clone()));
    }
    Ok(Transport::Carrier(Arc::new(sender(config, link_key)?)))
}

/// Whoever sends letters to the relay.
fn sender(config: &Config, link_key: &LinkKey) -> Result<EmailSender, TransportError> {
    let url = config
        .email
        .url
        .as_ref()
        .ok_or_else(|| TransportError::missing(Channel::Email, "the relay's URL is missing"))?;
    let relay = url
        .expose_secret()
        .parse()
        .map_err(TransportError::of(Channel::Email))?;
    let from = &config.email.from;
    let domain = domain_of(from);
    EmailSender::try_new(EmailConfig {
        reply_to: config.email.reply_to.clone(),
        max_connections: config.notification.letters_at_once,
        bounce: config
            .email
            .bounces
            .address
            .clone()
            .map(|address| (address, link_key.clone())),
        dkim: dkim(&config.email.dkim, domain)?,
        ..EmailConfig::new(relay, from, domain)
    })
    .map_err(TransportError::of(Channel::Email))
}

/// The domain that letters come from.
fn domain_of(from: &str) -> &str {
    from.rsplit_once('@')
        .map_or("localhost", |(_, domain)| domain.trim_end_matches('>'))
}

fn dkim(config: &Dkim, sender_domain: &str) -> Result<Option<DkimConfig>, TransportError> {
    let Some(private_key) = config.private_key.clone() else {
        return Ok(None);
    };
    let selector = config.selector.clone().ok_or_else(|| {
        TransportError::missing(Channel::Email, "the selector of the DKIM key is missing")
    })?;
    let domain = config.domain.as_deref().unwrap_or(sender_domain).to_owned();
    Ok(Some(DkimConfig {
        domain,
        selector,
        private_key,
    }))
}

fn gateway(
    config: &Gateway,
    channel: Channel,
    public_url: &str,
    store: &Store,
    ids: &Arc<Ids>,
) -> Result<Transport, TransportError> {
    match config.transport {
        GatewayTransport::Mailbox => Ok(Transport::Mailbox(store.clone())),
        GatewayTransport::Gateway => generic(config, channel, public_url),
        GatewayTransport::Alibaba => clouds::alibaba(config, channel, ids),
        GatewayTransport::Tencent => clouds::tencent(config, channel),
        GatewayTransport::Twilio => twilio(&config.twilio, channel, public_url),
    }
}

fn generic(
    config: &Gateway,
    channel: Channel,
    public_url: &str,
) -> Result<Transport, TransportError> {
    let keys =
        SigningKeys::parse(&secrets(config, channel)?).map_err(TransportError::of(channel))?;
    let base = config
        .base_url
        .clone()
        .ok_or_else(|| TransportError::missing(channel, "the gateway's base URL is missing"))?;
    let callbacks = format!("{public_url}/callbacks/{}", channel.as_str().to_lowercase());
    let sender = GatewaySender::try_new(GatewayConfig {
        base,
        keys,
        status_callback: format!("{callbacks}/status"),
        reply_callback: format!("{callbacks}/reply"),
        timeouts: GatewayTimeouts::default(),
    })
    .map_err(TransportError::of(channel))?;
    Ok(Transport::Carrier(Arc::new(sender)))
}

fn twilio(
    config: &Twilio,
    channel: Channel,
    public_url: &str,
) -> Result<Transport, TransportError> {
    let missing = |what| move || TransportError::missing(channel, what);
    let account_sid = config
        .account_sid
        .clone()
        .ok_or_else(missing("the account at Twilio is missing"))?;
    let (user, password) = match (&config.api_key_sid, &config.api_key_secret) {
        (Some(key), secret) => (key.clone(), secret.clone()),
        (None, _) => (account_sid.clone(), config.auth_token.clone()),
    };
    let from = match (&config.from, &config.messaging_service_sid) {
        (Some(number), _) => TwilioFrom::Number(number.clone()),
        (None, Some(service)) => TwilioFrom::MessagingService(service.clone()),
        (None, None) => return Err(missing("the sender's number is missing")()),
    };
    let sender = TwilioSender::try_new(TwilioConfig {
        channel: if channel == Channel::Phone {
            channel::Channel::Phone
        } else {
            channel::Channel::Sms
        },
        base: config.base_url.clone(),
        account_sid,
        user,
        password: password.ok_or_else(missing("Twilio's token is missing"))?,
        from,
        callbacks: format!("{public_url}/callbacks/twilio"),
        timeouts: GatewayTimeouts::default(),
    })
    .map_err(TransportError::of(channel))?;
    Ok(Transport::Carrier(Arc::new(sender)))
}

impl Transport {
    /// Makes one attempt.
    pub(crate) async fn send(
        &self,
        delivery: &Delivery,
        outgoing: &Outgoing,
        now: DateTime<Utc>,
    ) -> Outcome {
        match self {
            Self::Carrier(sender) => sender.send(outgoing, now).await,
            Self::Mailbox(store) => {
                let item = MailboxItem {
                    id: delivery.id.as_uuid(),
                    order_id: delivery.order_id,
                    channel: delivery.channel,
                    recipient: delivery.recipient.reveal().to_owned(),
                    content: content(&outgoing.content),
                    create_time: now,
                };
                match store.insert_mailbox_item(&item).await {
                    Ok(()) => Outcome::Sent {
                        provider_id: mailbox_id(delivery),
                    },
                    // Putting it in twice is putting it in once, so this is no doubt.
                    Err(error) => {
                        tracing::warn!(error = %error, "the mailbox does not take a message");
                        let text = "the local mailbox does not answer";
                        Outcome::NotSent {
                            reason: Reason::new(ReasonCode::Unreachable, text),
                            retry_after: None,
                        }
                    }
                }
            }
        }
    }
}

/// What the local mailbox calls a message, as a gateway has an id of its own.
pub(crate) fn mailbox_id(delivery: &Delivery) -> String {
    format!("mailbox-{}", delivery.id)
}

fn content(content: &Content) -> MailboxContent {
    match content {
        Content::Email(mail) => MailboxContent::Email {
            subject: mail.subject.clone(),
            text: mail.text.clone(),
            html: mail.html.clone(),
        },
        Content::Sms(sms) => MailboxContent::Sms {
            text: sms.text.clone(),
        },
        Content::Call(script) => MailboxContent::Phone {
            language: script.language.clone(),
            prompts: script.prompts.clone(),
            keys: script
                .keys
                .iter()
                .map(|key| MailboxKey {
                    digit: key.digit.clone(),
                    means: match key.means {
                        KeyMeaning::Confirm => "confirm",
                        KeyMeaning::Object => "object",
                        KeyMeaning::Person => "person",
                        KeyMeaning::Repeat => "repeat",
                    }
                    .to_owned(),
                })
                .collect(),
        },
    }
}
