//! An order that nobody placed, to show what messages look like.

use super::{CompanyText, LineText, Locale, MessageContext, Silence, TotalsText};

/// Everything that a message may tell.
pub(crate) fn full(locale: Locale) -> MessageContext {
    let pick = |en: &str, zh: &str| match locale {
        Locale::En => en.to_owned(),
        Locale::ZhCn => zh.to_owned(),
    };
    MessageContext {
        order_number: Some("CS-20261123-000123".to_owned()),
        client_reference: Some("WEB-77".to_owned()),
        customer_name: pick("Li Wei", "李伟"),
        lines: vec![LineText {
            goods_name: pick("Green tea", "绿茶"),
            specification: Some(pick("250 g tin", "250 克罐装")),
            quantity: pick("12 boxes", "12 箱"),
            unit_price: Some("48.00 CNY".to_owned()),
            amount: Some("576.00 CNY".to_owned()),
        }],
        totals: Some(TotalsText {
            goods: Some("576.00 CNY".to_owned()),
            delivery: Some("20.00 CNY".to_owned()),
            discount: Some("6.00 CNY".to_owned()),
            total: "590.00 CNY".to_owned(),
            payment: Some(pick("cash on delivery", "货到付款")),
        }),
        address: vec![
            pick("Li Wei", "李伟"),
            pick("88 Nanjing Road, Shanghai", "上海市南京路 88 号"),
        ],
        window: Some("2026-11-30 09:00 – 12:00".to_owned()),
        promised_time: Some("2026-11-30 12:00".to_owned()),
        delivered_time: Some("2026-11-30 10:41".to_owned()),
        deadline: Some("2026-11-25 18:00".to_owned()),
        silence: Some(Silence::Expires),
        link: Some("https://orders.example/o/4bsER_F4kbkHkfFXhWG4Cg".to_owned()),
        code: Some("482913".to_owned()),
        reason: Some(pick("The address has no house number.", "地址缺少门牌号。")),
        delivery_note_number: Some("CS-20261123-000123-1".to_owned()),
        carrier: Some(pick("Own fleet", "自有车队")),
        company: CompanyText {
            name: pick("Dawn Trading", "晨光贸易"),
            phone: "+862155550100".to_owned(),
        },
    }
}

/// What every order has, and no more: a template that prints anything else must ask first whether it is there.
pub(crate) fn bare(locale: Locale) -> MessageContext {
    let full = full(locale);
    MessageContext {
        client_reference: full.client_reference,
        code: full.code,
        link: full.link,
        customer_name: full.customer_name,
        company: full.company,
        ..MessageContext::default()
    }
}
