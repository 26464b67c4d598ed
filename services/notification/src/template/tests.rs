use super::*;
use crate::channel::{CallScript, EmailContent};

fn order() -> MessageContext {
    MessageContext {
        order_number: Some("CS-2026-000123".to_owned()),
        client_reference: Some("WEB-77".to_owned()),
        customer_name: "Li Wei".to_owned(),
        lines: vec![
            LineText {
                goods_name: "Green tea".to_owned(),
                specification: Some("250 g tin".to_owned()),
                quantity: "12 boxes".to_owned(),
                unit_price: Some("CNY 48.00".to_owned()),
                amount: Some("CNY 576.00".to_owned()),
            },
            LineText {
                goods_name: "Gift bag".to_owned(),
                quantity: "12".to_owned(),
                ..LineText::default()
            },
        ],
        totals: Some(TotalsText {
            goods: Some("CNY 576.00".to_owned()),
            delivery: Some("CNY 20.00".to_owned()),
            discount: None,
            total: "CNY 596.00".to_owned(),
            payment: Some("bank transfer".to_owned()),
        }),
        address: vec![
            "Li Wei".to_owned(),
            "88 Nanjing Road".to_owned(),
            "Shanghai".to_owned(),
        ],
        window: Some("30 Nov, 09:00-12:00".to_owned()),
        promised_time: Some("30 Nov, 12:00".to_owned()),
        delivered_time: Some("30 Nov, 10:41".to_owned()),
        deadline: Some("25 Nov, 18:00".to_owned()),
        silence: Some(Silence::Confirms),
        link: Some("https://o.example/k3v9x2m7q4w8".to_owned()),
        code: Some("482913".to_owned()),
        reason: Some("The address has no house number.".to_owned()),
        delivery_note_number: Some("DN-2026-000123-1".to_owned()),
        carrier: Some("Own fleet".to_owned()),
        company: CompanyText {
            name: "Hua Trading".to_owned(),
            phone: "+862155550100".to_owned(),
        },
    }
}

fn templates() -> Templates {
    Templates::embedded().unwrap()
}

fn email(kind: MessageKind, locale: Locale, context: &MessageContext) -> EmailContent {
    match templates()
        .render(kind, Channel::Email, locale, context)
        .unwrap()
    {
        Content::Email(mail) => mail,
        other => panic!("not a letter: {other:?}"),
    }
}

fn sms(kind: MessageKind, locale: Locale, context: &MessageContext) -> String {
    match templates()
        .render(kind, Channel::Sms, locale, context)
        .unwrap()
    {
        Content::Sms(sms) => sms.text,
        other => panic!("not a text message: {other:?}"),
    }
}

fn call(kind: MessageKind, locale: Locale, context: &MessageContext) -> CallScript {
    match templates()
        .render(kind, Channel::Phone, locale, context)
        .unwrap()
    {
        Content::Call(script) => script,
        other => panic!("not a call: {other:?}"),
    }
}

