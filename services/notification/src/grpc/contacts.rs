//! By which channels a recipient may be written to. The address is hashed here and goes no further.

use countersign_domain::{
    email::EmailAddress, message::Recipient, order::Channel, phone::PhoneNumber,
};
use countersign_proto::v1;
use countersign_store::Acted;
use tonic::{Request, Status};

use super::{
    Notifications,
    checks::{Violations, Who, invalid, not_found, open, other_request, unavailable},
    convert::time,
};

/// An address in the form in which orders keep it, and the channels that lead there.
struct Address {
    recipient: Recipient,
    channels: &'static [Channel],
}

impl Notifications {
    pub(super) async fn get_contact_preferences(
        &self,
        request: Request<v1::GetContactPreferencesRequest>,
    ) -> Result<v1::ContactPreferences, Status> {
        let address = address(&request.get_ref().address)?;
        self.preferences(&address).await
    }

    pub(super) async fn set_contact_preferences(
        &self,
        request: Request<v1::SetContactPreferencesRequest>,
    ) -> Result<v1::ContactPreferences, Status> {
        let (caller, request) = open(request)?;
        let address = address(&request.address)?;
        let now = self.store.now().await.map_err(unavailable)?;
        let mut violations = Violations::default();
        let channel = violations.word("channel", &request.channel, address.channels);
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let allowed = request.allowed.to_string();
        let content = [address.recipient.reveal(), &request.channel, &allowed];
        let call = self.act_call(
            &who,
            "SetContactPreferences",
            &caller,
            &content,
            now,
            &mut violations,
        );
        let (channel, call) = violations.finish(channel.zip(call))?;
        let hash = self.store.recipient_hash(address.recipient.reveal());
        let acted = self
            .store
            .set_contact_preference(&hash, channel, request.allowed, &call, now)
            .await;
        match acted.map_err(unavailable)? {
            Acted::Answered((), _) => self.preferences(&address).await,
            Acted::NotFound => Err(not_found("recipient")),
            Acted::OtherRequest => Err(other_request()),
            Acted::Refused(never) => match never {},
        }
    }

    async fn preferences(&self, address: &Address) -> Result<v1::ContactPreferences, Status> {
        let hash = self.store.recipient_hash(address.recipient.reveal());
        let out = self.store.list_opt_outs(&hash).await.map_err(unavailable)?;
        let channels = address.channels.iter().map(|channel| {
            let found = out.iter().find(|it| it.channel == *channel);
            v1::ChannelPreference {
                channel: channel.to_string(),
                allowed: found.is_none(),
                reason: found.map(|it| it.reason.to_string()).unwrap_or_default(),
                since_time: found.map(|it| time(it.create_time)),
            }
        });
        Ok(v1::ContactPreferences {
            recipient: address.recipient.masked(),
            channels: channels.collect(),
        })
    }
}

fn address(text: &str) -> Result<Address, Status> {
    let wrong = || {
        invalid(
            "address",
            "must be an e-mail address, or a telephone number beginning with +",
        )
    };
    if text.contains('@') {
        let address = EmailAddress::parse(text).map_err(|_| wrong())?;
        return Ok(Address {
            recipient: Recipient::new(address.as_str()),
            channels: &[Channel::Email],
        });
    }
    let number = PhoneNumber::parse(text, None).map_err(|_| wrong())?;
    Ok(Address {
        recipient: Recipient::new(number.as_e164()),
        channels: &[Channel::Sms, Channel::Phone],
    })
}
