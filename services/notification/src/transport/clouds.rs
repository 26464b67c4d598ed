//! The clouds of China as carriers.

use std::{collections::HashMap, sync::Arc};

use countersign_domain::order::Channel;
use countersign_runtime::config::{Gateway, TextsByKind};

use super::{Transport, TransportError};
use crate::{
    channel::{
        alibaba::{AlibabaAccount, AlibabaSms, AlibabaSmsConfig, AlibabaVoice, AlibabaVoiceConfig},
        approved::{ApprovedText, ApprovedTexts, value_name},
        gateway::GatewayTimeouts,
        tencent::{TencentSms, TencentSmsConfig},
    },
    ids::Ids,
    template::{Locale, MessageKind},
};

/// Alibaba Cloud, for text messages or calls.
pub(super) fn alibaba(
    config: &Gateway,
    channel: Channel,
    ids: &Arc<Ids>,
) -> Result<Transport, TransportError> {
    let missing = |what| TransportError::missing(channel, what);
    let alibaba = config
        .alibaba
        .as_ref()
        .ok_or_else(|| missing("the account at Alibaba Cloud is missing"))?;
    let usual = match channel {
        Channel::Phone => "https://dyvmsapi.aliyuncs.com",
        Channel::Email | Channel::Sms => "https://dysmsapi.aliyuncs.com",
    };
    let account = AlibabaAccount {
        base: alibaba.base_url.clone().unwrap_or_else(|| usual.to_owned()),
        access_key_id: alibaba.access_key_id.clone(),
        access_key_secret: alibaba
            .access_key_secret
            .clone()
            .ok_or_else(|| missing("the key of the account at Alibaba Cloud is missing"))?,
        timeouts: GatewayTimeouts::default(),
        ids: ids.clone(),
    };
    let texts = approved(&alibaba.templates, alibaba.value_chars_max, |text| {
        (
            text.code.clone(),
            text.variables.clone().into_iter().collect(),
        )
    })
    .map_err(|problem| TransportError::missing(channel, &problem))?;
    if channel == Channel::Phone {
        let sender = AlibabaVoice::try_new(AlibabaVoiceConfig {
            account,
            show_number: alibaba.show_number.clone(),
            play_times: alibaba.play_times,
            texts,
        })
        .map_err(TransportError::of(channel))?;
        return Ok(Transport::Carrier(Arc::new(sender)));
    }
    let sender = AlibabaSms::try_new(AlibabaSmsConfig {
        account,
        sign_name: alibaba.sign_name.clone(),
        texts,
    })
    .map_err(TransportError::of(channel))?;
    Ok(Transport::Carrier(Arc::new(sender)))
}

/// Tencent Cloud, for text messages.
pub(super) fn tencent(config: &Gateway, channel: Channel) -> Result<Transport, TransportError> {
    let missing = |what| TransportError::missing(channel, what);
    let tencent = config
        .tencent
        .as_ref()
        .ok_or_else(|| missing("the account at Tencent Cloud is missing"))?;
    let texts = approved(&tencent.templates, tencent.value_chars_max, |text| {
        let numbered = text.variables.iter().enumerate();
        let gaps = numbered.map(|(at, name)| ((at + 1).to_string(), name.clone()));
        (text.code.clone(), gaps.collect())
    })
    .map_err(|problem| TransportError::missing(channel, &problem))?;
    let base = tencent.base_url.as_deref();
    let sender = TencentSms::try_new(TencentSmsConfig {
        base: base.unwrap_or("https://sms.tencentcloudapi.com").to_owned(),
        secret_id: tencent.secret_id.clone(),
        secret_key: tencent
            .secret_key
            .clone()
            .ok_or_else(|| missing("the key of the account at Tencent Cloud is missing"))?,
        region: tencent.region.clone(),
        sdk_app_id: tencent.sdk_app_id.clone(),
        sign_name: tencent.sign_name.clone(),
        texts,
        timeouts: GatewayTimeouts::default(),
    })
    .map_err(TransportError::of(channel))?;
    Ok(Transport::Carrier(Arc::new(sender)))
}

/// The configured texts in our own words; what is wrong with the first that names something unknown.
fn approved<T>(
    templates: &TextsByKind<T>,
    value_chars_max: usize,
    read: impl Fn(&T) -> (String, Vec<(String, String)>),
) -> Result<ApprovedTexts, String> {
    let mut texts = HashMap::new();
    for (tag, kinds) in templates {
        let locale = Locale::ALL
            .iter()
            .copied()
            .find(|locale| locale.tag() == tag)
            .ok_or_else(|| format!("templates.{tag}: messages are written in zh-CN and en"))?;
        for (name, text) in kinds {
            let kind: MessageKind = name
                .parse()
                .map_err(|_| format!("templates.{tag}.{name}: there is no such kind of message"))?;
            let (code, gaps) = read(text);
            let gaps = gaps
                .into_iter()
                .map(|(gap, value)| match value_name(&value) {
                    Some(known) => Ok((gap, known)),
                    None => Err(format!("templates.{tag}.{name}: there is no value {value}")),
                })
                .collect::<Result<_, String>>()?;
            texts.insert((kind, locale), ApprovedText { code, gaps });
        }
    }
    Ok(ApprovedTexts::new(texts, value_chars_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(tag: &str, kind: &str, value: &str) -> String {
        let text = vec![("gap".to_owned(), value.to_owned())];
        let templates = TextsByKind::from([(tag.to_owned(), [(kind.to_owned(), text)].into())]);
        approved(&templates, 35, |text| ("SMS_1".to_owned(), text.clone())).unwrap_err()
    }

    #[test]
    fn a_text_for_something_unknown_is_refused_by_name() {
        assert!(refused("fr", "DELAYED", "order").starts_with("templates.fr: "));
        assert!(refused("en", "LATE", "order").starts_with("templates.en.LATE: "));
        assert_eq!(
            refused("zh-CN", "DELAYED", "link"),
            "templates.zh-CN.DELAYED: there is no value link"
        );
    }
}