/// What a reader sees of an HTML letter: one line per table row or paragraph.
fn words_of(html: &str) -> String {
    let body = html.split("<body").nth(1).unwrap();
    let mut words = String::new();
    let mut in_tag = true;
    for (at, c) in body.char_indices() {
        match c {
            '<' => {
                let tag = &body[at..];
                let ends_row = ["</tr", "</p", "<br", "</div"]
                    .iter()
                    .any(|end| tag.starts_with(end));
                words.push(if ends_row { '\n' } else { ' ' });
                in_tag = true;
            }
            '>' => in_tag = false,
            _ if !in_tag => words.push(c),
            _ => {}
        }
    }
    words
        .lines()
        .map(clean::one_line)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

fn snapshot_of(kind: MessageKind, locale: Locale) -> String {
    let context = order();
    let mail = email(kind, locale, &context);
    let text = sms(kind, locale, &context);
    let size = segments(&text);
    let script = serde_json::to_string_pretty(&call(kind, locale, &context)).unwrap();
    let (count, alphabet) = (size.count, size.alphabet);
    let html = words_of(&mail.html);
    format!(
        "# subject\n{}\n# letter\n{}\n# words of the HTML letter\n{html}\n\n# sms, {count} segments of {alphabet:?}\n{text}\n\n# call\n{script}\n",
        mail.subject, mail.text
    )
}

#[test]
fn every_message_reads_as_approved() {
    for &locale in Locale::ALL {
        for &kind in MessageKind::ALL {
            let name = format!("{}_{}", locale.tag(), kind.file());
            insta::assert_snapshot!(name, snapshot_of(kind, locale));
        }
    }
}

#[test]
fn the_html_letter_reads_as_approved() {
    for &locale in Locale::ALL {
        let html = email(MessageKind::ConfirmationRequest, locale, &order()).html;
        insta::assert_snapshot!(format!("{}_html", locale.tag()), html);
    }
}

#[test]
fn every_html_letter_is_whole_and_tells_what_the_text_tells() {
    for &locale in Locale::ALL {
        for &kind in MessageKind::ALL {
            let html = email(kind, locale, &order()).html;
            assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
            assert!(html.contains("CS-2026-000123"), "{kind}");
            for left in ["{{", "{%", "<mj-"] {
                assert!(!html.contains(left), "{kind} {locale:?} holds {left}");
            }
        }
    }
}

#[test]
fn a_message_with_only_the_necessary_facts_can_be_written() {
    let context = MessageContext {
        client_reference: Some("WEB-77".to_owned()),
        code: Some("482913".to_owned()),
        link: Some("https://o.example/k3v9x2m7q4w8".to_owned()),
        ..MessageContext::default()
    };
    let templates = templates();
    for &locale in Locale::ALL {
        for &kind in MessageKind::ALL {
            for channel in [Channel::Email, Channel::Sms, Channel::Phone] {
                templates.render(kind, channel, locale, &context).unwrap();
            }
        }
    }
}

#[test]
fn a_fact_that_a_message_needs_and_the_order_lacks_is_an_error() {
    let context = MessageContext {
        code: None,
        ..order()
    };
    let result = templates().render(
        MessageKind::ConfirmationRequest,
        Channel::Sms,
        Locale::En,
        &context,
    );
    assert!(
        matches!(result, Err(RenderError::Template { .. })),
        "{result:?}"
    );
}

#[test]
fn i_03_text_that_reorders_is_taken_out_of_subject_sms_and_call() {
    // All that reorders, and what is not seen.
    let traps: String = ('\u{202A}'..='\u{202E}')
        .chain('\u{2066}'..='\u{2069}')
        .chain('\u{200B}'..='\u{200F}')
        .chain(['\u{2060}', '\u{FEFF}', '\u{061C}'])
        .collect();
    let context = MessageContext {
        order_number: Some(format!("CS{traps}-1{traps}2{traps}3{traps}")),
        ..order()
    };
    for &locale in Locale::ALL {
        for &kind in MessageKind::ALL {
            let mail = email(kind, locale, &context);
            let spoken = call(kind, locale, &context).prompts.join(" ");
            for text in [
                mail.subject,
                mail.text,
                mail.html,
                sms(kind, locale, &context),
                spoken,
            ] {
                assert!(!text.contains(|c| traps.contains(c)), "{kind}: {text:?}");
            }
        }
    }
    assert!(sms(MessageKind::Acknowledgement, Locale::En, &context).contains("CS-123"));
}

/// The order with `text` in every field that somebody else writes.
fn poisoned(text: &str) -> MessageContext {
    let t = || text.to_owned();
    MessageContext {
        order_number: Some(t()),
        client_reference: Some(t()),
        customer_name: t(),
        lines: vec![LineText {
            goods_name: t(),
            specification: Some(t()),
            quantity: t(),
            unit_price: Some(t()),
            amount: Some(t()),
        }],
        totals: Some(TotalsText {
            goods: Some(t()),
            delivery: Some(t()),
            discount: Some(t()),
            total: t(),
            payment: Some(t()),
        }),
        address: vec![t()],
        window: Some(t()),
        promised_time: Some(t()),
        delivered_time: Some(t()),
        deadline: Some(t()),
        reason: Some(t()),
        delivery_note_number: Some(t()),
        carrier: Some(t()),
        company: CompanyText {
            name: t(),
            phone: t(),
        },
        link: Some(t()),
        code: Some(t()),
        silence: Some(Silence::Expires),
    }
}

#[test]
fn i_04_template_marks_in_every_field_appear_literally() {
    for mark in ["{{7*7}}", "${jndi:ldap}", "<%= 7*7 %>", "{% include 'x' %}"] {
        let context = poisoned(mark);
        let escaped = mark
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('\'', "&#x27;")
            .replace('/', "&#x2f;");
        for &locale in Locale::ALL {
            for &kind in MessageKind::ALL {
                let mail = email(kind, locale, &context);
                assert!(mail.subject.contains(mark), "{kind}: {}", mail.subject);
                assert!(mail.text.contains(mark), "{kind}");
                assert!(mail.html.contains(&escaped), "{kind}: {escaped}");
                assert!(sms(kind, locale, &context).contains(mark), "{kind}");
                assert!(!mail.text.contains("49") && !mail.html.contains(">49<"));
            }
        }
    }
}

#[test]
fn i_04_markup_in_every_field_is_escaped_in_the_html_letter() {
    let context = poisoned("<script>alert(1)</script><img src=x onerror=\"y\">");
    for &locale in Locale::ALL {
        for &kind in MessageKind::ALL {
            let html = email(kind, locale, &context).html;
            assert!(
                !html.contains("<script>alert") && !html.contains("<img src=x"),
                "{kind}"
            );
            assert!(html.contains("&lt;script&gt;"), "{kind}");
        }
    }
}

#[test]
fn i_04_a_link_cannot_leave_its_attribute() {
    let context = MessageContext {
        link: Some("https://o.example/\" onmouseover=\"steal()".to_owned()),
        ..order()
    };
    let html = email(MessageKind::ConfirmationRequest, Locale::En, &context).html;
    assert!(!html.contains("\" onmouseover=\""));
}

#[test]
fn i_05_speech_cannot_become_call_markup() {
    let context = poisoned("</Say><Dial>+900123</Dial><Say>");
    for &locale in Locale::ALL {
        for &kind in MessageKind::ALL {
            let script = call(kind, locale, &context);
            let json = serde_json::to_string(&script).unwrap();
            assert!(!json.contains(['<', '>', '&']), "{kind}: {json}");
            assert_eq!(script.keys, call(kind, locale, &order()).keys, "{kind}");
        }
    }
}

#[test]
fn a_line_end_in_a_name_starts_no_line_in_subject_sms_or_call() {
    let context = MessageContext {
        order_number: Some("CS-1\r\nBcc: evil@example.com".to_owned()),
        company: CompanyText {
            name: "A\nB".to_owned(),
            phone: "1".to_owned(),
        },
        ..order()
    };
    for &locale in Locale::ALL {
        for &kind in MessageKind::ALL {
            assert!(
                !email(kind, locale, &context).subject.contains(['\r', '\n']),
                "{kind}"
            );
            assert!(
                !sms(kind, locale, &context).contains(['\r', '\n']),
                "{kind}"
            );
            let plain = call(kind, locale, &order()).prompts.len();
            assert!(
                call(kind, locale, &context)
                    .prompts
                    .iter()
                    .all(|p| !p.contains('\n'))
            );
            assert!(plain > 0);
        }
    }
}

#[test]
fn i_07_a_text_message_of_more_than_three_segments_is_refused() {
    let context = MessageContext {
        order_number: Some("9".repeat(600)),
        ..order()
    };
    let result = templates().render(
        MessageKind::Acknowledgement,
        Channel::Sms,
        Locale::En,
        &context,
    );
    assert!(
        matches!(result, Err(RenderError::SmsTooLong { count: 5, .. })),
        "{result:?}"
    );
}

#[test]
fn a_folder_overrides_one_page_and_leaves_the_others() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("en")).unwrap();
    let page =
        include_str!("../../templates/en/delivered.jinja").replace("was delivered", "is here");
    fs::write(folder.path().join("en/delivered.jinja"), page).unwrap();
    let templates = Templates::with_overrides(folder.path()).unwrap();
    let text = |kind| match templates
        .render(kind, Channel::Sms, Locale::En, &order())
        .unwrap()
    {
        Content::Sms(sms) => sms.text,
        other => panic!("{other:?}"),
    };
    assert!(text(MessageKind::Delivered).contains("is here"));
    assert_eq!(
        text(MessageKind::Dispatched),
        sms(MessageKind::Dispatched, Locale::En, &order())
    );
}

#[test]
fn a_broken_override_is_refused_when_it_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("en")).unwrap();
    fs::write(folder.path().join("en/delivered.jinja"), "{% extends").unwrap();
    let error = Templates::with_overrides(folder.path()).unwrap_err();
    assert!(error.to_string().contains("en/delivered"), "{error}");
    fs::remove_file(folder.path().join("en/delivered.jinja")).unwrap();
    fs::write(folder.path().join("en/_letter.mjml"), "<p>no mjml").unwrap();
    let error = Templates::with_overrides(folder.path()).unwrap_err();
    assert!(matches!(error, RenderError::Mjml { .. }), "{error}");
}

#[test]
fn languages_fall_back_to_english() {
    assert_eq!(Locale::nearest("zh-Hans-CN"), Locale::ZhCn);
    assert_eq!(Locale::nearest("ZH_tw"), Locale::ZhCn);
    assert_eq!(Locale::nearest("de"), Locale::En);
    assert_eq!(Locale::nearest(""), Locale::En);
}

#[test]
fn kinds_are_read_back_from_their_names() {
    for &kind in MessageKind::ALL {
        assert_eq!(kind.as_str().parse::<MessageKind>().unwrap(), kind);
    }
    assert!("SPAM".parse::<MessageKind>().is_err());
}

#[test]
fn values_for_approved_texts_come_with_text_messages_and_calls() {
    let templates = templates();
    for channel in [Channel::Sms, Channel::Phone] {
        let content = templates
            .render(
                MessageKind::ConfirmationRequest,
                channel,
                Locale::ZhCn,
                &order(),
            )
            .unwrap();
        let particulars = match content {
            Content::Sms(sms) => sms.particulars.unwrap(),
            Content::Call(call) => call.particulars.unwrap(),
            Content::Email(_) => panic!("a letter"),
        };
        assert_eq!(particulars.kind, MessageKind::ConfirmationRequest);
        assert_eq!(particulars.locale, Locale::ZhCn);
        let value = |name| particulars.values.get(name).map(String::as_str);
        let link = order().link.unwrap();
        assert_eq!(value("order"), Some("CS-2026-000123"));
        assert_eq!(value("code"), order().code.as_deref());
        assert_eq!(value("link_token"), link.rsplit('/').next());
        assert_eq!(value("customer_name"), Some("Li Wei"));
        assert_eq!(value("total"), order().totals.map(|it| it.total).as_deref());
    }
}

#[test]
fn words_that_never_end_are_cut_off() {
    let page = |words: &str| {
        let sms = format!("{{% macro sms() %}}{words}{{% endmacro %}}");
        let source = format!("{{% extends layout %}}{sms}");
        templates()
            .with_page(MessageKind::Delivered, Locale::En, &source)
            .unwrap()
            .render(MessageKind::Delivered, Channel::Sms, Locale::En, &order())
            .unwrap_err()
    };
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    let error = lint::problem_of(&page(endless));
    assert!(error.contains("fuel"), "{error}");
    let error = lint::problem_of(&page(
        "{% for a in range(90) %}{{ 'x' * 99999 }}{% endfor %}",
    ));
    assert!(error.contains("longer than"), "{error}");
}

#[test]
fn without_a_number_nobody_is_told_to_ring_it() {
    let mut context = order();
    context.company.phone = String::new();
    for &locale in Locale::ALL {
        for &kind in MessageKind::ALL {
            let letter = email(kind, locale, &context);
            let script = call(kind, locale, &context).prompts.join("\n");
            for text in [
                letter.text.clone(),
                words_of(&letter.html),
                sms(kind, locale, &context),
                script,
            ] {
                for word in [
                    "Ring .",
                    "ring .",
                    "ring us at",
                    "Questions:",
                    "咨询",
                    "致电。",
                    "致电 。",
                ] {
                    assert!(!text.contains(word), "{kind} {locale:?}: {text}");
                }
                assert!(!text.trim_end().ends_with("ring"), "{kind}: {text}");
            }
            let filled = email(kind, locale, &order());
            assert!(filled.text.contains("+862155550100"), "{kind}");
        }
    }
}
